//! SCRAM-SHA-256 (RFC 5802, RFC 7677), the client's half, without channel binding. Pure.
//!
//! The password is taken as it is: of SASLprep's changes only ASCII, which it leaves alone, and texts
//! that are normal already come out right.

use std::num::NonZeroU32;

use ring::digest::{SHA256, digest};
use ring::{hmac, pbkdf2};

/// More iterations are not made: some 50 ms.
const ITERATIONS: u32 = 200_000;

/// What the client says first; the server knows the user already.
pub fn first(nonce: &str) -> String {
    format!("n,,n=,r={nonce}")
}

/// Why the server's messages are refused.
pub type Fault = &'static str;

/// The client's last message, and what the server's last is to be.
#[derive(Debug, PartialEq, Eq)]
pub struct Reply {
    /// Proves that the client knows the password.
    pub text: String,
    /// Proves that the server does.
    pub server: String,
}

/// Answers the server's first message. Works for some milliseconds.
pub fn reply(password: &[u8], nonce: &str, message: &str) -> Result<Reply, Fault> {
    let mut parts = message.splitn(4, ',');
    let mut part = |name| parts.next().and_then(|part| part.strip_prefix(name));
    let (Some(whole), Some(salt), Some(iterations)) = (part("r="), part("s="), part("i=")) else {
        return Err("its SCRAM message has not the fields r, s and i");
    };
    if !whole.starts_with(nonce) || whole.len() == nonce.len() {
        return Err("its SCRAM nonce does not begin with ours");
    }
    let salt = from_base64(salt).ok_or("its SCRAM salt is no base64")?;
    let iterations =
        iterations.parse().ok().and_then(NonZeroU32::new).ok_or("its SCRAM has no iterations")?;
    if iterations.get() > ITERATIONS {
        return Err("its SCRAM wants more than 200000 iterations");
    }
    let mut salted = [0; 32];
    pbkdf2::derive(pbkdf2::PBKDF2_HMAC_SHA256, iterations, &salt, password, &mut salted);
    let client = sign(&salted, b"Client Key");
    let stored = digest(&SHA256, &client);
    let bare = format!("c=biws,r={whole}"); // biws: "n,,"
    let all = format!("n=,r={nonce},{message},{bare}");
    let signature = sign(stored.as_ref(), all.as_bytes());
    let proof: Vec<u8> = client.iter().zip(&signature).map(|(a, b)| a ^ b).collect();
    let server = sign(&sign(&salted, b"Server Key"), all.as_bytes());
    Ok(Reply { text: format!("{bare},p={}", base64(&proof)), server: format!("v={}", base64(&server)) })
}

fn sign(key: &[u8], text: &[u8]) -> Vec<u8> {
    hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), text).as_ref().to_vec()
}

const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// Base64 (RFC 4648, section 4).
pub fn base64(bytes: &[u8]) -> String {
    let mut text = String::new();
    for group in bytes.chunks(3) {
        let bits = (0..3).fold(0, |bits, i| bits << 8 | usize::from(group.get(i).copied().unwrap_or(0)));
        for i in 0..4 {
            let digit = char::from(DIGITS[bits >> (18 - 6 * i) & 63]);
            text.push(if i <= group.len() { digit } else { '=' });
        }
    }
    text
}

fn from_base64(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    let digits = text.trim_end_matches('=');
    if !text.len().is_multiple_of(4) || text.len() - digits.len() > 2 {
        return None;
    }
    for group in digits.as_bytes().chunks(4) {
        let mut bits = 0;
        for i in 0..4 {
            let value = match group.get(i) {
                Some(digit) => DIGITS.iter().position(|known| known == digit)?,
                None => 0,
            };
            bits = bits << 6 | value;
        }
        let [_, whole @ ..] = u32::try_from(bits).ok()?.to_be_bytes();
        bytes.extend(&whole[..group.len() - 1]);
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Made with Python's hmac and hashlib from the definition.
    #[test]
    fn a_known_exchange_gives_the_known_proofs() {
        let nonce = "rOprNGfwEbeRWgbNEkqO";
        let message =
            "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096";
        let reply = reply(b"pencil", nonce, message).unwrap();
        assert_eq!(
            reply.text,
            "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=qvT2SWdEH5Q06albL+hjSYuUhCG7VndFyzIb7CK4n9k="
        );
        assert_eq!(reply.server, "v=3HO6Qt1M4MKJrmlKaoOqLAI0/0TV0HZe7J9H3MBtSOg=");
    }

    #[test]
    fn what_a_server_must_not_say_is_refused() {
        for (message, fault) in [
            ("", "has not the fields"),
            ("r=abcd,s=QUJD", "has not the fields"),
            ("m=x,r=abcd,s=QUJD,i=1", "has not the fields"),
            ("r=xbcd,s=QUJD,i=4096", "does not begin with ours"),
            ("r=abc,s=QUJD,i=4096", "does not begin with ours"),
            ("r=abcd,s=Q,i=4096", "no base64"),
            ("r=abcd,s=Q*JD,i=4096", "no base64"),
            ("r=abcd,s=QUJD,i=0", "no iterations"),
            ("r=abcd,s=QUJD,i=-1", "no iterations"),
            ("r=abcd,s=QUJD,i=200001", "more than 200000"),
            ("r=abcd,s=QUJD,i=4294967295", "more than 200000"),
        ] {
            let said = reply(b"x", "abc", message).unwrap_err();
            assert!(said.contains(fault), "{message}: {said}");
        }
    }

    proptest! {
        #[test]
        fn base64_comes_back(bytes in proptest::collection::vec(any::<u8>(), 0..40)) {
            prop_assert_eq!(from_base64(&base64(&bytes)), Some(bytes));
        }

        #[test]
        fn no_message_is_too_odd(message in "(r=abc.{0,9},)?(s=[A-Za-z=]{0,9},)?(i=[0-9]{0,3})?.{0,9}") {
            let _ = reply(b"x", "abc", &message);
        }
    }
}
