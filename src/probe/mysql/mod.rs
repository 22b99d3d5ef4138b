//! `mysql`: logs in to a MySQL or MariaDB server, and a query is answered with a row at least.
//!
//! The exchange is by hand, of the few packets needed. A server blocks hosts that leave within a
//! handshake too often: whatever goes wrong, it is brought to an end where the server still listens.

pub mod packet;
pub mod proof;

use std::net::IpAddr;
use std::sync::Arc;

use tokio::net::TcpStream;

use super::dial::Stream;
use super::options::Options;
use super::sql::{self, Account, Refusal};
use super::wire::{LIMIT, Wire};
use super::{Asking, Call, Check, Kind, Probe, Target};
use crate::outcome::{Failure, Reason};
use crate::span::Fault;
use packet::{Answer, Greeting, Rows, Wrong};

/// The kind.
pub static KIND: Kind = Kind {
    name: "mysql",
    doc: "logs in to a MySQL or MariaDB server; the SQL in `request` is answered with a row at least",
    port: Some(3306),
    options: sql::OPTIONS,
    make,
};

/// Answers of the server that a login may take: another way to authenticate, the nonce, the verdict.
const ROUNDS: usize = 8;
/// The way that sends the password itself; only over TLS.
const CLEAR: &[u8] = b"mysql_clear_password";
/// The way of MySQL 8, which sends the password itself where the server does not know it by heart.
const SHA2: &[u8] = b"caching_sha2_password";

#[derive(Debug)]
struct Mysql {
    account: Account,
}

fn make(target: &Target, options: &mut Options) -> Result<Check, Fault> {
    Ok(Check::Ask(Arc::new(Mysql { account: Account::take(target, options)? })))
}

impl Probe for Mysql {
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
        format!("mysql {}", self.account.identity())
    }
}

impl Mysql {
    /// Asks on one connection; over TLS, where the server offers it, if `tls`.
    async fn attempt(&self, tls: bool, call: &Call) -> Result<String, Refusal> {
        let account = &self.account;
        let mut channel = Channel { wire: Wire::open(account.to, call).await?, next: 0 };
        let first = channel.read().await?;
        if let Some(error) = packet::error(&first) {
            return Err(account.refused(&error).into());
        }
        let greeting = Greeting::read(&first)
            .ok_or_else(|| account.nonsense("its greeting is not of MySQL's protocol, version 10"))?;
        let old = packet::PROTOCOL_41 | packet::SECURE_CONNECTION;
        if greeting.capabilities & old != old {
            return Err(account.nonsense("a server of before MySQL 4.1").into());
        }
        let offered = greeting.capabilities & packet::SSL != 0;
        let capabilities = packet::ours(greeting.capabilities, tls && offered, &account.database);
        if !(tls && offered) {
            return Ok(self.session(channel.plain(), greeting, capabilities, false).await?);
        }
        channel.send(&packet::tls(capabilities, LIMIT)).await?;
        let secured = channel.secure(&account.manner).await;
        let channel = secured.map_err(|failure| Refusal { clear: account.forgives(&failure), failure })?;
        Ok(self.session(channel, greeting, capabilities, true).await?)
    }

    /// Logs in and asks.
    async fn session(
        &self,
        mut channel: Channel<'_>,
        greeting: Greeting,
        capabilities: u32,
        tls: bool,
    ) -> Result<String, Failure> {
        let account = &self.account;
        if !tls && account.needs_tls() {
            // The server waits for a login: one without a name ends the handshake in order.
            channel
                .send(&packet::login(capabilities, LIMIT, b"", b"", &account.database, packet::NATIVE))
                .await?;
            let _ = channel.read().await;
            channel.quit().await;
            return Err(account.no_tls());
        }
        // Names the server's way; one that is unknown here is asked for once more by name.
        let proof = self.proof(&greeting.plugin, &greeting.nonce, tls);
        let (plugin, proof) = match proof {
            Some(proof) if greeting.plugin != CLEAR => (&*greeting.plugin, proof),
            _ => (packet::NATIVE, proof::native(&account.passwd, &greeting.nonce)),
        };
        let (user, database) = (&account.login, &account.database);
        channel.send(&packet::login(capabilities, LIMIT, user, &proof, database, plugin)).await?;
        self.welcome(&mut channel, plugin.to_vec(), tls).await?;
        channel.next = 0;
        channel.send(&[b"\x03", &*account.request].concat()).await?;
        let verdict = self.rows(&mut channel).await;
        channel.quit().await;
        verdict
    }

