//! `pgsql`: logs in to a PostgreSQL server, and a query is answered with a row at least.
//!
//! The exchange is by hand, of the few messages needed. As its own clients do, TLS is spoken where
//! the server offers it, and done without where it fails, unless `verify` asks for a certificate.

pub mod message;
pub mod scram;

use std::net::IpAddr;
use std::sync::Arc;

use ring::rand::{SecureRandom, SystemRandom};

use super::options::Options;
use super::sql::{self, Account, Refusal};
use super::wire::Wire;
use super::{Asking, Call, Check, Kind, Probe, Target};
use crate::outcome::{Failure, Phase, Reason};
use crate::span::Fault;
use message::{Error, Login};

/// The kind.
pub static KIND: Kind = Kind {
    name: "pgsql",
    doc: "logs in to a PostgreSQL server; the SQL in `request` is answered with a row at least",
    port: Some(5432),
    options: sql::OPTIONS,
    make,
};

/// The code of an error that a connection without TLS may not meet: no rule lets this one in.
const NOT_SO: &str = "28000";

#[derive(Debug)]
struct Pgsql {
    account: Account,
}

fn make(target: &Target, options: &mut Options) -> Result<Check, Fault> {
    let mut account = Account::take(target, options)?;
    if account.database.is_empty() {
        account.database = account.login.clone();
    }
    Ok(Check::Ask(Arc::new(Pgsql { account })))
}

impl Probe for Pgsql {
    fn ask<'a>(&'a self, call: &'a Call) -> Asking<'a> {
        Box::pin(async move {
            self.account.complete()?;
            let first = match self.attempt(true, call).await {
                Err(refusal) if refusal.clear => self.attempt(false, call).await,
                other => other,
            };
            first.map_err(|refusal| refusal.failure)
        })
    }

    fn peer(&self) -> Option<IpAddr> {
        Some(self.account.to.ip())
    }

    fn identity(&self) -> String {
        format!("pgsql {}", self.account.identity())
    }
}

impl Pgsql {
    /// Asks on one connection; over TLS, where the server offers it, if `tls`.
    async fn attempt(&self, tls: bool, call: &Call) -> Result<String, Refusal> {
        let account = &self.account;
        let mut wire = Wire::open(account.to, call).await?;
        let mut secured = false;
        let mut wire = if tls {
            wire.send(&message::TLS).await?;
            let [answer] = wire.array().await?;
            secured = answer == b'S';
            match answer {
                b'S' => {
                    let wire = wire.secure(&account.manner).await;
                    wire.map_err(|failure| Refusal { clear: account.forgives(&failure), failure })?
                }
                b'N' if account.needs_tls() => return Err(account.no_tls().into()),
                b'N' => wire.plain(),
                // An error: from a server that is too busy, or that does not know the question.
                b'E' => {
                    let failure = account.nonsense("knows nothing of TLS");
                    return Err(Refusal { failure, clear: !account.needs_tls() });
                }
                _ => return Err(account.nonsense("does not speak PostgreSQL's protocol").into()),
            }
        } else {
            wire.plain()
        };
        wire.send(&message::startup(&account.login, &account.database)).await?;
        self.welcome(&mut wire, call).await.map_err(|no| match no {
            No::Said(error) => {
                let clear = secured && error.code == NOT_SO && !account.needs_tls();
                Refusal { failure: account.refused(&error.to_string()), clear }
            }
            No::Failed(failure) => failure.into(),
        })?;
        wire.send(&message::query(&account.request)).await?;
        let verdict = self.rows(&mut wire).await;
        wire.leave(&message::TERMINATE).await;
        Ok(verdict?)
    }

    /// Follows the server through the login, until it is ready for a query.
    async fn welcome(&self, wire: &mut Wire<'_>, call: &Call) -> Result<(), No> {
        let account = &self.account;
        let mut scram = None;
        loop {
            let (kind, body) = self.message(wire).await?;
            match kind {
                b'R' => {
                    let login = Login::read(&body).ok_or_else(|| account.nonsense("a login cut short"))?;
                    if let Some(answer) = self.prove(login, &mut scram, call).await? {
                        wire.send(&answer).await?;
                    }
                }
                b'E' => return Err(No::Said(Error::read(&body))),
                b'Z' => return Ok(()),
                // Parameters, the key to cancel by, notices, options of later protocols.
                b'S' | b'K' | b'N' | b'v' => {}
                _ => return Err(account.nonsense("its answer is not one to a login").into()),
            }
        }
    }

