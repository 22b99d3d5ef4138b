//! `ldap` and `ldaps`.

use std::time::Duration;

use lvsentry::probe::{Tools, ask};
use rustls::version::TLS13;

use crate::support::probe::{LONG, SHORT, code, outcome, outcome_within, probe, target};
use crate::support::server::{Act, Server};
use crate::support::tls::{acceptor, authority, trusting};

/// The bytes of our bind when it is anonymous, and of a search below `dc=x`.
const BIND: &[u8] = b"\x30\x0c\x02\x01\x01\x60\x07\x02\x01\x03\x04\x00\x80\x00";
const SEARCH: &[u8] =
    b"\x30\x2e\x02\x01\x02\x63\x29\x04\x04dc=x\x0a\x01\x00\x0a\x01\x02\x02\x01\x00\x02\x01\x00\
                        \x01\x01\x00\x87\x0bobjectClass\x30\x05\x04\x031.1";
const UNBIND: &[u8] = b"\x30\x05\x02\x01\x03\x42\x00";
/// What a server says.
const BOUND: &[u8] = b"\x30\x0c\x02\x01\x01\x61\x07\x0a\x01\x00\x04\x00\x04\x00";
const ENTRY: &[u8] = b"\x30\x0d\x02\x01\x02\x64\x08\x04\x04dc=x\x30\x00";
const DONE: &[u8] = b"\x30\x0c\x02\x01\x02\x65\x07\x0a\x01\x00\x04\x00\x04\x00";

const BASE: [(&str, &str); 1] = [("request", "/dc=x")];

/// A server that takes the bind, and answers the search so.
fn finds(answers: &[&[u8]]) -> Vec<Act> {
    vec![
        Act::Take(BIND.len()),
        Act::Send(BOUND.to_vec()),
        Act::Take(SEARCH.len()),
        Act::Send(answers.concat()),
        Act::Take(UNBIND.len()),
    ]
}

fn latin(bytes: &[u8]) -> String {
    bytes.iter().map(|&b| char::from(b)).collect()
}

#[tokio::test]
async fn an_entry_that_is_found_is_good_and_all_is_said_as_rfc_4511_has_it() {
    for at in ["127.0.0.1:0", "[::1]:0"] {
        let server = Server::listening(at, finds(&[ENTRY, DONE]), None).await;
        assert_eq!(outcome("ldap", server.at, &BASE).await.unwrap(), "found \"dc=x\"");
        // The last one is sent, but nobody waits until it has arrived.
        while server.requests().len() < 3 {
            tokio::task::yield_now().await;
        }
        assert_eq!(server.requests(), [BIND, SEARCH, UNBIND].map(latin));
    }
}

#[tokio::test]
async fn login_and_password_are_used_when_both_are_given() {
    let bind = b"\x30\x12\x02\x01\x01\x60\x0d\x02\x01\x03\x04\x04cn=a\x80\x02pw";
    let mut script = finds(&[ENTRY, DONE]);
    script[0] = Act::Take(bind.len());
    let server = Server::start(script).await;
    let options = [("request", "dc=x"), ("login", "cn=a"), ("passwd", "pw")];
    outcome("ldap", server.at, &options).await.unwrap();
    assert_eq!(server.requests()[0], latin(bind));

    for half in [[("request", "dc=x"), ("login", "cn=a")], [("request", "dc=x"), ("passwd", "pw")]] {
        let server = Server::start(finds(&[ENTRY, DONE])).await;
        outcome("ldap", server.at, &half).await.unwrap();
        assert_eq!(server.requests()[0], latin(BIND));
    }
}

#[tokio::test]
async fn receive_must_be_found_in_the_name() {
    let server = Server::start(finds(&[ENTRY, DONE])).await;
    for (receive, good) in [("^dc=x$", true), ("c=", true), ("dc=y", false)] {
        let answer = outcome("ldap", server.at, &[BASE[0], ("receive", receive)]).await;
        assert_eq!(answer.is_ok(), good, "{receive}");
    }
}

#[tokio::test]
async fn exactly_one_entry_is_wanted() {
    let reference = b"\x30\x0b\x02\x01\x02\x73\x06\x04\x04ldap";
    let none = b"\x30\x0c\x02\x01\x02\x65\x07\x0a\x01\x20\x04\x00\x04\x00";
    for (answers, wanted) in [
        (&[DONE][..], "match-mismatch: no entry was found"),
        (&[ENTRY, ENTRY, DONE], "match-mismatch: more than one entry was found"),
        (&[reference, DONE], "match-mismatch: no entry was found"),
        (&[none], "receive-status: search: no such object (32)"),
    ] {
        let server = Server::start(finds(answers)).await;
        let failure = outcome("ldap", server.at, &BASE).await.unwrap_err();
        assert_eq!(failure.to_string(), wanted);
    }
    let server = Server::start(finds(&[reference, ENTRY, reference, DONE])).await;
    outcome("ldap", server.at, &BASE).await.unwrap();
}

