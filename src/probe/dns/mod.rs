//! `dns`: a name server knows a name.
//!
//! `request` is the name, without a leading `/`, and the A record is asked for; or an address, and
//! its PTR record is. The option `record` asks for other types. Up when there is at least one record
//! of that type and, with `receive`, when the text of one matches: the address, the name without a dot
//! at its end, or the fields as `dig` writes them (`10 mail.example.org`); the strings of a TXT
//! record are joined. The name is asked for as it stands: no search list applies.
//!
//! Over UDP the question goes out a second time at half of the timeout, and an answer that did not
//! fit is asked for again over TCP. For a TCP service the whole goes over TCP.

mod wire;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use ring::rand::{SecureRandom, SystemRandom};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::never::never;
use super::options::Options;
use super::receive::Receive;
use super::udp::{self, Heard};
use super::{Asking, Call, Check, Kind, Probe, Target, dial};
use crate::outcome::{Failure, Phase, Reason};
use crate::span::Fault;
use wire::{Answer, Name, Question, Record, Wrong};

/// The kind.
pub static KIND: Kind = Kind {
    name: "dns",
    doc: "a name server knows a name",
    port: Some(53),
    options: &["request", "receive", "record"],
    make,
};

#[derive(Debug)]
struct Dns {
    to: SocketAddr,
    is_udp: bool,
    question: Question,
    receive: Receive,
}

fn make(target: &Target, options: &mut Options) -> Result<Check, Fault> {
    let receive = Receive::take(options)?;
    let record = record(options)?;
    let request = options.take("request").map(|given| given.text).unwrap_or_default();
    let text = request.strip_prefix(b"/").unwrap_or(&request);
    let ip = std::str::from_utf8(text).ok().and_then(|text| text.parse().ok());
    let (name, record) = match (ip, record) {
        (Some(ip), None | Some(Record::Ptr)) => (Some(Name::reverse(ip)), Record::Ptr),
        (_, record) => (Name::parse(text), record.unwrap_or(Record::A)),
    };
    let Some(name) = name else {
        return Ok(never("the request is no domain name: labels of at most 63 bytes, 253 in all"));
    };
    let question = Question { name, record };
    Ok(Check::Ask(Arc::new(Dns { to: target.check, is_udp: target.is_udp(), question, receive })))
}

fn record(options: &mut Options) -> Result<Option<Record>, Fault> {
    let Some(given) = options.take("record") else { return Ok(None) };
    let word = Record::WORDS.iter().find(|(word, _)| given.text.eq_ignore_ascii_case(word.as_bytes()));
    match word {
        Some((_, record)) => Ok(Some(*record)),
        None => Err(Fault::error(given.span, "this record type can not be asked for")
            .help("a, aaaa, ptr, mx, ns, soa, txt, srv or cname")),
    }
}

impl Probe for Dns {
    fn ask<'a>(&'a self, call: &'a Call) -> Asking<'a> {
        Box::pin(async move {
            let id = random()?;
            let answer = match self.is_udp {
                true => self.over_udp(id, call).await?,
                false => self.over_tcp(id, call).await?,
            };
            self.judge(answer, call).await
        })
    }

    fn peer(&self) -> Option<IpAddr> {
        Some(self.to.ip())
    }

    fn identity(&self) -> String {
        let Dns { to, is_udp, question, receive } = self;
        format!("dns {to} {is_udp} {question:?} {:?}", receive.text())
    }
}

impl Dns {
    async fn over_udp(&self, id: u16, call: &Call) -> Result<Answer, Failure> {
        let query = self.question.query(id);
        let judge = |datagram: &[u8]| match self.question.answer(id, datagram) {
            Ok(answer) => Heard::Answer(Ok(answer)),
            Err(Wrong::Stray(what)) => Heard::Stray(strange(what)),
            Err(Wrong::Broken) => Heard::Answer(Err(broken())),
        };
        let answer = udp::exchange(self.to, &query, call, judge).await??;
        match answer.is_cut {
            true => self.over_tcp(id, call).await,
            false => Ok(answer),
        }
    }

    async fn over_tcp(&self, id: u16, call: &Call) -> Result<Answer, Failure> {
        call.enter(Phase::Connect);
        let mut stream = dial::tcp(self.to).await?;
        let fault = |error| dial::fault(call.phase(), self.to, &error);
        call.enter(Phase::Send);
        let query = self.question.query(id);
        // Short enough: a name has at most 255 bytes.
        let length = (query.len() as u16).to_be_bytes();
        stream.write_all(&[&length, &query[..]].concat()).await.map_err(fault)?;
        call.enter(Phase::Receive);
        let length = stream.read_u16().await.map_err(fault)?;
        let mut message = vec![0; length.into()];
        stream.read_exact(&mut message).await.map_err(fault)?;
        self.question.answer(id, &message).map_err(|wrong| match wrong {
            Wrong::Stray(what) => strange(what),
            Wrong::Broken => broken(),
        })
    }

    async fn judge(&self, answer: Answer, call: &Call) -> Result<String, Failure> {
        let Question { name, record } = &self.question;
        if answer.code != 0 {
            return Err(Failure::new(Phase::Receive, Reason::Status, wire::code(answer.code)));
        }
        let Some(first) = answer.records.first() else {
            return Err(mismatch(format!("there is no {record} record of {name}")));
        };
        if self.receive.is_empty() {
            return Ok(first.clone());
        }
        let count = answer.records.len();
        for text in answer.records {
            // There may be thousands: others have their turn in between, and the deadline.
            tokio::task::consume_budget().await;
            match self.receive.search(text.clone().into_bytes(), "the record", true, call).await {
                Ok(()) => return Ok(text),
                Err(failure) if failure.reason == Reason::Mismatch => {}
                Err(failure) => return Err(failure),
            }
        }
        Err(mismatch(format!("no {record} record of {name} ({count} found) matches receive")))
    }
}

fn random() -> Result<u16, Failure> {
    let mut bytes = [0; 2];
    let filled = SystemRandom::new().fill(&mut bytes);
    filled.map_err(|_| Failure::new(Phase::Send, Reason::Local, "this host gives no random numbers"))?;
    Ok(u16::from_be_bytes(bytes))
}

fn strange(what: &str) -> Failure {
    Failure::new(Phase::Receive, Reason::Protocol, what)
}

fn broken() -> Failure {
    strange("the answer is not readable as DNS")
}

fn mismatch(detail: String) -> Failure {
    Failure::new(Phase::Match, Reason::Mismatch, detail)
}
