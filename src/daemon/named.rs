//! Whom an operator means: his words, looked up in the configuration.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};

use crate::config::Config;
use crate::config::suggest::closest;
use crate::director::order::Whom;
use crate::http::ask::{Named, Refusal};
use crate::model::ServiceKey;

/// Servers as an operator named them.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Meant {
    /// None: wherever they stand.
    services: Option<BTreeSet<ServiceKey>>,
    ips: Vec<IpAddr>,
    port: Option<u16>,
}

impl Meant {
    /// Those that these words name; they need not be configured.
    pub(super) fn new(named: &Named, config: &Config) -> Result<Meant, Refusal> {
        let services = named.service.as_ref().map(|words| services(words, config)).transpose()?;
        let words = named.server.trim();
        let (ips, port) = match words.parse::<SocketAddr>() {
            Ok(at) => (vec![at.ip()], Some(at.port())),
            Err(_) => match words.trim_matches(['[', ']']).parse() {
                Ok(ip) => (vec![ip], None),
                Err(_) => by_name(words, config),
            },
        };
        if ips.is_empty() {
            return Err(Refusal::Unknown(unknown("server", words, servers(&services, config))));
        }
        Ok(Meant { services, ips, port })
    }

    /// The same as an order says it, each at most one service.
    pub(super) fn whoms(&self) -> Vec<Whom> {
        let services: Vec<_> = match &self.services {
            None => vec![None],
            Some(keys) => keys.iter().copied().map(Some).collect(),
        };
        let whom = |ip, service| Whom { ip, port: self.port, service };
        self.ips.iter().flat_map(|ip| services.iter().map(move |service| whom(*ip, *service))).collect()
    }

    /// Whether a server is meant.
    pub(super) fn means(&self, service: ServiceKey, server: SocketAddr) -> bool {
        self.services.as_ref().is_none_or(|keys| keys.contains(&service))
            && self.ips.contains(&server.ip())
            && self.port.is_none_or(|port| port == server.port())
    }

    /// Whether all that an order is about is meant.
    pub(super) fn covers(&self, whom: &Whom) -> bool {
        let service = |keys: &BTreeSet<_>| whom.service.is_some_and(|key| keys.contains(&key));
        self.services.as_ref().is_none_or(service)
            && self.ips.contains(&whom.ip)
            && (self.port.is_none() || self.port == whom.port)
    }

    /// The refusal, where no configured server is meant.
    pub(super) fn configured(&self, named: &Named, config: &Config) -> Result<(), Refusal> {
        let all = config.plan.services.values();
        let found =
            all.flat_map(|service| service.servers.iter().map(|server| (service.key, server.address)));
        let mut found = found.filter(|(key, at)| self.means(*key, *at));
        let what = match &named.service {
            Some(service) => format!("server of {service}"),
            None => "server".into(),
        };
        let known = servers(&self.services, config);
        found.next().map(drop).ok_or_else(|| Refusal::Unknown(unknown(&what, &named.server, known)))
    }
}

/// Whether a service is called so: by id, by address or mark, or by name.
pub(super) fn is_called(key: &ServiceKey, words: &str, config: &Config) -> bool {
    let name = || config.extras.get(key).and_then(|extras| extras.name.as_deref());
    key.id() == words || key.to_string() == words || name() == Some(words)
}

/// The services that are called so.
fn services(words: &str, config: &Config) -> Result<BTreeSet<ServiceKey>, Refusal> {
    let name = |key: &ServiceKey| config.extras.get(key).and_then(|extras| extras.name.clone());
    let keys = || config.plan.services.keys();
    let found: BTreeSet<_> = keys().filter(|key| is_called(key, words, config)).copied().collect();
    if !found.is_empty() {
        return Ok(found);
    }
    // An order may be about one that has left the configuration.
    words.parse().map(|key| BTreeSet::from([key])).map_err(|()| {
        let known = keys().flat_map(|key| [Some(key.to_string()), Some(key.id()), name(key)]);
        Refusal::Unknown(unknown("service", words, known.flatten().collect()))
    })
}

fn by_name(words: &str, config: &Config) -> (Vec<IpAddr>, Option<u16>) {
    let split = words.rsplit_once(':').and_then(|(host, port)| Some((host, port.parse().ok()?)));
    let (host, port) = split.map_or((words, None), |(host, port)| (host, Some(port)));
    let called = config.names.iter().filter(|(_, names)| names.iter().any(|name| name.as_str() == host));
    (called.map(|(ip, _)| *ip).collect(), port)
}

