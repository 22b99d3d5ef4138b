//! A dialogue in lines with a kind of check, and every way a server can spoil it.

use std::time::Duration;

use lvsentry::probe::{Tools, ask};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use super::probe::{Answer, LONG, SHORT, probe, target};
use super::server::{Act, Server};
use super::tls::{acceptor, authority, named, trusting};

const MIB: usize = 1 << 20;
/// The deadline where a server is silent: long enough for many handshakes at once before that.
const SILENCE: Duration = Duration::from_secs(1);

/// A kind of check in a dialogue that goes well.
#[derive(Clone, Copy)]
pub struct Dialogue {
    /// The kind.
    pub kind: &'static str,
    /// Its options.
    pub options: &'static [(&'static str, &'static str)],
    /// What the server says first, line ends included.
    pub greeting: &'static str,
    /// What the kind says, without the line end, and what the server answers.
    pub turns: &'static [(&'static str, &'static str)],
    /// How many of the turns the verdict depends on.
    pub judged: usize,
}

/// How a server spoils its answer.
#[derive(Debug, Clone, Copy)]
enum Ill {
    Close,
    HalfLine,
    Hold,
    Drip,
    Endless,
    Flood(&'static str),
    Garbage,
}

const ILLS: [Ill; 8] = [
    Ill::Close,
    Ill::HalfLine,
    Ill::Hold,
    Ill::Drip,
    Ill::Endless,
    Ill::Flood("220-more\r\n"),
    Ill::Flood("* more\r\n"),
    Ill::Garbage,
];

impl Ill {
    fn acts(self, answer: &str) -> Vec<Act> {
        match self {
            Ill::Close => vec![],
            Ill::HalfLine => vec![Act::Send(answer.trim_end().into())],
            Ill::Hold => vec![Act::Hold],
            Ill::Drip => vec![Act::Drip(answer.into(), SILENCE / 3), Act::Hold],
            Ill::Endless => {
                vec![Act::Flood(answer.replace(['\r', '\n'], " ").repeat(1000).into_bytes(), 100 * MIB)]
            }
            Ill::Flood(line) => vec![Act::Flood(line.repeat(1000).into_bytes(), 100 * MIB)],
            Ill::Garbage => vec![Act::Send(b"\x16\x03\x01\x00\xff\n\0\0\n\n".to_vec()), Act::Hold],
        }
    }

    fn limit(self) -> Duration {
        if matches!(self, Ill::Hold | Ill::Drip) { SILENCE } else { LONG }
    }

    /// The codes that a failure may have.
    fn codes(self) -> &'static [&'static str] {
        match self {
            // When the end is seen depends on what was on its way.
            Ill::Close => &["receive-closed", "receive-reset", "send-reset"],
            Ill::HalfLine => &["receive-closed"],
            Ill::Hold | Ill::Drip => &["receive-timeout"],
            Ill::Endless => &["receive-too-large"],
            Ill::Flood(_) => &["receive-too-large", "receive-protocol"],
            Ill::Garbage => &["receive-protocol"],
        }
    }
}

impl Dialogue {
    /// The server's script when all goes well.
    pub fn acts(&self) -> Vec<Act> {
        self.script(None)
    }

    /// The server's script; with a replacement for the answer to a turn (0: the greeting), the server
    /// closes behind that.
    fn script(&self, replace: Option<(usize, Vec<Act>)>) -> Vec<Act> {
        let mut acts = Vec::new();
        let answers = std::iter::once(self.greeting).chain(self.turns.iter().map(|(_, answer)| *answer));
        for (turn, answer) in answers.enumerate() {
            if turn > 0 {
                acts.push(Act::Line);
            }
            match &replace {
                Some((at, spoilt)) if *at == turn => {
                    acts.extend(spoilt.iter().cloned());
                    break;
                }
                _ => acts.push(Act::Send(answer.into())),
            }
        }
        acts
    }

    /// Asks a server with this script; returns what the kind said too.
    async fn ask(&self, at: &str, tls: Tls, script: Vec<Act>, limit: Duration) -> (Answer, Vec<String>) {
        let server = Server::listening(at, script, tls.acceptor).await;
        let question = probe(self.kind, &target(server.at), self.options);
        let outcome = ask(&*question, limit, &tls.tools).await;
        assert!(outcome.took < limit + Duration::from_secs(5), "{}: took {:?}", self.kind, outcome.took);
        // What the kernel's buffers took comes on top of the limit.
        assert!(server.sent() < 16 * MIB, "{}: the server could send {} bytes", self.kind, server.sent());
        (outcome.into_result(), server.requests())
    }

    /// Asserts that all goes well over IPv4 and IPv6, byte for byte, and returns the description.
    pub async fn goes_well(&self) -> String {
        self.goes_well_at("127.0.0.1:0").await;
        self.goes_well_at("[::1]:0").await
    }

    /// The same at an address.
    pub async fn goes_well_at(&self, at: &str) -> String {
        let (answer, said) = self.ask(at, self.tls(), self.acts(), LONG).await;
        let seen = answer.unwrap();
        let wanted: Vec<_> = self.turns.iter().map(|(line, _)| format!("{line}\r\n")).collect();
        assert_eq!(said, wanted, "{} at {at}", self.kind);
        seen
    }

