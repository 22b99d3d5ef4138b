//! `http`.

use std::time::Duration;

use lvsentry::outcome::Failure;
use lvsentry::probe::{Tools, ask};

use crate::support::probe::{SHORT, code, make, outcome, outcome_within, probe, target};
use crate::support::server::{Act, Server, answer};

const MIB: usize = 1 << 20;

fn ok(body: &str) -> Vec<Act> {
    answer(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len()))
}

#[tokio::test]
async fn the_request_is_the_one_ldirectord_users_know() {
    let server = Server::start(ok("")).await;
    assert_eq!(outcome("http", server.at, &[("request", "/a b?c=d#e")]).await.unwrap(), "200 OK");
    let version = env!("CARGO_PKG_VERSION");
    assert_eq!(
        server.requests(),
        [format!(
            "GET /a%20b?c=d HTTP/1.1\r\nHost: 127.0.0.1\r\nUser-Agent: lvsentry/{version}\r\nConnection: close\r\n\r\n"
        )]
    );
}

#[tokio::test]
async fn the_virtual_host_replaces_the_address_in_the_request() {
    let server = Server::start(ok("")).await;
    outcome("http", server.at, &[("virtualhost", "www.example.org:8080")]).await.unwrap();
    assert!(server.requests()[0].contains("\r\nHost: www.example.org:8080\r\n"));
}

#[tokio::test]
async fn an_ipv6_server_is_named_in_brackets() {
    let server = Server::listening("[::1]:0", ok(""), None).await;
    outcome("http", server.at, &[]).await.unwrap();
    assert!(server.requests()[0].contains("\r\nHost: [::1]\r\n"));
}