#[tokio::test]
async fn a_refused_bind_says_why() {
    let refused = b"\x30\x0c\x02\x01\x01\x61\x07\x0a\x01\x31\x04\x00\x04\x00";
    let server = Server::start(vec![Act::Take(BIND.len()), Act::Send(refused.to_vec())]).await;
    let failure = outcome("ldap", server.at, &[]).await.unwrap_err();
    assert_eq!(failure.to_string(), "receive-status: anonymous bind: invalid credentials (49)");
    let options = [("login", "cn=a"), ("passwd", "hush")];
    let failure = outcome("ldap", server.at, &options).await.unwrap_err();
    assert_eq!(failure.to_string(), "receive-status: bind: invalid credentials (49)");
}

#[tokio::test]
async fn answers_of_the_wrong_kind_are_told_apart() {
    let bye = b"\x30\x0c\x02\x01\x00\x78\x07\x0a\x01\x34\x04\x00\x04\x00";
    for (answer, wanted) in [
        (&b""[..], "receive-closed"),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "receive-protocol"),
        (&BOUND[..9], "receive-closed"),
        (bye, "receive-closed"),
        (ENTRY, "receive-protocol"),
        (DONE, "receive-protocol"),
        // An answer to message 3, an indefinite length, one of four gigabytes, a code without end.
        (b"\x30\x0c\x02\x01\x03\x61\x07\x0a\x01\x00\x04\x00\x04\x00", "receive-protocol"),
        (b"\x30\x80\x02\x01\x01\x61\x07\x0a\x01\x00\x04\x00\x04\x00\0\0", "receive-protocol"),
        (b"\x30\x84\xff\xff\xff\xff", "receive-too-large"),
        (b"\x30\x0c\x02\x01\x01\x61\x07\x0a\x7f\x00\x04\x00\x04\x00", "receive-protocol"),
    ] {
        let server = Server::start(vec![Act::Take(BIND.len()), Act::Send(answer.to_vec())]).await;
        assert_eq!(code(outcome("ldap", server.at, &[]).await), wanted, "{answer:x?}");
    }
}

#[tokio::test]
async fn an_endless_answer_ends_at_a_mebibyte() {
    let reference = b"\x30\x0b\x02\x01\x02\x73\x06\x04\x04ldap".to_vec();
    let mut script = finds(&[]);
    script[3] = Act::Flood(reference, usize::MAX);
    let server = Server::start(script).await;
    assert_eq!(code(outcome("ldap", server.at, &BASE).await), "receive-too-large");
    assert!(server.sent() < 16 << 20, "{}", server.sent());
}

#[tokio::test]
async fn slow_and_silent_servers_end_at_the_deadline() {
    for act in [Act::Hold, Act::Drip([0x30, 0x7f].repeat(100), Duration::from_millis(50))] {
        let server = Server::start(vec![Act::Take(BIND.len()), act]).await;
        assert_eq!(code(outcome_within(SHORT, "ldap", server.at, &[]).await), "receive-timeout");
    }
}

#[tokio::test]
async fn any_certificate_will_do_for_ldaps_unless_more_is_asked_for() {
    let authority = authority();
    let (tls, names) = acceptor(None, |_| {}, &[&TLS13]);
    let server = Server::listening("127.0.0.1:0", finds(&[ENTRY, DONE]), Some(tls)).await;
    let asked = async |options: &[(&'static str, &str)]| {
        let all = [&BASE[..], options].concat();
        ask(&*probe("ldaps", &target(server.at), &all), LONG, &trusting(&authority)).await.into_result()
    };
    asked(&[]).await.unwrap();
    asked(&[("virtualhost", "ldap.example.org")]).await.unwrap();
    assert_eq!(*names.seen.lock().unwrap(), [None, Some("ldap.example.org".to_owned())]);
    assert_eq!(code(asked(&[("verify", "chain")]).await), "tls-certificate");
}

#[tokio::test]
async fn garbage_instead_of_tls_is_no_tls() {
    let server = Server::start(vec![Act::Send(b"\x30\x0c\x02\x01\x01 and so on".to_vec()), Act::Hold]).await;
    let answer = ask(&*probe("ldaps", &target(server.at), &BASE), LONG, &Tools::new()).await;
    assert_eq!(code(answer.into_result()), "tls-protocol");
}
