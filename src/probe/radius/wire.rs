//! RADIUS packets (RFC 2865 section 3, RFC 2869 section 5.14): one request and its answer. Pure.

use md5::{Digest, Md5};

const ACCESS_REQUEST: u8 = 1;
const ACCESS_ACCEPT: u8 = 2;
const ACCESS_REJECT: u8 = 3;
const ACCESS_CHALLENGE: u8 = 11;

const USER_NAME: u8 = 1;
const USER_PASSWORD: u8 = 2;
const NAS_IDENTIFIER: u8 = 32;
const MESSAGE_AUTHENTICATOR: u8 = 80;

/// Bytes of code, identifier, length and authenticator.
const HEADER: usize = 20;
/// Longest packet.
const PACKET: usize = 4096;
/// Longest value of an attribute.
pub(super) const VALUE: usize = 253;
/// Longest password.
pub(super) const PASSWORD: usize = 128;

/// MD5 of these, one behind the other.
fn md5(parts: &[&[u8]]) -> [u8; 16] {
    let mut digest = Md5::new();
    parts.iter().for_each(|part| digest.update(part));
    digest.finalize().into()
}

/// HMAC-MD5 (RFC 2104).
fn hmac(key: &[u8], parts: &[&[u8]]) -> [u8; 16] {
    const BLOCK: usize = 64;
    let short = md5(&[key]);
    let key = if key.len() > BLOCK { &short[..] } else { key };
    let pad = |with: u8| -> [u8; BLOCK] { std::array::from_fn(|i| key.get(i).copied().unwrap_or(0) ^ with) };
    let inner = md5(&[&[&pad(0x36)[..]], parts].concat());
    md5(&[&pad(0x5c), &inner])
}

/// Who asks, and for whom.
pub(super) struct Request<'a> {
    pub(super) id: u8,
    /// Random, and never used twice with a secret.
    pub(super) authenticator: [u8; 16],
    /// At most [`VALUE`] bytes.
    pub(super) login: &'a [u8],
    /// At most [`PASSWORD`] bytes.
    pub(super) password: &'a [u8],
    pub(super) secret: &'a [u8],
}

/// What a packet is to a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Answer {
    /// Access-Accept.
    Accept,
    /// Access-Reject.
    Reject,
    /// Access-Challenge.
    Challenge,
}

/// Why a packet is no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stray {
    /// Not readable, or about something else.
    Other,
    /// Not made with our secret.
    Unsigned,
}

impl Request<'_> {
    /// The Access-Request. The Message-Authenticator stands first, so that nothing can be slipped in
    /// before it (CVE-2024-3596).
    pub(super) fn packet(&self) -> Vec<u8> {
        let mut attributes = Vec::new();
        let hidden = self.hidden();
        for (kind, value) in [
            (MESSAGE_AUTHENTICATOR, &[0; 16][..]),
            (USER_NAME, self.login),
            (USER_PASSWORD, &hidden),
            (NAS_IDENTIFIER, b"lvsentry"),
        ] {
            // Short enough, as said above.
            attributes.extend([kind, value.len() as u8 + 2]);
            attributes.extend(value);
        }
        let length = (HEADER + attributes.len()) as u16;
        let mut packet = vec![ACCESS_REQUEST, self.id];
        packet.extend(length.to_be_bytes());
        packet.extend(self.authenticator);
        packet.extend(attributes);
        let sign = hmac(self.secret, &[&packet]);
        packet[HEADER + 2..][..16].copy_from_slice(&sign);
        packet
    }

    /// The password, hidden (RFC 2865 section 5.2).
    fn hidden(&self) -> Vec<u8> {
        let mut padded = self.password.to_vec();
        padded.resize(self.password.len().div_ceil(16).max(1) * 16, 0);
        let mut last = self.authenticator;
        let mut hidden = Vec::with_capacity(padded.len());
        for block in padded.chunks(16) {
            let key = md5(&[self.secret, &last]);
            last = std::array::from_fn(|i| block[i] ^ key[i]);
            hidden.extend(last);
        }
        hidden
    }

    /// Reads a packet as the answer to this request.
    pub(super) fn answer(&self, packet: &[u8]) -> Result<Answer, Stray> {
        let length = packet.get(2..4).map_or(0, |l| usize::from(u16::from_be_bytes([l[0], l[1]])));
        if !(HEADER..=PACKET).contains(&length) {
            return Err(Stray::Other);
        }
        // What follows is padding.
        let packet = packet.get(..length).ok_or(Stray::Other)?;
        let (head, attributes) = packet.split_at(HEADER);
        let answer = match head[0] {
            ACCESS_ACCEPT => Answer::Accept,
            ACCESS_REJECT => Answer::Reject,
            ACCESS_CHALLENGE => Answer::Challenge,
            _ => return Err(Stray::Other),
        };
        if head[1] != self.id {
            return Err(Stray::Other);
        }
        let signed = message_authenticator(attributes)?;
        let proof = md5(&[&head[..4], &self.authenticator, attributes, self.secret]);
        if proof != head[4..] || signed.is_some_and(|at| !self.has_signed(&head[..4], attributes, at)) {
            return Err(Stray::Unsigned);
        }
        Ok(answer)
    }

    /// Whether the Message-Authenticator whose value stands at `at` is right.
    fn has_signed(&self, head: &[u8], attributes: &[u8], at: usize) -> bool {
        let (before, rest) = attributes.split_at(at);
        let (found, after) = rest.split_at(16);
        found == hmac(self.secret, &[head, &self.authenticator, before, &[0; 16], after])
    }
}

/// Where the value of the Message-Authenticator stands, if there is one.
fn message_authenticator(attributes: &[u8]) -> Result<Option<usize>, Stray> {
    let mut at = 0;
    let mut found = None;
    while let Some(&[kind, length]) = attributes.get(at..at + 2) {
        let end = at + usize::from(length);
        if length < 2 || end > attributes.len() {
            return Err(Stray::Other);
        }
        if kind == MESSAGE_AUTHENTICATOR {
            if length != 18 || found.is_some() {
                return Err(Stray::Other);
            }
            found = Some(at + 2);
        }
        at = end;
    }
    if at == attributes.len() { Ok(found) } else { Err(Stray::Other) }
}

#[cfg(test)]
#[path = "wire_tests.rs"]
mod tests;
