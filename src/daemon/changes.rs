//! What a new configuration changes. Pure.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::net::SocketAddr;

use crate::config::{Config, Inquiry};
use crate::model::{Plan, ProbeKey, Server, Service, ServiceKey};

/// What a new configuration changes.
#[derive(Debug)]
pub struct Changes {
    /// In words, a line each, services in order.
    pub lines: Vec<String>,
    /// The probes that it has no more.
    pub gone: Vec<ProbeKey>,
    /// The services around which something else is to be told or run.
    pub around: Vec<ServiceKey>,
    /// The probes that it did not have before.
    pub new: Vec<(ProbeKey, Inquiry)>,
}

impl Changes {
    /// What `after` changes. Services that it has as they were become those of `before`, so that to tell
    /// them from others costs nothing any more, and their memory is the same.
    pub fn new(before: &Config, after: &mut Config) -> Changes {
        let lines = lines(&before.plan, &after.plan);
        for (key, service) in &mut after.plan.services {
            if let Some(same) = before.plan.services.get(key).filter(|before| *before == service) {
                *service = same.clone();
            }
        }
        let gone = before.inquiries.keys().filter(|probe| !after.inquiries.contains_key(probe));
        let new = after.inquiries.iter().filter(|(probe, _)| !before.inquiries.contains_key(probe));
        let new = new.map(|(probe, inquiry)| (*probe, inquiry.clone())).collect();
        let around = after.plan.services.keys().filter(|key| before.extras.get(key) != after.extras.get(key));
        Changes { lines, around: around.copied().collect(), gone: gone.copied().collect(), new }
    }
}

/// The differences, a line each, services in order.
fn lines(before: &Plan, after: &Plan) -> Vec<String> {
    let mut lines = Vec::new();
    for (key, old) in &before.services {
        match after.services.get(key) {
            None => lines.push(format!("service {}: removed", key.id())),
            Some(new) => service(old, new, &mut |what| lines.push(format!("service {}: {what}", key.id()))),
        }
    }
    for (key, new) in after.services.iter().filter(|(key, _)| !before.services.contains_key(key)) {
        lines.push(format!("service {}: added, with {} servers", key.id(), new.servers.len()));
    }
    lines
}

fn service(old: &Service, new: &Service, tell: &mut impl FnMut(String)) {
    let (was, is) = (&old.settings, &new.settings);
    if was.scheduler != is.scheduler {
        tell(changed("scheduler", &was.scheduler, &is.scheduler));
    }
    if (was.flags, was.one_packet) != (is.flags, is.one_packet) {
        tell("flags changed".into());
    }
    if (was.persistence, &was.engine) != (is.persistence, &is.engine) {
        tell("persistence changed".into());
    }
    if old.policy.fallbacks != new.policy.fallbacks {
        tell("fallbacks changed".into());
    }
    let plain = |service: &Service| {
        let mut policy = service.policy.clone();
        policy.fallbacks.clear();
        policy
    };
    if plain(old) != plain(new) {
        tell("policy changed".into());
    }
    servers(&by_address(old), &by_address(new), tell);
}

type Servers<'a> = BTreeMap<SocketAddr, Vec<&'a Server>>;

/// The servers by address; a file may name one twice.
fn by_address(service: &Service) -> Servers<'_> {
    let mut all = Servers::new();
    service.servers.iter().for_each(|server| all.entry(server.address).or_default().push(server));
    all
}

fn servers(old: &Servers<'_>, new: &Servers<'_>, tell: &mut impl FnMut(String)) {
    for (at, was) in old {
        match new.get(at) {
            None => tell(format!("server {at}: removed")),
            Some(is) if was.len() != is.len() => tell(format!("server {at}: named {} times", is.len())),
            Some(is) => {
                was.iter().zip(is).for_each(|(was, is)| {
                    server(was, is, &mut |what| tell(format!("server {at}: {what}")));
                });
            }
        }
    }
    new.keys().filter(|at| !old.contains_key(at)).for_each(|at| tell(format!("server {at}: added")));
}

