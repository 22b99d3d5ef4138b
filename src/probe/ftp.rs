//! `ftp`: a file server greets and lets the login in; with `receive`, a file's content matches (RFC 959).
//!
//! Without `receive` nothing is fetched. The data connection is passive; where the server refuses that, or
//! its port can not be reached within a third of the timeout, it is active, as ldirectord's is. Either way it
//! joins the two addresses of the control connection: what address the server names does not matter, so that
//! no server can send a check elsewhere, and a stranger's connection is turned away.

use std::net::{IpAddr, SocketAddr};
use std::pin::{Pin, pin};
use std::sync::Arc;

use tokio::io::AsyncReadExt;
use tokio::net::{TcpListener, TcpStream};

use super::dialogue::{Dialogue, Limits, Reply, shown};
use super::login::{Login, in_line};
use super::options::Options;
use super::receive::Receive;
use super::{Asking, Call, Check, Kind, Probe, Target, dial};
use crate::outcome::{Failure, Phase};
use crate::span::Fault;

/// The kind.
pub static KIND: Kind = Kind {
    name: "ftp",
    doc: "an FTP server accepts the login and, if there is a receive, a file matches",
    port: Some(21),
    options: &["request", "receive", "login", "passwd"],
    make,
};

/// As much of a file as is read, in bytes.
pub const FILE: usize = 1 << 20;

#[derive(Debug)]
struct Ftp {
    to: SocketAddr,
    login: Login,
    /// With a leading `/`.
    path: Vec<u8>,
    receive: Receive,
}

fn make(target: &Target, options: &mut Options) -> Result<Check, Fault> {
    let mut login = Login::take(options)?;
    if login.name.is_empty() {
        login.name = b"anonymous".to_vec();
    }
    let mut path = in_line(options, "request")?;
    if !path.starts_with(b"/") {
        path.insert(0, b'/');
    }
    Ok(Check::Ask(Arc::new(Ftp { to: target.check, login, path, receive: Receive::take(options)? })))
}

impl Probe for Ftp {
    fn ask<'a>(&'a self, call: &'a Call) -> Asking<'a> {
        Box::pin(self.talk(call))
    }

    fn peer(&self) -> Option<IpAddr> {
        Some(self.to.ip())
    }

    fn identity(&self) -> String {
        let Ftp { to, login, path, receive } = self;
        format!("ftp {to} {login:?} \"{}\" \"{}\"", path.escape_ascii(), receive.text().escape_ascii())
    }
}

/// The data connection, or what becomes one.
enum Data {
    Passive(TcpStream),
    Active(TcpListener),
}

impl Ftp {
    async fn talk(&self, call: &Call) -> Result<String, Failure> {
        call.enter(Phase::Connect);
        let stream = dial::tcp(self.to).await?;
        let own = stream.local_addr().map_err(|error| dial::fault(Phase::Connect, self.to, &error))?;
        let mut server = Dialogue::over(Box::new(stream), self.to, Limits::TALK, call);
        let greeting = self.log_in(&mut server).await?;
        if !self.receive.is_empty() {
            // Refusals of these two do not matter while the file can be had.
            for command in ["CWD /", "TYPE I"] {
                server.say(command).await?;
                server.reply(command).await?;
            }
            let data = match self.passive(&mut server, call).await? {
                Some(stream) => Data::Passive(stream),
                None => Data::Active(self.active(&mut server, own).await?),
            };
            self.fetch(&mut server, data, call).await?;
        }
        server.leave(&["QUIT"]).await;
        Ok(shown(&greeting.line))
    }