    /// What to answer to a message of the login.
    async fn prove(
        &self,
        login: Login<'_>,
        scram: &mut Option<Scram>,
        call: &Call,
    ) -> Result<Option<Vec<u8>>, Failure> {
        let account = &self.account;
        Ok(match (login, scram.take()) {
            (Login::Welcome, None) => None,
            (Login::Clear, None) => Some(message::password(&account.passwd)),
            (Login::Md5(salt), None) => {
                Some(message::password(&message::md5(&account.login, &account.passwd, salt)))
            }
            (Login::Scram, None) => {
                let nonce = nonce()?;
                let first = scram::first(&nonce);
                *scram = Some(Scram::Nonce(nonce));
                Some(message::sasl_start(first.as_bytes()))
            }
            (Login::Continue(text), Some(Scram::Nonce(nonce))) => {
                let text = String::from_utf8_lossy(text).into_owned();
                let passwd = account.passwd.clone();
                let work = move || scram::reply(&passwd, &nonce, &text);
                let reply = call.tools().busy.work(Phase::Receive, work).await?;
                let reply = reply.map_err(|fault| account.nonsense(fault))?;
                *scram = Some(Scram::Server(reply.server));
                Some(message::sasl(reply.text.as_bytes()))
            }
            (Login::Final(text), Some(Scram::Server(server))) if text == server.as_bytes() => None,
            (Login::Final(_), Some(Scram::Server(_))) => {
                return Err(account.nonsense("does not know the password that it accepts"));
            }
            (Login::Other(way), _) => {
                return Err(account.nonsense(&format!("the login is by {way}, which is not known here")));
            }
            _ => return Err(account.nonsense("the messages of its login are out of order")),
        })
    }

    /// Counts the rows of the answer. What is more than the limit stays unread.
    async fn rows(&self, wire: &mut Wire<'_>) -> Result<String, Failure> {
        let account = &self.account;
        let (mut rows, mut error) = (0, None);
        loop {
            let (kind, body) = match self.message(wire).await {
                Err(failure) if failure.reason == Reason::TooLarge && rows > 0 => {
                    return account.verdict(rows, true);
                }
                other => other?,
            };
            match kind {
                b'D' => rows += 1,
                b'E' => error = error.or(Some(Error::read(&body))),
                b'Z' => break,
                b'G' => wire.send(&message::copy_fail()).await?,
                // Columns, ends of statements, parameters, notices, notifications, data copied out.
                b'T' | b'C' | b'I' | b'S' | b'N' | b'A' | b'H' | b'd' | b'c' => {}
                _ => return Err(account.nonsense("its answer is not one to a query")),
            }
            // After this the server says no more.
            if error.as_ref().is_some_and(|error| matches!(&*error.severity, "FATAL" | "PANIC")) {
                break;
            }
        }
        match error {
            Some(error) => Err(account.refused(&error.to_string())),
            None => account.verdict(rows, false),
        }
    }

    async fn message(&self, wire: &mut Wire<'_>) -> Result<(u8, Vec<u8>), Failure> {
        let [kind, length @ ..] = wire.array::<5>().await?;
        let length = u32::from_be_bytes(length).checked_sub(4);
        let length = length.ok_or_else(|| self.account.nonsense("a message shorter than its own length"))?;
        Ok((kind, wire.read(length as usize).await?))
    }
}

/// Where an exchange of SCRAM stands: what the server's next message is compared with.
enum Scram {
    Nonce(String),
    Server(String),
}

/// Why a login came to nothing.
enum No {
    Said(Error),
    Failed(Failure),
}

impl From<Failure> for No {
    fn from(failure: Failure) -> No {
        No::Failed(failure)
    }
}

fn nonce() -> Result<String, Failure> {
    let mut bytes = [0; 18];
    let local = |_| Failure::new(Phase::Send, Reason::Local, "this host has no random numbers");
    SystemRandom::new().fill(&mut bytes).map_err(local)?;
    Ok(scram::base64(&bytes))
}
