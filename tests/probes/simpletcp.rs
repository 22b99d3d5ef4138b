//! `simpletcp`, over TCP and UDP.

use std::net::SocketAddr;
use std::time::Duration;

use lvsentry::model::{Protocol, ServiceKey};
use lvsentry::probe::{Target, Tools, ask};
use tokio::net::UdpSocket;

use crate::support::probe::{
    Answer, LONG, SHORT, closed, code, make, outcome, outcome_within, probe, target,
};
use crate::support::server::{Act, Server};

const MIB: usize = 1 << 20;

/// Reads all that the client sends and answers it.
fn echo(answer: &str) -> Vec<Act> {
    vec![Act::End, Act::Send(answer.into())]
}

#[tokio::test]
async fn the_request_is_sent_whole_and_ended() {
    for at in ["127.0.0.1:0", "[::1]:0"] {
        for (request, wanted) in
            [("/GET x\\n\\nend", "GET x\n\nend"), ("x", "x"), ("//", "/"), ("\u{e9}\\n", "\u{e9}\n")]
        {
            let server = Server::listening(at, echo("fine\n"), None).await;
            let options = [("request", request), ("receive", "^fine$")];
            assert_eq!(outcome("simpletcp", server.at, &options).await.unwrap(), "line 1 matches");
            assert_eq!(server.requests(), [wanted]);
        }
    }
}

#[tokio::test]
async fn some_line_must_match_by_itself() {
    let server = Server::start(echo("first\nsecond line\r\nlast")).await;
    for (receive, wanted) in [
        ("^second", "line 2 matches"),
        ("line\\r\\n$", "line 2 matches"),
        ("line$", "match-mismatch: none of 3 lines matches receive"),
        ("^last$", "line 3 matches"),
        ("first\\nsecond", "match-mismatch: none of 3 lines matches receive"),
        ("SECOND", "match-mismatch: none of 3 lines matches receive"),
        ("(?=sec)(s)", "line 2 matches"),
    ] {
        let answer = outcome("simpletcp", server.at, &[("receive", receive)]).await;
        assert_eq!(answer.unwrap_or_else(|failure| failure.to_string()), wanted, "{receive}");
    }
    let server = Server::start(echo("one")).await;
    let failure = outcome("simpletcp", server.at, &[("receive", "two")]).await.unwrap_err();
    assert_eq!(failure.to_string(), "match-mismatch: the only line does not match receive");
}

#[tokio::test]
async fn a_matching_line_is_enough_while_the_server_talks_on() {
    let script = vec![Act::Send(b"hello\n".to_vec()), Act::Hold];
    let server = Server::start(script).await;
    assert_eq!(outcome("simpletcp", server.at, &[("receive", "hello")]).await.unwrap(), "line 1 matches");
}

#[tokio::test]
async fn without_a_receive_a_request_that_is_taken_is_enough() {
    let server = Server::start(vec![Act::Hold]).await;
    assert_eq!(outcome("simpletcp", server.at, &[("request", "a\\nb")]).await.unwrap(), "3 bytes sent");
    assert_eq!(outcome("simpletcp", server.at, &[]).await.unwrap(), "0 bytes sent");
    assert_eq!(code(outcome("simpletcp", closed().await, &[]).await), "connect-refused");
}

#[tokio::test]
async fn ill_servers_are_down_in_time() {
    for (script, wanted) in [
        (vec![], "receive-closed"),
        (vec![Act::End], "receive-closed"),
        (vec![Act::End, Act::Reset], "receive-reset"),
        (vec![Act::End, Act::Send(b"half a".to_vec()), Act::Reset], "receive-reset"),
        (vec![Act::End, Act::Hold], "receive-timeout"),
        (vec![Act::End, Act::Send(b"half a".to_vec()), Act::Hold], "receive-timeout"),
        (vec![Act::End, Act::Drip(b"wanted".to_vec(), SHORT / 2)], "receive-timeout"),
        (vec![Act::End, Act::Flood(vec![b'x'; 10_000], 100 * MIB)], "receive-too-large"),
        (vec![Act::End, Act::Flood(b"\n".repeat(10_000), 100 * MIB)], "receive-too-large"),
        (vec![Act::End, Act::Flood(b"0123456789\n".repeat(1000), 100 * MIB)], "receive-too-large"),
    ] {
        let what = format!("{:?}", script.iter().map(std::mem::discriminant).collect::<Vec<_>>());
        let waits = wanted == "receive-timeout";
        let server = Server::start(script).await;
        let limit = if waits { SHORT } else { LONG };
        let answer = outcome_within(limit, "simpletcp", server.at, &[("receive", "wanted")]).await;
        assert_eq!(code(answer), wanted, "{what}");
        assert!(server.sent() < 16 * MIB, "the server could send {} bytes", server.sent());
    }
}

