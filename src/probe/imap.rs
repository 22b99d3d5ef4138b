//! `imap`: a mailbox server greets and, when there is a login, lets it in (RFC 3501).
//!
//! ldirectord sends EXPUNGE too. That is left out: without an open mailbox it can only be refused,
//! and a check must never be able to remove mail.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use super::dialogue::{Dialogue, shown};
use super::login::Login;
use super::options::Options;
use super::tls::Manner;
use super::{Asking, Call, Check, Kind, Probe, Target};
use crate::outcome::Failure;
use crate::span::Fault;

/// The kind.
pub static KIND: Kind = Kind {
    name: "imap",
    doc: "an IMAP server greets and, if there is a login, accepts it",
    port: Some(143),
    options: &["login", "passwd"],
    make: |target, options| make(None, target, options),
};

#[derive(Debug)]
struct Imap {
    to: SocketAddr,
    tls: Option<Manner>,
    login: Login,
}

/// Makes the check, with or without TLS.
pub(super) fn make(tls: Option<Manner>, target: &Target, options: &mut Options) -> Result<Check, Fault> {
    Ok(Check::Ask(Arc::new(Imap { to: target.check, tls, login: Login::take(options)? })))
}

impl Probe for Imap {
    fn ask<'a>(&'a self, call: &'a Call) -> Asking<'a> {
        Box::pin(self.talk(call))
    }

    fn peer(&self) -> Option<IpAddr> {
        Some(self.to.ip())
    }

    fn identity(&self) -> String {
        format!("imap {} {:?} {:?}", self.to, self.tls, self.login)
    }
}

impl Imap {
    async fn talk(&self, call: &Call) -> Result<String, Failure> {
        let mut server = Dialogue::open(self.to, self.tls.as_ref(), call).await?;
        let greeting = server.line().await?;
        let is_in = match status(&greeting, "*") {
            Some(Status::Ok) => false,
            // Logged in by the connection itself; LOGIN is not allowed any more.
            Some(Status::Preauth) => true,
            Some(Status::Bye) => return Err(server.refused("greeting", "BYE", &greeting)),
            _ => return Err(server.strange("greeting", &greeting)),
        };
        if !is_in && !self.login.name.is_empty() {
            self.log_in(&mut server).await?;
        }
        server.leave(&["1 LOGOUT"]).await;
        Ok(shown(&greeting))
    }

    async fn log_in(&self, server: &mut Dialogue<'_>) -> Result<(), Failure> {
        let (name, passwd) = (string(&self.login.name), string(&self.login.passwd));
        server.confide([b"0 LOGIN ", &name[..], b" ", &passwd].concat()).await?;
        loop {
            let line = server.line().await?;
            return match status(&line, "0") {
                Some(Status::Ok) => Ok(()),
                Some(Status::No) => Err(server.refused("LOGIN", "NO", &line)),
                Some(Status::Bad) => Err(server.refused("LOGIN", "BAD", &line)),
                None if matches!(status(&line, "*"), Some(Status::Bye)) => {
                    Err(server.refused("LOGIN", "BYE", &line))
                }
                // Untagged data, capabilities say.
                None if line.starts_with(b"* ") => continue,
                _ => Err(server.strange("LOGIN", &line)),
            };
        }
    }
}

enum Status {
    Ok,
    No,
    Bad,
    Preauth,
    Bye,
}

/// The status that a line with this tag tells (RFC 3501 section 7.1).
fn status(line: &[u8], tag: &str) -> Option<Status> {
    let mut words = line.split(|&byte| byte == b' ');
    if words.next()? != tag.as_bytes() {
        return None;
    }
    match words.next()?.to_ascii_uppercase().as_slice() {
        b"OK" => Some(Status::Ok),
        b"NO" => Some(Status::No),
        b"BAD" => Some(Status::Bad),
        b"PREAUTH" => Some(Status::Preauth),
        b"BYE" => Some(Status::Bye),
        _ => None,
    }
}

/// A string as an argument: an atom where it can be one, else quoted (RFC 3501 section 9; bytes above
/// 127 stand in quotes as they are, RFC 6855 section 3).
fn string(text: &[u8]) -> Vec<u8> {
    let is_atom = |byte: &u8| byte.is_ascii_graphic() && !b"(){%*\"\\]".contains(byte);
    if !text.is_empty() && text.iter().all(is_atom) {
        return text.to_vec();
    }
    let mut quoted = vec![b'"'];
    for &byte in text {
        if byte == b'"' || byte == b'\\' {
            quoted.push(b'\\');
        }
        quoted.push(byte);
    }
    quoted.push(b'"');
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_string_is_quoted_where_it_must_be() {
        for (text, wanted) in [
            ("user@example.org", "user@example.org"),
            ("", "\"\""),
            ("two words", "\"two words\""),
            ("a\"b\\c", "\"a\\\"b\\\\c\""),
            ("a]", "\"a]\""),
            ("tab\t", "\"tab\t\""),
            ("ü", "\"ü\""),
            ("a {1+}", "\"a {1+}\""),
        ] {
            assert_eq!(string(text.as_bytes()), wanted.as_bytes(), "{text}");
        }
    }
}
