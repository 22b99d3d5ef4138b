//! Connecting, in the clear or over TLS; what an error of a socket means; and the stopwatch.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use nix::errno::Errno;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpSocket, TcpStream, UdpSocket};
use tokio::time::Instant;

use super::Call;
use super::lenient::Lenient;
use super::tls::Manner;
use crate::outcome::{Failure, Illness, Phase, Reason};

/// A connection, in the clear or not.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// Connects over TCP and, where a manner is given, shakes hands over TLS.
pub async fn open(to: SocketAddr, tls: Option<&Manner>, call: &Call) -> Result<Box<dyn Stream>, Failure> {
    call.enter(Phase::Connect);
    let stream = tcp(to).await?;
    match tls {
        Some(manner) => secure(stream, to, manner, call).await,
        None => Ok(Box::new(stream)),
    }
}

/// Shakes hands over TLS with the server `to`, which is at the other end of the stream.
pub async fn secure(
    stream: TcpStream,
    to: SocketAddr,
    manner: &Manner,
    call: &Call,
) -> Result<Box<dyn Stream>, Failure> {
    call.enter(Phase::Tls);
    let stream = call.tools().trust.connect(stream, to, manner).await?;
    Ok(Box::new(Lenient(stream)))
}

/// Measures how long an exchange takes: the one clock read outside the daemon.
#[derive(Debug, Clone, Copy)]
pub struct Stopwatch(Instant);

impl Stopwatch {
    /// Starts one.
    pub fn start() -> Stopwatch {
        #[allow(clippy::disallowed_methods)] // the one clock outside of daemon
        Stopwatch(Instant::now())
    }

    /// The time since its start.
    pub fn read(&self) -> Duration {
        self.0.elapsed()
    }

    /// The moment when it shows that time.
    pub fn at(&self, time: Duration) -> Instant {
        self.0 + time
    }
}

/// Connects over TCP, to talk. The caller has entered [`Phase::Connect`].
pub async fn tcp(to: SocketAddr) -> Result<TcpStream, Failure> {
    // With Nagle's algorithm a TLS 1.2 handshake waits 40 ms for a delayed acknowledgement.
    connect(to, |socket| socket.set_nodelay(true)).await
}

/// Connects over TCP, to send one message at most: nothing that could wait for an acknowledgement. The
/// caller has entered [`Phase::Connect`].
pub async fn brief(to: SocketAddr) -> Result<TcpStream, Failure> {
    connect(to, |_| Ok(())).await
}

async fn connect(
    to: SocketAddr,
    prepare: impl FnOnce(&TcpSocket) -> io::Result<()>,
) -> Result<TcpStream, Failure> {
    let connected = async {
        let socket = if to.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
        prepare(&socket)?;
        socket.connect(to).await
    };
    connected.await.map_err(|error| fault(Phase::Connect, to, &error))
}

/// A UDP socket for one peer: it hears of nobody else, and of ICMP errors (RFC 1122 section 4.1.3.3).
/// The caller has entered [`Phase::Connect`].
pub async fn udp(to: SocketAddr) -> Result<UdpSocket, Failure> {
    let own = if to.is_ipv4() { IpAddr::from(Ipv4Addr::UNSPECIFIED) } else { Ipv6Addr::UNSPECIFIED.into() };
    let connected = async {
        let socket = UdpSocket::bind((own, 0)).await?;
        socket.connect(to).await?;
        Ok(socket)
    };
    connected.await.map_err(|error| fault(Phase::Connect, to, &error))
}

/// What an error of the system means for the check of `whom`.
pub fn fault(phase: Phase, whom: impl std::fmt::Display, error: &io::Error) -> Failure {
    let what = match error.raw_os_error() {
        Some(number) => Errno::from_raw(number).desc().to_lowercase(),
        None => error.to_string(),
    };
    Failure::new(phase, reason(error), format!("{whom}: {what}")).blaming(illness(phase, error))
}

