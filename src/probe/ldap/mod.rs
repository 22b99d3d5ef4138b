//! `ldap`: an LDAP server has an entry; `ldaps`: the same over TLS.
//!
//! Bind (with `login`, a DN, and `passwd` when both are given, else anonymous), then a search for
//! the one entry that `request` names (without a leading `/`). Up when exactly that is found and
//! `receive`, if given, is found in its DN.

mod ber;
mod wire;

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::dial::{self, Stream};
use super::options::Options;
use super::receive::Receive;
use super::secret::Secret;
use super::tls::{Manner, Verify};
use super::{Asking, Call, Check, Kind, Probe, Target};
use crate::outcome::{Failure, Phase, Reason};
use crate::span::Fault;
use wire::Said;

/// The kind.
pub static KIND: Kind = Kind {
    name: "ldap",
    doc: "an LDAP server lets us bind and has an entry",
    port: Some(389),
    options: &["request", "receive", "login", "passwd"],
    make: |target, options| make(target, None, options),
};

/// As much as a server may say in all, in bytes.
const LIMIT: usize = 1 << 20;
/// The ids of our messages.
const BIND: u8 = 1;
const SEARCH: u8 = 2;
const UNBIND: u8 = 3;

#[derive(Debug)]
struct Ldap {
    to: SocketAddr,
    tls: Option<Manner>,
    /// Both empty: anonymous.
    login: Vec<u8>,
    passwd: Secret,
    base: Vec<u8>,
    receive: Receive,
}

/// The kind `ldaps`.
pub mod ldaps {
    use super::{Kind, Manner, Verify};

    /// The kind.
    pub static KIND: Kind = Kind {
        name: "ldaps",
        doc: "an LDAP server lets us bind over TLS and has an entry; its certificate may be any",
        port: Some(636),
        options: &["request", "receive", "login", "passwd", "virtualhost", "verify"],
        make: |target, options| {
            let name = options.take("virtualhost").and_then(|given| String::from_utf8(given.text).ok());
            let verify = Verify::take(options, Verify::Nothing)?;
            super::make(target, Some(Manner { name, verify }), options)
        },
    };
}

fn make(target: &Target, tls: Option<Manner>, options: &mut Options) -> Result<Check, Fault> {
    let receive = Receive::take(options)?;
    let mut text = |name| options.take(name).map(|given| given.text).unwrap_or_default();
    let (mut login, request) = (text("login"), text("request"));
    let mut passwd = Secret::take(options, "passwd");
    if login.is_empty() || passwd.is_empty() {
        (login, passwd) = Default::default();
    }
    let base = request.strip_prefix(b"/").unwrap_or(&request).to_vec();
    Ok(Check::Ask(Arc::new(Ldap { to: target.check, tls, login, passwd, base, receive })))
}

impl Probe for Ldap {
    fn ask<'a>(&'a self, call: &'a Call) -> Asking<'a> {
        Box::pin(async move {
            let stream = dial::open(self.to, self.tls.as_ref(), call).await?;
            let mut talk = Talk { to: self.to, stream, call, buffer: Vec::new(), room: LIMIT };
            talk.say(&wire::bind(BIND, &self.login, self.passwd.bytes())).await?;
            self.bound(talk.hear(BIND).await?)?;
            talk.say(&wire::search(SEARCH, &self.base)).await?;
            let dn = entry(&mut talk).await?;
            self.receive.search(dn.clone(), "the entry's DN", true, call).await?;
            // Nobody answers this, and whether it arrives is all the same.
            let _ = talk.say(&wire::unbind(UNBIND)).await;
            Ok(format!("found {:?}", String::from_utf8_lossy(&dn)))
        })
    }

    fn peer(&self) -> Option<IpAddr> {
        Some(self.to.ip())
    }

    fn identity(&self) -> String {
        let Ldap { to, tls, login, passwd, base, receive } = self;
        format!("ldap {to} {tls:?} {login:?} {passwd:?} {base:?} {:?}", receive.text())
    }
}

