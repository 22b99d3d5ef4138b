//! Hands a mail to a mail server: RFC 5321, without TLS and without logging in, as ldirectord does.
//! A recipient that the server refuses takes the mail from no other.

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use lettre::transport::smtp::Error;
use lettre::transport::smtp::client::{AsyncSmtpConnection, AsyncTokioStream};
use lettre::transport::smtp::commands::Data;
use lettre::transport::smtp::extension::ClientId;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use super::lane::Trouble;
use super::letter::{Letter, Us};
use super::one_line;

/// The port of mail servers.
const PORT: u16 = 25;

/// Most that a server may say about one mail, in bytes.
const SAID: usize = 64 << 10;

/// How long the goodbye may take: the mail is through by then.
const GOODBYE: Duration = Duration::from_secs(1);

/// A mail server.
#[derive(Debug)]
pub(super) struct Smtp {
    host: String,
    port: u16,
    /// Time for one step of the dialogue.
    step: Duration,
}

impl Smtp {
    /// The server of that name or address, with a port or without: `mail.example.org`,
    /// `192.0.2.1:2525`, `2001:db8::1`, `[2001:db8::1]:25`.
    pub(super) fn new(server: &str, step: Duration) -> Smtp {
        let (host, port) = split(server.trim());
        Smtp { host, port, step }
    }

    /// What logs call it.
    pub(super) fn name(&self) -> String {
        let host = if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() };
        if self.port == PORT { host } else { format!("{host}:{}", self.port) }
    }

    /// Sends a mail to those that it has not reached yet.
    pub(super) async fn send(&self, letter: &mut Letter, us: &Us) -> Result<(), Trouble> {
        if letter.to.is_empty() {
            return Err(Trouble::lasting("there is no recipient: emailalert holds no address"));
        }
        let mut dialogue = self.open(us).await?;
        let from = format!("MAIL FROM:<{}@{}>\r\n", us.user, us.host);
        self.step("MAIL", dialogue.command(from)).await?;
        let (mut taken, mut refused) = (Vec::new(), Vec::new());
        for to in &letter.to {
            match self.recipient(&mut dialogue, to).await {
                Ok(()) => taken.push(to.clone()),
                Err((trouble, true)) => refused.push(trouble),
                Err((trouble, false)) => return Err(trouble),
            }
        }
        if !taken.is_empty() {
            self.step("DATA", dialogue.command(Data)).await?;
            self.step("the mail", dialogue.message(&letter.text)).await?;
            letter.to.retain(|to| !taken.contains(to));
        }
        let _ = tokio::time::timeout(GOODBYE, dialogue.quit()).await;
        if refused.is_empty() {
            return Ok(());
        }
        let passing = refused.iter().any(|trouble| trouble.passing);
        let why = refused.into_iter().map(|trouble| trouble.why).collect::<Vec<_>>().join("; ");
        Err(Trouble { why, passing })
    }

    async fn open(&self, us: &Us) -> Result<AsyncSmtpConnection, Trouble> {
        let connecting = TcpStream::connect((self.host.as_str(), self.port));
        let stream = match tokio::time::timeout(self.step, connecting).await {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => return Err(Trouble::passing(format!("cannot connect: {error}"))),
            Err(_) => return Err(self.late("connection")),
        };
        // The mail goes out in several writes: none is to wait for an acknowledgement of the last.
        stream.set_nodelay(true).map_err(|error| Trouble::passing(error.to_string()))?;
        let stream = Box::new(Bounded { stream, left: SAID });
        let name = ClientId::Domain(us.host.clone());
        self.step("greeting and EHLO", AsyncSmtpConnection::connect_with_transport(stream, &name)).await
    }

    /// Names a recipient. A failure comes with whether the dialogue can go on.
    async fn recipient(&self, dialogue: &mut AsyncSmtpConnection, to: &str) -> Result<(), (Trouble, bool)> {
        if !to.bytes().all(|b| b.is_ascii_graphic() && !b"<>".contains(&b)) {
            let why = format!("'{}' is no address that this can be sent to", one_line(to));
            return Err((Trouble::lasting(why), true));
        }
        let command = dialogue.command(format!("RCPT TO:<{to}>\r\n"));
        match tokio::time::timeout(self.step, command).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => {
                let refused = error.status().is_some();
                Err((trouble(&format!("recipient {to}"), &error), refused))
            }
            Err(_) => Err((self.late("recipient"), false)),
        }
    }

    async fn step<T>(&self, what: &str, doing: impl Future<Output = Result<T, Error>>) -> Result<T, Trouble> {
        match tokio::time::timeout(self.step, doing).await {
            Ok(result) => result.map_err(|error| trouble(what, &error)),
            Err(_) => Err(self.late(what)),
        }
    }

    fn late(&self, what: &str) -> Trouble {
        Trouble::passing(format!("{what}: no answer within {} s", self.step.as_secs_f64()))
    }
}

/// What an error of the dialogue means. What the server says for good (5yz) lasts.
fn trouble(what: &str, error: &Error) -> Trouble {
    let said = one_line(&error.to_string());
    Trouble { why: format!("{what}: {said}"), passing: !error.is_permanent() }
}

fn split(server: &str) -> (String, u16) {
    let bare = server.trim_start_matches('[').trim_end_matches(']');
    if let Ok(ip) = bare.parse::<IpAddr>() {
        return (ip.to_string(), PORT);
    }
    if let Ok(at) = server.parse::<SocketAddr>() {
        return (at.ip().to_string(), at.port());
    }
    let parts = server.rsplit_once(':').and_then(|(host, port)| Some((host, port.parse().ok()?)));
    parts.map_or_else(|| (server.to_owned(), PORT), |(host, port)| (host.to_owned(), port))
}

/// A connection over which only so much may come in: the library reads lines of any length.
struct Bounded {
    stream: TcpStream,
    left: usize,
}

impl fmt::Debug for Bounded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.stream.fmt(f)
    }
}

impl AsyncTokioStream for Bounded {
    fn peer_addr(&self) -> io::Result<SocketAddr> {
        self.stream.peer_addr()
    }
}

impl AsyncRead for Bounded {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.left == 0 {
            return Poll::Ready(Err(io::Error::other("the server says too much")));
        }
        let before = buffer.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(cx, buffer);
        self.left = self.left.saturating_sub(buffer.filled().len() - before);
        polled
    }
}

impl AsyncWrite for Bounded {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_may_be_named_with_a_port_or_without() {
        let name = |server| Smtp::new(server, GOODBYE).name();
        let at = |server| {
            let smtp = Smtp::new(server, GOODBYE);
            (smtp.host, smtp.port)
        };
        assert_eq!(at("mail.example.org"), ("mail.example.org".into(), 25));
        assert_eq!(at("mail:2525"), ("mail".into(), 2525));
        assert_eq!(at("192.0.2.1"), ("192.0.2.1".into(), 25));
        assert_eq!(at("192.0.2.1:26"), ("192.0.2.1".into(), 26));
        for v6 in ["2001:db8::1", "[2001:db8::1]", "[2001:db8::1]:25"] {
            assert_eq!(at(v6), ("2001:db8::1".into(), 25));
        }
        assert_eq!(name("[2001:db8::1]:26"), "[2001:db8::1]:26");
        assert_eq!(name("mail.example.org"), "mail.example.org");
    }
}
