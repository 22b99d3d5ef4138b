//! What becomes an alert: changes of the kernel's table that are told of a server or fallback,
//! servers that stay down, and illness of our own.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::time::Instant;

use super::telling::{Told, What};
use crate::alert::{Alert, Alerts, Limits};
use crate::config::{Config, Extras, Mail, State};
use crate::director::Director;
use crate::director::event::{Decision, Notice};
use crate::director::reason::Rule;
use crate::director::repeat::Repeats;
use crate::model::{Moment, ServiceKey, Weight};
use crate::probe::tls::Trust;

/// How old an alert may get before nobody wants it any more.
const AGE: Duration = Duration::from_secs(600);

/// How long an illness that was told of is not told of again: one that comes and goes must not flood anybody.
const QUIET: Duration = Duration::from_secs(300);

/// Makes alerts, and knows who gets them.
#[derive(Debug)]
pub(super) struct Alerting {
    alerts: Alerts,
    /// Of those services about which somebody is to be told.
    extras: BTreeMap<ServiceKey, Arc<Extras>>,
    repeats: Repeats,
    state: State,
    /// When an illness was told of last.
    ill: Option<Moment>,
    /// Whether the end of it is still to be told.
    is_ill: bool,
}

impl Alerting {
    pub(super) fn new(config: &Config, trust: Arc<Trust>) -> Alerting {
        let alerts = Alerts::new(Limits::default(), trust);
        let extras = heard(config);
        Alerting {
            alerts,
            extras,
            repeats: Repeats::default(),
            state: State::Starting,
            ill: None,
            is_ill: false,
        }
    }

    /// A new configuration is in force.
    pub(super) fn reloaded(&mut self, config: &Config) {
        self.state = State::Reloading;
        self.extras = heard(config);
        self.alerts.keep(self.extras.values());
    }

    /// The table is ours to keep from now on: as at a start.
    pub(super) fn starting(&mut self) {
        self.state = State::Starting;
    }

    /// The daemon is about to end, or to stand by.
    pub(super) fn stopping(&mut self) {
        self.state = State::Stopping;
        self.repeats.clear();
    }

    /// Every server has had its first result since the start or the last reload, and what follows
    /// from it is done and told.
    pub(super) fn caught_up(&mut self) {
        if self.state != State::Stopping {
            self.state = State::Running;
        }
    }

    /// Whether the daemon still waits for first results, as far as alerts are concerned.
    pub(super) fn is_catching_up(&self) -> bool {
        matches!(self.state, State::Starting | State::Reloading)
    }

    /// Something was told.
    pub(super) fn told(&mut self, told: &Told) {
        let (Some(event), Some(server)) = (event(told.what), told.server) else { return };
        // ldirectord's mail calls both the same.
        let message = match told.what {
            What::ReaddQuiescent => told.line.strip_prefix("Readd ").unwrap_or(&told.line),
            _ => &told.line,
        };
        self.send(event, message.to_owned(), told.service, server, told.weight);
    }

    /// Something was noticed. Of it, all who get alerts hear of this director's own illness, once each.
    pub(super) fn noticed(&mut self, notice: &Notice, now: Moment) {
        let event = match notice {
            Notice::Ill(_) if self.ill.is_none_or(|last| now >= last.after(QUIET)) => {
                (self.ill, self.is_ill) = (Some(now), true);
                "director-unwell"
            }
            Notice::StillIll if self.is_ill => "director-still-unwell",
            Notice::Well if std::mem::take(&mut self.is_ill) => "director-well",
            _ => return,
        };
        for extras in everybody(self.extras.values().filter(|extras| extras.alert_in.contains(&self.state))) {
            self.offer(event, notice.to_string(), None, None, Arc::new(extras));
        }
    }

    /// The servers of a service may have gone up or down, or have left.
    pub(super) fn changed(&mut self, service: &ServiceKey, director: &Director, now: Moment) {
        let every = self.extras.get(service).and_then(|extras| extras.alert_again);
        let decisions = director.pool(service).filter(|_| every.is_some()).into_iter();
        let down = decisions.flat_map(|pool| pool.decisions().filter(is_down)).map(|d| d.server);
        self.repeats.set(*service, &down.collect::<BTreeSet<_>>(), every, now);
    }

