//! `radius`: a RADIUS server accepts a login.
//!
//! An Access-Request with `login` and `passwd`, made with `secret`, goes out by UDP, and once more,
//! the same, at half of the timeout. Up with an Access-Accept that was made with our secret. The request
//! is always signed (Message-Authenticator), and names `lvsentry` as NAS-Identifier.

mod wire;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use ring::rand::{SecureRandom, SystemRandom};

use super::never::never;
use super::options::Options;
use super::secret::Secret;
use super::udp::{self, Heard};
use super::{Asking, Call, Check, Kind, Probe, Target};
use crate::outcome::{Failure, Phase, Reason};
use crate::span::Fault;
use wire::{Answer, PASSWORD, Request, Stray, VALUE};

/// The kind.
pub static KIND: Kind = Kind {
    name: "radius",
    doc: "a RADIUS server accepts a login",
    port: Some(1812),
    options: &["login", "passwd", "secret"],
    make,
};

#[derive(Debug)]
struct Radius {
    to: SocketAddr,
    login: Vec<u8>,
    passwd: Secret,
    secret: Secret,
}

fn make(target: &Target, options: &mut Options) -> Result<Check, Fault> {
    let login = options.take("login").map(|given| given.text).unwrap_or_default();
    let passwd = Secret::take(options, "passwd");
    let secret = Secret::take(options, "secret");
    if login.is_empty() || secret.is_empty() {
        return Ok(never("radius needs a login and a secret"));
    }
    if login.len() > VALUE || passwd.bytes().len() > PASSWORD {
        return Ok(never(format!("radius has room for a login of {VALUE} bytes, a passwd of {PASSWORD}")));
    }
    Ok(Check::Ask(Arc::new(Radius { to: target.check, login, passwd, secret })))
}

impl Probe for Radius {
    fn ask<'a>(&'a self, call: &'a Call) -> Asking<'a> {
        Box::pin(async move {
            let [id, authenticator @ ..] = random()?;
            let request = Request {
                id,
                authenticator,
                login: &self.login,
                password: self.passwd.bytes(),
                secret: self.secret.bytes(),
            };
            let judge = |datagram: &[u8]| match request.answer(datagram) {
                Ok(answer) => Heard::Answer(answer),
                Err(Stray::Other) => Heard::Stray(strange("an answer to another question, or none at all")),
                Err(Stray::Unsigned) => Heard::Stray(strange("the answer was not made with our secret")),
            };
            match udp::exchange(self.to, &request.packet(), call, judge).await? {
                Answer::Accept => Ok("Access-Accept".to_owned()),
                Answer::Reject => Err(bad("Access-Reject: login or passwd are wrong, or not allowed")),
                Answer::Challenge => Err(bad("Access-Challenge: the server wants more than a password")),
            }
        })
    }

    fn peer(&self) -> Option<IpAddr> {
        Some(self.to.ip())
    }

    fn identity(&self) -> String {
        let Radius { to, login, passwd, secret } = self;
        format!("radius {to} {login:?} {passwd:?} {secret:?}")
    }
}

fn random() -> Result<[u8; 17], Failure> {
    let mut bytes = [0; 17];
    let filled = SystemRandom::new().fill(&mut bytes);
    filled.map_err(|_| Failure::new(Phase::Send, Reason::Local, "this host gives no random numbers"))?;
    Ok(bytes)
}

fn bad(detail: &str) -> Failure {
    Failure::new(Phase::Receive, Reason::Status, detail)
}

fn strange(detail: &str) -> Failure {
    Failure::new(Phase::Receive, Reason::Protocol, detail)
}
