//! `http_proxy`: scripted proxies.

use std::net::SocketAddr;
use std::time::Duration;

use lvsentry::probe::{Tools, ask};
use rustls::version::TLS13;
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use crate::support::probe::{LONG, SHORT, code, outcome, outcome_within, probe, target};
use crate::support::server::{Act, Server, answer};
use crate::support::tls::{acceptor, authority, trusting};

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello";
const URL: (&str, &str) = ("request", "http://www.example.org:8080/a?b");

#[tokio::test]
async fn a_url_is_asked_for_whole() {
    let server = Server::start(answer(OK)).await;
    assert_eq!(outcome("http_proxy", server.at, &[URL, ("receive", "^hello$")]).await.unwrap(), "200 OK");
    let version = env!("CARGO_PKG_VERSION");
    let wanted = format!(
        "GET http://www.example.org:8080/a?b HTTP/1.1\r\nHost: www.example.org:8080\r\n\
         User-Agent: lvsentry/{version}\r\nConnection: close\r\n\r\n"
    );
    assert_eq!(server.requests(), [wanted]);
    outcome("http_proxy", server.at, &[("request", "http://example.org"), ("httpmethod", "HEAD")])
        .await
        .unwrap();
    assert!(server.requests()[1].starts_with("HEAD http://example.org/ HTTP/1.1\r\nHost: example.org\r\n"));
}

#[tokio::test]
async fn what_is_no_url_is_a_path_on_the_server_itself() {
    for bind in ["127.0.0.1:0", "[::1]:0"] {
        let server = Server::listening(bind, answer(OK), None).await;
        let at = server.at;
        for (options, path) in
            [(&[][..], "/"), (&[("request", "/status")], "/status"), (&[("request", "x y")], "/x%20y")]
        {
            outcome("http_proxy", at, options).await.unwrap();
            let request = server.requests().pop().unwrap();
            assert!(
                request.starts_with(&format!("GET http://{at}{path} HTTP/1.1\r\nHost: {at}\r\n")),
                "{request}"
            );
        }
    }
}

#[tokio::test]
async fn wrong_answers_are_told_apart() {
    for (script, wanted) in [
        (answer("HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n"), "receive-status"),
        (answer("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nworld"), "match-mismatch"),
        (answer(""), "receive-closed"),
        (answer("\x16\x03\x01 garbage\r\n\r\n"), "match-mismatch"),
    ] {
        let server = Server::start(script).await;
        assert_eq!(code(outcome("http_proxy", server.at, &[URL, ("receive", "hello")]).await), wanted);
    }
    let server = Server::start(vec![Act::Read, Act::Hold]).await;
    assert_eq!(code(outcome_within(SHORT, "http_proxy", server.at, &[URL]).await), "receive-timeout");
}

#[tokio::test]
async fn redirects_are_followed_through_the_proxy() {
    let script =
        answer("HTTP/1.1 302 Found\r\nLocation: http://other.example/x\r\nContent-Length: 0\r\n\r\n");
    let server = Server::start(script).await;
    assert_eq!(code(outcome("http_proxy", server.at, &[URL]).await), "receive-status");
    let requests = server.requests();
    assert_eq!(requests.len(), 8);
    assert!(
        requests[1..].iter().all(|request| request.starts_with("GET http://other.example/x HTTP/1.1\r\n"))
    );
}

#[tokio::test]
async fn what_is_no_usable_url_always_fails() {
    let server = Server::start(answer(OK)).await;
    for request in ["http://", "http://a b/", "https://h:0/"] {
        assert_eq!(code(outcome("http_proxy", server.at, &[("request", request)]).await), "run-not-run");
    }
    assert!(server.requests().is_empty());
}

/// A proxy that makes tunnels to one server, whoever is asked for; gives the requests.
async fn tunnels(to: SocketAddr) -> (SocketAddr, JoinHandle<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = listener.local_addr().unwrap();
    let task = tokio::spawn(async move {
        let (mut client, _) = listener.accept().await.unwrap();
        let mut request = Vec::new();
        while !request.ends_with(b"\r\n\r\n") {
            request.push(client.read_u8().await.unwrap());
        }
        // In pieces, and with a header that is longer than one reading.
        for piece in ["HTTP/1.0 200 Conn", "ection established\r\nX: ", &"x".repeat(3000), "\r\n", "\r\n"] {
            client.write_all(piece.as_bytes()).await.unwrap();
            tokio::task::yield_now().await;
        }
        let mut server = TcpStream::connect(to).await.unwrap();
        // Ends as the client likes.
        let _ = copy_bidirectional(&mut client, &mut server).await;
        String::from_utf8(request).unwrap()
    });
    (at, task)
}