fn server(was: &Server, is: &Server, tell: &mut dyn FnMut(String)) {
    if was.weight != is.weight {
        tell(changed("weight", was.weight, is.weight));
    }
    if was.forward != is.forward {
        tell(changed("forward", was.forward, is.forward));
    }
    if (was.upper, was.lower) != (is.upper, is.lower) {
        tell("thresholds changed".into());
    }
    if was.watch != is.watch {
        tell("check changed".into());
    }
}

fn changed(what: &str, was: impl Display, is: impl Display) -> String {
    format!("{what} {was} → {is}")
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::config::{SystemNames, load_text};
    use crate::span::Source;

    fn config(text: &str) -> Config {
        load_text(Source::new("x.cf", text.as_bytes()), &SystemNames::new()).unwrap().config
    }

    #[test]
    fn every_difference_is_a_line_and_a_moved_line_is_none() {
        let before = config(
            "virtual=192.0.2.1:80\n\treal=10.0.0.1:80 masq 1\n\treal=10.0.0.2:80 masq\n\tscheduler=wrr\n\
             virtual=192.0.2.2:80\n\treal=10.0.0.1:80 masq\nvirtual=192.0.2.3:80\n\treal=10.0.0.3:80 masq\n",
        );
        let mut after = config(
            "# moved\nvirtual=192.0.2.1:80\n\treal=10.0.0.1:80 gate 5\n\treal=10.0.0.4:80 masq\n\
             \tscheduler=rr\n\tpersistent=60\n\tfallback=127.0.0.1:80\n\tfailurecount=3\n\
             virtual=192.0.2.3:80\n\treal=10.0.0.3:80 masq\n\tchecktype=connect\n\
             virtual=192.0.2.4:80\n\treal=10.0.0.1:80 masq\n",
        );
        let changes = Changes::new(&before, &mut after);
        let expected = [
            "service tcp:192.0.2.1:80: scheduler wrr → rr",
            "service tcp:192.0.2.1:80: persistence changed",
            "service tcp:192.0.2.1:80: fallbacks changed",
            "service tcp:192.0.2.1:80: policy changed",
            "service tcp:192.0.2.1:80: server 10.0.0.1:80: weight 1 → 5",
            "service tcp:192.0.2.1:80: server 10.0.0.1:80: forward masq → gate",
            "service tcp:192.0.2.1:80: server 10.0.0.2:80: removed",
            "service tcp:192.0.2.1:80: server 10.0.0.4:80: added",
            "service tcp:192.0.2.2:80: removed",
            "service tcp:192.0.2.3:80: server 10.0.0.3:80: check changed",
            "service tcp:192.0.2.4:80: added, with 1 servers",
        ];
        assert_eq!(changes.lines, expected);
        let count = (changes.gone.len(), changes.new.len());
        assert_eq!(count, (2, 2), "10.0.0.2:80 is asked no more, 10.0.0.4:80 is, 10.0.0.3:80 something else");
    }

    #[test]
    fn what_is_as_it_was_is_the_same_and_what_moved_is_not() {
        let text =
            "virtual=192.0.2.1:80\n\treal=10.0.0.1:80 masq\nvirtual=192.0.2.2:80\n\treal=10.0.0.2:80 masq\n";
        let (before, mut after) = (config(text), config(&text.replace("\nvirtual", "\n\nvirtual")));
        let changes = Changes::new(&before, &mut after);
        assert!(changes.lines.is_empty() && changes.gone.is_empty() && changes.new.is_empty(), "{changes:?}");
        let same = before.plan.services.values().zip(after.plan.services.values());
        assert_eq!(same.map(|(before, after)| Arc::ptr_eq(before, after)).collect::<Vec<_>>(), [true, false]);
    }
}
