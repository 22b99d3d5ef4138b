//! Alerts as JSON, posted to a URL. No proxy, no redirects, one deadline for all of it.

use std::error::Error;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use reqwest::{Client, StatusCode, Url, redirect};
use serde::Serialize;
use tracing::error;

use super::lane::{Receiver, Trouble};
use super::{Alert, Limits, letter, mail, one_line};
use crate::probe::tls::{Trust, Verify};

/// Posts to one URL.
#[derive(Debug)]
pub(super) struct Poster {
    /// The URL as written; it may hold secrets.
    url: String,
    /// Scheme, host and port: what logs may say of it.
    name: String,
    timeout: Duration,
    limits: Arc<Limits>,
    trust: Arc<Trust>,
    /// Made for the first post.
    client: Option<Client>,
}

/// What is posted.
#[derive(Debug, Serialize)]
struct Body<'a> {
    event: &'a str,
    /// RFC 3339.
    time: String,
    /// The machine that tells.
    host: &'a str,
    state: &'a str,
    /// With its protocol: `tcp:192.0.2.10:80`.
    service: Option<String>,
    server: Option<SocketAddr>,
    weight: Option<u32>,
    message: &'a str,
    name: Option<&'a str>,
    comment: Option<&'a str>,
}

impl Poster {
    /// Posts to `url`; each try may take `timeout`.
    pub(super) fn new(url: &str, timeout: Duration, limits: Arc<Limits>, trust: Arc<Trust>) -> Poster {
        Poster { url: url.to_owned(), name: public(url), timeout, limits, trust, client: None }
    }

    async fn client(&mut self, url: &Url) -> Result<Client, Trouble> {
        if let Some(client) = &self.client {
            return Ok(client.clone());
        }
        let mut builder = Client::builder()
            .no_proxy()
            .redirect(redirect::Policy::none())
            .timeout(self.timeout)
            .user_agent(concat!("lvsentry/", env!("CARGO_PKG_VERSION")))
            .pool_max_idle_per_host(1);
        // The certificate authorities are read only where they are needed; without TLS any will do.
        let verify = if url.scheme() == "https" { Verify::Name } else { Verify::Nothing };
        let tls = self.trust.config(verify).await.map_err(|failure| Trouble::passing(failure.detail))?;
        builder = builder.tls_backend_preconfigured((*tls).clone());
        let client = builder.build().map_err(|error| Trouble::lasting(words(error)))?;
        Ok(self.client.insert(client).clone())
    }
}

impl Receiver for Poster {
    type Parcel = Vec<u8>;

    fn name(&self) -> String {
        format!("webhook {}", self.name)
    }

    fn waits(&self) -> Vec<Duration> {
        self.limits.post_again.clone()
    }

    async fn pack(&mut self, alert: &Alert) -> Vec<u8> {
        let body = Body {
            event: alert.event,
            time: alert.time.to_string(),
            host: &mail::host(),
            state: letter::status(alert.state),
            service: alert.service.map(|service| service.id()),
            server: alert.server,
            weight: alert.weight.map(|weight| weight.get()),
            message: &alert.message,
            name: alert.extras.name.as_deref(),
            comment: alert.extras.comment.as_deref(),
        };
        // Text and numbers always have a JSON form.
        serde_json::to_vec(&body).unwrap_or_default()
    }

    async fn deliver(&mut self, body: &mut Vec<u8>) -> Result<(), Trouble> {
        let url: Url = self.url.parse().map_err(|why| Trouble::lasting(format!("not a URL: {why}")))?;
        let client = self.client(&url).await?;
        let request = client.post(url).header("content-type", "application/json").body(body.clone());
        let answer = request.send().await.map_err(|error| Trouble::passing(words(error)))?;
        let status = answer.status();
        match status {
            _ if status.is_success() => Ok(()),
            _ if status.is_redirection() => {
                Err(Trouble::lasting(format!("answered {status}: redirects are not followed")))
            }
            StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS => {
                Err(Trouble::passing(format!("answered {status}")))
            }
            _ if status.is_server_error() => Err(Trouble::passing(format!("answered {status}"))),
            _ => Err(Trouble::lasting(format!("answered {status}"))),
        }
    }

    fn failed(&self, why: &str) {
        error!(id = "webhook-failed", "failed to post an alert to {}: {why}", self.name);
    }
}

/// What may be said of a URL: what follows the host often is a secret.
fn public(url: &str) -> String {
    let Ok(url) = url.parse::<Url>() else { return "(not a URL)".to_owned() };
    let host = url.host_str().unwrap_or_default();
    let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
    format!("{}://{host}{port}", url.scheme())
}

/// An error with its causes, without the URL.
fn words(error: reqwest::Error) -> String {
    let late = error.is_timeout();
    let error = error.without_url();
    let mut words = if late { "no answer in time".to_owned() } else { error.to_string() };
    let mut cause = error.source();
    while let Some(why) = cause.filter(|_| !late) {
        words += &format!(": {why}");
        cause = why.source();
    }
    one_line(&words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_of_a_url_holds_no_secret() {
        assert_eq!(
            public("https://u:p@hooks.example.org:8443/T0/B0/xyz?token=1#f"),
            "https://hooks.example.org:8443"
        );
        assert_eq!(public("http://[2001:db8::1]/x"), "http://[2001:db8::1]");
        assert_eq!(public("nonsense"), "(not a URL)");
    }
}
