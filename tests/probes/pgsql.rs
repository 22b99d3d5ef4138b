//! `pgsql`.

use std::time::Duration;

use lvsentry::probe::pgsql::message::{self, Error, Login};
use lvsentry::probe::sql::INCOMPLETE;
use proptest::prelude::*;

use crate::support::probe::{SHORT, code, outcome, outcome_within, probe, target};
use crate::support::server::{Act, Server};
use crate::support::turns::{Turn, Turns};

const OPTIONS: [(&str, &str); 4] =
    [("login", "checker"), ("passwd", "a secret"), ("database", "shop"), ("request", "/SELECT 1")];

fn message(kind: u8, body: &[u8]) -> Vec<u8> {
    let length = (body.len() as u32 + 4).to_be_bytes();
    [&[kind], &length[..], body].concat()
}

fn login(way: u32, more: &[u8]) -> Vec<u8> {
    message(b'R', &[&way.to_be_bytes(), more].concat())
}

fn error(severity: &str, code: &str, text: &str) -> Vec<u8> {
    message(b'E', format!("S{severity}\0V{severity}\0C{code}\0M{text}\0Fauth.c\0\0").as_bytes())
}

/// Logged in, and ready for a query.
fn welcome() -> Vec<u8> {
    [login(0, b""), message(b'S', b"a\0b\0"), message(b'K', &[0; 8]), message(b'N', b"\0"), ready()].concat()
}

fn ready() -> Vec<u8> {
    message(b'Z', b"I")
}

/// The answer to a query, with so many rows.
fn rows(count: usize) -> Vec<u8> {
    let row = message(b'D', b"\0\x01\0\0\0\x011");
    [message(b'T', b"\0\0"), row.repeat(count), message(b'C', b"SELECT\0"), ready()].concat()
}

fn in_the_clear(parts: &[Vec<u8>]) -> Turn {
    Turn { ask: 8, answer: b"N".to_vec(), then: parts.concat(), ..Turn::default() }
}

/// A server without TLS that sends all of it, whatever comes.
async fn clear(parts: &[Vec<u8>]) -> Turns {
    Turns::start(vec![in_the_clear(parts)]).await
}

fn contains(text: &[u8], part: &[u8]) -> bool {
    text.windows(part.len()).any(|window| window == part)
}

