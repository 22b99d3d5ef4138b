//! LDAP messages (RFC 4511 section 4): bind, search, unbind, and what answers them. Pure.

use super::ber::{BOOLEAN, Broken, ENUMERATED, INTEGER, OCTETS, Reader, SEQUENCE, element};

const BIND_REQUEST: u8 = 0x60;
const BIND_RESPONSE: u8 = 0x61;
const UNBIND_REQUEST: u8 = 0x42;
const SEARCH_REQUEST: u8 = 0x63;
const SEARCH_ENTRY: u8 = 0x64;
const SEARCH_DONE: u8 = 0x65;
const SEARCH_REFERENCE: u8 = 0x73;
const EXTENDED_RESPONSE: u8 = 0x78;
const INTERMEDIATE_RESPONSE: u8 = 0x79;

fn message(id: u8, operation: u8, contents: &[u8]) -> Vec<u8> {
    element(SEQUENCE, &[element(INTEGER, &[id]), element(operation, contents)].concat())
}

/// A simple bind, version 3; anonymous when both are empty.
pub(super) fn bind(id: u8, dn: &[u8], password: &[u8]) -> Vec<u8> {
    let parts = [element(INTEGER, &[3]), element(OCTETS, dn), element(0x80, password)];
    message(id, BIND_REQUEST, &parts.concat())
}

/// A search for the entry `base` itself, of any class, without its attributes (`1.1`). An alias is
/// followed to its entry, as ldirectord's search does.
pub(super) fn search(id: u8, base: &[u8]) -> Vec<u8> {
    let parts = [
        element(OCTETS, base),
        element(ENUMERATED, &[0]), // scope: baseObject
        element(ENUMERATED, &[2]), // derefFindingBaseObj
        element(INTEGER, &[0]),    // no limit of entries
        element(INTEGER, &[0]),    // no limit of seconds
        element(BOOLEAN, &[0]),    // types and values
        element(0x87, b"objectClass"),
        element(SEQUENCE, &element(OCTETS, b"1.1")),
    ];
    message(id, SEARCH_REQUEST, &parts.concat())
}

/// The end of the conversation; it has no answer.
pub(super) fn unbind(id: u8) -> Vec<u8> {
    message(id, UNBIND_REQUEST, &[])
}

/// A message of the server's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Said {
    /// The result of a bind.
    Bound(i32),
    /// An entry's name.
    Entry(Vec<u8>),
    /// The result of a search.
    Done(i32),
    /// The server ends the connection (section 4.4.1).
    Bye(i32),
    /// Nothing that bears on our questions.
    Else,
}

/// Reads the contents of a message: its id, and what it says.
pub(super) fn read(contents: &[u8]) -> Result<(i32, Said), Broken> {
    let mut message = Reader(contents);
    let id = message.number(INTEGER)?;
    let (operation, body) = message.next()?;
    let mut body = Reader(body);
    let said = match operation {
        BIND_RESPONSE => Said::Bound(result(&mut body)?),
        SEARCH_DONE => Said::Done(result(&mut body)?),
        SEARCH_ENTRY => Said::Entry(body.tagged(OCTETS)?.to_vec()),
        EXTENDED_RESPONSE if id == 0 => Said::Bye(result(&mut body)?),
        SEARCH_REFERENCE | INTERMEDIATE_RESPONSE | EXTENDED_RESPONSE => Said::Else,
        _ => return Err(Broken),
    };
    Ok((id, said))
}

/// The code of an LDAPResult (section 4.1.9).
fn result(body: &mut Reader<'_>) -> Result<i32, Broken> {
    let code = body.number(ENUMERATED)?;
    let (_matched, _diagnostic) = (body.tagged(OCTETS)?, body.tagged(OCTETS)?);
    Ok(code)
}

/// The name of a result code (RFC 4511 appendix A).
pub(super) fn words(code: i32) -> String {
    let name = match code {
        1 => "operations error",
        2 => "protocol error",
        3 => "time limit exceeded",
        4 => "size limit exceeded",
        7 => "authentication method not supported",
        8 => "stronger authentication required",
        10 => "referral to another server",
        11 => "administrative limit exceeded",
        13 => "confidentiality required: use ldaps",
        32 => "no such object",
        34 => "invalid DN",
        48 => "inappropriate authentication",
        49 => "invalid credentials",
        50 => "insufficient access rights",
        51 => "busy",
        52 => "unavailable",
        53 => "unwilling to perform",
        _ => "error",
    };
    format!("{name} ({code})")
}

#[cfg(test)]
#[path = "wire_tests.rs"]
mod tests;