#[tokio::test]
async fn every_2xx_is_good_and_nothing_else() {
    for (status, good) in [
        ("200 OK", true),
        ("204 No Content", true),
        ("299 Odd", true),
        ("300 Multiple Choices", false),
        ("304 Not Modified", false),
        ("403 Forbidden", false),
        ("404 Gone fishing", false),
        ("503 Service Unavailable", false),
    ] {
        let server = Server::start(answer(format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n"))).await;
        match outcome("http", server.at, &[]).await {
            Ok(seen) => assert!(good && seen == status, "{seen}"),
            Err(failure) => {
                assert!(!good && failure.to_string() == format!("receive-status: {status}"), "{failure}")
            }
        }
    }
}

#[tokio::test]
async fn the_body_must_match_and_the_header_is_not_searched() {
    let server =
        Server::start(answer("HTTP/1.1 200 OK\r\nX: secret\r\nContent-Length: 9\r\n\r\nall fine\n")).await;
    for (receive, good) in
        [("fine", true), ("^all.fine$", true), ("Fine", false), ("(?i)Fine", true), ("secret", false)]
    {
        assert_eq!(outcome("http", server.at, &[("receive", receive)]).await.is_ok(), good, "{receive}");
    }
    let failure = outcome("http", server.at, &[("receive", "no")]).await.unwrap_err();
    assert_eq!(failure.to_string(), "match-mismatch: the body (9 bytes) does not match receive");
}

#[tokio::test]
async fn what_is_told_of_a_good_answer_is_a_short_line() {
    let server = Server::start(answer(format!("HTTP/1.1 200 {}\r\n\r\n", "OK\t".repeat(10_000)))).await;
    let seen = outcome("http", server.at, &[]).await.unwrap();
    assert_eq!((seen.len(), seen.starts_with("200 OK OK ")), (Failure::DETAIL, true), "{seen:?}");
}

#[tokio::test]
async fn body_and_pattern_are_compared_byte_by_byte() {
    let server = Server::start(answer(b"HTTP/1.1 200 \xe9\r\n\r\ncaf\xe9 \xff\xfe")).await;
    for (receive, good) in [
        ("caf\u{e9} ", true),
        ("\u{ff}\u{fe}$", true),
        ("caf\\w", false),
        ("caf\\xe9", true),
        ("\u{c3}\u{a9}", false),
    ] {
        assert_eq!(outcome("http", server.at, &[("receive", receive)]).await.is_ok(), good, "{receive}");
    }
}

#[tokio::test]
async fn answers_of_all_shapes_are_read() {
    for (answer_bytes, what) in [
        ("HTTP/1.0 200 OK\r\n\r\nhello", "HTTP/1.0, until the end"),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2;x=y\r\nhe\r\n3\r\nllo\r\n0\r\nT: x\r\n\r\n",
            "chunked",
        ),
        ("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello and more", "a length in lower case"),
        ("HTTP/1.1 200 OK\nServer: bare\n\nhello", "bare line feeds"),
        ("HTTP/1.1 200\r\n\r\nhello", "no reason"),
        ("HTTP/1.1 200 OK\r\nno colon here\r\nX : y\r\nFolded: a\r\n b\r\n\r\nhello", "broken header lines"),
        ("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n\r\nhello", "an interim answer"),
        ("hello", "HTTP/0.9"),
    ] {
        let server = Server::start(answer(answer_bytes)).await;
        let seen = outcome("http", server.at, &[("receive", "^hello")]).await;
        assert!(seen.is_ok(), "{what}: {seen:?}");
    }
}

#[tokio::test]
async fn head_is_asked_and_has_no_body() {
    let server = Server::start(answer("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n")).await;
    outcome("http", server.at, &[("httpmethod", "head")]).await.unwrap();
    assert!(server.requests()[0].starts_with("HEAD / HTTP/1.1\r\n"));
    let answer = outcome("http", server.at, &[("httpmethod", "HEAD"), ("receive", "x")]).await;
    assert_eq!(code(answer), "match-mismatch");
}

#[tokio::test]
async fn a_redirect_is_followed_with_its_own_host_to_another_address() {
    let last = Server::listening("127.0.0.2:0", ok("here"), None).await;
    let location = format!("http://{}/there?x", last.at);
    for status in [301, 302, 303, 307, 308] {
        let first = format!("HTTP/1.1 {status} Moved\r\nLocation: {location}\r\nContent-Length: 0\r\n\r\n");
        let first = Server::start(answer(first)).await;
        let options = [("receive", "here"), ("virtualhost", "www.example.org")];
        outcome("http", first.at, &options).await.unwrap();
        let request = last.requests().pop().unwrap();
        assert!(request.starts_with("GET /there?x HTTP/1.1\r\n"), "{request}");
        assert!(request.contains(&format!("\r\nHost: {}\r\n", last.at)), "{request}");
    }
    assert_eq!(last.requests().len(), 5);
}

#[tokio::test]
async fn a_redirect_to_a_name_is_looked_up() {
    let last = Server::start(ok("")).await;
    let port = last.at.port();
    let first = format!("HTTP/1.1 302 Found\r\nLocation: http://localhost:{port}/\r\n\r\n");
    let first = Server::start(answer(first)).await;
    outcome("http", first.at, &[]).await.unwrap();
    assert!(last.requests()[0].contains(&format!("\r\nHost: localhost:{port}\r\n")));
}

#[tokio::test]
async fn a_redirect_loop_ends_after_seven() {
    let server = Server::start(answer("HTTP/1.1 302 Found\r\nLocation: /again\r\n\r\n")).await;
    let failure = outcome("http", server.at, &[]).await.unwrap_err();
    assert_eq!(failure.to_string(), "receive-status: 302 Found");
    let requests = server.requests();
    assert_eq!(requests.len(), 8);
    assert!(requests[7].starts_with("GET /again "));
    assert!(requests[7].contains(&format!("\r\nHost: {}\r\n", server.at)));
}

#[tokio::test]
async fn a_redirect_without_a_usable_location_is_the_answer() {
    for header in
        ["", "Location: mailto:x@example.org\r\n", "Location: http://\r\n", "Location: ftp://h/\r\n"]
    {
        let server = Server::start(answer(format!("HTTP/1.1 301 Moved\r\n{header}\r\n"))).await;
        assert_eq!(code(outcome("http", server.at, &[]).await), "receive-status", "{header}");
        assert_eq!(server.requests().len(), 1);
    }
}

#[tokio::test]
async fn an_absolute_request_goes_where_it_says_under_the_old_name() {
    let other = Server::listening("127.0.0.2:0", ok("other"), None).await;
    let own = Server::start(ok("own")).await;
    let url = format!("http://{}/x", other.at);
    let options = [("request", url.as_str()), ("request_absolute", "yes"), ("receive", "other")];
    outcome("http", own.at, &options).await.unwrap();
    assert!(own.requests().is_empty());
    assert!(other.requests()[0].starts_with("GET /x HTTP/1.1\r\nHost: 127.0.0.1\r\n"));

    let options = [("request", url.as_str()), ("receive", "own")];
    outcome("http", own.at, &options).await.unwrap();
    assert!(own.requests()[0].starts_with(&format!("GET /{url} HTTP/1.1\r\n")));

    let options = [("request", "https://h/"), ("request_absolute", "yes"), ("receive", "own")];
    outcome("http", own.at, &options).await.unwrap();
    assert!(own.requests()[1].starts_with("GET /https://h/ HTTP/1.1\r\n"));
}

#[tokio::test]
async fn garbage_and_half_answers_are_failures() {
    for (script, wanted) in [
        (answer(b"\x16\x03\x01\x00\x00\xff\xff"), "receive-protocol"),
        (answer("SSH-2.0-OpenSSH_9.2\r\n"), "receive-protocol"),
        (answer("HTTP/1.1 abc\r\n\r\n"), "receive-protocol"),
        (answer("HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\n"), "receive-protocol"),
        (answer(""), "receive-closed"),
        (answer("HTTP/1.1 200 OK\r\nX: y"), "receive-closed"),
        (answer("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf"), "receive-closed"),
        (answer("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhel"), "receive-closed"),
        (vec![Act::Read, Act::Reset], "receive-reset"),
        (
            vec![Act::Read, Act::Send(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nx".to_vec()), Act::Reset],
            "receive-reset",
        ),
    ] {
        let server = Server::start(script.clone()).await;
        assert_eq!(code(outcome("http", server.at, &[]).await), wanted, "{script:?}");
    }
}

#[tokio::test]
async fn silence_and_dripping_end_at_the_deadline() {
    let header = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n";
    for script in [
        vec![Act::Hold],
        vec![Act::Read, Act::Hold],
        vec![Act::Read, Act::Drip(header.repeat(10), Duration::from_millis(20))],
        vec![Act::Read, Act::Send(header.to_vec()), Act::Hold],
        vec![Act::Read, Act::Send(b"HTTP/1.1 200 OK\r\n\r\nOK".to_vec()), Act::Hold],
        vec![Act::Read, Act::Flood(b"HTTP/1.1 100 Continue\r\n\r\n".repeat(100), usize::MAX)],
    ] {
        let server = Server::start(script).await;
        let failure = outcome_within(SHORT, "http", server.at, &[]).await.unwrap_err();
        assert_eq!(failure.to_string(), "receive-timeout: no complete answer within 0.3 s");
    }
}

#[tokio::test]
async fn an_endless_header_is_given_up_early() {
    for line in ["X: y\r\n", "X", "HTTP/1.1 200 OK\r\nX: 0123456789\r\n"] {
        let script = vec![
            Act::Read,
            Act::Send(b"HTTP/1.1 200 OK\r\n".to_vec()),
            Act::Flood(line.as_bytes().repeat(1000), 100 * MIB),
        ];
        let server = Server::start(script).await;
        let failure = outcome("http", server.at, &[]).await.unwrap_err();
        assert!(["receive-too-large", "receive-protocol"].contains(&failure.code().as_str()), "{failure}");
        settle(&server, 8 * MIB).await;
    }
}

#[tokio::test]
async fn a_header_of_many_bytes_is_too_large() {
    let script =
        vec![Act::Read, Act::Send(b"HTTP/1.1 200 OK\r\nX: ".to_vec()), Act::Flood(vec![b'x'; 1000], MIB)];
    let server = Server::start(script).await;
    let failure = outcome("http", server.at, &[]).await.unwrap_err();
    assert_eq!(failure.to_string(), "receive-too-large: the header of the answer is too large");
}

#[tokio::test]
async fn a_huge_body_is_read_to_a_limit() {
    let header = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\nstart", 100 * MIB);
    let script =
        vec![Act::Read, Act::Send(header.into_bytes()), Act::Flood(b"0123456789".repeat(1000), 100 * MIB)];
    for (receive, wanted) in
        [("", "good"), ("start", "good"), ("890123", "good"), ("absent", "match-too-large")]
    {
        let server = Server::start(script.clone()).await;
        let answer = outcome("http", server.at, &[("receive", receive)]).await;
        assert_eq!(answer.map_or_else(|f| f.code(), |_| "good".to_owned()), wanted, "{receive}");
        // What the kernel's buffers took comes on top of the limit.
        settle(&server, 16 * MIB).await;
    }
}

/// Waits until the server can send no more, and asserts that it did not get far.
async fn settle(server: &Server, most: usize) {
    let mut before = usize::MAX;
    while server.sent() != before {
        before = server.sent();
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(before < most, "the server could send {before} bytes");
}

#[tokio::test]
async fn a_pattern_without_bounds_is_a_failure_of_its_own() {
    let body = "a".repeat(MIB / 2);
    let server = Server::start(ok(&body)).await;
    let failure = outcome("http", server.at, &[("receive", "(a*)*\\1b")]).await.unwrap_err();
    assert_eq!(failure.code(), "match-too-complex");
}

#[tokio::test]
async fn one_deadline_holds_for_all_redirects_together() {
    let script = vec![
        Act::Read,
        Act::Drip(b"HTTP/1.1 302 Found\r\nLocation: /\r\n\r\n".to_vec(), Duration::from_millis(2)),
    ];
    let server = Server::start(script).await;
    let limit = Duration::from_millis(250);
    let outcome = ask(&*probe("http", &target(server.at), &[]), limit, &Tools::new()).await;
    assert_eq!(outcome.clone().into_result().unwrap_err().code(), "receive-timeout");
    assert!(outcome.took < limit * 2, "{:?}", outcome.took);
    assert!(server.requests().len() >= 2);
}

#[test]
fn what_can_not_be_asked_is_a_fault_where_it_stands() {
    let target = target("127.0.0.1:80".parse().unwrap());
    for (options, message, span) in [
        (&[("httpmethod", "POST")][..], "httpmethod must be GET or HEAD", 100..104),
        (&[("receive", "ab(")], "receive: unmatched `(`", 102..103),
        (&[("receive", "a\\pL")], "receive: `\\p` is not supported", 101..103),
        (&[("virtualhost", "a\u{1}")], "invalid virtualhost", 100..102),
        (&[("request", "http:///"), ("request_absolute", "")], "this URL can not be requested", 100..108),
    ] {
        let fault = make("http", &target, options).unwrap_err();
        assert_eq!((fault.message.as_str(), fault.span.unwrap()), (message, span));
    }
}
