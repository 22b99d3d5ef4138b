//! `sip`, over TCP and UDP.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use lvsentry::model::{Protocol, ServiceKey};
use lvsentry::probe::{Target, Tools, ask};
use tokio::net::UdpSocket;

use crate::support::probe::{
    Answer, LONG, SHORT, closed, code, make, outcome, outcome_within, probe, target,
};
use crate::support::server::{Act, Server, answer};

const OK: &str = "SIP/2.0 200 OK\r\nCSeq: 63104 OPTIONS\r\nContent-Length: 0\r\n\r\n";
const LOGIN: [(&str, &str); 1] = [("login", "check@example.org")];

/// A target behind a UDP service.
fn udp(check: SocketAddr) -> Target {
    let service = ServiceKey::Address(Protocol::Udp, "192.0.2.10:5060".parse().unwrap());
    Target { service, ..target(check) }
}

async fn over_udp(limit: Duration, at: SocketAddr) -> Answer {
    ask(&*probe("sip", &udp(at), &LOGIN), limit, &Tools::new()).await.into_result()
}

/// Asks a server that answers the first datagram with these; returns what it got, and from where.
async fn datagrams(at: &str, answers: &[&str], limit: Duration) -> (Answer, String, SocketAddr) {
    let server = UdpSocket::bind(at).await.unwrap();
    let serve = async {
        let mut request = [0; 2000];
        let (length, peer) = server.recv_from(&mut request).await.unwrap();
        for answer in answers {
            server.send_to(answer.as_bytes(), peer).await.unwrap();
        }
        (String::from_utf8(request[..length].to_vec()).unwrap(), peer)
    };
    let (answer, (request, peer)) = tokio::join!(over_udp(limit, server.local_addr().unwrap()), serve);
    (answer, request, peer)
}

/// The Call-ID of a request, and the request without it.
fn cut_call_id(request: &str) -> (String, String) {
    let (before, rest) = request.split_once("Call-ID: ").unwrap();
    let (id, after) = rest.split_once("\r\n").unwrap();
    (id.to_owned(), format!("{before}Call-ID: ID\r\n{after}"))
}

fn wanted(from: &str, login: &str) -> String {
    format!(
        "OPTIONS sip:{login} SIP/2.0\r\nVia: SIP/2.0/UDP {from};branch=z9hG4bKhjhs8ass877\r\n\
         Max-Forwards: 70\r\nTo: <sip:{login}>\r\nFrom: <sip:{login}>;tag=1928301774\r\nCall-ID: ID\r\n\
         CSeq: 63104 OPTIONS\r\nContact: <sip:{login}>\r\nAccept: application/sdp\r\nContent-Length: 0\r\n\r\n"
    )
}

#[tokio::test]
async fn the_request_is_the_one_ldirectord_users_know() {
    let mut ids = BTreeSet::new();
    for at in ["127.0.0.1:0", "[::1]:0"] {
        let (answer, request, peer) = datagrams(at, &[OK], LONG).await;
        assert_eq!(answer.unwrap(), "SIP/2.0 200 OK");
        let (id, request) = cut_call_id(&request);
        assert_eq!(request, wanted(&peer.to_string(), "check@example.org"));
        assert!(id.len() == 16 && id.bytes().all(|b| b.is_ascii_hexdigit()), "{id}");
        ids.insert(id);
    }
    assert_eq!(ids.len(), 2, "a Call-ID is never used twice");
}

#[tokio::test]
async fn a_tcp_service_is_asked_over_tcp() {
    for at in ["127.0.0.1:0", "[::1]:0"] {
        let server = Server::listening(at, answer(OK), None).await;
        assert_eq!(outcome("sip", server.at, &[]).await.unwrap(), "SIP/2.0 200 OK");
        let (_, request) = cut_call_id(&server.requests()[0]);
        let from = request.split("/UDP ").nth(1).unwrap().split(';').next().unwrap();
        let from: SocketAddr = from.parse().unwrap();
        assert_eq!(from.ip(), server.at.ip());
        assert_eq!(request, wanted(&from.to_string(), ""));
    }
}

