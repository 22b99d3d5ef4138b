//! `pop`: a mailbox server greets and, when there is a login, lets it in (RFC 1939).
//!
//! A greeting with a timestamp asks for APOP, which sends no password. Where that is refused, USER
//! and PASS are tried: many servers show a timestamp for accounts whose passwords they hold in a
//! form that APOP can not use.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use md5::{Digest, Md5};

use super::dialogue::{Dialogue, shown};
use super::login::Login;
use super::options::Options;
use super::tls::Manner;
use super::{Asking, Call, Check, Kind, Probe, Target};
use crate::outcome::{Failure, Reason};
use crate::span::Fault;

/// The kind.
pub static KIND: Kind = Kind {
    name: "pop",
    doc: "a POP3 server greets and, if there is a login, accepts it",
    port: Some(110),
    options: &["login", "passwd"],
    make: |target, options| make(None, target, options),
};

#[derive(Debug)]
struct Pop {
    to: SocketAddr,
    tls: Option<Manner>,
    login: Login,
}

/// Makes the check, with or without TLS.
pub(super) fn make(tls: Option<Manner>, target: &Target, options: &mut Options) -> Result<Check, Fault> {
    Ok(Check::Ask(Arc::new(Pop { to: target.check, tls, login: Login::take(options)? })))
}

impl Probe for Pop {
    fn ask<'a>(&'a self, call: &'a Call) -> Asking<'a> {
        Box::pin(self.talk(call))
    }

    fn peer(&self) -> Option<IpAddr> {
        Some(self.to.ip())
    }

    fn identity(&self) -> String {
        format!("pop {} {:?} {:?}", self.to, self.tls, self.login)
    }
}

impl Pop {
    async fn talk(&self, call: &Call) -> Result<String, Failure> {
        let mut server = Dialogue::open(self.to, self.tls.as_ref(), call).await?;
        let greeting = good(&mut server, "greeting").await?;
        if self.login.name.is_empty() {
            server.leave(&["QUIT"]).await;
        } else {
            self.log_in(&mut server, timestamp(&greeting)).await?;
            server.leave(&["NOOP", "STAT", "QUIT"]).await;
        }
        Ok(shown(&greeting))
    }

    async fn log_in(&self, server: &mut Dialogue<'_>, timestamp: Option<&[u8]>) -> Result<(), Failure> {
        let Some(timestamp) = timestamp else { return self.plain(server).await };
        let refused = match self.apop(server, timestamp).await {
            Err(refused) if refused.reason == Reason::Status => refused,
            other => return other,
        };
        match self.plain(server).await {
            // A server that hangs up after a bad login means the login.
            Err(gone) if matches!(gone.reason, Reason::Closed | Reason::Reset) => Err(refused),
            other => other,
        }
    }

    async fn apop(&self, server: &mut Dialogue<'_>, timestamp: &[u8]) -> Result<(), Failure> {
        let digest = Md5::new().chain_update(timestamp).chain_update(&self.login.passwd).finalize();
        let digest: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        server.confide([b"APOP ", &self.login.name[..], b" ", digest.as_bytes()].concat()).await?;
        good(server, "APOP").await.map(drop)
    }

    async fn plain(&self, server: &mut Dialogue<'_>) -> Result<(), Failure> {
        server.say([b"USER ", &self.login.name[..]].concat()).await?;
        good(server, "USER").await?;
        server.confide([b"PASS ", &self.login.passwd[..]].concat()).await?;
        good(server, "PASS").await.map(drop)
    }
}

/// Hears a status line, which must be a good one.
async fn good(server: &mut Dialogue<'_>, what: &str) -> Result<Vec<u8>, Failure> {
    let line = server.line().await?;
    match line.split(|&byte| byte == b' ').next() {
        Some(b"+OK") => Ok(line),
        Some(b"-ERR") => Err(server.refused(what, "-ERR", &line)),
        _ => Err(server.strange(what, &line)),
    }
}

/// The timestamp of a greeting, its angle brackets included (RFC 1939 section 7).
fn timestamp(greeting: &[u8]) -> Option<&[u8]> {
    let start = greeting.iter().position(|&byte| byte == b'<')?;
    let length = greeting[start..].iter().position(|&byte| byte == b'>')?;
    let timestamp = &greeting[start..=start + length];
    timestamp.contains(&b'@').then_some(timestamp)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timestamp_is_a_message_id() {
        for (greeting, wanted) in [
            ("+OK ready <1896.697170952@dbc.mtview.ca.us> go", Some("<1896.697170952@dbc.mtview.ca.us>")),
            ("+OK <b> at <c@d>", None),
            ("+OK >a@b<", None),
            ("+OK", None),
        ] {
            assert_eq!(timestamp(greeting.as_bytes()), wanted.map(str::as_bytes), "{greeting}");
        }
    }
}