    /// When [`Alerting::tick`] is due.
    pub(super) fn deadline(&self) -> Option<Moment> {
        self.repeats.deadline()
    }

    /// Time has passed.
    pub(super) fn tick(&mut self, now: Moment) {
        while let Some((service, server)) = self.repeats.poll(now) {
            let message = format!("Inaccessible real server: {server} ({service})");
            self.send("server-inaccessible", message, service, server, None);
        }
    }

    /// Gives what is still under way a moment to leave.
    pub(super) async fn finish(self) {
        self.alerts.finish().await;
    }

    fn send(
        &mut self,
        event: &'static str,
        message: String,
        service: ServiceKey,
        server: SocketAddr,
        weight: Option<Weight>,
    ) {
        let Some(extras) = self.extras.get(&service) else { return };
        if extras.alert_in.contains(&self.state) {
            let extras = extras.clone();
            self.offer(event, message, Some((service, server)), weight, extras);
        }
    }

    fn offer(
        &mut self,
        event: &'static str,
        message: String,
        about: Option<(ServiceKey, SocketAddr)>,
        weight: Option<Weight>,
        extras: Arc<Extras>,
    ) {
        let (time, expires) = (Timestamp::now(), Instant::now() + AGE);
        let (service, server, state) = (about.map(|a| a.0), about.map(|a| a.1), self.state);
        self.alerts.send(Alert { event, message, service, server, weight, state, extras, time, expires });
    }
}

/// All whom these name, each once: a mail for each sender and way to send, a post for each webhook.
fn everybody<'a>(named: impl Iterator<Item = &'a Arc<Extras>>) -> Vec<Extras> {
    let mut letters: BTreeMap<(Option<&str>, Option<&str>), Vec<&str>> = BTreeMap::new();
    let mut everybody: Vec<Extras> = Vec::new();
    for extras in named {
        if let Some(mail) = &extras.mail {
            let lists = letters.entry((mail.from.as_deref(), mail.smtp.as_deref())).or_default();
            if !lists.contains(&mail.to.as_str()) {
                lists.push(&mail.to);
            }
        }
        for webhook in &extras.webhooks {
            if !everybody.iter().any(|other| other.webhooks.contains(webhook)) {
                everybody.push(Extras { webhooks: vec![webhook.clone()], ..Extras::default() });
            }
        }
    }
    let own = |text: Option<&str>| text.map(str::to_owned);
    everybody.extend(letters.into_iter().map(|((from, smtp), lists)| {
        let mail = Mail { to: lists.join(", "), from: own(from), smtp: own(smtp) };
        Extras { mail: Some(mail), ..Extras::default() }
    }));
    everybody
}

/// The services about which somebody is to be told.
fn heard(config: &Config) -> BTreeMap<ServiceKey, Arc<Extras>> {
    let somebody = |extras: &Extras| extras.mail.is_some() || !extras.webhooks.is_empty();
    let heard = config.extras.iter().filter(|(_, extras)| somebody(extras));
    heard.map(|(service, extras)| (*service, extras.clone())).collect()
}

/// The word for an event that stays the same; none when nobody is alerted.
fn event(what: What) -> Option<&'static str> {
    match what {
        What::Service => None,
        What::Added => Some("server-added"),
        What::Restored => Some("server-restored"),
        What::Deleted => Some("server-deleted"),
        What::Quiescent | What::ReaddQuiescent => Some("server-quiescent"),
        What::Purged => Some("server-purged"),
        What::FallbackAdded => Some("fallback-added"),
        What::FallbackRestored => Some("fallback-restored"),
        What::FallbackDeleted => Some("fallback-deleted"),
    }
}

/// Whether a server was found to be down. One that nobody checks was not.
fn is_down(decision: &Decision) -> bool {
    !matches!(
        decision.rule,
        Rule::Up
            | Rule::On
            | Rule::ByHand
            | Rule::Ordered
            | Rule::Rising
            | Rule::Off
            | Rule::NotChecked
            | Rule::Adopted
    )
}
