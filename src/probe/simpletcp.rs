//! `simpletcp`: a request is sent, and a line of the answer matches `receive`.
//!
//! Over the protocol of the service, TCP or UDP. Each `\n` in `request` becomes a line feed, and one
//! leading `/` is dropped, since configurations get one put in front. Without a `receive`, a TCP server is
//! up when it has taken the request; over UDP, where sending proves nothing, any answer will do.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use super::dialogue::{Dialogue, Limits};
use super::options::Options;
use super::receive::Receive;
use super::{Asking, Call, Check, Kind, Probe, Target, dial};
use crate::outcome::{Failure, Phase, Reason};
use crate::span::Fault;

/// The kind.
pub static KIND: Kind = Kind {
    name: "simpletcp",
    doc: "a request is sent and a line of the answer matches; over UDP for UDP services",
    port: Some(0),
    options: &["request", "receive"],
    make,
};

/// As much of an answer as is read. A line may be all of it.
const LIMITS: Limits = Limits { line: 1 << 20, lines: 1 << 14, total: 1 << 20 };
/// Largest datagram, in bytes.
const DATAGRAM: usize = 1 << 16;

#[derive(Debug)]
struct SimpleTcp {
    to: SocketAddr,
    is_udp: bool,
    request: Vec<u8>,
    receive: Receive,
}

fn make(target: &Target, options: &mut Options) -> Result<Check, Fault> {
    let request = options.take("request").map(|given| unfold(&given.text)).unwrap_or_default();
    let receive = Receive::take(options)?;
    Ok(Check::Ask(Arc::new(SimpleTcp { to: target.check, is_udp: target.is_udp(), request, receive })))
}

/// The bytes that a request stands for.
fn unfold(written: &[u8]) -> Vec<u8> {
    let mut rest = written.strip_prefix(b"/").unwrap_or(written);
    let mut bytes = Vec::with_capacity(rest.len());
    while let Some((&byte, after)) = rest.split_first() {
        match rest.strip_prefix(b"\\n") {
            Some(after) => {
                bytes.push(b'\n');
                rest = after;
            }
            None => {
                bytes.push(byte);
                rest = after;
            }
        }
    }
    bytes
}

impl Probe for SimpleTcp {
    fn ask<'a>(&'a self, call: &'a Call) -> Asking<'a> {
        if self.is_udp { Box::pin(self.udp(call)) } else { Box::pin(self.tcp(call)) }
    }

    fn peer(&self) -> Option<IpAddr> {
        Some(self.to.ip())
    }

    fn identity(&self) -> String {
        let protocol = if self.is_udp { "udp" } else { "tcp" };
        let (request, receive) = (self.request.escape_ascii(), self.receive.text().escape_ascii());
        format!("simpletcp {protocol} {} \"{request}\" \"{receive}\"", self.to)
    }
}

impl SimpleTcp {
    async fn tcp(&self, call: &Call) -> Result<String, Failure> {
        call.enter(Phase::Connect);
        let stream = Box::new(dial::tcp(self.to).await?);
        let mut server = Dialogue::over(stream, self.to, LIMITS, call);
        server.send(&self.request).await?;
        server.finish().await;
        if self.receive.is_empty() {
            return Ok(format!("{} bytes sent", self.request.len()));
        }
        let mut seen = 0;
        loop {
            let line = server.raw_line().await?;
            if line.is_empty() {
                return Err(unmatched(seen));
            }
            seen += 1;
            if let Some(good) = self.judge(line, seen, call).await? {
                return Ok(good);
            }
        }
    }

    async fn udp(&self, call: &Call) -> Result<String, Failure> {
        call.enter(Phase::Connect);
        let socket = dial::udp(self.to).await?;
        call.enter(Phase::Send);
        socket.send(&self.request).await.map_err(|error| dial::fault(Phase::Send, self.to, &error))?;
        let (mut seen, mut total) = (0, 0);
        let mut datagram = vec![0; DATAGRAM];
        while seen < LIMITS.lines && total < LIMITS.total {
            call.enter(Phase::Receive);
            let length = socket.recv(&mut datagram).await;
            let length = length.map_err(|error| dial::fault(Phase::Receive, self.to, &error))?;
            if self.receive.is_empty() {
                return Ok(format!("{length} bytes answered"));
            }
            // An empty one counts, so that a flood of them ends.
            total += length.max(1);
            for line in datagram[..length].split_inclusive(|&byte| byte == b'\n') {
                seen += 1;
                if let Some(good) = self.judge(line.to_vec(), seen, call).await? {
                    return Ok(good);
                }
            }
        }
        Err(Failure::new(Phase::Receive, Reason::TooLarge, "the answer is too long"))
    }

    /// Whether a line, the `number`th, matches. Its line feed is a part of it, as in ldirectord.
    async fn judge(&self, line: Vec<u8>, number: usize, call: &Call) -> Result<Option<String>, Failure> {
        // Many lines may be at hand at once: others have their turn in between, and the deadline.
        tokio::task::consume_budget().await;
        match self.receive.search(line, "the line", true, call).await {
            Ok(()) => Ok(Some(format!("line {number} matches"))),
            Err(failure) if failure.reason == Reason::Mismatch => Ok(None),
            Err(failure) => Err(failure),
        }
    }
}

fn unmatched(lines: usize) -> Failure {
    match lines {
        0 => Failure::new(Phase::Receive, Reason::Closed, "the connection was closed without an answer"),
        1 => Failure::new(Phase::Match, Reason::Mismatch, "the only line does not match receive"),
        _ => Failure::new(Phase::Match, Reason::Mismatch, format!("none of {lines} lines matches receive")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_loses_a_slash_and_gets_line_feeds() {
        for (written, sent) in [
            ("", ""),
            ("/", ""),
            ("//x", "/x"),
            ("/a\\nb\\n", "a\nb\n"),
            ("x\\\\n", "x\\\n"),
            ("\\r\\", "\\r\\"),
        ] {
            assert_eq!(unfold(written.as_bytes()), sent.as_bytes(), "{written}");
        }
    }
}
