//! `https`: certificates made here, trusted or not.

use std::time::Duration;

use lvsentry::probe::{Tools, ask};
use rcgen::{CertificateParams, date_time_ymd};
use tokio_rustls::TlsAcceptor;

use crate::support::probe::{Answer, LONG, SHORT, probe, target};
use crate::support::server::{Act, Server, answer};
use crate::support::tls::{acceptor, authority, named, trusting};

async fn https(tools: &Tools, server: &Server, options: &[(&'static str, &str)]) -> Answer {
    ask(&*probe("https", &target(server.at), options), LONG, tools).await.into_result()
}

async fn serve(tls: TlsAcceptor, script: Vec<Act>) -> Server {
    Server::listening("127.0.0.1:0", script, Some(tls)).await
}

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello";

#[tokio::test]
async fn a_good_chain_is_enough_whatever_the_name() {
    let authority = authority();
    let tools = trusting(&authority);
    for versions in [&[&rustls::version::TLS12][..], &[&rustls::version::TLS13], rustls::ALL_VERSIONS] {
        let (tls, _) = acceptor(Some(&authority), |_| {}, versions);
        let server = serve(tls, answer(OK)).await;
        assert_eq!(https(&tools, &server, &[("receive", "^hello$")]).await.unwrap(), "200 OK");
        assert!(server.requests()[0].contains("\r\nHost: 127.0.0.1\r\n"));
    }
}

#[tokio::test]
async fn untrusted_and_outdated_certificates_are_down() {
    let authority = authority();
    let tools = trusting(&authority);
    let stranger = named("A stranger");
    let expired = |params: &mut CertificateParams| params.not_after = date_time_ymd(2020, 1, 1);
    let early = |params: &mut CertificateParams| params.not_before = date_time_ymd(2090, 1, 1);
    let versions = rustls::ALL_VERSIONS;
    for ((tls, _), wanted) in [
        (acceptor(None, |_| {}, versions), "does not lead to an authority that is trusted here"),
        (acceptor(Some(&stranger), |_| {}, versions), "does not lead to an authority that is trusted here"),
        (acceptor(Some(&authority), expired, versions), "has expired"),
        (acceptor(Some(&authority), early, versions), "is not valid yet"),
    ] {
        let server = serve(tls, answer(OK)).await;
        let failure = https(&tools, &server, &[]).await.unwrap_err();
        assert_eq!(failure.code(), "tls-certificate");
        assert_eq!(failure.detail, format!("{}: the certificate {wanted}", server.at));
        assert!(server.requests().is_empty());
    }
}

#[tokio::test]
async fn a_certificate_that_expires_between_two_checks_is_noticed() {
    let authority = authority();
    let tools = trusting(&authority);
    let expired = |params: &mut CertificateParams| params.not_after = date_time_ymd(2020, 1, 1);
    for versions in [&[&rustls::version::TLS12][..], &[&rustls::version::TLS13]] {
        let (tls, names) = acceptor(Some(&authority), |_| {}, versions);
        let server = serve(tls, answer(OK)).await;
        https(&tools, &server, &[("virtualhost", "a.example.org")]).await.unwrap();
        let (_, later) = acceptor(Some(&authority), expired, versions);
        *names.key.lock().unwrap() = later.key.lock().unwrap().clone();
        let failure = https(&tools, &server, &[("virtualhost", "a.example.org")]).await.unwrap_err();
        assert_eq!(failure.code(), "tls-certificate");
    }
}

#[tokio::test]
async fn the_system_does_not_trust_a_stranger() {
    let (tls, _) = acceptor(None, |_| {}, rustls::ALL_VERSIONS);
    let server = serve(tls, answer(OK)).await;
    let failure = https(&Tools::new(), &server, &[]).await.unwrap_err();
    // A system without certificate authorities says so.
    assert!(["tls-certificate", "tls-local"].contains(&failure.code().as_str()), "{failure}");
}

#[tokio::test]
async fn only_a_virtual_host_is_named_in_the_handshake() {
    let authority = authority();
    let tools = trusting(&authority);
    let (tls, names) = acceptor(Some(&authority), |_| {}, rustls::ALL_VERSIONS);
    let server = serve(tls, answer(OK)).await;
    for options in [&[][..], &[("virtualhost", "www.example.org:8443")], &[("virtualhost", "10.0.0.1")]] {
        https(&tools, &server, options).await.unwrap();
    }
    assert_eq!(*names.seen.lock().unwrap(), [None, Some("www.example.org".to_owned()), None]);
}

#[tokio::test]
async fn a_redirect_leads_from_http_to_https_under_its_own_name() {
    let authority = authority();
    let tools = trusting(&authority);
    let (tls, names) = acceptor(Some(&authority), |_| {}, rustls::ALL_VERSIONS);
    let last = serve(tls, answer(OK)).await;
    let location = format!("https://localhost:{}/x", last.at.port());
    let first = Server::start(answer(format!("HTTP/1.1 301 Moved\r\nLocation: {location}\r\n\r\n"))).await;
    let probe = probe("http", &target(first.at), &[("receive", "hello")]);
    ask(&*probe, LONG, &tools).await.into_result().unwrap();
    assert_eq!(*names.seen.lock().unwrap(), [Some("localhost".to_owned())]);
}

#[tokio::test]
async fn an_end_without_notice_ends_a_body_without_length() {
    let authority = authority();
    let (tls, _) = acceptor(Some(&authority), |_| {}, rustls::ALL_VERSIONS);
    // `Reset` ends the script before the orderly shutdown of TLS.
    let script = vec![Act::Read, Act::Send(b"HTTP/1.0 200 OK\r\n\r\nhello".to_vec()), Act::Reset];
    let server = serve(tls, script).await;
    https(&trusting(&authority), &server, &[("receive", "hello$")]).await.unwrap();
}

#[tokio::test]
async fn a_server_that_does_not_speak_tls_is_down() {
    let tools = trusting(&authority());
    for (script, wanted) in [
        (vec![Act::Send(b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec())], "tls-protocol"),
        (vec![Act::Flood(vec![0; 1000], usize::MAX)], "tls-protocol"),
        (vec![Act::Reset], "tls-reset"),
    ] {
        let server = Server::start(script).await;
        assert_eq!(https(&tools, &server, &[]).await.unwrap_err().code(), wanted);
    }
    let server = Server::start(vec![Act::Hold]).await;
    let failure =
        ask(&*probe("https", &target(server.at), &[]), SHORT, &tools).await.into_result().unwrap_err();
    assert_eq!(failure.to_string(), "tls-timeout: no end of the TLS handshake within 0.3 s");
}

#[tokio::test]
async fn resets_and_limits_hold_over_tls_too() {
    let authority = authority();
    let tools = trusting(&authority);
    let (tls, _) = acceptor(Some(&authority), |_| {}, rustls::ALL_VERSIONS);
    let header = b"HTTP/1.1 200 OK\r\nContent-Length: 104857600\r\n\r\n".to_vec();
    let server =
        serve(tls, vec![Act::Read, Act::Send(header), Act::Flood(vec![b'x'; 16_000], 100 << 20)]).await;
    let failure = https(&tools, &server, &[("receive", "y")]).await.unwrap_err();
    assert_eq!(failure.code(), "match-too-large");
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert!(server.sent() < 16 << 20, "the server could send {} bytes", server.sent());
}
