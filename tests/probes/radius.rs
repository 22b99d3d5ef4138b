//! `radius`. The servers' answers are signed with the code that RFC 2865's own example proves right
//! in src/probe/radius; here it is written again, from the RFC.

use std::time::Duration;

use lvsentry::probe::{Tools, ask};
use md5::{Digest, Md5};

use crate::support::datagrams::Datagrams;
use crate::support::probe::{Answer, LONG, SHORT, code, probe, udp_target};

const LOGIN: [(&str, &str); 3] = [("login", "steve"), ("passwd", "testing"), ("secret", "xyzzy")];

async fn radius(server: &Datagrams, options: &[(&'static str, &str)]) -> Answer {
    ask(&*probe("radius", &udp_target(server.at), options), LONG, &Tools::new()).await.into_result()
}

fn md5(parts: &[&[u8]]) -> [u8; 16] {
    Md5::digest(parts.concat()).into()
}

/// The password of a request of up to 16 bytes.
fn password(request: &[u8], secret: &[u8]) -> Vec<u8> {
    let key = md5(&[secret, &request[4..20]]);
    let hidden = attribute(request, 2);
    assert_eq!(hidden.len(), 16);
    let clear = hidden.iter().zip(key).map(|(hidden, key)| hidden ^ key);
    clear.take_while(|&b| b != 0).collect()
}

fn attribute(request: &[u8], wanted: u8) -> &[u8] {
    let mut rest = &request[20..];
    while let [kind, length, ..] = *rest {
        if kind == wanted {
            return &rest[2..length.into()];
        }
        rest = &rest[length.into()..];
    }
    panic!("there is no attribute {wanted}");
}

fn reply(request: &[u8], code: u8, attributes: &[u8], secret: &[u8]) -> Vec<u8> {
    let head = [&[code, request[1]], &(20 + attributes.len() as u16).to_be_bytes()[..]].concat();
    let proof = md5(&[&head, &request[4..20], attributes, secret]);
    [&head[..], &proof, attributes].concat()
}

/// A server that knows one user, and one secret.
fn verdict(request: &[u8]) -> Vec<Vec<u8>> {
    let knows = attribute(request, 1) == b"steve" && password(request, b"xyzzy") == b"testing";
    vec![reply(request, if knows { 2 } else { 3 }, b"", b"xyzzy")]
}

#[tokio::test]
async fn an_accepted_login_is_good() {
    for at in ["127.0.0.1:0", "[::1]:0"] {
        let server = Datagrams::listening(at, verdict).await;
        assert_eq!(radius(&server, &LOGIN).await.unwrap(), "Access-Accept");
        let request = server.seen().remove(0);
        assert_eq!(request[0], 1);
        assert_eq!(usize::from(u16::from_be_bytes([request[2], request[3]])), request.len());
        assert_eq!(attribute(&request, 32), b"lvsentry");
        assert_eq!(request[20..22], [80, 18], "the Message-Authenticator comes first");
    }
}

#[tokio::test]
async fn a_refused_login_is_bad() {
    let server = Datagrams::start(verdict).await;
    let options = [("login", "steve"), ("passwd", "wrong"), ("secret", "xyzzy")];
    let failure = radius(&server, &options).await.unwrap_err();
    assert_eq!(
        failure.to_string(),
        "receive-status: Access-Reject: login or passwd are wrong, or not allowed"
    );
    let server = Datagrams::start(|request| vec![reply(request, 11, b"", b"xyzzy")]).await;
    assert_eq!(code(radius(&server, &LOGIN).await), "receive-status");
}

#[tokio::test]
async fn an_answer_made_with_another_secret_is_not_taken_and_told() {
    let server = Datagrams::start(|request| vec![reply(request, 2, b"", b"another")]).await;
    let limit = Duration::from_secs(2);
    let asking = ask(&*probe("radius", &udp_target(server.at), &LOGIN), limit, &Tools::new()).await;
    let failure = asking.into_result().unwrap_err();
    assert_eq!(failure.to_string(), "receive-protocol: the answer was not made with our secret");
}

#[tokio::test]
async fn strays_are_passed_over() {
    let server = Datagrams::start(|request| {
        let good = reply(request, 2, b"", b"xyzzy");
        let mut other = request.to_vec();
        other[1] ^= 1;
        let lying = reply(request, 2, &[1, 255, 0], b"xyzzy");
        let mut long = good.clone();
        long[2..4].copy_from_slice(&[0xff, 0xff]);
        vec![vec![], b"garbage".to_vec(), reply(&other, 2, b"", b"xyzzy"), lying, long, vec![2; 60_000], good]
    })
    .await;
    radius(&server, &LOGIN).await.unwrap();
}

#[tokio::test]
async fn a_request_that_gets_lost_is_sent_again_unchanged() {
    let server = Datagrams::start(|_| vec![]).await;
    let asking = ask(&*probe("radius", &udp_target(server.at), &LOGIN), SHORT, &Tools::new()).await;
    assert_eq!(code(asking.clone().into_result()), "receive-timeout");
    assert!(asking.took < SHORT + Duration::from_secs(2));
    let seen = server.seen();
    assert_eq!(seen.len(), 2);
    assert_eq!(seen[0], seen[1]);
}

#[tokio::test]
async fn a_closed_port_is_noticed_at_once() {
    let at = Datagrams::nobody().await;
    let asking = ask(&*probe("radius", &udp_target(at), &LOGIN), LONG, &Tools::new()).await;
    assert_eq!(code(asking.into_result()), "receive-refused");
}

#[tokio::test]
async fn what_cannot_be_asked_always_fails() {
    let server = Datagrams::start(verdict).await;
    let (login, passwd) = ("x".repeat(254), "x".repeat(129));
    for options in [
        &LOGIN[..2],
        &LOGIN[1..],
        &[("login", &*login), ("secret", "x")],
        &[("login", "a"), ("passwd", &passwd), ("secret", "x")],
    ] {
        assert_eq!(code(radius(&server, options).await), "run-not-run");
    }
    assert!(server.seen().is_empty());
    // The longest that there is room for.
    let options = [("login", &login[1..]), ("passwd", &passwd[1..]), ("secret", "x")];
    let asking = ask(&*probe("radius", &udp_target(server.at), &options), LONG / 10, &Tools::new()).await;
    assert_eq!(code(asking.into_result()), "receive-protocol");
    assert_eq!(attribute(&server.seen()[0], 1).len(), 253);
    assert_eq!(attribute(&server.seen()[0], 2).len(), 128);
}

#[test]
fn no_secret_is_shown() {
    let at = "127.0.0.1:1812".parse().unwrap();
    let probe =
        probe("radius", &udp_target(at), &[("login", "steve"), ("passwd", "hush1"), ("secret", "hush2")]);
    let shown = format!("{probe:?} {}", probe.identity());
    assert!(shown.contains("127.0.0.1:1812") && !shown.contains("hush"), "{shown}");
}
