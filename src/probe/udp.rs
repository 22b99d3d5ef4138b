//! Questions and answers over UDP.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::pin::pin;

use tokio::net::UdpSocket;
use tokio::time::sleep;

use super::{Call, dial};
use crate::outcome::{Failure, Phase, Reason};

/// Longest datagram that is read, in bytes; a longer one is cut.
pub(super) const DATAGRAM: usize = 4096;

/// What a datagram is to the one who asked.
pub(super) enum Heard<T> {
    /// The answer.
    Answer(T),
    /// Not the answer to our question, and what is wrong with it. We listen on: it may be a late
    /// one, or somebody else's.
    Stray(Failure),
}

/// A socket that hears `to` only, and what ICMP says of it.
pub(super) async fn socket(to: SocketAddr) -> Result<UdpSocket, Failure> {
    connected(to).await.map_err(|error| dial::fault(Phase::Connect, to, &error))
}

async fn connected(to: SocketAddr) -> io::Result<UdpSocket> {
    let any = match to {
        SocketAddr::V4(_) => SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)),
        SocketAddr::V6(_) => SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0)),
    };
    let socket = UdpSocket::bind(any).await?;
    socket.connect(to).await?;
    Ok(socket)
}

/// Sends the question, and once more at half of the timeout; waits for its answer. When only strays
/// have come, fails with the first one's fault just before the deadline, which would say less.
pub(super) async fn exchange<T>(
    to: SocketAddr,
    question: &[u8],
    call: &Call,
    mut judge: impl FnMut(&[u8]) -> Heard<T>,
) -> Result<T, Failure> {
    call.enter(Phase::Connect);
    let socket = socket(to).await?;
    let fault = |error: io::Error| dial::fault(call.phase(), to, &error);
    let mut half = pin!(sleep(call.timeout() / 2));
    let mut last = pin!(sleep(call.timeout().mul_f64(0.9)));
    let mut is_repeated = false;
    let mut stray = None;
    let mut datagram = vec![0; DATAGRAM];
    call.enter(Phase::Send);
    socket.send(question).await.map_err(fault)?;
    call.enter(Phase::Receive);
    loop {
        tokio::select! {
            length = socket.recv(&mut datagram) => match judge(&datagram[..length.map_err(fault)?]) {
                Heard::Answer(answer) => return Ok(answer),
                Heard::Stray(fault) => stray = stray.or(Some(fault)),
            },
            () = &mut half, if !is_repeated => {
                is_repeated = true;
                socket.send(question).await.map_err(fault)?;
            }
            () = &mut last, if stray.is_some() => return stray.map_or_else(silent, Err),
        }
    }
}

fn silent<T>() -> Result<T, Failure> {
    Err(Failure::new(Phase::Receive, Reason::Timeout, "no answer"))
}