#[tokio::test]
async fn a_pattern_without_bounds_is_a_failure_of_its_own() {
    let server = Server::start(echo(&"a".repeat(MIB / 2))).await;
    let answer = outcome("simpletcp", server.at, &[("receive", "(a*)*\\1b")]).await;
    assert_eq!(code(answer), "match-too-complex");
}

/// A target behind a UDP service.
fn udp(check: SocketAddr) -> Target {
    let service = ServiceKey::Address(Protocol::Udp, "192.0.2.10:7".parse().unwrap());
    Target { service, ..target(check) }
}

async fn over_udp(limit: Duration, at: SocketAddr, options: &[(&'static str, &str)]) -> Answer {
    ask(&*probe("simpletcp", &udp(at), options), limit, &Tools::new()).await.into_result()
}

/// Asks a server that answers the first datagram with these; returns what it got too.
async fn datagrams(
    limit: Duration,
    at: &str,
    answers: &[&[u8]],
    options: &[(&'static str, &str)],
) -> (Answer, Vec<u8>) {
    let server = UdpSocket::bind(at).await.unwrap();
    let serve = async {
        let mut request = [0; 100];
        let (length, peer) = server.recv_from(&mut request).await.unwrap();
        for answer in answers {
            server.send_to(answer, peer).await.unwrap();
        }
        request[..length].to_vec()
    };
    tokio::join!(over_udp(limit, server.local_addr().unwrap(), options), serve)
}

#[tokio::test]
async fn a_udp_service_is_asked_in_datagrams() {
    for at in ["127.0.0.1:0", "[::1]:0"] {
        let options = [("request", "/who\\n"), ("receive", "^two$")];
        let (answer, request) = datagrams(LONG, at, &[b"", b"one\ntw", b"three\ntwo\nfour"], &options).await;
        assert_eq!(answer.unwrap(), "line 4 matches");
        assert_eq!(request, b"who\n");
    }
}

#[tokio::test]
async fn a_udp_server_must_answer_even_without_a_receive() {
    let (answer, request) = datagrams(LONG, "127.0.0.1:0", &[b"x"], &[]).await;
    assert_eq!((answer.unwrap().as_str(), request.len()), ("1 bytes answered", 0));
    let (answer, _) = datagrams(SHORT, "127.0.0.1:0", &[], &[]).await;
    assert_eq!(code(answer), "receive-timeout");
    let (answer, _) = datagrams(SHORT, "127.0.0.1:0", &[b"no", b"no"], &[("receive", "yes")]).await;
    assert_eq!(code(answer), "receive-timeout");
}

#[tokio::test]
async fn a_udp_port_where_nobody_listens_is_refused_at_once() {
    for at in ["127.0.0.1:0", "[::1]:0"] {
        let at = UdpSocket::bind(at).await.unwrap().local_addr().unwrap();
        for options in [&[][..], &[("receive", "x")]] {
            let failure = over_udp(LONG, at, options).await.unwrap_err();
            assert_eq!(failure.to_string(), format!("receive-refused: {at}: connection refused"));
        }
    }
}

#[tokio::test]
async fn another_peer_is_not_heard() {
    let server = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let stranger = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let serve = async {
        let (_, peer) = server.recv_from(&mut [0; 10]).await.unwrap();
        stranger.send_to(b"yes", peer).await.unwrap();
    };
    let options = [("receive", "yes")];
    let (answer, ()) = tokio::join!(over_udp(SHORT, server.local_addr().unwrap(), &options), serve);
    assert_eq!(code(answer), "receive-timeout");
}

#[test]
fn a_bad_pattern_is_a_fault_where_it_stands() {
    let fault = make("simpletcp", &target("127.0.0.1:7".parse().unwrap()), &[("receive", "a(")]).unwrap_err();
    assert_eq!(fault.message, "receive: unmatched `(`");
}