/// Until the first connection is over: what was said on it.
async fn said(server: &Turns) -> Vec<u8> {
    loop {
        if let Some(said) = server.heard().first() {
            return said.clone();
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

#[tokio::test]
async fn a_row_is_good_and_the_server_is_left_in_order() {
    let server = clear(&[welcome(), rows(1)]).await;
    assert_eq!(outcome("pgsql", server.at, &OPTIONS).await.unwrap(), "1 row");
    let wanted = [
        &message::startup(b"checker", b"shop")[..],
        &message(b'Q', b"SELECT 1\0"), // the leading slash is not sent
        &message(b'X', b""),
    ];
    assert_eq!(said(&server).await, wanted.concat());
}

#[tokio::test]
async fn ipv6_too_and_over_tls() {
    let turn = Turn {
        ask: 8,
        answer: b"S".to_vec(),
        tls: true,
        then: [welcome(), rows(3)].concat(),
        ..Turn::default()
    };
    let server = Turns::listening("[::1]:0", vec![turn]).await;
    assert_eq!(outcome("pgsql", server.at, &OPTIONS).await.unwrap(), "3 rows");
    let named = [&OPTIONS[..], &[("verify", "nothing"), ("virtualhost", "db.example.org")]].concat();
    assert_eq!(outcome("pgsql", server.at, &named).await.unwrap(), "3 rows");
}

#[tokio::test]
async fn no_row_is_bad() {
    for answer in [rows(0), [message(b'I', b""), ready()].concat()] {
        let server = clear(&[welcome(), answer]).await;
        let failure = outcome("pgsql", server.at, &OPTIONS).await.unwrap_err();
        let detail = format!("match-mismatch: {}: the request was answered without a row", server.at);
        assert_eq!(failure.to_string(), detail);
    }
}

#[tokio::test]
async fn without_login_or_request_nobody_is_asked() {
    let server = clear(&[]).await;
    for left_out in ["login", "request"] {
        let options: Vec<_> = OPTIONS.into_iter().filter(|(name, _)| *name != left_out).collect();
        let failure = outcome("pgsql", server.at, &options).await.unwrap_err();
        assert_eq!(failure.to_string(), format!("send-other: {INCOMPLETE}"));
    }
    assert!(server.heard().is_empty());
}

#[tokio::test]
async fn the_database_is_the_login_where_none_is_named() {
    let server = clear(&[welcome(), rows(1)]).await;
    let options: Vec<_> = OPTIONS.into_iter().filter(|(name, _)| *name != "database").collect();
    outcome("pgsql", server.at, &options).await.unwrap();
    assert!(said(&server).await.starts_with(&message::startup(b"checker", b"checker")));
}

#[tokio::test]
async fn what_the_server_refuses_is_told_without_the_password() {
    let no = "password authentication failed (a secret)";
    let server = clear(&[login(3, b""), error("FATAL", "28P01", no)]).await;
    let failure = outcome("pgsql", server.at, &OPTIONS).await.unwrap_err().to_string();
    let wanted = format!("receive-status: {}: FATAL 28P01: password authentication failed (***)", server.at);
    assert_eq!(failure, wanted);

    // One of two statements failed; the server goes on.
    let parts = [welcome(), message(b'D', b"\0\0"), error("ERROR", "22012", "division by zero"), ready()];
    let server = clear(&parts).await;
    let failure = outcome("pgsql", server.at, &OPTIONS).await.unwrap_err().to_string();
    assert_eq!(failure, format!("receive-status: {}: ERROR 22012: division by zero", server.at));
    assert!(said(&server).await.ends_with(&message(b'X', b"")));

    // And one that takes the server with it.
    let server = clear(&[welcome(), error("FATAL", "57P01", "shutting down")]).await;
    assert_eq!(code(outcome("pgsql", server.at, &OPTIONS).await), "receive-status");
}

#[tokio::test]
async fn passwords_go_as_the_server_asks() {
    let server = clear(&[login(3, b""), welcome(), rows(1)]).await;
    outcome("pgsql", server.at, &OPTIONS).await.unwrap();
    assert!(contains(&said(&server).await, &message(b'p', b"a secret\0")));

    let server = clear(&[login(5, b"salt"), welcome(), rows(1)]).await;
    outcome("pgsql", server.at, &OPTIONS).await.unwrap();
    // Made with Python's hashlib from the definition.
    assert!(contains(&said(&server).await, &message(b'p', b"md558bc885c4aec2fefa247ec135b530eac\0")));
}

#[tokio::test]
async fn a_login_out_of_order_is_none() {
    let scram = || login(10, b"SCRAM-SHA-256-PLUS\0SCRAM-SHA-256\0\0");
    for parts in [
        vec![login(11, b"r=x")],
        vec![login(12, b"v=x")],
        vec![scram(), login(12, b"v=x")],
        vec![scram(), login(11, b"r=x,s=QUJD,i=4096")],
        vec![scram(), login(0, b"")],
        vec![scram(), scram()],
        vec![login(10, b"OTHER\0\0")],
        vec![login(10, b"OTHER")],
        vec![login(7, b"")],
        vec![login(99, b"")],
        vec![login(5, b"sal")],
        vec![message(b'R', b"\0")],
        vec![message(b'D', b"")],
        vec![b"R\0\0\0\x03".to_vec()],
        vec![welcome(), message(b'!', b"")],
        vec![b"HTTP".to_vec()],
    ] {
        let server = clear(&[parts.concat(), vec![b'S'; 3]]).await;
        let answer = outcome_within(SHORT, "pgsql", server.at, &OPTIONS).await;
        let code = code(answer);
        let http = parts[0].starts_with(b"HTTP");
        assert_eq!(code, if http { "receive-too-large" } else { "receive-protocol" }, "{parts:?}");
    }
}

#[tokio::test]
async fn tls_that_fails_is_done_without_unless_it_is_asked_for() {
    let old = Turn { ask: 8, answer: b"Sno TLS".to_vec(), ..Turn::default() };
    let odd =
        Turn { ask: 8, answer: error("FATAL", "0A000", "unsupported frontend protocol"), ..Turn::default() };
    // No rule lets in who speaks TLS.
    let closed = Turn {
        ask: 8,
        answer: b"S".to_vec(),
        tls: true,
        then: error("FATAL", "28000", "no pg_hba.conf entry"),
        ..Turn::default()
    };
    for (first, refused) in [(old, "tls-protocol"), (odd, "receive-protocol"), (closed, "tls-certificate")] {
        let then = Turn { then: [welcome(), rows(1)].concat(), ..Turn::default() };
        let server = Turns::start(vec![first.clone(), then.clone()]).await;
        assert_eq!(outcome("pgsql", server.at, &OPTIONS).await.unwrap(), "1 row", "{refused}");
        let server = Turns::start(vec![first, then]).await;
        let options = [&OPTIONS[..], &[("verify", "name")]].concat();
        let failed = code(outcome("pgsql", server.at, &options).await);
        // This host may have no authorities at all.
        assert!(failed == refused || failed == "tls-local", "{failed}, not {refused}");
    }
}

#[tokio::test]
async fn a_server_without_tls_is_refused_where_a_certificate_is_asked_for() {
    let server = clear(&[]).await;
    let options = [&OPTIONS[..], &[("verify", "chain")]].concat();
    let failure = outcome("pgsql", server.at, &options).await.unwrap_err().to_string();
    assert!(failure.starts_with("tls-protocol: ") && failure.contains("offers no TLS"), "{failure}");
    assert!(said(&server).await.is_empty());
}

#[tokio::test]
async fn answers_that_are_none_are_told_apart() {
    let no_tls = || b"N".to_vec();
    let flood = |kind, body: &[u8]| Act::Flood(message(kind, body), 4 << 20);
    for (script, wanted) in [
        (vec![], "receive-closed"),
        (vec![Act::Send(b"220 mail.example.org".to_vec()), Act::Hold], "receive-protocol"),
        (vec![Act::Hold], "receive-timeout"),
        (vec![Act::Send(no_tls()), Act::Hold], "receive-timeout"),
        (vec![Act::Send(b"NR\xff\xff\xff\xff".to_vec()), Act::Hold], "receive-too-large"),
        (vec![Act::Send(b"NR\x00\x0f\x00\x00".to_vec()), Act::Hold], "receive-timeout"),
        (vec![Act::Send(no_tls()), flood(b'N', &[0; 1000]), Act::Hold], "receive-too-large"),
        (
            vec![Act::Send(no_tls()), flood(b'R', &[&[0, 0, 0, 3], &[0; 1000][..]].concat()), Act::Hold],
            "receive-too-large",
        ),
        (vec![Act::Drip([no_tls(), welcome()].concat(), Duration::from_millis(20))], "receive-timeout"),
        (
            vec![Act::Send([no_tls(), welcome()].concat()), flood(b'C', &[0; 1000]), Act::Hold],
            "receive-too-large",
        ),
    ] {
        let server = Server::start(script.clone()).await;
        let answer = outcome_within(SHORT, "pgsql", server.at, &OPTIONS).await;
        assert_eq!(code(answer), wanted, "{:?}", script.first());
    }
}

#[tokio::test]
async fn a_server_that_leaves_within_a_message_is_told() {
    let server = Server::start(vec![Act::Send(b"NR\0\0\0".to_vec())]).await;
    let code = code(outcome("pgsql", server.at, &OPTIONS).await);
    // What was sent meanwhile may turn its end into a reset.
    assert!(["receive-closed", "receive-reset", "send-reset"].contains(&&*code), "{code}");
}

#[tokio::test]
async fn rows_without_end_are_rows() {
    let start = [b"N".to_vec(), welcome()].concat();
    let server =
        Server::start(vec![Act::Send(start), Act::Flood(message(b'D', &[b'x'; 1000]), 1 << 30)]).await;
    let said = outcome("pgsql", server.at, &OPTIONS).await.unwrap();
    assert!(said.ends_with(" rows and more"), "{said}");
}

#[test]
fn identities_hold_all_options_but_neither_they_nor_debug_the_password() {
    let target = target("127.0.0.1:1".parse().unwrap());
    let probe = probe("pgsql", &target, &OPTIONS);
    assert!(!format!("{probe:?}").contains("secret"));
    for (name, text) in OPTIONS {
        let told = probe.identity().contains(text.trim_start_matches('/'));
        assert_eq!(told, name != "passwd", "{name}: {}", probe.identity());
    }
}

proptest! {
    #[test]
    fn no_message_is_too_odd(bytes in proptest::collection::vec(any::<u8>(), 0..80), way in 0u8..14) {
        let _ = Error::read(&bytes);
        let _ = Login::read(&bytes);
        let _ = Login::read(&[&[0, 0, 0, way], &bytes[..]].concat());
    }
}
