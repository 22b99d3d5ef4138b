//! Webhooks, well and ill.

use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

use lvsentry::alert::{Alerts, Limits};
use lvsentry::config::Extras;
use lvsentry::model::Weight;
use lvsentry::probe::tls::Trust;
use rcgen::{CertificateParams, KeyPair};
use rustls::pki_types::PrivateKeyDer;
use rustls::{RootCertStore, ServerConfig};
use tokio::time::Instant;
use tokio_rustls::TlsAcceptor;

use super::{SECOND, alert, alerts, hooks, mail, quick, until};
use crate::support::hook::{Hook, Reply, status};
use crate::support::log::Log;
use crate::support::mail::MailServer;
use crate::support::server::{Server, answer};

fn url(hook: &Hook) -> String {
    format!("http://{}/lvs", hook.at)
}

#[tokio::test]
async fn an_alert_is_posted_as_json() {
    let (hook, log) = (Hook::start(status("204 No Content")).await, Log::catch());
    let extras =
        Extras { name: Some("shop".into()), comment: Some("größer".into()), ..hooks(&[url(&hook)]) };
    let mut added = alert(2, &extras);
    added.event = "server-added";
    added.weight = Weight::new(3);
    let mut alerts = alerts(quick());
    alerts.send(added);
    alerts.send(alert(3, &hooks(&[url(&hook)])));
    alerts.finish().await;
    let posts = hook.posts();
    assert!(posts[0].head.starts_with("POST /lvs HTTP/1.1\r\n"), "{}", posts[0].head);
    assert!(posts[0].head.to_lowercase().contains("\r\ncontent-type: application/json\r\n"));
    let facts: Vec<serde_json::Value> =
        posts.iter().map(|post| serde_json::from_str(&post.body).unwrap()).collect();
    let host = facts[0]["host"].clone();
    assert!(host.as_str().is_some_and(|host| !host.is_empty()));
    let first = serde_json::json!({
        "event": "server-added", "time": "2026-11-21T07:43:03Z", "host": host, "state": "running",
        "service": "tcp:192.0.2.1:80", "server": "10.0.0.2:80", "weight": 3,
        "message": "Deleted real server: 10.0.0.2:80 (192.0.2.1:80)", "name": "shop", "comment": "größer",
    });
    assert_eq!(facts[0], first);
    assert_eq!(facts[1]["weight"], serde_json::Value::Null);
    assert_eq!(facts.len(), 2);
    assert_eq!(log.text(), "", "mail has lines of its own, posts have none when all is well");
}

#[tokio::test]
async fn what_may_pass_is_tried_again_and_what_lasts_is_not() {
    for (line, tries) in [
        ("500 Internal Server Error", 3),
        ("503 Service Unavailable", 3),
        ("429 Too Many Requests", 3),
        ("404 Not Found", 1),
        ("400 Bad Request", 1),
    ] {
        let (hook, log) = (Hook::start(status(line)).await, Log::catch());
        let mut alerts = alerts(quick());
        alerts.send(alert(2, &hooks(&[url(&hook)])));
        let told = format!("ERROR failed to post an alert to http://{}: answered {line}", hook.at);
        until("it is told", || log.text(), || log.count(&told) == 1).await;
        alerts.finish().await;
        assert_eq!((hook.posts().len(), log.count("failed")), (tries, 1), "{line}: {}", log.text());
    }
}

#[tokio::test]
async fn a_receiver_that_is_away_for_a_moment_misses_nothing() {
    let (hook, log) = (Hook::start(status("503 Service Unavailable")).await, Log::catch());
    let mut alerts = alerts(Limits { post_again: vec![SECOND / 4], ..quick() });
    (2..5).for_each(|n| alerts.send(alert(n, &hooks(&[url(&hook)]))));
    until("the first try", || log.text(), || hook.posts().len() == 1).await;
    hook.reply(status("200 OK"));
    until("all are there", || log.text(), || hook.posts().len() == 4).await;
    alerts.finish().await;
    let order: Vec<bool> = ["0.2:80", "0.2:80", "0.3:80", "0.4:80"]
        .iter()
        .zip(hook.posts())
        .map(|(at, post)| post.body.contains(at))
        .collect();
    assert_eq!(order, [true; 4]);
    assert_eq!(log.text(), "");
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let elsewhere = Hook::start(status("200 OK")).await;
    for code in ["302 Found", "307 Temporary Redirect"] {
        let reply = status(&format!("{code}\r\nLocation: {}", url(&elsewhere)));
        let (hook, log) = (Hook::start(reply).await, Log::catch());
        let mut alerts = alerts(quick());
        alerts.send(alert(2, &hooks(&[url(&hook)])));
        alerts.finish().await;
        assert_eq!(hook.posts().len(), 1);
        assert_eq!(log.count(&format!("answered {code}: redirects are not followed")), 1, "{}", log.text());
    }
    assert!(elsewhere.posts().is_empty());
}

