//! The messages of PostgreSQL's protocol, version 3, that a check sends and reads. Pure.

use crate::probe::sql::words;
use crate::probe::wire::Fields;

/// Asks whether TLS is offered; a byte `S` or `N` answers.
pub const TLS: [u8; 8] = [0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x2f];
/// Says good-bye.
pub const TERMINATE: [u8; 5] = [b'X', 0, 0, 0, 4];

/// A message with its length, which counts itself.
fn message(kind: &[u8], body: &[&[u8]]) -> Vec<u8> {
    let body = body.concat();
    let length = u32::try_from(body.len() + 4).unwrap_or(u32::MAX);
    [kind, &length.to_be_bytes(), &body].concat()
}

/// The first message: protocol 3.0, user and database.
pub fn startup(user: &[u8], database: &[u8]) -> Vec<u8> {
    message(b"", &[&[0, 3, 0, 0], b"user\0", user, b"\0database\0", database, b"\0\0"])
}

/// A password, or its digest.
pub fn password(text: &[u8]) -> Vec<u8> {
    message(b"p", &[text, b"\0"])
}

/// The first message of SCRAM-SHA-256.
pub fn sasl_start(text: &[u8]) -> Vec<u8> {
    let length = u32::try_from(text.len()).unwrap_or(u32::MAX).to_be_bytes();
    message(b"p", &[b"SCRAM-SHA-256\0", &length, text])
}

/// A further message of SASL.
pub fn sasl(text: &[u8]) -> Vec<u8> {
    message(b"p", &[text])
}

/// A question in SQL.
pub fn query(text: &[u8]) -> Vec<u8> {
    message(b"Q", &[text, b"\0"])
}

/// Says that no data will be copied to the server.
pub fn copy_fail() -> Vec<u8> {
    message(b"f", &[b"a check copies nothing\0"])
}

/// How the server wants us to authenticate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Login<'a> {
    /// Not at all, or no more.
    Welcome,
    /// With the password itself.
    Clear,
    /// With a digest of the password, the user and this salt.
    Md5([u8; 4]),
    /// With SCRAM-SHA-256.
    Scram,
    /// The next message of SASL.
    Continue(&'a [u8]),
    /// The last message of SASL.
    Final(&'a [u8]),
    /// In a way that is not known here.
    Other(&'static str),
}

impl<'a> Login<'a> {
    /// Reads the body of a message `R`.
    pub fn read(body: &'a [u8]) -> Option<Login<'a>> {
        let mut fields = Fields(body);
        Some(match u32::from_be_bytes(fields.array()?) {
            0 => Login::Welcome,
            2 => Login::Other("Kerberos V5"),
            3 => Login::Clear,
            5 => Login::Md5(fields.array()?),
            7 | 8 => Login::Other("GSSAPI"),
            9 => Login::Other("SSPI"),
            10 => {
                let known = std::iter::from_fn(|| fields.text()).any(|name| name == b"SCRAM-SHA-256");
                if known { Login::Scram } else { Login::Other("a SASL way other than SCRAM-SHA-256") }
            }
            11 => Login::Continue(fields.0),
            12 => Login::Final(fields.0),
            _ => Login::Other("a way of a later protocol"),
        })
    }
}

/// What went wrong, as the server tells it in a message `E`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Error {
    /// `FATAL`, `ERROR` …, in the server's language.
    pub severity: String,
    /// Five characters (SQLSTATE).
    pub code: String,
    /// In words.
    pub message: String,
}

impl Error {
    /// Reads the body of a message `E`; fields that it lacks stay empty.
    pub fn read(body: &[u8]) -> Error {
        let mut error = Error::default();
        let mut fields = Fields(body);
        while let (Some(kind @ 1..), Some(text)) = (fields.byte(), fields.text()) {
            let text = words(text);
            match kind {
                b'S' => error.severity = text,
                b'C' => error.code = text,
                b'M' => error.message = text,
                _ => {}
            }
        }
        error
    }
}

impl std::fmt::Display for Error {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}: {}", self.severity, self.code, self.message)
    }
}

/// MD5 of (MD5 of password and user, in hexadecimal digits) and salt, likewise, after `md5`.
pub fn md5(user: &[u8], password: &[u8], salt: [u8; 4]) -> Vec<u8> {
    use md5::{Digest, Md5};
    let hex = |parts: [&[u8]; 2]| {
        let digest = Md5::new().chain_update(parts[0]).chain_update(parts[1]).finalize();
        digest.iter().map(|byte| format!("{byte:02x}")).collect::<String>()
    };
    let inner = hex([password, user]);
    format!("md5{}", hex([inner.as_bytes(), &salt])).into_bytes()
}