#[tokio::test]
async fn an_https_url_is_asked_for_through_a_tunnel() {
    let authority = authority();
    let (tls, names) = acceptor(Some(&authority), |_| {}, &[&TLS13]);
    let server = Server::listening("127.0.0.1:0", answer(OK), Some(tls)).await;
    let (proxy, task) = tunnels(server.at).await;
    let options = [("request", "https://www.example.org/x"), ("receive", "hello")];
    let seen = ask(&*probe("http_proxy", &target(proxy), &options), LONG, &trusting(&authority)).await;
    assert_eq!(seen.into_result().unwrap(), "200 OK");
    let version = env!("CARGO_PKG_VERSION");
    assert_eq!(
        task.await.unwrap(),
        format!(
            "CONNECT www.example.org:443 HTTP/1.1\r\nHost: www.example.org:443\r\nUser-Agent: lvsentry/{version}\r\n\r\n"
        )
    );
    assert!(server.requests()[0].starts_with("GET /x HTTP/1.1\r\nHost: www.example.org\r\n"));
    assert_eq!(*names.seen.lock().unwrap(), [Some("www.example.org".to_owned())]);
}

#[tokio::test]
async fn the_certificate_behind_a_tunnel_is_checked() {
    let authority = authority();
    let (tls, _) = acceptor(None, |_| {}, &[&TLS13]);
    let server = Server::listening("127.0.0.1:0", answer(OK), Some(tls)).await;
    for (verify, good) in
        [(None, false), (Some(("verify", "chain")), false), (Some(("verify", "nothing")), true)]
    {
        let (proxy, _task) = tunnels(server.at).await;
        let options: Vec<_> = [("request", "https://192.0.2.7/")].into_iter().chain(verify).collect();
        let seen = ask(&*probe("http_proxy", &target(proxy), &options), LONG, &trusting(&authority)).await;
        assert_eq!(seen.is_good(), good, "{seen}");
        if !good {
            assert_eq!(code(seen.into_result()), "tls-certificate");
        }
    }
}

#[tokio::test]
async fn a_tunnel_that_does_not_come_about_says_why() {
    let flood = Act::Flood(b"X: y\r\n".to_vec(), usize::MAX);
    for (acts, wanted) in [
        (vec![Act::Send(b"HTTP/1.1 403 Forbidden\r\n\r\n".to_vec())], "receive-status"),
        (vec![Act::Send(b"HTTP/1.1 2000 Odd\r\n\r\n".to_vec())], "receive-status"),
        (vec![Act::Send(b"SSH-2.0-x\r\n\r\n".to_vec())], "receive-protocol"),
        (vec![Act::Send(b"HTTP/1.1 200 OK\r\n".to_vec())], "receive-closed"),
        (vec![], "receive-closed"),
        (vec![flood], "receive-too-large"),
        (vec![Act::Send(b"HTTP/1.1 200 OK\r\n\r\ngarbage, no TLS".to_vec()), Act::Hold], "tls-protocol"),
    ] {
        let script: Vec<_> = std::iter::once(Act::Read).chain(acts).collect();
        let server = Server::start(script).await;
        let answer = ask(
            &*probe("http_proxy", &target(server.at), &[("request", "https://h/")]),
            LONG,
            &Tools::trusting(lvsentry::probe::tls::Trust::only(rustls::RootCertStore::empty())),
        )
        .await;
        assert_eq!(code(answer.into_result()), wanted);
    }
    let drip = Act::Drip(b"HTTP/1.1 200 OK\r\n".repeat(9), Duration::from_millis(50));
    let server = Server::start(vec![Act::Read, drip]).await;
    assert_eq!(
        code(outcome_within(SHORT, "http_proxy", server.at, &[("request", "https://h/")]).await),
        "receive-timeout"
    );
}
