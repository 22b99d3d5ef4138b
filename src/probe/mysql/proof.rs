//! Proofs that a password is known, without telling it. Pure.

use ring::digest::{Algorithm, Context, SHA1_FOR_LEGACY_USE_ONLY, SHA256};

/// `mysql_native_password`: SHA1(password) ⊕ SHA1(nonce, SHA1(SHA1(password))).
pub fn native(password: &[u8], nonce: &[u8]) -> Vec<u8> {
    let hash = |parts: &[&[u8]]| digest(&SHA1_FOR_LEGACY_USE_ONLY, parts);
    let once = hash(&[password]);
    xor(&once, &hash(&[nonce, &hash(&[&once])]))
}

/// `caching_sha2_password`: SHA256(password) ⊕ SHA256(SHA256(SHA256(password)), nonce).
pub fn sha2(password: &[u8], nonce: &[u8]) -> Vec<u8> {
    let hash = |parts: &[&[u8]]| digest(&SHA256, parts);
    let once = hash(&[password]);
    xor(&once, &hash(&[&hash(&[&once]), nonce]))
}

fn digest(algorithm: &'static Algorithm, parts: &[&[u8]]) -> Vec<u8> {
    let mut context = Context::new(algorithm);
    parts.iter().for_each(|part| context.update(part));
    context.finish().as_ref().to_vec()
}

fn xor(one: &[u8], other: &[u8]) -> Vec<u8> {
    one.iter().zip(other).map(|(a, b)| a ^ b).collect()
}
