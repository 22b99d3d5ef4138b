//! A mail server on loopback: RFC 5321 as far as a sender needs it, and every way to fail.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// Where in the dialogue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    Greeting,
    Ehlo,
    Mail,
    Recipient,
    Data,
    Text,
}

pub const STEPS: [Step; 6] =
    [Step::Greeting, Step::Ehlo, Step::Mail, Step::Recipient, Step::Data, Step::Text];

/// How the server fails there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fail {
    /// Says nothing more.
    Hang,
    /// Closes.
    Close,
    /// Answers this.
    Answer(&'static str),
    /// Sends a line without end.
    Flood,
}

/// A mail that was taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Taken {
    pub from: String,
    pub to: Vec<String>,
    /// Headers and body, dots unstuffed.
    pub text: String,
}

impl Taken {
    /// A header, unfolded.
    pub fn header(&self, name: &str) -> Option<String> {
        let (head, _) = self.text.split_once("\r\n\r\n")?;
        let head = head.replace("\r\n ", " ");
        let start = format!("{name}: ");
        head.split("\r\n").find_map(|line| line.strip_prefix(&start).map(String::from))
    }

    pub fn subject(&self) -> String {
        self.header("Subject").expect("a subject")
    }

    pub fn body(&self) -> &str {
        self.text.split_once("\r\n\r\n").expect("a body").1
    }
}

#[derive(Debug, Default)]
struct State {
    mails: Vec<Taken>,
    fail: Option<(Step, Fail)>,
    /// Up to which connection.
    failing: usize,
    refused: BTreeMap<String, &'static str>,
    connections: usize,
}

/// A running server; it ends with this.
pub struct MailServer {
    pub at: SocketAddr,
    state: Arc<Mutex<State>>,
    task: JoinHandle<()>,
}

impl Drop for MailServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl MailServer {
    pub async fn start() -> MailServer {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let at = listener.local_addr().expect("its address");
        let state = Arc::<Mutex<State>>::default();
        let shared = state.clone();
        let task = tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.expect("a connection");
                let state = shared.clone();
                let number = {
                    let mut state = state.lock().unwrap();
                    state.connections += 1;
                    state.connections
                };
                tokio::spawn(async move {
                    // The sender may leave at any time.
                    let _ = Dialogue { number, state, stream: BufReader::new(stream) }.run().await;
                });
            }
        });
        MailServer { at, state, task }
    }

    /// Fails from now on, or no more.
    pub fn fail(&self, fail: Option<(Step, Fail)>) {
        let mut state = self.state.lock().unwrap();
        (state.fail, state.failing) = (fail, usize::MAX);
    }

    /// Fails with the next connection only.
    pub fn fail_once(&self, step: Step, fail: Fail) {
        let mut state = self.state.lock().unwrap();
        (state.fail, state.failing) = (Some((step, fail)), state.connections + 1);
    }

    /// Refuses a recipient with this answer.
    pub fn refuse(&self, recipient: &str, answer: &'static str) {
        self.state.lock().unwrap().refused.insert(recipient.into(), answer);
    }

    /// Refuses nobody.
    pub fn refuse_nobody(&self) {
        self.state.lock().unwrap().refused.clear();
    }

    /// Waits until so many mails came in since the last call, and takes them. Where time is paused
    /// it stands still meanwhile.
    pub async fn take(&self, count: usize) -> Vec<Taken> {
        for _ in 0..2000 {
            if self.state.lock().unwrap().mails.len() >= count {
                break;
            }
            let moment = tokio::task::spawn_blocking(|| std::thread::sleep(Duration::from_millis(5)));
            moment.await.expect("a thread");
        }
        self.mails()
    }

    /// The mails taken since the last call.
    pub fn mails(&self) -> Vec<Taken> {
        std::mem::take(&mut self.state.lock().unwrap().mails)
    }

    /// How often it was connected to.
    pub fn connections(&self) -> usize {
        self.state.lock().unwrap().connections
    }
}

struct Dialogue {
    number: usize,
    state: Arc<Mutex<State>>,
    stream: BufReader<TcpStream>,
}

