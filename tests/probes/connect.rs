//! `connect`.

use lvsentry::model::{Protocol, ServiceKey};
use lvsentry::outcome::Reason;
use lvsentry::probe::{Tools, ask};

use crate::support::probe::{LONG, SHORT, code, outcome, probe, target};
use crate::support::server::{Act, Server};
use crate::support::skip;

#[tokio::test]
async fn a_listening_server_is_up_and_gets_no_data() {
    let server = Server::start(vec![Act::Read]).await;
    assert_eq!(outcome("connect", server.at, &[]).await.unwrap(), "connected");
    assert!(server.requests().is_empty());
}

#[tokio::test]
async fn a_closed_port_is_refused() {
    let closed = Server::start(vec![]).await.at;
    tokio::task::yield_now().await;
    let failure = outcome("connect", closed, &[]).await.unwrap_err();
    assert_eq!(failure.to_string(), format!("connect-refused: {closed}: connection refused"));
}

#[tokio::test]
async fn a_server_that_does_not_accept_times_out() {
    // Nobody accepts: a full backlog drops what comes in.
    let listener = tokio::net::TcpSocket::new_v4().unwrap();
    listener.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let listener = listener.listen(1).unwrap();
    let at = listener.local_addr().unwrap();
    let mut held = Vec::new();
    for _ in 0..4 {
        held.push(tokio::time::timeout(SHORT, tokio::net::TcpStream::connect(at)).await);
    }
    let failure =
        ask(&*probe("connect", &target(at), &[]), SHORT, &Tools::new()).await.into_result().unwrap_err();
    assert_eq!(failure.to_string(), "connect-timeout: no connection within 0.3 s");
}

#[tokio::test]
async fn a_udp_service_is_pinged_instead() {
    // No TCP port is asked: nothing listens on port 1.
    let mut target = target("127.0.0.1:1".parse().unwrap());
    assert_eq!(code(outcome("connect", target.check, &[]).await), "connect-refused");
    target.service = ServiceKey::Address(Protocol::Udp, "192.0.2.10:53".parse().unwrap());
    let result =
        ask(&*probe("connect", &target, &[("checkcount", "2")]), LONG, &Tools::new()).await.into_result();
    match result {
        Err(failure) if failure.reason == Reason::Local => skip(&failure.to_string()),
        other => assert_eq!(other.unwrap(), "echo reply"),
    }
}