#[tokio::test]
async fn the_final_answer_counts() {
    let trying = "SIP/2.0 100 Trying\r\n\r\n";
    for (answers, good) in [
        (&["SIP/2.0 200 OK"][..], true),
        (&[trying, OK], true),
        (&[trying, "SIP/2.0 183 Session Progress\r\n\r\n", OK], true),
        (&[trying, "SIP/2.0 404 Not Found\r\n\r\n", OK], false),
        (&["SIP/2.0 404 Not Found\r\n\r\n"], false),
        (&["SIP/2.0 202 Accepted\r\n\r\n"], false),
        (&["SIP/2.0 1 x\r\n\r\n", OK], false),
        (&["SIP/2.0\r\n\r\n", OK], false),
        (&["", OK], false),
        (&["HTTP/1.1 200 OK\r\n\r\n"], false),
    ] {
        let (seen, ..) = datagrams("127.0.0.1:0", answers, LONG).await;
        assert_eq!(seen.is_ok(), good, "udp {answers:?}: {seen:?}");
        if answers.concat().ends_with("\r\n\r\n") {
            let server = Server::start(answer(answers.concat())).await;
            let seen = outcome("sip", server.at, &[]).await;
            // Empty lines before an answer mean nothing in a stream.
            assert_eq!(seen.is_ok(), good || answers[0].is_empty(), "tcp {answers:?}: {seen:?}");
        }
    }
    let (seen, ..) = datagrams("127.0.0.1:0", &["SIP/2.0 503 Full\r\n\r\n"], LONG).await;
    assert_eq!(seen.unwrap_err().to_string(), "receive-status: OPTIONS: SIP/2.0 503 Full");
}

#[tokio::test]
async fn only_provisional_answers_are_down() {
    let trying = ["SIP/2.0 100 Trying\r\n\r\n"];
    let (seen, ..) = datagrams("127.0.0.1:0", &trying, SHORT).await;
    assert_eq!(code(seen), "receive-timeout");
    let (seen, ..) = datagrams("127.0.0.1:0", &trying.repeat(100), LONG).await;
    assert_eq!(code(seen), "receive-too-large");
}

#[tokio::test]
async fn a_udp_port_where_nobody_listens_is_refused_at_once() {
    for at in ["127.0.0.1:0", "[::1]:0"] {
        let at = UdpSocket::bind(at).await.unwrap().local_addr().unwrap();
        let failure = over_udp(LONG, at).await.unwrap_err();
        assert_eq!(failure.to_string(), format!("receive-refused: {at}: connection refused"));
    }
    assert_eq!(code(outcome("sip", closed().await, &[]).await), "connect-refused");
}

#[tokio::test]
async fn ill_servers_are_down_in_time() {
    let then = |last: Vec<Act>| [vec![Act::Read], last].concat();
    let flood = |line: &str| then(vec![Act::Flood(line.repeat(1000).into_bytes(), 100 << 20)]);
    for (script, wanted) in [
        (then(vec![]), "receive-closed"),
        (answer("SIP/2.0 200 OK"), "receive-closed"),
        (answer("SIP/2.0 200 OK\r\nCSeq: 1"), "receive-closed"),
        (answer("SIP/2.0 200 OK\r\nCSeq: 1\r\n"), "receive-closed"),
        (answer("SIP/2.0 100 Trying\r\n\r\n"), "receive-closed"),
        (then(vec![Act::Reset]), "receive-reset"),
        (then(vec![Act::Hold]), "receive-timeout"),
        (then(vec![Act::Drip(OK.into(), SHORT / 4)]), "receive-timeout"),
        (flood("SIP/2.0 200 OK "), "receive-too-large"),
        (flood("SIP/2.0 200 OK\r\n"), "receive-too-large"),
        (flood("SIP/2.0 100 Trying\r\n\r\n"), "receive-too-large"),
        (flood("\r\n"), "receive-too-large"),
        (answer("garbage\r\n\r\n"), "receive-protocol"),
    ] {
        let what = format!("{:.200}", format!("{script:?}"));
        let limit = if wanted == "receive-timeout" { SHORT } else { LONG };
        let server = Server::start(script).await;
        assert_eq!(code(outcome_within(limit, "sip", server.at, &[]).await), wanted, "{what}");
        assert!(server.sent() < 16 << 20, "the server could send {} bytes", server.sent());
    }
}

#[test]
fn a_login_that_is_no_part_of_a_line_is_a_fault_where_it_stands() {
    let fault = make("sip", &target("127.0.0.1:1".parse().unwrap()), &[("login", "a\r\nX: y")]).unwrap_err();
    assert_eq!(fault.message, "login must not hold a line end or NUL");
}
