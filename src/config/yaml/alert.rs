//! Who is told of changes. Pure.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::config::diagnostic::Faults;
use crate::config::draft::{AlertDraft, Said};
use crate::config::keys::LONGEST;
use crate::config::yaml::fields::Fields;
use crate::config::yaml::leaf::{Item, all};
use crate::config::yaml::node::Value;
use crate::config::{State, Webhook};
use crate::span::Fault;

/// The words of `when`.
pub const STATES: [(&str, State); 4] = [
    ("starting", State::Starting),
    ("running", State::Running),
    ("stopping", State::Stopping),
    ("reloading", State::Reloading),
];

/// Until a webhook must have answered, where nothing else is said.
pub const WEBHOOK_TIMEOUT: Duration = Duration::from_secs(10);

/// The alerts of a service, or of all.
#[derive(Debug, Clone, Default)]
pub struct Alerts {
    to: Option<Said<String>>,
    from: Option<Said<String>>,
    smtp: Option<Said<String>>,
    when: Option<Said<BTreeSet<State>>>,
    again: Option<Said<u32>>,
    webhooks: Vec<Said<Webhook>>,
}

impl Alerts {
    /// Reads a list of `{ mail: … }` and `{ webhook: … }`.
    pub fn read(item: &Item, faults: &mut Faults) -> Option<Alerts> {
        let mut alerts = Alerts::default();
        for member in faults.keep(item.list())? {
            let fields = Fields::read(member.node, "an alert", &["mail", "webhook", "when", "again"], faults);
            let Some(fields) = fields else { continue };
            alerts.timing(&fields, faults);
            match (fields.get("mail"), fields.get("webhook")) {
                (Some(mail), None) => alerts.mail(&mail, faults),
                (None, Some(webhook)) => alerts.webhook(&webhook, faults),
                // What else it has was told, or are times for the others.
                (None, None) if matches!(&member.node.value, Value::Map(all) if !all.is_empty()) => {}
                _ => {
                    let fault = Fault::error(member.span(), "an alert is one `mail` or one `webhook`");
                    faults.push(fault.help("write each as a member of the list"));
                }
            }
        }
        Some(alerts)
    }

    fn mail(&mut self, item: &Item, faults: &mut Faults) {
        let names = ["to", "from", "smtp", "when", "again"];
        let Some(fields) = Fields::read(item.node, "`mail`", &names, faults) else { return };
        if self.to.is_some() {
            let fault = Fault::error(item.span(), "a second `mail`: there can be one for a service");
            faults.push(fault.help("name all recipients in its `to`"));
        }
        self.timing(&fields, faults);
        self.from = fields.take("from", faults, Item::line);
        self.smtp = fields.take("smtp", faults, Item::line);
        match fields.get("to") {
            Some(to) => self.to = recipients(&to, faults),
            None => {
                let fault = Fault::error(item.span(), "mail without recipients");
                faults.push(fault.help("to: [ops@example.com]"));
            }
        }
    }

    fn webhook(&mut self, item: &Item, faults: &mut Faults) {
        let names = ["url", "timeout", "when", "again"];
        let Some(fields) = Fields::read(item.node, "`webhook`", &names, faults) else { return };
        self.timing(&fields, faults);
        let timeout = fields.take("timeout", faults, Item::time).map_or(WEBHOOK_TIMEOUT, |said| said.value);
        let Some(url) = fields.get("url") else {
            faults.push(
                Fault::error(item.span(), "a webhook without a `url`")
                    .help("url: https://hooks.example.com/lvs"),
            );
            return;
        };
        if let Some(said) = faults.keep(address(&url)) {
            self.webhooks.push(Said { value: Webhook { url: said.value, timeout }, span: said.span });
        }
    }

    /// `when` and `again`, which hold for all alerts of a service.
    fn timing(&mut self, fields: &Fields, faults: &mut Faults) {
        let when = fields.get("when").and_then(|item| when(&item, faults));
        let again = fields.take("again", faults, again);
        put(&mut self.when, when, "when", faults);
        put(&mut self.again, again, "again", faults);
    }

    /// As the draft has it.
    pub fn draft(&self) -> AlertDraft {
        let always = || Said::default(STATES.iter().map(|(_, state)| *state).collect());
        AlertDraft {
            mail: self.to.clone(),
            from: self.from.clone(),
            smtp: self.smtp.clone(),
            when: self.when.clone().unwrap_or_else(always),
            again: self.again.clone().unwrap_or(Said::default(0)),
            webhooks: self.webhooks.clone(),
        }
    }
}

fn put<T: PartialEq>(slot: &mut Option<Said<T>>, said: Option<Said<T>>, name: &str, faults: &mut Faults) {
    let Some(said) = said else { return };
    if let (Some(first), Some(span)) = (&slot, &said.span)
        && first.value != said.value
    {
        let fault = Fault::error(span.clone(), format!("`{name}` differs from that of another alert"));
        faults.push(fault.help("one value holds for all alerts of a service"));
    }
    *slot = Some(said);
}

fn recipients(item: &Item, faults: &mut Faults) -> Option<Said<String>> {
    let members = faults.keep(item.one_or_more())?;
    let names = all(members.iter().map(Item::line), faults);
    if names.iter().all(|name| name.value.is_empty()) {
        faults.push(Fault::error(item.span(), "mail without recipients").help("to: [ops@example.com]"));
        return None;
    }
    let names: Vec<String> = names.into_iter().map(|name| name.value).collect();
    Some(Said::at(names.join(","), item.span()))
}

fn address(item: &Item) -> Result<Said<String>, Fault> {
    let url = item.line()?;
    let rest = url.value.strip_prefix("https://").or_else(|| url.value.strip_prefix("http://"));
    let is_url = rest.is_some_and(|rest| !rest.is_empty() && !rest.starts_with('/') && !rest.contains(' '));
    // The address may hold a token: it is not repeated.
    let wrong = || Fault::error(item.span(), "`url` must be an http or https URL");
    if is_url { Ok(url) } else { Err(wrong().help("for instance https://hooks.example.com/lvs")) }
}

fn when(item: &Item, faults: &mut Faults) -> Option<Said<BTreeSet<State>>> {
    let members = faults.keep(item.one_or_more())?;
    if let [only] = members.as_slice() {
        match only.text() {
            Ok("all") => {
                return Some(Said::at(STATES.iter().map(|(_, state)| *state).collect(), item.span()));
            }
            Ok("none") => return Some(Said::at(BTreeSet::new(), item.span())),
            _ => {}
        }
    }
    let states = all(members.iter().map(|member| member.one_of(&STATES)), faults);
    Some(Said::at(states.into_iter().map(|state| state.value).collect(), item.span()))
}

fn again(item: &Item) -> Result<Said<u32>, Fault> {
    match item.text()? {
        "never" => Ok(Said::at(0, item.span())),
        _ => item.seconds(LONGEST).map_err(|fault| fault.help("for instance 1h, or never")),
    }
}
