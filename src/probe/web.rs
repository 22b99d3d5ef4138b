//! One HTTP exchange: connect, ask, follow redirects, read the answer with limits, judge it.
//!
//! Each hop has a connection of its own. hyper's connection is polled beside the reading and never
//! spawned, so that dropping the future at the deadline ends all of it.

use std::borrow::Cow;
use std::future::poll_fn;
use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::pin::pin;

use http_body_util::{BodyExt, Empty};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1;
use hyper::ext::ReasonPhrase;
use hyper::header::{CONNECTION, HOST, HeaderValue, LOCATION, USER_AGENT};
use hyper::{Method, Request, Response, StatusCode, Version};
use hyper_util::rt::TokioIo;

use super::dial::Stream;
use super::receive::Receive;
use super::tls::{Manner, Verify};
use super::url::{Host, Url};
use super::{Call, dial, tunnel};
use crate::outcome::{Failure, Phase, Reason};

/// What we call ourselves.
pub(super) const AGENT: &str = concat!("lvsentry/", env!("CARGO_PKG_VERSION"));
/// As much of a body as is read, in bytes.
pub const BODY: usize = 1 << 20;
/// As much of an answer's header as is read, in bytes.
pub const HEADER: usize = 64 * 1024;
/// Lines that an answer's header may have.
const LINES: usize = 256;
/// Redirects that are followed, as in ldirectord.
const REDIRECTS: usize = 7;

/// A request and what makes its answer a good one.
#[derive(Debug)]
pub struct Inquiry {
    /// GET or HEAD.
    pub method: Method,
    /// Whom and what to ask.
    pub url: Url,
    /// The Host header of the first request; none for the bare address of `url`.
    pub host: Option<HeaderValue>,
    /// The name in the first request's TLS handshake (SNI).
    pub name: Option<Box<str>>,
    /// How much of a certificate is checked.
    pub verify: Verify,
    /// What the body must hold.
    pub receive: Receive,
    /// The proxy that everything is asked through, if there is one.
    pub proxy: Option<Box<SocketAddr>>,
}

/// What one hop led to.
enum Hop {
    Good(String),
    Redirect(Url),
}

impl Inquiry {
    /// Asks, and says what the status line of the good answer was.
    pub async fn ask(&self, call: &Call) -> Result<String, Failure> {
        let mut url = Cow::Borrowed(&self.url);
        let mut host = self.host.clone().unwrap_or_else(|| bare(&url.host));
        let mut name = self.name.as_deref().map(str::to_owned);
        let mut left = REDIRECTS;
        loop {
            match self.hop(&url, host, name, left > 0, call).await? {
                Hop::Good(seen) => return Ok(seen),
                Hop::Redirect(next) => {
                    left -= 1;
                    // Cannot fail: an authority that could be read holds no control characters.
                    host = HeaderValue::from_str(&next.authority).map_err(other)?;
                    name = next.host.name();
                    url = Cow::Owned(next);
                }
            }
        }
    }

    async fn hop(
        &self,
        url: &Url,
        host: HeaderValue,
        name: Option<String>,
        follow: bool,
        call: &Call,
    ) -> Result<Hop, Failure> {
        let manner = url.tls.then_some(Manner { name, verify: self.verify });
        let (stream, form) = match (self.proxy.as_deref().copied(), &manner) {
            (None, Some(manner)) => {
                (dial::open(resolve(url, call).await?, Some(manner), call).await?, url.path.to_string())
            }
            (None, None) => (plain(resolve(url, call).await?, call).await?, url.path.to_string()),
            (Some(proxy), None) => (plain(proxy, call).await?, url.to_string()),
            (Some(proxy), Some(manner)) => {
                (tunnel::open(proxy, url, manner, call).await?, url.path.to_string())
            }
        };
        let request = Request::builder()
            .method(&self.method)
            .uri(form)
            .header(HOST, host)
            .header(USER_AGENT, AGENT)
            .header(CONNECTION, "close")
            .body(Empty::<Bytes>::new())
            .map_err(other)?;
        call.enter(Phase::Send);
        let (mut sender, mut connection) = client().handshake(TokioIo::new(stream)).await.map_err(broken)?;
        // What is not TLS needs no words at its end: closing says it.
        let connection = poll_fn(|context| match url.tls {
            true => pin!(&mut connection).poll(context).map(drop),
            false => connection.poll_without_shutdown(context).map(drop),
        });
        beside(connection, async {
            call.enter(Phase::Receive);
            let answer = sender.send_request(request).await.map_err(broken)?;
            match redirect(&answer, url).filter(|_| follow) {
                Some(next) => Ok(Hop::Redirect(next)),
                None => self.judge(answer, call).await.map(Hop::Good),
            }
        })
        .await
    }

    async fn judge(&self, answer: Response<Incoming>, call: &Call) -> Result<String, Failure> {
        let line = status_line(&answer);
        if !answer.status().is_success() {
            return Err(Failure::new(Phase::Receive, Reason::Status, line));
        }
        let bare = answer.version() == Version::HTTP_09;
        if !self.receive.is_empty() {
            let body = Body::read(answer.into_body(), true).await?;
            self.receive.search(body.bytes, "the body", body.whole, call).await?;
        } else if bare {
            // LWP takes any bytes for an answer of HTTP/0.9; they are worth something only if they
            // hold what is expected.
            return Err(Failure::new(Phase::Receive, Reason::Protocol, "the answer has no status line"));
        } else {
            Body::read(answer.into_body(), false).await?;
        }
        Ok(line)
    }
}

