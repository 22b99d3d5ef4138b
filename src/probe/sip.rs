//! `sip`: an OPTIONS request is answered with `200 OK` (RFC 3261 section 11).
//!
//! Over the protocol of the service. The request has the form that ldirectord's has, in which Via says
//! UDP over TCP as well. Provisional answers (1xx) are passed over: the final one counts.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use ring::rand::{SecureRandom, SystemRandom};

use super::dialogue::{Dialogue, Limits, shown};
use super::login::in_line;
use super::options::Options;
use super::{Asking, Call, Check, Kind, Probe, Target, dial};
use crate::outcome::{Failure, Phase, Reason};
use crate::span::Fault;

/// The kind.
pub static KIND: Kind = Kind {
    name: "sip",
    doc: "a SIP OPTIONS request is answered with 200 OK",
    port: Some(5060),
    options: &["login"],
    make,
};

/// Provisional answers that are passed over.
const PROVISIONAL: usize = 64;
/// Largest datagram, in bytes.
const DATAGRAM: usize = 1 << 16;

#[derive(Debug)]
struct Sip {
    to: SocketAddr,
    is_udp: bool,
    login: Vec<u8>,
}

fn make(target: &Target, options: &mut Options) -> Result<Check, Fault> {
    let login = in_line(options, "login")?;
    Ok(Check::Ask(Arc::new(Sip { to: target.check, is_udp: target.is_udp(), login })))
}

impl Probe for Sip {
    fn ask<'a>(&'a self, call: &'a Call) -> Asking<'a> {
        if self.is_udp { Box::pin(self.udp(call)) } else { Box::pin(self.tcp(call)) }
    }

    fn peer(&self) -> Option<IpAddr> {
        Some(self.to.ip())
    }

    fn identity(&self) -> String {
        let protocol = if self.is_udp { "udp" } else { "tcp" };
        format!("sip {protocol} {} \"{}\"", self.to, self.login.escape_ascii())
    }
}

impl Sip {
    async fn tcp(&self, call: &Call) -> Result<String, Failure> {
        call.enter(Phase::Connect);
        let stream = dial::tcp(self.to).await?;
        let own = stream.local_addr().map_err(|error| dial::fault(Phase::Connect, self.to, &error))?;
        let mut server = Dialogue::over(Box::new(stream), self.to, Limits::TALK, call);
        server.send(&self.request(own)?).await?;
        for _ in 0..PROVISIONAL {
            let mut status = server.line().await?;
            // Empty lines may stand in front (section 7.5).
            while status.is_empty() {
                status = server.line().await?;
            }
            // An answer that is cut off within its header is none.
            while !server.line().await?.is_empty() {}
            if let Some(verdict) = verdict(&status) {
                return verdict;
            }
        }
        Err(endless())
    }

    async fn udp(&self, call: &Call) -> Result<String, Failure> {
        call.enter(Phase::Connect);
        let socket = dial::udp(self.to).await?;
        let own = socket.local_addr().map_err(|error| dial::fault(Phase::Connect, self.to, &error))?;
        let request = self.request(own)?;
        call.enter(Phase::Send);
        socket.send(&request).await.map_err(|error| dial::fault(Phase::Send, self.to, &error))?;
        call.enter(Phase::Receive);
        let mut datagram = vec![0; DATAGRAM];
        for _ in 0..PROVISIONAL {
            let length = socket.recv(&mut datagram).await;
            let length = length.map_err(|error| dial::fault(Phase::Receive, self.to, &error))?;
            let status = datagram[..length].split(|&byte| byte == b'\n').next().unwrap_or_default();
            if let Some(verdict) = verdict(status) {
                return verdict;
            }
        }
        Err(endless())
    }

    /// The request, from this address of ours.
    fn request(&self, own: SocketAddr) -> Result<Vec<u8>, Failure> {
        let mut random = [0; 8];
        SystemRandom::new().fill(&mut random).map_err(|_| {
            Failure::new(Phase::Send, Reason::Local, "this host has no random numbers for a Call-ID")
        })?;
        let call_id = u64::from_ne_bytes(random);
        // Without the scope that a link-local address has.
        let own = SocketAddr::new(own.ip(), own.port());
        let login = &self.login[..];
        let via = format!(" SIP/2.0\r\nVia: SIP/2.0/UDP {own};branch=z9hG4bKhjhs8ass877\r\n");
        let id = format!("Call-ID: {call_id:016x}\r\nCSeq: 63104 OPTIONS\r\n");
        let parts: [&[u8]; 12] = [
            b"OPTIONS sip:",
            login,
            via.as_bytes(),
            b"Max-Forwards: 70\r\nTo: <sip:",
            login,
            b">\r\nFrom: <sip:",
            login,
            b">;tag=1928301774\r\n",
            id.as_bytes(),
            b"Contact: <sip:",
            login,
            b">\r\nAccept: application/sdp\r\nContent-Length: 0\r\n\r\n",
        ];
        Ok(parts.concat())
    }
}

/// What a status line says; nothing when it is provisional.
fn verdict(status: &[u8]) -> Option<Result<String, Failure>> {
    if status.starts_with(b"SIP/2.0 200 OK") {
        return Some(Ok(shown(status)));
    }
    let reason = match status.strip_prefix(b"SIP/2.0 ") {
        Some([b'1', b'0'..=b'9', b'0'..=b'9', ..]) => return None,
        Some(_) => Reason::Status,
        None => Reason::Protocol,
    };
    Some(Err(Failure::new(Phase::Receive, reason, format!("OPTIONS: {}", shown(status)))))
}

fn endless() -> Failure {
    Failure::new(Phase::Receive, Reason::TooLarge, "no final answer behind many provisional ones")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn only_200_ok_is_good(status in "(SIP/2.0 )?[12 ]{0,2}\\PC{0,12}", bytes in any::<Vec<u8>>()) {
            prop_assume!(!status.starts_with("SIP/2.0 200 OK"));
            prop_assert!(!matches!(verdict(status.as_bytes()), Some(Ok(_))));
            prop_assert!(!matches!(verdict(&bytes), Some(Ok(_))));
        }
    }
}