    async fn log_in(&self, server: &mut Dialogue<'_>) -> Result<Reply, Failure> {
        let mut greeting = server.reply("greeting").await?;
        // "Ready in nnn minutes": the deadline says how long that may take.
        while greeting.is_preliminary() {
            greeting = server.reply("greeting").await?;
        }
        if !greeting.is_good() {
            return Err(server.bad("greeting", &greeting));
        }
        server.say([b"USER ", &self.login.name[..]].concat()).await?;
        let user = server.reply("USER").await?;
        if user.code == 331 {
            let pass = [b"PASS ", &self.login.passwd[..]].concat();
            if self.login.passwd.is_empty() { server.say(pass).await } else { server.confide(pass).await }?;
            server.good("PASS").await?;
        } else if !user.is_good() {
            return Err(server.bad("USER", &user));
        }
        Ok(greeting)
    }

    /// Connects to a port that the server opens; none where that does not work.
    async fn passive(&self, server: &mut Dialogue<'_>, call: &Call) -> Result<Option<TcpStream>, Failure> {
        let is_v4 = self.to.is_ipv4();
        let command = if is_v4 { "PASV" } else { "EPSV" };
        server.say(command).await?;
        let reply = server.reply(command).await?;
        let port = if is_v4 { pasv_port(&reply.line) } else { epsv_port(&reply.line) };
        let Some(port) = port.filter(|_| reply.is_good()) else { return Ok(None) };
        let mut to = self.to;
        to.set_port(port);
        call.enter(Phase::Connect);
        let connected = tokio::time::timeout(call.timeout() / 3, dial::tcp(to)).await;
        Ok(connected.ok().and_then(Result::ok))
    }

    /// Opens a port of ours and tells the server.
    async fn active(&self, server: &mut Dialogue<'_>, mut own: SocketAddr) -> Result<TcpListener, Failure> {
        let local = |error| dial::fault(Phase::Connect, "port for data", &error);
        own.set_port(0);
        let listener = TcpListener::bind(own).await.map_err(local)?;
        let own = listener.local_addr().map_err(local)?;
        let command = invitation(own);
        server.say(&command).await?;
        server.good(command.split(' ').next().unwrap_or_default()).await?;
        Ok(listener)
    }

    async fn fetch(&self, server: &mut Dialogue<'_>, data: Data, call: &Call) -> Result<(), Failure> {
        server.say([b"RETR ", &self.path[..]].concat()).await?;
        let first = server.reply("RETR").await?;
        if !first.is_preliminary() && !first.is_good() {
            return Err(server.bad("RETR", &first));
        }
        let mut end =
            pin!(async { if first.is_preliminary() { server.good("RETR").await.map(drop) } else { Ok(()) } });
        let (stream, ended) = match data {
            Data::Passive(stream) => (stream, false),
            Data::Active(listener) => self.joined(&listener, end.as_mut()).await?,
        };
        call.enter(Phase::Receive);
        let (content, whole) = self.read(stream).await?;
        // What may have been cut short counts only when the server says that it was all.
        if whole && !ended {
            end.await?;
        }
        self.receive.search(content, "the file", whole, call).await
    }

    /// Waits for the server's connection and hears what it says meanwhile: that it can not make one, or that
    /// it has sent all. Says whether that `end` has come.
    async fn joined(
        &self,
        listener: &TcpListener,
        end: Pin<&mut impl Future<Output = Result<(), Failure>>>,
    ) -> Result<(TcpStream, bool), Failure> {
        let mut connection = pin!(self.accept(listener));
        tokio::select! {
            biased;
            stream = &mut connection => return Ok((stream?, false)),
            said = end => said?,
        }
        Ok((connection.await?, true))
    }

    /// The connection that the server makes; others' are dropped.
    async fn accept(&self, listener: &TcpListener) -> Result<TcpStream, Failure> {
        loop {
            let (stream, peer) = listener.accept().await.map_err(|error| self.torn(&error))?;
            if peer.ip() == self.to.ip() {
                return Ok(stream);
            }
        }
    }

    /// Reads to the end, or as much as is read; says whether it is all.
    async fn read(&self, stream: TcpStream) -> Result<(Vec<u8>, bool), Failure> {
        let mut content = Vec::new();
        let mut stream = stream.take(FILE as u64 + 1);
        stream.read_to_end(&mut content).await.map_err(|error| self.torn(&error))?;
        let whole = content.len() <= FILE;
        content.truncate(FILE);
        Ok((content, whole))
    }