    /// Follows the server through the login.
    async fn welcome(
        &self,
        channel: &mut Channel<'_>,
        mut plugin: Vec<u8>,
        tls: bool,
    ) -> Result<(), Failure> {
        let account = &self.account;
        let mut lacking = None;
        for _ in 0..ROUNDS {
            let packet = channel.read().await?;
            let answer = Answer::read(&packet).ok_or_else(|| account.nonsense("no answer to a login"))?;
            let proof = match answer {
                Answer::Welcome => return Ok(()),
                Answer::Error(said) => return Err(lacking.unwrap_or_else(|| account.refused(&said))),
                Answer::Switch(way, nonce) => {
                    plugin = way.to_vec();
                    self.proof(way, nonce, tls)
                }
                // The server knows the password by heart, and welcomes us next.
                Answer::More(b"\x03") if plugin == SHA2 => continue,
                Answer::More(b"\x04") if plugin == SHA2 => tls.then(|| with_nul(&account.passwd)),
                Answer::More(_) => None,
            };
            // An empty answer is a wrong one: the server says no, and the handshake is over.
            channel.send(proof.as_deref().unwrap_or_default()).await?;
            if proof.is_none() {
                lacking = Some(self.lacks(&plugin, tls));
            }
        }
        Err(account.nonsense("the login comes to no end"))
    }

    /// The proof for a way to authenticate; none if it is not known here, or not done in the clear.
    fn proof(&self, plugin: &[u8], nonce: &[u8], tls: bool) -> Option<Vec<u8>> {
        let passwd = &self.account.passwd;
        match plugin {
            CLEAR => tls.then(|| with_nul(passwd)),
            packet::NATIVE | SHA2 if passwd.is_empty() => Some(Vec::new()),
            packet::NATIVE => Some(proof::native(passwd, nonce)),
            SHA2 => Some(proof::sha2(passwd, nonce)),
            _ => None,
        }
    }

    fn lacks(&self, plugin: &[u8], tls: bool) -> Failure {
        let name = sql::words(plugin);
        let why = match tls {
            false if plugin == SHA2 || plugin == CLEAR => {
                "wants the password itself, which is sent over TLS only, and the server offers none"
            }
            _ => "is not known here: use caching_sha2_password or mysql_native_password",
        };
        let mut failure = self.account.refused(&format!("the login's {name} {why}"));
        failure.reason = Reason::Protocol;
        failure
    }

    /// Counts the rows of the answer. What is more than [`LIMIT`] stays unread.
    async fn rows(&self, channel: &mut Channel<'_>) -> Result<String, Failure> {
        let account = &self.account;
        let mut rows = Rows::default();
        while !rows.over() {
            let packet = match channel.read().await {
                Err(failure) if failure.reason == Reason::TooLarge && rows.count > 0 => {
                    return account.verdict(rows.count, true);
                }
                other => other?,
            };
            rows.take(&packet).map_err(|wrong| match wrong {
                Wrong::Error(said) => account.refused(&said),
                Wrong::Nonsense => account.nonsense("its answer is not one to a query"),
            })?;
        }
        account.verdict(rows.count, false)
    }
}

fn with_nul(text: &[u8]) -> Vec<u8> {
    [text, b"\0"].concat()
}

/// Packets with a length and a number each.
struct Channel<'a, S = Box<dyn Stream>> {
    wire: Wire<'a, S>,
    next: u8,
}

impl<'a> Channel<'a, TcpStream> {
    fn plain(self) -> Channel<'a> {
        Channel { wire: self.wire.plain(), next: self.next }
    }

    async fn secure(self, manner: &super::tls::Manner) -> Result<Channel<'a>, Failure> {
        Ok(Channel { wire: self.wire.secure(manner).await?, next: self.next })
    }
}

impl<S: Stream> Channel<'_, S> {
    async fn read(&mut self) -> Result<Vec<u8>, Failure> {
        let [a, b, c, number] = self.wire.array().await?;
        self.next = number.wrapping_add(1);
        self.wire.read(u32::from_le_bytes([a, b, c, 0]) as usize).await
    }

    /// Sends a packet. What a configuration holds is far below 16 MiB.
    async fn send(&mut self, payload: &[u8]) -> Result<(), Failure> {
        let [a, b, c, _] = (payload.len() as u32).to_le_bytes();
        let number = self.next;
        self.next = number.wrapping_add(1);
        self.wire.send(&[&[a, b, c, number], payload].concat()).await
    }

    /// Says good-bye (COM_QUIT).
    async fn quit(self) {
        self.wire.leave(b"\x01\0\0\0\x01").await;
    }
}
