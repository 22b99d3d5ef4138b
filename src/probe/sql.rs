//! What the checks of databases share: an account, a question, and when TLS is spoken.

use std::fmt;
use std::net::SocketAddr;

use ring::digest::{SHA256, digest};

use super::Target;
use super::options::Options;
use super::tls::{Manner, Verify};
use crate::outcome::{Failure, Phase, Reason};
use crate::span::Fault;

/// What a database check takes.
pub const OPTIONS: &[&str] = &["request", "login", "passwd", "database", "virtualhost", "verify"];

/// What is missing where login or request are, in ldirectord's words.
pub const INCOMPLETE: &str =
    "Must specify a login and request string for MySQL, Oracle and PostgreSQL checks";

/// Whom to ask, as whom, and what.
#[derive(PartialEq, Eq)]
pub struct Account {
    /// The server.
    pub to: SocketAddr,
    /// The user.
    pub login: Vec<u8>,
    /// Its password; empty for none.
    pub passwd: Vec<u8>,
    /// The database; empty for the server's standard one.
    pub database: Vec<u8>,
    /// The question, in SQL.
    pub request: Vec<u8>,
    /// How TLS is spoken.
    pub manner: Manner,
}

impl Account {
    /// Takes the options. Texts end at a NUL, as they do in the protocols.
    pub fn take(target: &Target, options: &mut Options) -> Result<Account, Fault> {
        let mut text = |name| {
            let given = options.take(name).map(|given| given.text).unwrap_or_default();
            given.split(|&byte| byte == 0).next().unwrap_or_default().to_vec()
        };
        let request = text("request");
        let request = request.strip_prefix(b"/").map(<[u8]>::to_vec).unwrap_or(request);
        let (login, passwd, database) = (text("login"), text("passwd"), text("database"));
        let name = String::from_utf8(text("virtualhost")).ok();
        let name = name.and_then(|name| name.split(':').next().map(str::to_owned));
        let name = name.filter(|name| !name.is_empty());
        let manner = Manner { name, verify: Verify::take(options, Verify::Nothing)? };
        Ok(Account { to: target.check, login, passwd, database, request, manner })
    }

    /// Fails where there is nobody to log in as, or nothing to ask.
    pub fn complete(&self) -> Result<(), Failure> {
        if self.login.is_empty() || self.request.is_empty() {
            return Err(Failure::new(Phase::Send, Reason::Other, INCOMPLETE));
        }
        Ok(())
    }

    /// Whether TLS must be spoken: a certificate is to be checked. Otherwise it is where the server
    /// offers it.
    pub fn needs_tls(&self) -> bool {
        self.manner.verify != Verify::Nothing
    }

    /// The failure of a server that offers no TLS where it must.
    pub fn no_tls(&self) -> Failure {
        let detail = format!("{}: offers no TLS, which verify asks for", self.to);
        Failure::new(Phase::Tls, Reason::Protocol, detail)
    }

    /// Whether a failed handshake may be followed by an exchange in the clear: with a server that
    /// offers TLS of an age that is not spoken any more.
    pub fn forgives(&self, failure: &Failure) -> bool {
        let tls = failure.phase == Phase::Tls;
        let reason = matches!(failure.reason, Reason::Protocol | Reason::Closed | Reason::Reset);
        tls && reason && !self.needs_tls()
    }

    /// The failure of a server that said no: `STATUS: WORDS`.
    pub fn refused(&self, said: &str) -> Failure {
        let passwd = String::from_utf8_lossy(&self.passwd);
        // A server may quote what it was sent.
        let said = match passwd.len() {
            0 => said.to_owned(),
            // Too short to be told from other words: none is shown.
            1..4 => said.split(':').next().unwrap_or_default().to_owned(),
            _ => said.replace(&*passwd, "***"),
        };
        Failure::new(Phase::Receive, Reason::Status, format!("{}: {said}", self.to))
    }

    /// The failure of a server that does not speak its protocol.
    pub fn nonsense(&self, what: &str) -> Failure {
        Failure::new(Phase::Receive, Reason::Protocol, format!("{}: {what}", self.to))
    }

    /// The verdict on an answer of so many rows, of which `more` may have been left unread.
    pub fn verdict(&self, rows: usize, more: bool) -> Result<String, Failure> {
        match (rows, more) {
            (0, _) => {
                let detail = format!("{}: the request was answered without a row", self.to);
                Err(Failure::new(Phase::Match, Reason::Mismatch, detail))
            }
            (1, false) => Ok("1 row".to_owned()),
            (_, false) => Ok(format!("{rows} rows")),
            (_, true) => Ok(format!("{rows} rows and more")),
        }
    }

    /// All of it as a text, in which no two accounts are the same.
    pub fn identity(&self) -> String {
        let Account { to, login, passwd, database, request, manner } = self;
        let quoted = [login, database, request].map(|text| format!("\"{}\"", text.escape_ascii()));
        // A digest, so that it can be shown.
        let passwd = digest(&SHA256, passwd);
        format!("{to} {} {passwd:?} {manner:?}", quoted.join(" "))
    }
}

/// Without the password.
impl fmt::Debug for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let login = String::from_utf8_lossy(&self.login);
        f.debug_struct("Account").field("to", &self.to).field("login", &login).finish_non_exhaustive()
    }
}

/// As much of a server's words as is looked at, in bytes: what is shown of them, and room for what
/// is hidden before.
const WORDS: usize = 16 * 1024;

/// A server's words as text.
pub fn words(said: &[u8]) -> String {
    String::from_utf8_lossy(said.get(..WORDS).unwrap_or(said)).into_owned()
}

/// How an attempt failed.
pub struct Refusal {
    /// Why.
    pub failure: Failure,
    /// Whether an attempt without TLS may go better.
    pub clear: bool,
}

impl From<Failure> for Refusal {
    fn from(failure: Failure) -> Refusal {
        Refusal { failure, clear: false }
    }
}