    fn torn(&self, error: &std::io::Error) -> Failure {
        dial::fault(Phase::Receive, format_args!("{}, data connection", self.to), error)
    }
}

/// The command that names a port of ours (RFC 959 section 4.1.2, RFC 2428 section 2).
fn invitation(own: SocketAddr) -> String {
    let port = own.port();
    match own {
        SocketAddr::V4(own) => {
            let [a, b, c, d] = own.ip().octets();
            format!("PORT {a},{b},{c},{d},{},{}", port >> 8, port & 0xff)
        }
        SocketAddr::V6(own) => format!("EPRT |2|{}|{port}|", own.ip()),
    }
}

/// The port in an answer to PASV: the last two of six numbers, which may stand without parentheses
/// (RFC 1123 section 4.1.2.6).
fn pasv_port(line: &[u8]) -> Option<u16> {
    let text = std::str::from_utf8(line.get(3..)?).ok()?;
    let numbers = text.split(|c: char| !c.is_ascii_digit() && c != ',').find(|part| part.contains(','))?;
    let numbers: Vec<u8> = numbers.split(',').map(str::parse).collect::<Result<_, _>>().ok()?;
    let &[_, _, _, _, high, low] = numbers.as_slice() else { return None };
    Some(u16::from(high) << 8 | u16::from(low)).filter(|&port| port != 0)
}

/// The port in an answer to EPSV, `(|||PORT|)` (RFC 2428 section 3).
fn epsv_port(line: &[u8]) -> Option<u16> {
    let text = std::str::from_utf8(line).ok()?;
    let (inner, _) = text.split_once('(')?.1.split_once(')')?;
    let bar = inner.chars().next()?;
    let mut fields = inner.split(bar);
    let port = fields.by_ref().nth(3)?.parse().ok()?;
    (fields.next() == Some("") && port != 0).then_some(port)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn no_line_is_too_odd_for_a_port(line in "(22[79] )?[(|=a]{0,5}[0-9,|!]{0,30}[)|]?\\PC{0,3}", cut in 0usize..40) {
            let line = &line.as_bytes()[..cut.min(line.len())];
            prop_assert!(pasv_port(line) != Some(0) && epsv_port(line) != Some(0));
        }
    }

    #[test]
    fn the_port_of_a_passive_answer_is_found_in_all_its_shapes() {
        for (line, wanted) in [
            ("227 Entering Passive Mode (10,0,0,1,200,21).", Some(200 * 256 + 21)),
            ("227 =10,0,0,1,0,21", Some(21)),
            ("227 Entering Passive Mode 10,0,0,1,1,0", Some(256)),
            ("227 (10,0,0,1,256,1)", None),
            ("227 (10,0,0,1,0,0)", None),
            ("227 (10,0,0,1,1)", None),
            ("227 (1,2,3,4,5,6,7)", None),
            ("227 no", None),
            ("22", None),
        ] {
            assert_eq!(pasv_port(line.as_bytes()), wanted, "{line}");
        }
        for (line, wanted) in [
            ("229 Entering Extended Passive Mode (|||6446|)", Some(6446)),
            ("229 (!!!21!)", Some(21)),
            ("229 (|||0|)", None),
            ("229 (|||65536|)", None),
            ("229 (|||1)", None),
            ("229 (||1|)", None),
            ("229 ()", None),
            ("229 none", None),
        ] {
            assert_eq!(epsv_port(line.as_bytes()), wanted, "{line}");
        }
    }

    #[test]
    fn a_port_of_ours_is_told_in_the_way_of_its_family() {
        assert_eq!(invitation("10.1.2.3:258".parse().unwrap()), "PORT 10,1,2,3,1,2");
        assert_eq!(invitation("[2001:db8::1]:258".parse().unwrap()), "EPRT |2|2001:db8::1|258|");
    }
}
