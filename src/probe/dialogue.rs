//! A dialogue in lines, as banner protocols hold it. A kind's script says and hears; this connects,
//! cuts lines, and bounds what a server may send ([`Limits`]).
//!
//! Once a secret has gone out ([`Dialogue::confide`]), no failure shows a word of the server's: many
//! servers repeat a command that they do not like.

use std::io;
use std::net::SocketAddr;

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};

use super::Call;
use super::dial::{self, Stream};
use super::tls::Manner;
use crate::outcome::{self, Failure, Phase, Reason};

/// How much a server may say in one dialogue.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Bytes of a line, its end included.
    pub line: usize,
    /// Lines.
    pub lines: usize,
    /// Bytes.
    pub total: usize,
}

impl Limits {
    /// Enough for greetings and short answers. Standards allow lines of some 1000 bytes.
    pub const TALK: Limits = Limits { line: 8 * 1024, lines: 512, total: 64 * 1024 };
}

/// A dialogue with a server. Dropped, it ends.
pub struct Dialogue<'c> {
    stream: BufReader<Box<dyn Stream>>,
    with: SocketAddr,
    call: &'c Call,
    left: Limits,
    discreet: bool,
}

/// A numbered reply (RFC 5321 section 4.2, RFC 959 section 4.2).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// Its three digits.
    pub code: u16,
    /// Its first line, without the line end.
    pub line: Vec<u8>,
}

impl Reply {
    /// Whether what was asked for is done (2xx).
    pub fn is_good(&self) -> bool {
        self.code / 100 == 2
    }

    /// Whether more is to come before what was asked for is done (1xx).
    pub fn is_preliminary(&self) -> bool {
        self.code / 100 == 1
    }
}

