//! Who keeps the kernel's table: this director while it is active. While it stands by its checks run all
//! the same, so that it knows who is well when its turn comes; the kernel is left alone.
//!
//! The role can follow a file or an address of this host. Both are looked at again and again, the address
//! also whenever the kernel says that one came or went. What can not be looked at changes nothing. A task
//! watches, and sends [`Event::Promote`] or [`Event::Demote`] when what it sees changes; whoever else sends
//! one is obeyed until then.

use std::io;
use std::net::IpAddr;
use std::os::fd::AsRawFd;
use std::path::Path;
use std::time::Duration;

use nix::ifaddrs::getifaddrs;
use nix::sys::socket::{
    AddressFamily, NetlinkAddr, SockFlag, SockProtocol, SockType, SockaddrStorage, bind, socket,
};
use tokio::net::UnixDatagram;
use tokio::sync::mpsc;
use tokio::task::spawn_blocking;
use tokio::time::{sleep, timeout};
use tracing::{debug, info, warn};

use super::{Daemon, Event, Input, Task};
use crate::config::role::{OnDemote, Role};

/// How often a file is looked at.
const FILE: Duration = Duration::from_millis(250);

/// How often addresses are looked at though the kernel says nothing.
const ADDRESS: Duration = Duration::from_secs(1);

/// The kernel's word of IPv4 and IPv6 addresses that come and go: RTMGRP_IPV4_IFADDR, RTMGRP_IPV6_IFADDR.
const GROUPS: u32 = 0x10 | 0x100;

/// Words of the kernel that are taken in before a look.
const WORDS: usize = 256;

/// The role that this director has.
pub(super) struct Duty {
    pub(super) active: bool,
    /// Why.
    pub(super) why: String,
    /// What decides about it.
    role: Role,
    /// Whether its hook is still to be run.
    untold: bool,
    _watch: Option<Task>,
}

impl Duty {
    /// The role at the start: looks at once, which blocks. What can not be looked at is not there. Must be
    /// called within a runtime.
    pub(super) fn new(role: &Role, events: &mpsc::Sender<Event>) -> Duty {
        let seen = look(role).ok();
        let active = seen.unwrap_or(false);
        let why = seen.map_or(format!("can not look for {role}"), |active| why(role, active));
        if *role != Role::Active {
            tell(active, &why);
        }
        let watch = watcher(role, seen, events);
        Duty { active, why, role: role.clone(), untold: true, _watch: watch }
    }

    fn turn(&mut self, active: bool, why: String) {
        tell(active, &why);
        (self.active, self.why, self.untold) = (active, why, true);
    }
}

impl Daemon {
    /// All our services are looked at and put right in one go. What stands in the kernel is believed where no
    /// check has spoken.
    pub(super) fn promote(&mut self, why: String) {
        if self.stopping.is_some() || self.duty.active {
            return debug!("active already: {why}");
        }
        self.duty.turn(true, why);
        self.alerting.starting();
        self.reconciler.wake();
        self.reconciler.drain(self.director.draining().collect());
        let all: Vec<_> = self.director.table().services.into_keys().collect();
        self.follow(all);
    }

    /// Our services stay as they stand, or are removed; nothing else is done to the kernel from now on.
    pub(super) fn demote(&mut self, why: String) {
        if self.stopping.is_some() || !self.duty.active {
            return debug!("standby already: {why}");
        }
        self.duty.turn(false, why);
        self.alerting.stopping();
        self.hooks.rest();
        self.reconciler.rest(self.config.on_demote == OnDemote::Remove);
        self.inform(Input::LetGo);
    }

    /// The configuration may say otherwise what decides about the role.
    pub(super) fn role_reloaded(&mut self) {
        let role = self.config.role.clone();
        if role == self.duty.role {
            return;
        }
        self.duty.role = role.clone();
        self.duty._watch = watcher(&role, None, &self.sender);
        match role {
            Role::Active => self.promote(why(&role, true)),
            Role::Standby => self.demote(why(&role, false)),
            // Whoever watches tells.
            Role::File(_) | Role::Address(_) => {}
        }
    }

    /// Runs the hook of the role once what follows from it is done, or was tried.
    pub(super) fn tell_role(&mut self) {
        if self.duty.untold && self.stopping.is_none() && self.reconciler.has_tried_all() {
            self.duty.untold = false;
            self.hooks.turned(self.duty.active, &self.duty.why, &self.config);
        }
    }
}

fn tell(active: bool, why: &str) {
    match active {
        true => info!(id = "role-active", "This director is active and keeps the table: {why}"),
        false => info!(id = "role-standby", "This director is standby and leaves the kernel alone: {why}"),
    }
}