impl Ldap {
    fn bound(&self, said: Said) -> Result<(), Failure> {
        match said {
            Said::Bound(0) => Ok(()),
            Said::Bound(code) => {
                let who = if self.login.is_empty() { "anonymous bind" } else { "bind" };
                Err(fail(Reason::Status, format!("{who}: {}", wire::words(code))))
            }
            other => Err(unexpected(&other)),
        }
    }
}

/// The one entry that a search finds.
async fn entry(talk: &mut Talk<'_>) -> Result<Vec<u8>, Failure> {
    let mut found = None;
    loop {
        match talk.hear(SEARCH).await? {
            Said::Entry(_) if found.is_some() => {
                return Err(Failure::new(Phase::Match, Reason::Mismatch, "more than one entry was found"));
            }
            Said::Entry(dn) => found = Some(dn),
            Said::Else => {}
            Said::Done(0) => break,
            Said::Done(code) => {
                return Err(fail(Reason::Status, format!("search: {}", wire::words(code))));
            }
            other => return Err(unexpected(&other)),
        }
    }
    found.ok_or_else(|| Failure::new(Phase::Match, Reason::Mismatch, "no entry was found"))
}

fn unexpected(said: &Said) -> Failure {
    match said {
        Said::Bye(code) => fail(Reason::Closed, format!("the server disconnects: {}", wire::words(*code))),
        _ => broken(),
    }
}

fn broken() -> Failure {
    fail(Reason::Protocol, "the answer is not LDAP, or not to our question")
}

fn fail(reason: Reason, detail: impl std::fmt::Display) -> Failure {
    Failure::new(Phase::Receive, reason, detail)
}

/// A conversation.
struct Talk<'a> {
    to: SocketAddr,
    stream: Box<dyn Stream>,
    call: &'a Call,
    /// What has come in and is not read yet.
    buffer: Vec<u8>,
    /// How many bytes may still come in.
    room: usize,
}

impl Talk<'_> {
    async fn say(&mut self, message: &[u8]) -> Result<(), Failure> {
        self.call.enter(Phase::Send);
        let sent = async {
            self.stream.write_all(message).await?;
            self.stream.flush().await
        };
        sent.await.map_err(|error| self.fault(&error))
    }

    /// The next message, which must be about the one with this id, or end the conversation.
    async fn hear(&mut self, id: u8) -> Result<Said, Failure> {
        self.call.enter(Phase::Receive);
        let (size, length) = loop {
            match ber::head(&self.buffer) {
                Ok(Some(head)) if head.tag == ber::SEQUENCE => break (head.size, head.length),
                Ok(None) => self.more().await?,
                _ => return Err(broken()),
            }
        };
        if length > LIMIT {
            return Err(fail(Reason::TooLarge, "a message of the server's is too long"));
        }
        while self.buffer.len() < size + length {
            self.more().await?;
        }
        let message: Vec<u8> = self.buffer.drain(..size + length).collect();
        match wire::read(&message[size..]) {
            Ok((about, said)) if about == i32::from(id) || matches!(said, Said::Bye(_)) => Ok(said),
            _ => Err(broken()),
        }
    }

    async fn more(&mut self) -> Result<(), Failure> {
        let mut part = [0; 4096];
        let count = self.stream.read(&mut part).await.map_err(|error| self.fault(&error))?;
        if count == 0 {
            return Err(fail(Reason::Closed, format!("{}: the connection was closed", self.to)));
        }
        self.room = self
            .room
            .checked_sub(count)
            .ok_or_else(|| fail(Reason::TooLarge, "the server says more than an answer can hold"))?;
        self.buffer.extend(&part[..count]);
        Ok(())
    }

    fn fault(&self, error: &io::Error) -> Failure {
        dial::fault(self.call.phase(), self.to, error)
    }
}