/// What an error says against this host: none but it can run out of these.
fn illness(phase: Phase, error: &io::Error) -> Option<Illness> {
    match Errno::from_raw(error.raw_os_error()?) {
        Errno::EMFILE | Errno::ENFILE => Some(Illness::Descriptors),
        Errno::ENOBUFS | Errno::ENOMEM => Some(Illness::Buffers),
        // What connect(2) and bind(2) say when no port is free: for TCP, for UDP, for UDP that is bound first.
        Errno::EADDRNOTAVAIL | Errno::EAGAIN | Errno::EADDRINUSE if phase == Phase::Connect => {
            Some(Illness::Ports)
        }
        _ => None,
    }
}

fn reason(error: &io::Error) -> Reason {
    match error.raw_os_error().map(Errno::from_raw) {
        Some(Errno::ECONNREFUSED) => Reason::Refused,
        Some(Errno::EHOSTUNREACH | Errno::ENETUNREACH | Errno::EHOSTDOWN | Errno::ENETDOWN) => {
            Reason::Unreachable
        }
        Some(Errno::ECONNRESET | Errno::ECONNABORTED | Errno::EPIPE) => Reason::Reset,
        Some(Errno::ETIMEDOUT) => Reason::Timeout,
        Some(
            Errno::EMFILE
            | Errno::ENFILE
            | Errno::EADDRNOTAVAIL
            | Errno::EADDRINUSE
            | Errno::EAGAIN
            | Errno::ENOBUFS
            | Errno::ENOMEM
            | Errno::EPERM
            | Errno::EACCES
            | Errno::EAFNOSUPPORT,
        ) => Reason::Local,
        Some(_) => Reason::Other,
        None if error.kind() == io::ErrorKind::UnexpectedEof => Reason::Closed,
        None => Reason::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_of_this_host_is_told_apart_from_one_of_the_server() {
        for (errno, reason) in [
            (Errno::ECONNREFUSED, Reason::Refused),
            (Errno::EHOSTUNREACH, Reason::Unreachable),
            (Errno::ENETUNREACH, Reason::Unreachable),
            (Errno::ECONNRESET, Reason::Reset),
            (Errno::EMFILE, Reason::Local),
            (Errno::EADDRNOTAVAIL, Reason::Local),
            (Errno::ENOBUFS, Reason::Local),
            (Errno::EPERM, Reason::Local),
            (Errno::EIO, Reason::Other),
        ] {
            let error = io::Error::from_raw_os_error(errno as i32);
            assert_eq!(fault(Phase::Connect, "10.0.0.1:80", &error).reason, reason, "{errno}");
        }
    }

    #[test]
    fn what_this_host_ran_out_of_is_evidence_and_what_a_server_says_is_not() {
        for (errno, phase, evidence) in [
            (Errno::EMFILE, Phase::Connect, Some(Illness::Descriptors)),
            (Errno::ENFILE, Phase::Run, Some(Illness::Descriptors)),
            (Errno::EADDRNOTAVAIL, Phase::Connect, Some(Illness::Ports)),
            (Errno::EADDRINUSE, Phase::Connect, Some(Illness::Ports)),
            (Errno::EAGAIN, Phase::Connect, Some(Illness::Ports)),
            (Errno::EAGAIN, Phase::Run, None),
            (Errno::ENOBUFS, Phase::Send, Some(Illness::Buffers)),
            (Errno::ENOMEM, Phase::Receive, Some(Illness::Buffers)),
            (Errno::ECONNREFUSED, Phase::Connect, None),
            (Errno::ECONNRESET, Phase::Receive, None),
            // A router far away can say these two as well: the way is looked at.
            (Errno::ENETUNREACH, Phase::Connect, None),
            (Errno::EHOSTUNREACH, Phase::Connect, None),
            (Errno::EPERM, Phase::Connect, None),
        ] {
            let error = io::Error::from_raw_os_error(errno as i32);
            assert_eq!(fault(phase, "10.0.0.1:80", &error).illness, evidence, "{errno}");
        }
        assert_eq!(fault(Phase::Receive, "x", &io::ErrorKind::UnexpectedEof.into()).illness, None);
    }

    #[test]
    fn a_fault_says_whom_it_is_about_in_lower_case() {
        let error = io::Error::from_raw_os_error(Errno::ECONNREFUSED as i32);
        let failure = fault(Phase::Connect, "10.0.0.1:80", &error);
        assert_eq!(failure.to_string(), "connect-refused: 10.0.0.1:80: connection refused");
    }
}
