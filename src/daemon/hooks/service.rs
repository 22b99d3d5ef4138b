//! What is so about a service, for its commands.

use std::collections::BTreeSet;

use super::{Job, Newest, Run, Subject, command};
use crate::config::Extras;
use crate::director::event::Decision;
use crate::director::pool::Pool;
use crate::director::reason::Rule;
use crate::model::{ServiceKey, Watch};

/// A service, and what is run around it.
pub(super) struct About<'a> {
    pub(super) instance: &'a str,
    pub(super) extras: &'a Extras,
    pub(super) pool: &'a Pool,
}

impl About<'_> {
    /// All that may be told of.
    pub(super) fn known(&self) -> BTreeSet<Subject> {
        let servers = self.pool.service().servers.iter().map(|server| Subject::Server(server.address));
        servers.chain([Subject::Command, Subject::Fallback]).collect()
    }

    /// What is so now, as far as it is known and was not told.
    pub(super) fn news(&self, told: &Newest) -> Vec<(Subject, Job)> {
        let Extras { fallback_command, hooks, .. } = self.extras;
        let mut news = Vec::new();
        if hooks.up.is_some() || hooks.down.is_some() {
            let servers = self.pool.decisions().enumerate();
            news.extend(servers.filter_map(|(i, decision)| self.server(i, &decision, told)));
        }
        let Some(serving) = self.pool.serving() else { return news };
        if hooks.fallback.is_some() {
            news.extend(self.fallback(serving, told));
        }
        if let Some(command) = fallback_command {
            let key = self.pool.service().key;
            let run = Run::Shell(line(command, key, serving));
            let environment = || vec![("LVSENTRY_SERVICE", key.id())];
            news.extend(job(told, Subject::Command, run, String::new(), environment));
        }
        news
    }

    /// Of the server at place `i`: nothing before a check has spoken, nor while it stays in the table only
    /// since we are unwell.
    fn server(&self, i: usize, decision: &Decision, told: &Newest) -> Option<(Subject, Job)> {
        let is_asked = matches!(self.pool.service().servers[i].watch, Watch::Probe(_));
        if (is_asked && !self.pool.has_heard(i)) || decision.rule == Rule::Spared {
            return None;
        }
        let (event, line) = match decision.rule.is_up() {
            true => ("up", &self.extras.hooks.up),
            false => ("down", &self.extras.hooks.down),
        };
        let environment = || {
            let weight = decision.weight.map(|weight| weight.to_string()).unwrap_or_default();
            self.environment(&[
                ("LVSENTRY_EVENT", event),
                ("LVSENTRY_SERVER", &decision.server.to_string()),
                ("LVSENTRY_WEIGHT", &weight),
                ("LVSENTRY_REASON", &reason(decision)),
            ])
        };
        job(told, Subject::Server(decision.server), Run::hook(line.as_ref()), event.into(), environment)
    }

    fn fallback(&self, serving: bool, told: &Newest) -> Option<(Subject, Job)> {
        let at = self.pool.fallback_serving().map(|at| at.to_string());
        let state = if at.is_some() { "serving" } else { "stopped" };
        let why = match (serving, &at) {
            (true, _) => "a server is up",
            (false, Some(_)) => "no server is up",
            (false, None) => "no server is up, and no fallback",
        };
        let at = at.unwrap_or_default();
        let environment = || {
            self.environment(&[
                ("LVSENTRY_EVENT", "fallback"),
                ("LVSENTRY_STATE", state),
                ("LVSENTRY_SERVER", &at),
                ("LVSENTRY_REASON", why),
            ])
        };
        let run = Run::hook(self.extras.hooks.fallback.as_ref());
        job(told, Subject::Fallback, run, format!("{state} {at}"), environment)
    }

    fn environment(&self, given: &[(&str, &str)]) -> Vec<(&'static str, String)> {
        let id = self.pool.service().key.id();
        let name = self.extras.name.as_deref().unwrap_or_default();
        let all = [("LVSENTRY_INSTANCE", self.instance), ("LVSENTRY_SERVICE", &id), ("LVSENTRY_NAME", name)];
        command::environment(&[&all, given].concat())
    }
}

/// What is to be told of a subject; none when that was the last that was told of it.
fn job(
    told: &Newest,
    subject: Subject,
    run: Run,
    news: String,
    environment: impl FnOnce() -> Vec<(&'static str, String)>,
) -> Option<(Subject, Job)> {
    let is_told = told.get(&subject).is_some_and(|(_, job)| job.is(&run, &news));
    (!is_told).then(|| (subject, Job { run, news, environment: environment() }))
}

/// Why a server is up or down: what its last check said, or what else takes it out.
fn reason(decision: &Decision) -> String {
    match (&decision.last, decision.rule) {
        (Some(outcome), Rule::Up | Rule::Rising | Rule::Failed) => outcome.to_string(),
        (_, rule) => rule.to_string(),
    }
}

/// The line of a `fallbackcommand`. The service of a mark has no address to tell.
fn line(command: &str, key: ServiceKey, serving: bool) -> String {
    let what = if serving { "stop" } else { "start" };
    match key {
        ServiceKey::Address(protocol, at) => format!("{command} {what} {at} {protocol}"),
        ServiceKey::Mark(..) => format!("{command} {what} :0 fwm"),
    }
}
