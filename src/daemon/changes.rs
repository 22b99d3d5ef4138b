//! What a new configuration changes, in words. Pure.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::net::SocketAddr;

use crate::model::{Plan, Server, Service};

/// The differences, a line each, services in order.
pub fn changes(before: &Plan, after: &Plan) -> Vec<String> {
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
    use super::*;
    use crate::config::{SystemNames, load_text};
    use crate::span::Source;

    fn plan(text: &str) -> Plan {
        load_text(Source::new("x.cf", text.as_bytes()), &SystemNames::new()).unwrap().config.plan
    }

    #[test]
    fn every_difference_is_a_line_and_a_moved_line_is_none() {
        let before = plan(
            "virtual=192.0.2.1:80\n\treal=10.0.0.1:80 masq 1\n\treal=10.0.0.2:80 masq\n\tscheduler=wrr\n\
             virtual=192.0.2.2:80\n\treal=10.0.0.1:80 masq\nvirtual=192.0.2.3:80\n\treal=10.0.0.3:80 masq\n",
        );
        let after = plan(
            "# moved\nvirtual=192.0.2.1:80\n\treal=10.0.0.1:80 gate 5\n\treal=10.0.0.4:80 masq\n\
             \tscheduler=rr\n\tpersistent=60\n\tfallback=127.0.0.1:80\n\tfailurecount=3\n\
             virtual=192.0.2.3:80\n\treal=10.0.0.3:80 masq\n\tchecktype=connect\n\
             virtual=192.0.2.4:80\n\treal=10.0.0.1:80 masq\n",
        );
        let lines = changes(&before, &after);
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
        assert_eq!(lines, expected);
        assert_eq!(changes(&after, &after), [""; 0]);
    }
}