impl Dialogue {
    async fn run(mut self) -> std::io::Result<()> {
        let mut envelope: Option<(String, Vec<String>)> = None;
        let mut met = false;
        if !self.pass(Step::Greeting, "220 mail.example.org ESMTP").await? {
            return Ok(());
        }
        loop {
            let line = self.line().await?;
            let verb = line.split(' ').next().unwrap_or_default().to_ascii_uppercase();
            let argument = line[verb.len()..].trim();
            let go_on = match (&*verb, &mut envelope) {
                ("EHLO" | "HELO", _) if !argument.is_empty() => {
                    met = true;
                    envelope = None;
                    let answer = "250-mail.example.org\r\n250-SIZE 1000000\r\n250 8BITMIME";
                    self.pass(Step::Ehlo, answer).await?
                }
                ("MAIL", None) if met => {
                    envelope = path(argument, "FROM:").map(|from| (from, Vec::new()));
                    self.known(Step::Mail, envelope.is_some()).await?
                }
                ("RCPT", Some((_, to))) => self.recipient(argument, to).await?,
                ("DATA", Some((_, to))) if !to.is_empty() => {
                    if self.pass(Step::Data, "354 go on").await? && self.failing(Step::Data).is_none() {
                        let text = self.text().await?;
                        if self.failing(Step::Text).is_none() {
                            let (from, to) = envelope.take().expect("it was looked at");
                            self.state.lock().unwrap().mails.push(Taken { from, to, text });
                        }
                        self.pass(Step::Text, "250 taken").await?
                    } else {
                        true
                    }
                }
                ("RSET", _) => {
                    envelope = None;
                    self.say("250 ok").await?
                }
                ("NOOP", _) => self.say("250 ok").await?,
                ("QUIT", _) => {
                    self.say("221 bye").await?;
                    return Ok(());
                }
                ("EHLO" | "HELO" | "MAIL" | "RCPT" | "DATA", _) => self.say("503 not now").await?,
                _ => self.say("500 what").await?,
            };
            if !go_on {
                return Ok(());
            }
        }
    }

    async fn recipient(&mut self, argument: &str, to: &mut Vec<String>) -> std::io::Result<bool> {
        let one = path(argument, "TO:").filter(|one| !one.contains([',', ' ']));
        let Some(one) = one else { return self.say("501 5.1.3 that is no address").await };
        let refused = self.state.lock().unwrap().refused.get(&one).copied();
        if let Some(answer) = refused {
            return self.say(answer).await;
        }
        if self.failing(Step::Recipient).is_none() {
            to.push(one);
        }
        self.known(Step::Recipient, true).await
    }

    async fn known(&mut self, step: Step, fine: bool) -> std::io::Result<bool> {
        if fine { self.pass(step, "250 ok").await } else { self.say("501 syntax").await }
    }

    fn failing(&self, step: Step) -> Option<Fail> {
        let state = self.state.lock().unwrap();
        let fail = state.fail.filter(|(at, _)| *at == step && self.number <= state.failing);
        fail.map(|(_, fail)| fail)
    }

    /// Answers, or fails where it is to. Says whether the dialogue goes on.
    async fn pass(&mut self, step: Step, answer: &str) -> std::io::Result<bool> {
        match self.failing(step) {
            None => self.say(answer).await,
            Some(Fail::Answer(answer)) => self.say(answer).await,
            Some(Fail::Close) => Ok(false),
            Some(Fail::Hang) => std::future::pending().await,
            Some(Fail::Flood) => loop {
                self.stream.write_all(&[b'2'; 4096]).await?;
            },
        }
    }

    async fn say(&mut self, answer: &str) -> std::io::Result<bool> {
        self.stream.write_all(format!("{answer}\r\n").as_bytes()).await?;
        self.stream.flush().await?;
        Ok(true)
    }

    /// A line, which must end with CR LF and hold neither within.
    async fn line(&mut self) -> std::io::Result<String> {
        let mut line = String::new();
        if self.stream.read_line(&mut line).await? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        let bare = line.strip_suffix("\r\n").expect("a line ends with CR LF");
        assert!(!bare.contains('\r'), "a CR within {bare:?}");
        assert!(bare.len() <= 998, "a line of {} bytes", bare.len());
        Ok(bare.to_owned())
    }

    async fn text(&mut self) -> std::io::Result<String> {
        let mut text = String::new();
        loop {
            let line = self.line().await?;
            if line == "." {
                return Ok(text);
            }
            text += line.strip_prefix('.').unwrap_or(&line);
            text += "\r\n";
        }
    }
}

/// The address in `FROM:<a@b>` and whatever follows.
fn path(argument: &str, word: &str) -> Option<String> {
    let rest = argument.get(..word.len()).filter(|start| start.eq_ignore_ascii_case(word));
    let rest = rest.map(|_| &argument[word.len()..])?;
    let (path, _) = rest.trim().strip_prefix('<')?.split_once('>')?;
    Some(path.to_owned())
}
