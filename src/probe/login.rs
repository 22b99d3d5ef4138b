//! `login` and `passwd`: who asks.

use std::fmt;

use ring::digest::{SHA256, digest};

use super::options::{Given, Options};
use crate::span::Fault;

/// A user's name and password; either may be empty. It can be printed: the password is not shown.
#[derive(Clone, Default)]
pub struct Login {
    /// The option `login`.
    pub name: Vec<u8>,
    /// The option `passwd`.
    pub passwd: Vec<u8>,
}

impl Login {
    /// Takes the options `login` and `passwd`, for a protocol of lines: a line end or NUL in them is a
    /// fault.
    pub fn take(options: &mut Options) -> Result<Login, Fault> {
        Ok(Login { name: in_line(options, "login")?, passwd: in_line(options, "passwd")? })
    }
}

impl fmt::Debug for Login {
    /// Tells logins apart, without telling the password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\" ", self.name.escape_ascii())?;
        digest(&SHA256, &self.passwd).as_ref().iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// Takes an option that becomes a part of a line; empty where it is not given.
pub fn in_line(options: &mut Options, name: &'static str) -> Result<Vec<u8>, Fault> {
    let Some(Given { text, span }) = options.take(name) else { return Ok(Vec::new()) };
    if text.iter().any(|byte| b"\r\n\0".contains(byte)) {
        let message = format!("{name} must not hold a line end or NUL");
        return Err(Fault::error(span, message).help("it is sent as a part of a line"));
    }
    Ok(text)
}
