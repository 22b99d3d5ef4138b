//! A hostile server over TCP, with TLS or without.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use super::cases::{Case, Scene, WELL};
use super::dice::Dice;
use super::plan::{Ill, Plan, Shake, Then};

/// As much as an endless answer has, in bytes: more than any check reads.
pub const ENDLESS: usize = 2 << 20;

/// A hostile server.
#[derive(Clone)]
pub struct Server {
    pub case: &'static Case,
    pub plan: Plan,
    pub tls: TlsAcceptor,
    pub at: SocketAddr,
    pub data: SocketAddr,
}

impl Server {
    /// Serves each connection, and each data connection, until it is dropped.
    pub async fn serve(self, talk: TcpListener, data: TcpListener) {
        let mut tasks = JoinSet::new();
        loop {
            tokio::select! {
                Ok((stream, _)) = talk.accept() => drop(tasks.spawn(self.clone().talk(stream))),
                Ok((stream, _)) = data.accept() => drop(tasks.spawn(self.clone().file(stream))),
                Some(_) = tasks.join_next() => {}
            }
        }
    }

    async fn talk(mut self, mut stream: TcpStream) {
        let reset = self.plan.then == Then::Reset && self.plan.ill != Ill::None;
        if reset {
            // Fails when the client has gone already; and so may all below.
            let _ = socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO));
        }
        let _ = match (self.case.tls, self.plan.shake) {
            (None, _) | (_, Shake::Never) => self.turns(&mut stream, 0..usize::MAX).await,
            (Some((from, behind)), shake) => self.change(stream, from, behind, shake).await,
        };
    }

    /// Talks in the clear, and then over TLS.
    async fn change(
        &mut self,
        mut stream: TcpStream,
        from: usize,
        behind: usize,
        shake: Shake,
    ) -> io::Result<()> {
        self.turns(&mut stream, 0..from).await?;
        let mut asked = vec![0; behind];
        stream.read_exact(&mut asked).await?;
        let rate = if shake == Shake::Corrupt { 1 + self.plan.dice.below(2_000) } else { 0 };
        let corrupt = Corrupt { stream, dice: self.plan.dice.clone(), rate };
        let mut stream = self.tls.clone().accept(corrupt).await?;
        self.turns(&mut stream, from..usize::MAX).await
    }

    async fn turns(
        &mut self,
        stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
        turns: std::ops::Range<usize>,
    ) -> io::Result<()> {
        let last = turns.end == usize::MAX;
        for turn in turns {
            let mut heard = vec![0; 4096];
            let length = if turn > 0 || !self.case.greets { stream.read(&mut heard).await? } else { 0 };
            heard.truncate(length);
            let scene = Scene { heard: &heard, at: self.at, data: self.data };
            let Some(answer) = (self.case.says)(turn, &scene) else { break };
            if turn != self.plan.turn || self.plan.ill == Ill::None {
                say(stream, &answer, self.plan.drip).await?;
                continue;
            }
            self.spoil(stream, answer).await?;
            match self.plan.then {
                Then::On => {}
                Then::Hold => hear(stream).await?,
                Then::Close => return stream.shutdown().await,
                // The socket is set to reset when it is dropped.
                Then::Reset => return Ok(()),
            }
        }
        if last { hear(stream).await } else { Ok(()) }
    }

    async fn spoil(&mut self, stream: &mut (impl AsyncWrite + Unpin), answer: Vec<u8>) -> io::Result<()> {
        let bytes = self.spoilt(answer);
        if self.plan.ill != Ill::Endless {
            return say(stream, &bytes, self.plan.drip).await;
        }
        let mut left = ENDLESS;
        while left > 0 {
            stream.write_all(&bytes).await?;
            left = left.saturating_sub(bytes.len());
        }
        Ok(())
    }

    /// What is said instead of an answer.
    pub fn spoilt(&mut self, mut answer: Vec<u8>) -> Vec<u8> {
        let dice = &mut self.plan.dice;
        match self.plan.ill {
            Ill::None => answer,
            Ill::Mute => Vec::new(),
            Ill::Garbage => dice.garbage(),
            Ill::Mutated => {
                // A mutated redirect might lead out of this host.
                if !answer.starts_with(b"HTTP/1.1 302") {
                    dice.mutate(&mut answer);
                }
                answer
            }
            Ill::Endless => endless(dice, answer),
        }
    }

    async fn file(mut self, mut stream: TcpStream) {
        let text = WELL.as_bytes().to_vec();
        // Each check has one: it is spoilt where its last turn is.
        if self.plan.turn + 1 < self.case.judged {
            let _ = stream.write_all(&text).await;
            return;
        }
        let _ = self.spoil(&mut stream, text).await;
        if self.plan.then == Then::Hold {
            let _ = hear(&mut stream).await;
        }
    }
}

/// A piece of something that has no end.
fn endless(dice: &mut Dice, answer: Vec<u8>) -> Vec<u8> {
    let line = dice.one(&[
        &b"220-more\r\n"[..],
        b"* more\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: y\r\n",
        b"x: y\r\n",
        b"1\r\nx\r\n",
        b"SIP/2.0 100 Trying\r\n\r\n",
        b"\r\n",
        b"\0",
        b"x",
        b"\x30\x84\x00\x0f\xff\xff",
        b"\x30\x05\x02\x01\x02\x79\x00",
        b"\x00\x00\x00\x01",
        b"\xff\xff\xff\x01",
        b"N\x00\x00\x00\x04",
        b"R\x00\x00\x00\x08\x00\x00\x00\x03",
        b"D\x00\x0f\xff\xff",
    ]);
    let piece = if dice.percent(50) || answer.is_empty() { line } else { &answer };
    piece.repeat((16_384 / piece.len()).max(1))
}

async fn say(stream: &mut (impl AsyncWrite + Unpin), bytes: &[u8], drip: bool) -> io::Result<()> {
    if !drip {
        stream.write_all(bytes).await?;
        return stream.flush().await;
    }
    for byte in bytes {
        stream.write_all(&[*byte]).await?;
        stream.flush().await?;
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    Ok(())
}

/// Hears the client to its end.
async fn hear(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<()> {
    let mut part = [0; 1024];
    while stream.read(&mut part).await? > 0 {}
    Ok(())
}

/// A stream on which about one of `rate` bytes is changed on its way out; none where it is 0.
struct Corrupt {
    stream: TcpStream,
    dice: Dice,
    rate: usize,
}

impl AsyncRead for Corrupt {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Corrupt {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        ready!(self.stream.poll_write_ready(cx))?;
        let mut bytes = bytes.to_vec();
        let rate = self.rate;
        for byte in bytes.iter_mut().filter(|_| rate > 0) {
            if self.dice.below(rate) == 0 {
                *byte ^= 1 << self.dice.below(8);
            }
        }
        Pin::new(&mut self.stream).poll_write(cx, &bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
