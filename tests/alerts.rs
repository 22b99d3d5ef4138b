//! Mail and webhooks: what is told, to whom, and what ill receivers cost.

mod changes; // through the daemon: which changes are told, in which words
mod post; // webhooks
mod receivers; // mail servers and sendmail, well and ill

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use lvsentry::alert::{Alert, Alerts, Limits};
use lvsentry::config::{Extras, Mail, State, Webhook};
use lvsentry::model::{Protocol, ServiceKey};
use lvsentry::probe::tls::Trust;
use tokio::time::Instant;

const SECOND: Duration = Duration::from_secs(1);

/// The real server with that number.
fn server(n: u8) -> SocketAddr {
    ([10, 0, 0, n], 80).into()
}

/// The virtual service with that number.
fn service(n: u8) -> ServiceKey {
    ServiceKey::Address(Protocol::Tcp, ([192, 0, 2, n], 80).into())
}

/// Mail to `to` through a mail server.
fn mail(to: &str, smtp: SocketAddr) -> Extras {
    let mail = Mail { to: to.into(), from: Some("lvs@example.org".into()), smtp: Some(smtp.to_string()) };
    Extras { mail: Some(mail), ..always() }
}

/// Posts to these URLs.
fn hooks(urls: &[String]) -> Extras {
    let hook = |url: &String| Webhook { url: url.clone(), timeout: SECOND };
    Extras { webhooks: urls.iter().map(hook).collect(), ..always() }
}

/// Tells nobody, in all states.
fn always() -> Extras {
    let states = [State::Starting, State::Running, State::Stopping, State::Reloading];
    Extras { alert_in: states.into(), ..Extras::default() }
}

/// Limits that tests can wait for.
fn quick() -> Limits {
    let soon = Duration::from_millis(20);
    Limits {
        queue: 8,
        step: Duration::from_millis(250),
        mail: SECOND * 2,
        mail_again: vec![soon],
        post_again: vec![soon, soon * 2],
        finish: SECOND,
        sendmail: None,
    }
}

fn alerts(limits: Limits) -> Alerts {
    Alerts::new(limits, Arc::new(Trust::system()))
}

/// The alert with that number.
fn alert(n: u8, extras: &Extras) -> Alert {
    Alert {
        event: "server-deleted",
        message: format!("Deleted real server: {} ({})", server(n), service(1)),
        service: Some(service(1)),
        server: Some(server(n)),
        weight: None,
        state: State::Running,
        extras: Arc::new(extras.clone()),
        time: "2026-11-21T07:43:03Z".parse().unwrap(),
        expires: Instant::now() + SECOND * 60,
    }
}

/// Waits, with real time, until something holds.
async fn until(what: &str, state: impl Fn() -> String, is_so: impl Fn() -> bool) {
    let end = Instant::now() + SECOND * 10;
    while !is_so() {
        assert!(Instant::now() < end, "waited in vain until {what}\n{}", state());
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