/// Why a role is had, as far as the configuration decides.
fn why(role: &Role, active: bool) -> String {
    let is = if active { "is" } else { "is not" };
    match role {
        Role::Active => "as configured".into(),
        Role::Standby => "as configured, or by --standby".into(),
        Role::File(path) => format!("{} {is} there", path.display()),
        Role::Address(address) => format!("{address} {is} on this host"),
    }
}

/// Whether a role is the active one now. Blocks.
fn look(role: &Role) -> io::Result<bool> {
    match role {
        Role::Active => Ok(true),
        Role::Standby => Ok(false),
        Role::File(path) => exists(path),
        Role::Address(address) => has_address(*address),
    }
}

/// Whether something is there, be it a link to nowhere.
fn exists(path: &Path) -> io::Result<bool> {
    match path.symlink_metadata() {
        Ok(_) => Ok(true),
        Err(why) if matches!(why.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => Ok(false),
        Err(why) => Err(why),
    }
}

fn has_address(wanted: IpAddr) -> io::Result<bool> {
    let ip = |at: &SockaddrStorage| {
        let four = at.as_sockaddr_in().map(|at| IpAddr::from(at.ip()));
        four.or_else(|| at.as_sockaddr_in6().map(|at| IpAddr::from(at.ip())))
    };
    Ok(getifaddrs()?.any(|interface| interface.address.as_ref().and_then(ip) == Some(wanted)))
}

/// A task that watches what a role follows, if it follows something; `seen` is what was told of it.
fn watcher(role: &Role, seen: Option<bool>, events: &mpsc::Sender<Event>) -> Option<Task> {
    let period = match role {
        Role::Active | Role::Standby => return None,
        Role::File(_) => FILE,
        Role::Address(_) => ADDRESS,
    };
    Some(Task(tokio::spawn(watch(role.clone(), period, seen, events.clone()))))
}

async fn watch(role: Role, period: Duration, mut seen: Option<bool>, events: mpsc::Sender<Event>) {
    let words = Words::of(&role);
    let mut is_told = false;
    loop {
        let looked = role.clone();
        let found = spawn_blocking(move || look(&looked)).await;
        match found.map_err(io::Error::other).flatten() {
            Ok(active) => {
                is_told = false;
                if seen.replace(active) != Some(active) {
                    let why = why(&role, active);
                    let event = if active { Event::Promote(why) } else { Event::Demote(why) };
                    if events.send(event).await.is_err() {
                        return;
                    }
                }
            }
            Err(why) if !is_told => {
                is_told = true;
                warn!(id = "role-unseen", "the role stays as it is: can not look for {role}: {why}");
            }
            Err(_) => {}
        }
        let _ = timeout(period, words.come()).await;
    }
}

/// The kernel's word that addresses came or went. It only hastens the next look: what it says is not read.
struct Words(Option<UnixDatagram>);

impl Words {
    fn of(role: &Role) -> Words {
        let Role::Address(_) = role else { return Words(None) };
        let heard = listen();
        if let Err(why) = &heard {
            warn!(id = "role-slow", "addresses are only looked at once a second: {why}");
        }
        Words(heard.ok())
    }

    async fn come(&self) {
        let Some(socket) = &self.0 else { return std::future::pending().await };
        let mut word = [0; 4096];
        // Where some were lost there is an error, and that is news as well.
        if socket.recv(&mut word).await.is_err() {
            sleep(FILE).await;
        }
        for _ in 0..WORDS {
            if socket.try_recv(&mut word).is_err() {
                break;
            }
        }
    }
}

/// A socket for datagrams, of whatever family, is to the runtime what a Unix one is.
fn listen() -> io::Result<UnixDatagram> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let socket = socket(AddressFamily::Netlink, SockType::Raw, flags, SockProtocol::NetlinkRoute)?;
    bind(socket.as_raw_fd(), &NetlinkAddr::new(0, GROUPS))?;
    UnixDatagram::from_std(socket.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_this_hosts_or_it_is_not() {
        let is_here = |text: &str| look(&Role::Address(text.parse().unwrap())).unwrap();
        assert!(is_here("127.0.0.1"));
        assert!(!is_here("192.0.2.10"));
        assert!(!is_here("2001:db8::10"));
    }

    #[test]
    fn what_can_not_be_looked_at_is_neither_there_nor_gone() {
        let long = format!("/{}", "x".repeat(5000));
        assert!(look(&Role::File(long.into())).is_err());
        assert!(!look(&Role::File("/nothing/here".into())).unwrap());
        assert!(!look(&Role::File("/dev/null/x".into())).unwrap());
        assert!(look(&Role::File("/".into())).unwrap());
    }
}