/// What the servers of these services can be called.
fn servers(services: &Option<BTreeSet<ServiceKey>>, config: &Config) -> Vec<String> {
    let all = config.plan.services.values();
    let of = all.filter(|service| services.as_ref().is_none_or(|keys| keys.contains(&service.key)));
    let servers = of.flat_map(|service| &service.servers);
    let called = |server: &crate::model::Server| {
        let names = config.names.get(&server.address.ip()).into_iter().flatten().cloned();
        [server.address.to_string(), server.address.ip().to_string()].into_iter().chain(names)
    };
    servers.flat_map(called).collect()
}

fn unknown(what: &str, words: &str, known: Vec<String>) -> String {
    let words: String = words.chars().filter(|c| !c.is_control()).take(100).collect();
    match closest(&words, known.iter().map(String::as_str)) {
        Some(near) => format!("no {what} is called {words}: did you mean {near}?"),
        None => format!("no {what} is called {words}: `lvsentry status` lists them"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{SystemNames, load_text};
    use crate::span::Source;

    fn config() -> Config {
        let text = "virtual=192.0.2.1:80\n\tservicename=shop\n\treal=10.0.0.1:80 masq\n\treal=10.0.0.1:81 masq\n\
                    virtual=192.0.2.2:80\n\treal=10.0.0.1:80 masq\n\treal=10.0.0.2:80 masq\n";
        let mut config = load_text(Source::new("x.cf", text.as_bytes()), &SystemNames::new()).unwrap().config;
        config.names.insert("10.0.0.2".parse().unwrap(), ["web2.example".to_owned()].into());
        config
    }

    fn whoms(server: &str, service: Option<&str>) -> Result<Vec<String>, Refusal> {
        let (config, named) =
            (config(), Named { server: server.into(), service: service.map(str::to_owned) });
        let meant = Meant::new(&named, &config)?;
        meant.configured(&named, &config)?;
        Ok(meant.whoms().iter().map(Whom::to_string).collect())
    }

    #[test]
    fn servers_are_named_by_address_port_or_name_and_services_by_id_address_or_name() {
        assert_eq!(whoms("10.0.0.1", None).unwrap(), ["10.0.0.1"]);
        assert_eq!(whoms("10.0.0.1:81", None).unwrap(), ["10.0.0.1:81"]);
        assert_eq!(whoms("web2.example", None).unwrap(), ["10.0.0.2"]);
        assert_eq!(whoms("web2.example:80", None).unwrap(), ["10.0.0.2:80"]);
        for service in ["shop", "192.0.2.1:80", "tcp:192.0.2.1:80"] {
            assert_eq!(whoms("10.0.0.1", Some(service)).unwrap(), ["10.0.0.1 of tcp:192.0.2.1:80"]);
        }
    }

    #[test]
    fn who_is_not_there_is_answered_with_who_may_be_meant() {
        let said = |server, service| match whoms(server, service) {
            Err(Refusal::Unknown(why)) => why,
            other => panic!("{other:?}"),
        };
        assert_eq!(said("10.0.0.3", None), "no server is called 10.0.0.3: did you mean 10.0.0.1?");
        assert_eq!(
            said("web3.example", None),
            "no server is called web3.example: did you mean web2.example?"
        );
        assert_eq!(said("10.0.0.1", Some("shpo")), "no service is called shpo: did you mean shop?");
        assert_eq!(
            said("10.0.0.2:80", Some("shop")),
            "no server of shop is called 10.0.0.2:80: did you mean 10.0.0.1:80?"
        );
        assert!(said("\u{1b}[2Jx", None).contains("[2Jx: `lvsentry status`"));
        assert!(said(&"x".repeat(10_000), None).len() < 200);
    }

    #[test]
    fn an_order_is_covered_by_who_means_all_of_it() {
        let config = config();
        let meant = |server: &str, service: Option<&str>| {
            Meant::new(&Named { server: server.into(), service: service.map(str::to_owned) }, &config)
                .unwrap()
        };
        let one = meant("10.0.0.1:80", Some("shop")).whoms()[0];
        let all = meant("10.0.0.1", None).whoms()[0];
        assert!(meant("10.0.0.1", None).covers(&one) && meant("10.0.0.1", None).covers(&all));
        assert!(meant("10.0.0.1:80", Some("shop")).covers(&one));
        assert!(!meant("10.0.0.1:80", None).covers(&all), "of all ports");
        assert!(!meant("10.0.0.1", Some("shop")).covers(&all), "of all services");
        assert!(!meant("10.0.0.2", None).covers(&one));
    }
}
