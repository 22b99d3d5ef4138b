//! TLS with a server behind an HTTP proxy: CONNECT (RFC 9110 section 9.3.6).

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::dial::{self, Stream};
use super::tls::Manner;
use super::url::{Host, Url};
use super::web::AGENT;
use super::{Call, process};
use crate::outcome::{Failure, Phase, Reason};

/// As much of the proxy's answer as is read, in bytes.
const HEADER: usize = 64 * 1024;

/// Asks the proxy for a tunnel to the URL's host, and shakes hands with that through it.
pub(super) async fn open(
    proxy: SocketAddr,
    url: &Url,
    manner: &Manner,
    call: &Call,
) -> Result<Box<dyn Stream>, Failure> {
    call.enter(Phase::Connect);
    let mut stream = dial::tcp(proxy).await?;
    let fault = |error| dial::fault(call.phase(), proxy, &error);
    let (host, to) = match &url.host {
        Host::Ip(ip) => (process::bracketed(*ip), SocketAddr::new(*ip, url.port)),
        Host::Name(name) => (name.clone(), proxy),
    };
    let whom = format!("{host}:{}", url.port);
    let request = format!("CONNECT {whom} HTTP/1.1\r\nHost: {whom}\r\nUser-Agent: {AGENT}\r\n\r\n");
    call.enter(Phase::Send);
    stream.write_all(request.as_bytes()).await.map_err(fault)?;
    call.enter(Phase::Receive);
    let answer = header(&mut stream, proxy).await?;
    let line = answer.split(|&b| b == b'\r' || b == b'\n').next().unwrap_or_default();
    granted(&String::from_utf8_lossy(line))?;
    dial::secure(stream, to, manner, call).await
}

/// Reads a header and not a byte more: what follows is not for us.
async fn header(stream: &mut TcpStream, proxy: SocketAddr) -> Result<Vec<u8>, Failure> {
    let fault = |error| dial::fault(Phase::Receive, proxy, &error);
    let mut header = Vec::new();
    let mut part = [0; 1024];
    while header.len() < HEADER {
        let seen = stream.peek(&mut part).await.map_err(fault)?;
        if seen == 0 {
            return Err(fail(Reason::Closed, "the proxy closed the connection before the end of its answer"));
        }
        let before = header.len();
        header.extend(&part[..seen]);
        let end = end(&header);
        header.truncate(end.unwrap_or(header.len()));
        let taken = header.len() - before;
        stream.read_exact(&mut part[..taken]).await.map_err(fault)?;
        if end.is_some() {
            return Ok(header);
        }
    }
    Err(fail(Reason::TooLarge, "the header of the proxy's answer is too large"))
}

/// Where a header ends: behind its empty line.
fn end(header: &[u8]) -> Option<usize> {
    // Only what has come in last can hold it, and three bytes before that.
    let start = header.len().saturating_sub(1024 + 3);
    let behind = |end: &[u8]| {
        header[start..].windows(end.len()).position(|w| w == end).map(|at| start + at + end.len())
    };
    [behind(b"\r\n\r\n"), behind(b"\n\n")].into_iter().flatten().min()
}

/// Whether the status line says that the tunnel stands.
fn granted(line: &str) -> Result<(), Failure> {
    let rest = line.strip_prefix("HTTP/1.").and_then(|rest| rest.split_once(' '));
    let Some((_, status)) = rest else {
        return Err(fail(Reason::Protocol, "the proxy's answer is not HTTP"));
    };
    match status.as_bytes() {
        [b'2', b'0'..=b'9', b'0'..=b'9'] | [b'2', b'0'..=b'9', b'0'..=b'9', b' ', ..] => Ok(()),
        _ => Err(fail(Reason::Status, &format!("the proxy refuses the tunnel: {status}"))),
    }
}

fn fail(reason: Reason, detail: &str) -> Failure {
    Failure::new(Phase::Receive, reason, detail)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// However long it is, the end is found as soon as it has come in.
        #[test]
        fn a_header_ends_at_its_first_empty_line(head in "[a\r\n]{0,12}", fill in 0usize..3000, more in "[a\r\n]{0,12}") {
            let all = format!("{}{head}{more}", "x".repeat(fill));
            let wanted = ["\r\n\r\n", "\n\n"].iter().filter_map(|e| all.find(e).map(|at| at + e.len())).min();
            // As it comes in: up to 1024 bytes at a time, none of them looked at before its time.
            let mut found = None;
            for come in (0..=all.len()).step_by(1 + fill % 1024).chain([all.len()]) {
                found = found.or(end(&all.as_bytes()[..come]));
            }
            prop_assert_eq!(found, wanted);
        }

        #[test]
        fn only_a_status_of_2xx_is_a_tunnel(line in "(HTTP/1.[01] )?[013-9]?\\PC{0,12}") {
            let good = granted(&line).is_ok();
            prop_assert!(!good || line[8..].trim_start_matches(|c: char| c != ' ').starts_with(" 2"), "{line}");
        }
    }
}