/// The Host header that names it without a port.
pub(super) fn bare(host: &Host) -> HeaderValue {
    let text = match host {
        Host::Ip(IpAddr::V4(ip)) => ip.to_string(),
        Host::Ip(IpAddr::V6(ip)) => format!("[{ip}]"),
        Host::Name(name) => name.clone(),
    };
    // An address holds visible ASCII only, and so does a name that could be read.
    HeaderValue::from_str(&text).unwrap_or_else(|_| HeaderValue::from_static(""))
}

fn client() -> http1::Builder {
    let mut client = http1::Builder::new();
    client
        .max_buf_size(HEADER)
        .max_headers(LINES)
        .http09_responses(true)
        .title_case_headers(true)
        .allow_spaces_after_header_name_in_responses(true)
        .allow_obsolete_multiline_headers_in_responses(true)
        .ignore_invalid_headers_in_responses(true);
    client
}

/// Connects for one request in the clear.
async fn plain(to: SocketAddr, call: &Call) -> Result<Box<dyn Stream>, Failure> {
    call.enter(Phase::Connect);
    Ok(Box::new(dial::brief(to).await?))
}

/// Polls the connection beside the exchange that it carries.
async fn beside<T>(connection: impl Future, exchange: impl Future<Output = T>) -> T {
    let mut exchange = pin!(exchange);
    tokio::select! {
        // What came in is handed over before the exchange looks for it.
        biased;
        // Its end, good or bad, is told to the exchange too, behind what has come in before.
        _ = connection => {}
        answer = &mut exchange => return answer,
    }
    exchange.await
}

/// The address to connect to: the first one of a name.
async fn resolve(url: &Url, call: &Call) -> Result<SocketAddr, Failure> {
    let name = match &url.host {
        Host::Ip(ip) => return Ok(SocketAddr::new(*ip, url.port)),
        Host::Name(name) => name,
    };
    call.enter(Phase::Resolve);
    let unknown = |why: String| Failure::new(Phase::Resolve, Reason::Other, format!("{name}: {why}"));
    let asked = (name.clone(), url.port);
    let lookup = move || (asked.0.as_str(), asked.1).to_socket_addrs().map(|mut found| found.next());
    let found = call.tools().lookups.work(Phase::Resolve, lookup).await?;
    found.map_err(|error| unknown(error.to_string()))?.ok_or_else(|| unknown("no address".to_owned()))
}

/// Where an answer sends us; none when it is no redirect, or one without a usable Location.
fn redirect(answer: &Response<Incoming>, from: &Url) -> Option<Url> {
    let redirects = matches!(
        answer.status(),
        StatusCode::MOVED_PERMANENTLY
            | StatusCode::FOUND
            | StatusCode::SEE_OTHER
            | StatusCode::TEMPORARY_REDIRECT
            | StatusCode::PERMANENT_REDIRECT
    );
    let location = answer.headers().get(LOCATION).filter(|_| redirects)?;
    from.join(location.as_bytes())
}

fn status_line(answer: &Response<Incoming>) -> String {
    let status = answer.status();
    let reason = match answer.extensions().get::<ReasonPhrase>() {
        Some(said) => String::from_utf8_lossy(said.as_bytes()),
        None => status.canonical_reason().unwrap_or_default().into(),
    };
    format!("{} {reason}", status.as_str()).trim_end().to_owned()
}

/// What was read of a body.
struct Body {
    bytes: Vec<u8>,
    /// False when there is more than [`BODY`].
    whole: bool,
}

impl Body {
    /// Reads up to [`BODY`] bytes, and keeps them if asked to.
    async fn read(mut incoming: Incoming, keep: bool) -> Result<Body, Failure> {
        let mut body = Body { bytes: Vec::new(), whole: true };
        let mut room = BODY;
        while let Some(frame) = incoming.frame().await {
            let frame = frame.map_err(broken)?;
            let Some(data) = frame.data_ref() else { continue };
            let taken = &data[..data.len().min(room)];
            if keep {
                body.bytes.extend_from_slice(taken);
            }
            if taken.len() < data.len() {
                body.whole = false;
                break;
            }
            room -= taken.len();
        }
        Ok(body)
    }
}

/// What an error of hyper means.
fn broken(error: hyper::Error) -> Failure {
    let fail = |reason, detail: &str| Failure::new(Phase::Receive, reason, detail);
    // hyper has no question for this one.
    if error.is_parse() && error.to_string() == "message head is too large" {
        return fail(Reason::TooLarge, "the header of the answer is too large");
    }
    if error.is_parse() {
        return fail(Reason::Protocol, &format!("the answer is not HTTP: {error}"));
    }
    let cause = std::error::Error::source(&error).and_then(|cause| cause.downcast_ref::<io::Error>());
    let ended = cause.is_some_and(|cause| cause.kind() == io::ErrorKind::UnexpectedEof);
    if error.is_canceled() {
        return fail(Reason::Closed, "the connection was closed before the request was sent");
    }
    if error.is_incomplete_message() || ended {
        return fail(Reason::Closed, "the connection was closed before the end of the answer");
    }
    match cause {
        Some(cause) if cause.get_ref().is_none() => dial::fault(Phase::Receive, "connection", cause),
        Some(cause) => fail(Reason::Protocol, &cause.to_string()),
        None => other(error),
    }
}

fn other(error: impl std::fmt::Display) -> Failure {
    Failure::new(Phase::Receive, Reason::Other, error)
}
