//! Messages with their lengths in front, over a connection. What is read of one exchange is bounded,
//! and no memory is set aside for bytes that did not come.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

use super::Call;
use super::dial::{self, Stream, secure};
use super::tls::Manner;
use crate::outcome::{Failure, Phase, Reason};

/// As much as is read in one exchange, in bytes.
pub const LIMIT: usize = 1 << 20;

/// A connection from which counted bytes are read, [`LIMIT`] of them in all.
pub struct Wire<'a, S = Box<dyn Stream>> {
    stream: S,
    to: SocketAddr,
    left: usize,
    call: &'a Call,
}

impl<'a> Wire<'a, TcpStream> {
    /// Connects.
    pub async fn open(to: SocketAddr, call: &'a Call) -> Result<Self, Failure> {
        call.enter(Phase::Connect);
        Ok(Wire { stream: dial::tcp(to).await?, to, left: LIMIT, call })
    }

    /// Goes on in the clear.
    pub fn plain(self) -> Wire<'a> {
        let Wire { stream, to, left, call } = self;
        Wire { stream: Box::new(BufReader::new(stream)), to, left, call }
    }

    /// Goes on over TLS.
    pub async fn secure(self, manner: &Manner) -> Result<Wire<'a>, Failure> {
        let Wire { stream, to, left, call } = self;
        let stream = secure(stream, to, manner, call).await?;
        Ok(Wire { stream: Box::new(BufReader::new(stream)), to, left, call })
    }
}

impl<S: Stream> Wire<'_, S> {
    /// Reads that many bytes.
    pub async fn read(&mut self, count: usize) -> Result<Vec<u8>, Failure> {
        self.call.enter(Phase::Receive);
        // Many messages may be at hand at once: others have their turn in between, and the deadline.
        tokio::task::consume_budget().await;
        if count > self.left {
            let detail = format!("{}: an answer of more than {LIMIT} bytes", self.to);
            return Err(Failure::new(Phase::Receive, Reason::TooLarge, detail));
        }
        self.left -= count;
        let mut bytes = Vec::new();
        let read = (&mut self.stream).take(count as u64).read_to_end(&mut bytes).await;
        read.map_err(|error| dial::fault(Phase::Receive, self.to, &error))?;
        if bytes.len() < count {
            let detail = format!("{}: closed within an answer", self.to);
            return Err(Failure::new(Phase::Receive, Reason::Closed, detail));
        }
        Ok(bytes)
    }

    /// Reads that many bytes, known when this was compiled.
    pub async fn array<const N: usize>(&mut self) -> Result<[u8; N], Failure> {
        let bytes = self.read(N).await?;
        // `read` gives as many bytes as it was asked for.
        Ok(bytes.try_into().unwrap_or([0; N]))
    }

    /// Sends bytes.
    pub async fn send(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        self.call.enter(Phase::Send);
        let fault = |error| dial::fault(Phase::Send, self.to, &error);
        self.stream.write_all(bytes).await.map_err(fault)?;
        self.stream.flush().await.map_err(fault)
    }

    /// Sends a farewell and ends the connection in order. The verdict stands: errors do not matter.
    pub async fn leave(mut self, farewell: &[u8]) {
        let _ = self.send(farewell).await;
        let _ = self.stream.shutdown().await;
    }
}

/// Reads fields off the front of a message; `None` where it is too short.
#[derive(Debug, Clone, Copy)]
pub struct Fields<'a>(pub &'a [u8]);

impl<'a> Fields<'a> {
    /// So many bytes.
    pub fn bytes(&mut self, count: usize) -> Option<&'a [u8]> {
        let (head, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(head)
    }

    /// So many bytes, known when this was compiled.
    pub fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.bytes(N)?.try_into().ok()
    }

    /// One byte.
    pub fn byte(&mut self) -> Option<u8> {
        self.array().map(|[byte]| byte)
    }

    /// A text that a NUL ends.
    pub fn text(&mut self) -> Option<&'a [u8]> {
        let end = self.0.iter().position(|&byte| byte == 0)?;
        let text = &self.0[..end];
        self.0 = &self.0[end + 1..];
        Some(text)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::future::poll_fn;
    use std::pin::pin;
    use std::time::Duration;

    use super::*;
    use crate::probe::Tools;

    #[tokio::test]
    async fn thousands_of_small_messages_leave_others_their_turn() {
        let call = Call::new(Duration::from_secs(60), &Tools::new());
        let stream = tokio::io::join(&[7; 5000][..], tokio::io::sink());
        let mut wire = Wire { stream, to: "127.0.0.1:1".parse().unwrap(), left: LIMIT, call: &call };
        let mut reading = pin!(async {
            for _ in 0..5000 {
                assert_eq!(wire.array().await.unwrap(), [7]);
            }
        });
        let mut turns = 0;
        poll_fn(|context| {
            turns += 1;
            reading.as_mut().poll(context)
        })
        .await;
        assert!(turns > 5, "5000 messages were read in {turns} turns");
    }
}