    /// The failure when the answer to one turn (0: the greeting) is another one and the server closes
    /// after it; none of the options' values may be in it, save the login.
    pub async fn answered(&self, turn: usize, answer: &str) -> String {
        let script = self.script(Some((turn, vec![Act::Send(answer.into())])));
        let (answer, _) = self.ask("127.0.0.1:0", self.tls(), script, LONG).await;
        let failure = answer.unwrap_err();
        if let Some((_, passwd)) = self.options.iter().find(|(name, _)| *name == "passwd") {
            assert!(!failure.detail.contains(passwd), "the password is told: {failure}");
        }
        failure.to_string()
    }

    /// Asserts that each turn spoilt in each way is a failure of the right kind, in bounded time and
    /// memory; and that after the verdict nothing matters any more.
    pub async fn survives_ill_servers(&self) {
        let mut cases = JoinSet::new();
        for turn in 0..=self.turns.len() {
            for ill in ILLS {
                let (dialogue, tls) = (*self, self.tls());
                let answer = match turn {
                    0 => self.greeting,
                    turn => self.turns[turn - 1].1,
                };
                let script = self.script(Some((turn, ill.acts(answer))));
                let limit = if turn > self.judged { SILENCE * 5 } else { ill.limit() };
                cases.spawn(
                    async move { (turn, ill, dialogue.ask("127.0.0.1:0", tls, script, limit).await.0) },
                );
            }
        }
        for (turn, ill, answer) in cases.join_all().await {
            let what = format!("{} turn {turn} {ill:?}: {answer:?}", self.kind);
            match answer {
                // One line of a flood can be a good greeting.
                Ok(_) => assert!(
                    turn > self.judged || (self.kind == "nntp" && matches!(ill, Ill::Flood(_))),
                    "{what}"
                ),
                Err(failure) => {
                    assert!(turn <= self.judged && ill.codes().contains(&&*failure.code()), "{what}");
                }
            }
        }
    }

    /// A server's side of TLS and tools that trust it, for a kind that speaks TLS.
    fn tls(&self) -> Tls {
        if !self.kind.ends_with('s') {
            return Tls { tools: Tools::new(), acceptor: None };
        }
        let authority = authority();
        let (acceptor, _) = acceptor(Some(&authority), |_| {}, rustls::ALL_VERSIONS);
        Tls { tools: trusting(&authority), acceptor: Some(acceptor) }
    }

    /// Asserts which certificates will do, what name is asked for, and that a server without TLS is
    /// down.
    pub async fn checks_certificates(&self) {
        let authority = authority();
        let with = |more: &[(&'static str, &'static str)]| [self.options, more].concat();
        let expired =
            |params: &mut rcgen::CertificateParams| params.not_after = rcgen::date_time_ymd(2020, 1, 1);
        let versions = rustls::ALL_VERSIONS;
        let trusted = || acceptor(Some(&authority), |_| {}, versions);
        let stranger = named("A stranger");
        for ((tls, names), more, wanted, asked) in [
            (trusted(), &[][..], "good", None),
            (trusted(), &[("virtualhost", "mail.example.org")], "good", Some("mail.example.org")),
            (
                trusted(),
                &[("verify", "name"), ("virtualhost", "mail.example.org")],
                "tls-certificate",
                Some("mail.example.org"),
            ),
            (
                trusted(),
                &[("verify", "name"), ("virtualhost", "another.example.org:1")],
                "good",
                Some("another.example.org"),
            ),
            (acceptor(None, |_| {}, versions), &[], "tls-certificate", None),
            (acceptor(None, |_| {}, versions), &[("verify", "chain")], "tls-certificate", None),
            (acceptor(None, |_| {}, versions), &[("verify", "nothing")], "good", None),
            (acceptor(Some(&stranger), |_| {}, versions), &[], "tls-certificate", None),
            (acceptor(Some(&authority), expired, versions), &[], "tls-certificate", None),
            (acceptor(Some(&authority), expired, versions), &[("verify", "nothing")], "good", None),
        ] {
            let server = Server::listening("127.0.0.1:0", self.acts(), Some(tls)).await;
            let question = probe(self.kind, &target(server.at), &with(more));
            let answer = ask(&*question, LONG, &trusting(&authority)).await.into_result();
            let code = answer.map_or_else(|failure| failure.code(), |_| "good".to_owned());
            assert_eq!(code, wanted, "{} {more:?}", self.kind);
            assert_eq!(*names.seen.lock().unwrap(), [asked.map(str::to_owned)], "{} {more:?}", self.kind);
        }
        for (script, wanted) in [
            (self.acts(), "tls-protocol"),
            (vec![Act::Flood(vec![0; 1000], usize::MAX)], "tls-protocol"),
            (vec![Act::Send(b"\x16\x03\x03\x40\x00garbage".to_vec())], "tls-closed"),
            (vec![Act::Reset], "tls-reset"),
            (vec![Act::Hold], "tls-timeout"),
        ] {
            let server = Server::start(script.clone()).await;
            let question = probe(self.kind, &target(server.at), self.options);
            let limit = if wanted == "tls-timeout" { SHORT } else { LONG };
            let failure = ask(&*question, limit, &trusting(&authority)).await.into_result().unwrap_err();
            assert_eq!(failure.code(), wanted, "{} {script:?}", self.kind);
        }
    }
}

struct Tls {
    tools: Tools,
    acceptor: Option<TlsAcceptor>,
}