impl<'c> Dialogue<'c> {
    /// Connects, over TLS where a manner is given.
    pub async fn open(to: SocketAddr, tls: Option<&Manner>, call: &'c Call) -> Result<Dialogue<'c>, Failure> {
        let stream = dial::open(to, tls, call).await?;
        Ok(Dialogue::over(stream, to, Limits::TALK, call))
    }

    /// A dialogue over a connection that stands.
    pub fn over(stream: Box<dyn Stream>, with: SocketAddr, limits: Limits, call: &'c Call) -> Dialogue<'c> {
        Dialogue { stream: BufReader::new(stream), with, call, left: limits, discreet: false }
    }

    /// Says a line; its end is added.
    pub async fn say(&mut self, line: impl AsRef<[u8]>) -> Result<(), Failure> {
        self.send(&[line.as_ref(), b"\r\n"].concat()).await
    }

    /// Says a line that holds a secret. From here on no failure shows what the server says.
    pub async fn confide(&mut self, line: impl AsRef<[u8]>) -> Result<(), Failure> {
        self.discreet = true;
        self.say(line).await
    }

    /// Sends bytes as they are.
    pub async fn send(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        self.call.enter(Phase::Send);
        self.stream.write_all(bytes).await.map_err(|error| self.broken(Phase::Send, &error))?;
        self.stream.flush().await.map_err(|error| self.broken(Phase::Send, &error))
    }

    /// Says that nothing more will be sent.
    pub async fn finish(&mut self) {
        // Fails when the server has gone already: reading tells.
        let _ = self.stream.shutdown().await;
    }

    /// Hears a line, without its end.
    pub async fn line(&mut self) -> Result<Vec<u8>, Failure> {
        let mut line = self.raw_line().await?;
        if line.pop_if(|last| *last == b'\n').is_none() {
            let detail = "the connection was closed before the end of the answer";
            return Err(Failure::new(Phase::Receive, Reason::Closed, detail));
        }
        line.pop_if(|last| *last == b'\r');
        Ok(line)
    }

    /// Hears a line with its line feed. At the end of all the last one may lack it, and those
    /// after are empty.
    pub async fn raw_line(&mut self) -> Result<Vec<u8>, Failure> {
        self.call.enter(Phase::Receive);
        let mut line = Vec::new();
        loop {
            let part = match self.stream.fill_buf().await {
                Ok([]) => return Ok(line),
                Ok(part) => part,
                Err(error) => return Err(self.broken(Phase::Receive, &error)),
            };
            let end = part.iter().position(|&byte| byte == b'\n');
            let taken = end.map_or(part.len(), |at| at + 1);
            if line.len() + taken > self.left.line {
                return Err(too_large("a line of the answer is too long"));
            }
            if taken > self.left.total || self.left.lines == 0 {
                return Err(too_large("the answer is too long"));
            }
            line.extend_from_slice(&part[..taken]);
            self.stream.consume(taken);
            self.left.total -= taken;
            if end.is_some() {
                self.left.lines -= 1;
                return Ok(line);
            }
        }
    }

    /// Hears a numbered reply to its last line; `what` names in messages what it answers.
    pub async fn reply(&mut self, what: &str) -> Result<Reply, Failure> {
        let line = self.line().await?;
        let code = code(&line).ok_or_else(|| self.strange(what, &line))?;
        let mut ended = is_last(&line);
        while !ended {
            let more = self.line().await?;
            ended = more.get(..3) == line.get(..3) && is_last(&more);
        }
        Ok(Reply { code, line })
    }

    /// Hears a numbered reply, which must be a good one.
    pub async fn good(&mut self, what: &str) -> Result<Reply, Failure> {
        let reply = self.reply(what).await?;
        if reply.is_good() { Ok(reply) } else { Err(self.bad(what, &reply)) }
    }

    /// The failure of a numbered reply that is not a good one.
    pub fn bad(&self, what: &str, reply: &Reply) -> Failure {
        self.refused(what, &reply.code.to_string(), &reply.line)
    }

    /// The failure of an answer that says no; `status` is the word of the protocol for it.
    pub fn refused(&self, what: &str, status: &str, line: &[u8]) -> Failure {
        let said = if self.discreet { status.to_owned() } else { shown(line) };
        Failure::new(Phase::Receive, Reason::Status, format!("{what}: {said}"))
    }

    /// The failure of an answer that is none of the protocol.
    pub fn strange(&self, what: &str, line: &[u8]) -> Failure {
        let said = if self.discreet { String::new() } else { format!(": {}", shown(line)) };
        Failure::new(
            Phase::Receive,
            Reason::Protocol,
            format!("{what}: not an answer of this protocol{said}"),
        )
    }

    /// Takes leave in order: says each line and hears one. The verdict stands already, so that
    /// nothing here can fail; it takes a tenth of the timeout at most.
    pub async fn leave(mut self, lines: &[&str]) {
        let limit = self.call.timeout() / 10;
        let parting = async {
            for line in lines {
                self.say(line).await?;
                self.line().await?;
            }
            self.finish().await;
            Ok::<(), Failure>(())
        };
        let _ = tokio::time::timeout(limit, parting).await;
    }

    fn broken(&self, phase: Phase, error: &io::Error) -> Failure {
        match error.get_ref() {
            // TLS has such causes, the system has none.
            Some(cause) => Failure::new(phase, Reason::Protocol, format!("{}: {cause}", self.with)),
            None => dial::fault(phase, self.with, error),
        }
    }
}

/// What a server said, for people: one line of bounded length, without control characters.
pub fn shown(line: &[u8]) -> String {
    outcome::one_line(String::from_utf8_lossy(line).trim())
}

fn too_large(detail: &str) -> Failure {
    Failure::new(Phase::Receive, Reason::TooLarge, detail)
}

/// The number of a reply's line.
fn code(line: &[u8]) -> Option<u16> {
    let digits = line.get(..3).filter(|digits| digits.iter().all(u8::is_ascii_digit))?;
    let alone = !line.get(3).is_some_and(u8::is_ascii_digit);
    alone.then(|| digits.iter().fold(0, |code, digit| code * 10 + u16::from(digit - b'0')))
}

fn is_last(line: &[u8]) -> bool {
    line.get(3) != Some(&b'-')
}
