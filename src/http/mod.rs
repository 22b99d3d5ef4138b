//! The control socket: HTTP/1.1 and JSON over a Unix socket.
//!
//! | route | does |
//! |---|---|
//! | `GET /api/v1/status[?service=S]` | how services and servers stand |
//! | `GET /api/v1/explain?service=S[&server=A]` | why, and what would change it |
//! | `GET /api/v1/events[?since=T][&follow=1]` | what was told, a line of JSON each |
//! | `POST /api/v1/orders` | drain, disable, weight |
//! | `DELETE /api/v1/orders` | takes them back |
//! | `POST /api/v1/reload` | reads the configuration anew, says what changed or why not |
//! | `POST /api/v1/promote`, `POST /api/v1/demote` | keeps the table from now on; stands by |
//! | `POST /api/v1/stop` | ends the daemon |
//!
//! Each request is an [`Ask`] to the daemon's loop, which alone owns what is asked for. Connections,
//! requests and their times are bounded: one that is stuck takes a place of many, and nobody's time.

pub mod ask;
pub mod explain;
mod follow;
pub mod request;
pub mod socket;
pub mod status;

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use http_body_util::{BodyExt, Either, Full, LengthLimitError, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::net::UnixStream;
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::time::sleep;

use crate::calm::calmly;
use ask::{Ask, Obeyed, Refusal, Snapshot};
use follow::Follow;
use request::{LiftRequest, OrderRequest, Turned, query};
use socket::Listener;

/// Connections at a time, and of them those that follow events.
const CONNECTIONS: usize = 64;
const FOLLOWERS: usize = 16;

/// How long a request's head may take, and a whole exchange that does not follow.
const HEAD: Duration = Duration::from_secs(5);
const EXCHANGE: Duration = Duration::from_secs(60);

/// Largest request: its head, and its body, in bytes.
const LARGEST_HEAD: usize = 16 << 10;
const LARGEST_BODY: usize = 64 << 10;

type Body = Either<Full<Bytes>, Follow>;

/// What all connections share.
struct Site {
    asks: mpsc::Sender<Ask>,
    followers: Arc<Semaphore>,
}

/// Answers until nobody is there to ask, and what was asked until then.
pub async fn serve(listener: Listener, asks: mpsc::Sender<Ask>) {
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    tokio::select! {
        () = accept(&listener, &asks, &places) => {}
        () = asks.closed() => {}
    }
    drop(listener);
    // It fails only when it is closed.
    let _ = places.acquire_many(CONNECTIONS as u32).await;
}

async fn accept(listener: &Listener, asks: &mpsc::Sender<Ask>, places: &Arc<Semaphore>) {
    let site = Arc::new(Site { asks: asks.clone(), followers: Arc::new(Semaphore::new(FOLLOWERS)) });
    while let Ok(place) = places.clone().acquire_owned().await {
        match listener.accept().await {
            Ok(stream) => {
                let site = site.clone();
                tokio::spawn(async move {
                    exchange(stream, site).await;
                    drop(place);
                });
            }
            // No descriptor is left, say: some may be soon.
            Err(_) => sleep(Duration::from_millis(100)).await,
        }
    }
}

/// One request and its answer.
async fn exchange(stream: UnixStream, site: Arc<Site>) {
    let follows = Arc::new(AtomicBool::new(false));
    let tell = follows.clone();
    let service = service_fn(move |request| {
        let (site, follows) = (site.clone(), tell.clone());
        async move {
            let response = answer(request, &site).await.unwrap_or_else(Problem::response);
            follows.store(matches!(response.body(), Either::Right(_)), Ordering::Relaxed);
            Ok::<_, Infallible>(response)
        }
    });
    let mut builder = hyper::server::conn::http1::Builder::new();
    builder.keep_alive(false).timer(TokioTimer::new()).header_read_timeout(HEAD).max_buf_size(LARGEST_HEAD);
    let served = builder.serve_connection(TokioIo::new(stream), service);
    tokio::pin!(served);
    tokio::select! {
        // What goes wrong on the way is the client's to notice.
        _ = &mut served => return,
        () = sleep(EXCHANGE) => {}
    }
    if follows.load(Ordering::Relaxed) {
        let _ = served.await;
    }
}

/// Why there is no answer, in words.
struct Problem(StatusCode, String);

/// What a refused request is answered with.
#[derive(Serialize, serde::Deserialize)]
pub struct Refused {
    /// Why.
    pub error: String,
}

impl Problem {
    fn new(status: StatusCode, why: impl Into<String>) -> Problem {
        Problem(status, why.into())
    }

    fn response(self) -> Response<Body> {
        json(&Refused { error: self.1 }, self.0)
    }
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Problem {
        match refusal {
            Refusal::Unknown(why) => Problem(StatusCode::NOT_FOUND, why),
            Refusal::Conflict(why) => Problem(StatusCode::CONFLICT, why),
            Refusal::Ending => Problem::new(StatusCode::SERVICE_UNAVAILABLE, "the daemon is about to end"),
            Refusal::Config(faults) => Problem(StatusCode::UNPROCESSABLE_ENTITY, faults),
        }
    }
}

async fn answer(request: Request<Incoming>, site: &Site) -> Result<Response<Body>, Problem> {
    let (path, method) = (request.uri().path().to_owned(), request.method().clone());
    let words = request.uri().query().map(str::to_owned);
    let words = words.as_deref();
    match (path.as_str(), method) {
        ("/api/v1/status", Method::GET) => status(words, site).await,
        ("/api/v1/explain", Method::GET) => explain(words, site).await,
        ("/api/v1/events", Method::GET) => events(words, site).await,
        ("/api/v1/orders", Method::POST) => {
            let wish = body::<OrderRequest>(request).await?.wish().map_err(bad)?;
            let obeyed = site.ask(|reply| Ask::Order(wish, reply)).await??;
            Ok(done(&obeyed))
        }
        ("/api/v1/orders", Method::DELETE) => {
            let lift = body::<LiftRequest>(request).await?.lift().map_err(bad)?;
            let obeyed = site.ask(|reply| Ask::Lift(lift, reply)).await??;
            Ok(done(&obeyed))
        }
        ("/api/v1/reload", Method::POST) => {
            let reloaded = site.ask(Ask::Reload).await??;
            Ok(json(&reloaded, StatusCode::OK))
        }
        (turn @ ("/api/v1/promote" | "/api/v1/demote"), Method::POST) => {
            let active = turn == "/api/v1/promote";
            let turned = site.ask(|reply| Ask::Turn(active, reply)).await?;
            Ok(json(&Turned { active, turned }, StatusCode::OK))
        }
        ("/api/v1/stop", Method::POST) => {
            site.ask(Ask::Stop).await?;
            Ok(json(&serde_json::json!({ "stopping": true }), StatusCode::OK))
        }
        ("/api/v1/status" | "/api/v1/explain" | "/api/v1/events", _) => wrong_method("GET"),
        ("/api/v1/orders", _) => wrong_method("POST, DELETE"),
        ("/api/v1/reload" | "/api/v1/promote" | "/api/v1/demote" | "/api/v1/stop", _) => wrong_method("POST"),
        _ => Err(Problem::new(StatusCode::NOT_FOUND, "there is nothing at this path")),
    }
}

fn wrong_method<T>(allowed: &str) -> Result<T, Problem> {
    Err(Problem::new(StatusCode::METHOD_NOT_ALLOWED, format!("this path takes {allowed}")))
}

fn bad(why: String) -> Problem {
    Problem(StatusCode::BAD_REQUEST, why)
}

impl Site {
    /// Asks the loop; a loop that is gone, or does not answer, is about to end.
    async fn ask<T>(&self, ask: impl FnOnce(oneshot::Sender<T>) -> Ask) -> Result<T, Problem> {
        let (reply, answer) = oneshot::channel();
        self.asks.send(ask(reply)).await.map_err(|_| Refusal::Ending)?;
        answer.await.map_err(|_| Refusal::Ending.into())
    }
}

async fn status(words: Option<&str>, site: &Site) -> Result<Response<Body>, Problem> {
    let only = query(words, "service");
    let asked = only.clone();
    let seen = site.ask(|reply| Ask::Look(asked, reply)).await?;
    only.map_or(Ok(()), |service| exists(&seen, &service))?;
    aside(move || json(&status::status(&seen), StatusCode::OK)).await
}

async fn explain(words: Option<&str>, site: &Site) -> Result<Response<Body>, Problem> {
    let service = query(words, "service").ok_or_else(|| bad("`service` is missing".into()))?;
    let server = query(words, "server");
    let asked = service.clone();
    let seen = site.ask(|reply| Ask::LookBack(asked, reply)).await?;
    exists(&seen, &service)?;
    aside(move || {
        let which = |at: &str| server.as_deref().is_none_or(|words| at == words || host(at) == host(words));
        let explained = explain::explain(&seen, |decision| which(&decision.server.to_string()));
        if explained.iter().all(|one| one.details.is_empty()) && server.is_some() {
            let all = seen.services.iter().flat_map(|seen| &seen.decisions);
            let all: Vec<_> = all.map(|decision| decision.server.to_string()).collect();
            let why = format!("it has no such server; its servers are {}", all.join(", "));
            return Problem::new(StatusCode::NOT_FOUND, why).response();
        }
        json(&explained, StatusCode::OK)
    })
    .await
}

/// An address without its port, where somebody gives none.
fn host(at: &str) -> &str {
    match at.parse::<std::net::SocketAddr>() {
        Ok(_) => at.rsplit_once(':').map_or(at, |(host, _)| host).trim_matches(['[', ']']),
        Err(_) => at.trim_matches(['[', ']']),
    }
}

fn exists(seen: &Snapshot, service: &str) -> Result<(), Problem> {
    if !seen.services.is_empty() {
        return Ok(());
    }
    let words: String = service.chars().filter(|c| !c.is_control()).take(100).collect();
    Err(Problem(StatusCode::NOT_FOUND, format!("no service is called {words}: `lvsentry status` lists them")))
}

async fn events(words: Option<&str>, site: &Site) -> Result<Response<Body>, Problem> {
    let since = match query(words, "since") {
        None => None,
        Some(text) => Some(follow::since(&text).ok_or_else(|| {
            bad("`since` is a time like 2026-11-25T02:24:19Z, or seconds since 1970".into())
        })?),
    };
    let follows = query(words, "follow").is_some_and(|word| !matches!(word.as_str(), "0" | "no" | "false"));
    let place = match follows {
        true => Some(site.followers.clone().try_acquire_owned().map_err(|_| {
            Problem::new(StatusCode::SERVICE_UNAVAILABLE, format!("{FOLLOWERS} follow already"))
        })?),
        false => None,
    };
    let recent = site.ask(Ask::Recent).await?;
    let mut response = aside(move || {
        let mut response = Response::new(Either::Left(Full::new(follow::lines(&recent.told, since))));
        if let Some(place) = place {
            let Either::Left(told) = response.body_mut() else { return response };
            *response.body_mut() = Either::Right(Follow::new(std::mem::take(told), recent.next, place));
        }
        response
    })
    .await?;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/x-ndjson"));
    Ok(response)
}

/// Makes a large answer where that holds nobody up.
async fn aside(make: impl FnOnce() -> Response<Body> + Send + 'static) -> Result<Response<Body>, Problem> {
    let (reply, answer) = oneshot::channel();
    // Who does not wait for it any more does not get it.
    calmly(move || drop(reply.send(make())));
    // It fails only when the runtime ends.
    answer.await.map_err(|_| Refusal::Ending.into())
}

fn done(obeyed: &Obeyed) -> Response<Body> {
    json(&status::done(obeyed), StatusCode::OK)
}

fn json(value: &impl Serialize, status: StatusCode) -> Response<Body> {
    // Numbers, texts and lists alone: nothing that JSON can not say.
    let mut text = serde_json::to_vec(value).unwrap_or_default();
    text.push(b'\n');
    let mut response = Response::new(Either::Left(Full::new(text.into())));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// The body of a request, as JSON.
async fn body<T: DeserializeOwned>(request: Request<Incoming>) -> Result<T, Problem> {
    let whole = Limited::new(request.into_body(), LARGEST_BODY).collect().await.map_err(|why| {
        if why.is::<LengthLimitError>() {
            Problem::new(StatusCode::PAYLOAD_TOO_LARGE, format!("a request is at most {LARGEST_BODY} bytes"))
        } else {
            bad("the request has no end".into())
        }
    })?;
    serde_json::from_slice(&whole.to_bytes())
        .map_err(|why| bad(format!("the request is not understood: {why}")))
}