#[tokio::test]
async fn a_receiver_that_refuses_closes_or_hangs_is_told_without_its_secrets() {
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let (closes, hangs) = (Hook::start(Reply::Close).await, Hook::start(Reply::Hang).await);
    for (at, why) in [
        (nobody, "Connection refused"),
        (closes.at, "connection closed before message completed"),
        (hangs.at, "no answer in time"),
    ] {
        let log = Log::catch();
        let mut extras = hooks(&[format!("http://user:hunter2@{at}/T0/secret?token=secret#secret")]);
        extras.webhooks[0].timeout = SECOND / 5;
        let mut alerts = alerts(Limits { finish: SECOND * 5, ..quick() });
        alerts.send(alert(2, &extras));
        let told = format!("failed to post an alert to http://{at}: ");
        until("it is told", || log.text(), || log.count(&told) == 1).await;
        alerts.finish().await;
        assert!(log.text().contains(why), "{}", log.text());
        assert!(!log.text().contains("secret") && !log.text().contains("hunter2"), "{}", log.text());
    }
    assert!(hangs.posts()[0].head.contains("authorization: Basic "), "{}", hangs.posts()[0].head);
}

#[tokio::test]
async fn a_receiver_that_hangs_delays_no_other() {
    let (hangs, well) = (Hook::start(Reply::Hang).await, Hook::start(status("200 OK")).await);
    let post = MailServer::start().await;
    let mut extras = Extras { mail: mail("ops", post.at).mail, ..hooks(&[url(&hangs), url(&well)]) };
    extras.webhooks.iter_mut().for_each(|hook| hook.timeout = SECOND * 60);
    let mut alerts = alerts(quick());
    let begun = Instant::now();
    (1..=5).for_each(|n| alerts.send(alert(n, &extras)));
    until("the well ones have all", String::new, || well.posts().len() == 5).await;
    assert_eq!(post.take(5).await.len(), 5);
    assert!(begun.elapsed() < SECOND * 10);
    alerts.finish().await;
    assert!(begun.elapsed() < SECOND * 12);
    assert_eq!(hangs.posts().len(), 1);
}

#[tokio::test]
async fn a_url_that_is_none_is_told() {
    let log = Log::catch();
    let mut alerts = alerts(quick());
    alerts.send(alert(2, &hooks(&["nonsense".into()])));
    alerts.finish().await;
    assert_eq!(log.count("failed to post an alert to (not a URL): not a URL: "), 1, "{}", log.text());
}

#[tokio::test]
async fn the_certificate_of_a_receiver_must_be_trusted_and_have_its_name() {
    let key = KeyPair::generate().unwrap();
    let certificate =
        CertificateParams::new(vec!["localhost".to_owned()]).unwrap().self_signed(&key).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(
            vec![certificate.der().clone()],
            PrivateKeyDer::try_from(key.serialize_der()).unwrap(),
        )
        .unwrap();
    let script = answer("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    let server = Server::listening("127.0.0.1:0", script, Some(TlsAcceptor::from(Arc::new(config)))).await;
    let mut roots = RootCertStore::empty();
    roots.add(certificate.der().clone()).unwrap();
    let trusting = || Arc::new(Trust::only(roots.clone()));
    let port = server.at.port();
    for (trust, host, fine) in [
        (trusting(), "localhost", true),
        (trusting(), "127.0.0.1", false),
        (Arc::new(Trust::only(RootCertStore::empty())), "localhost", false),
    ] {
        let log = Log::catch();
        let before = server.requests().len();
        let mut alerts = Alerts::new(Limits { finish: SECOND * 5, ..quick() }, trust);
        alerts.send(alert(2, &hooks(&[format!("https://{host}:{port}/lvs")])));
        alerts.finish().await;
        assert_eq!(server.requests().len() - before, usize::from(fine), "{host}: {}", log.text());
        assert_eq!(log.count("invalid peer certificate"), usize::from(!fine), "{host}: {}", log.text());
    }
}

/// Where the test below tells the one in its child to post.
const CHILD: &str = "LVSENTRY_TEST_HOOK";

#[tokio::test]
async fn a_proxy_in_the_environment_is_not_asked() {
    if let Ok(url) = std::env::var(CHILD) {
        let mut alerts = alerts(quick());
        alerts.send(alert(2, &hooks(&[url])));
        return alerts.finish().await;
    }
    let (hook, proxy) = (Hook::start(status("200 OK")).await, Hook::start(status("200 OK")).await);
    let mut child = tokio::process::Command::new(std::env::current_exe().unwrap());
    child.args(["--exact", "alerts::post::a_proxy_in_the_environment_is_not_asked"]).env(CHILD, url(&hook));
    for name in ["http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"] {
        child.env(name, format!("http://{}", proxy.at));
    }
    let ended = tokio::time::timeout(SECOND * 30, child.kill_on_drop(true).output()).await.unwrap().unwrap();
    assert!(ended.status.success(), "{}", String::from_utf8_lossy(&ended.stdout));
    assert_eq!((hook.posts().len(), proxy.posts().len()), (1, 0));
}

#[test]
fn the_limits_that_hold_are_bounded_and_leave_time_for_a_slow_greeting() {
    let limits = Limits::default();
    assert!(limits.step >= Duration::from_secs(10) && limits.mail <= Duration::from_secs(120));
    assert!(limits.finish <= Duration::from_secs(5) && limits.queue <= 1024);
    assert!(limits.mail_again.len() == 1 && limits.post_again.len() == 2);
}
