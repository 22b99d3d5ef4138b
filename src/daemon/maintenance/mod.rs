//! Servers that are in maintenance: a file of a server's name in a directory takes it out.
//!
//! What is known comes from three places: the listing of the directory ([`watch`]), the names that
//! the configuration uses, and the names that addresses have ([`reverse`]). [`Maintenance`] puts
//! them together to what the director is told: which servers are held, by which file. Addresses
//! are looked up only when some file has a name that nothing else explains, each once a load.

pub mod reverse;
pub mod watch;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

use tokio::sync::mpsc;

use super::{Event, Task};
use crate::config::Config;
use crate::director::event::Held;

/// What came to be known.
#[derive(Debug)]
pub enum News {
    /// What this directory holds.
    Listed(PathBuf, BTreeSet<String>),
    /// What these addresses are called.
    Named(BTreeMap<IpAddr, String>),
}

/// Who is in maintenance, and how we know.
pub struct Maintenance {
    events: mpsc::Sender<Event>,
    directory: Option<PathBuf>,
    files: BTreeSet<String>,
    /// What a directory holds that the configuration on its way names.
    next: Option<(PathBuf, BTreeSet<String>)>,
    servers: BTreeSet<SocketAddr>,
    /// Names as the configuration has them.
    written: BTreeMap<IpAddr, BTreeSet<String>>,
    /// Names as the system has them.
    found: BTreeMap<IpAddr, String>,
    /// Looks the addresses up: there is one once it has begun for this load.
    asking: Option<Task>,
    watching: Option<Task>,
}

impl Maintenance {
    /// Nobody is in maintenance yet. What comes to be known goes to `events`.
    pub fn new(events: mpsc::Sender<Event>) -> Maintenance {
        Maintenance {
            events,
            directory: None,
            files: BTreeSet::new(),
            next: None,
            servers: BTreeSet::new(),
            written: BTreeMap::new(),
            found: BTreeMap::new(),
            asking: None,
            watching: None,
        }
    }

    /// A configuration comes into force. What its directory holds must have been heard before, so
    /// that nobody who is in maintenance comes up for a moment. The answer is who is held under it.
    pub fn set(&mut self, config: &Config) -> Held {
        let servers = config.plan.services.values().flat_map(|service| &service.servers);
        (self.servers, self.written) = match config.maintenance {
            Some(_) => (servers.map(|server| server.address).collect(), config.names.clone()),
            // Without a directory nobody is held, whatever he is called.
            None => Default::default(),
        };
        let ours: BTreeSet<IpAddr> = self.servers.iter().map(SocketAddr::ip).collect();
        // Names of the last load count until this one has its own.
        self.found.retain(|ip, _| ours.contains(ip));
        self.asking = None;
        let next = self.next.take();
        if self.directory != config.maintenance {
            self.directory = config.maintenance.clone();
            self.files.clear();
            let task = |path: &PathBuf| Task(tokio::spawn(watch::watch(path.clone(), self.events.clone())));
            self.watching = self.directory.as_ref().map(task);
        }
        if let Some((path, files)) = next
            && Some(&path) == self.directory.as_ref()
        {
            self.files = files;
        }
        self.ask();
        self.held()
    }

    /// Takes in what came to be known. The answer is who is held now.
    pub fn hear(&mut self, news: News) -> Held {
        match news {
            News::Listed(path, files) if Some(&path) == self.directory.as_ref() => {
                self.files = files;
                self.ask();
            }
            News::Listed(path, files) => self.next = Some((path, files)),
            // A name that is not found any more still counts: the resolver may be out of order, and that
            // puts nobody back to work.
            News::Named(names) => self.found.extend(names),
        }
        self.held()
    }

    fn held(&self) -> Held {
        if self.files.is_empty() {
            return Held::new();
        }
        let file =
            |server: &SocketAddr| self.names(*server).into_iter().find(|name| self.files.contains(name));
        self.servers.iter().filter_map(|server| Some((*server, file(server)?.into()))).collect()
    }

    fn names(&self, server: SocketAddr) -> Vec<String> {
        let written = self.written.get(&server.ip()).into_iter().flatten();
        let found = self.found.get(&server.ip());
        file_names(server, &written.chain(found).map(String::as_str).collect::<Vec<_>>())
    }

    /// Looks the addresses up, once a load, when there is a file that may be called after one.
    fn ask(&mut self) {
        if self.asking.is_some() || self.files.is_empty() {
            return;
        }
        let known: BTreeSet<String> = self.servers.iter().flat_map(|server| self.names(*server)).collect();
        if self.files.is_subset(&known) {
            return;
        }
        let ips = self.servers.iter().map(SocketAddr::ip).collect();
        self.asking = Some(Task(tokio::spawn(reverse::ask("getent".into(), ips, self.events.clone()))));
    }
}

/// What a file must be called to take a server out, given the names of its address: `IP:PORT`, `IP`,
/// then with each name `NAME:PORT`, `NAME`, and `SHORT:PORT`, `SHORT`. The port is the configured one, 0
/// where there is none; an IPv6 address stands in brackets.
pub fn file_names(server: SocketAddr, names: &[&str]) -> Vec<String> {
    let ip = match server.ip() {
        IpAddr::V4(ip) => ip.to_string(),
        IpAddr::V6(ip) => format!("[{ip}]"),
    };
    let short = names.iter().filter_map(|name| short(name));
    let stems = [ip.as_str()].into_iter().chain(names.iter().copied()).chain(short);
    stems.flat_map(|stem| [format!("{stem}:{}", server.port()), stem.to_owned()]).collect()
}

/// The first label of a name, if it begins with a lower-case letter and another letter of a host's name.
fn short(name: &str) -> Option<&str> {
    let label = name.split('.').next()?;
    let mut bytes = label.bytes();
    let first = bytes.next().is_some_and(|b| b.is_ascii_lowercase());
    let second = bytes.next().is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
    (first && second && label.len() < name.len()).then_some(label)
}

/// What the directory of a configuration holds, as news; blocks. A directory that is not there, or that
/// can not be read, holds nothing: the watch tells why.
pub fn first(directory: &Path) -> News {
    News::Listed(directory.to_owned(), watch::list(directory).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_called_by_address_name_and_short_name_in_this_order() {
        let named = file_names("10.0.0.1:80".parse().unwrap(), &["web1.example.org"]);
        let want = ["10.0.0.1:80", "10.0.0.1", "web1.example.org:80", "web1.example.org", "web1:80", "web1"];
        assert_eq!(named, want);
        let six = file_names("[2001:db8::1]:0".parse().unwrap(), &[]);
        assert_eq!(six, ["[2001:db8::1]:0", "[2001:db8::1]"]);
    }

    #[test]
    fn a_short_name_begins_with_a_lower_case_letter_and_has_two_characters() {
        assert_eq!(short("web1.example"), Some("web1"));
        assert_eq!(short("w-.example"), Some("w-"));
        for none in ["w.example", "Web.example", "1web.example", "-web.example", "10.0.0.1", "web1", "", "."]
        {
            assert_eq!(short(none), None, "{none}");
        }
    }
}
