//! The commands that ask a running daemon, over its control socket.

mod show;

use std::fmt;
use std::io::{self, Write, stderr, stdout};
use std::path::{Path, PathBuf};
use std::time::Duration;

use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Body, Bytes};
use hyper::client::conn::http1;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::net::UnixStream;
use tokio::time::{sleep, timeout};

use crate::cli::{
    self, Command, EXIT_CONFIG, EXIT_CRITICAL, EXIT_DEGRADED, EXIT_FAILURE, EXIT_NO_DAEMON, EXIT_OK, Given,
    Instance, Order,
};
use crate::http::ask::{Happening, Reloaded};
use crate::http::explain::Explained;
use crate::http::request::{LiftRequest, OrderRequest, Turned, encoded};
use crate::http::status::{Done, State, Status};
use crate::http::{Refused, socket};

/// How long the daemon may take to answer.
const PATIENCE: Duration = Duration::from_secs(65);

/// How long it may take to end, once it was told to.
const END: Duration = Duration::from_secs(10);

/// How often is looked whether a server is drained.
const LOOK: Duration = Duration::from_millis(500);

/// Largest answer that is taken, in bytes.
const LARGEST: usize = 256 << 20;

/// Why a command came to nothing.
#[derive(Debug)]
pub enum ClientError {
    /// Nobody answers at this socket.
    NotRunning(PathBuf),
    /// Several daemons run.
    Several(Vec<String>),
    /// No right to use the socket.
    NoRight(PathBuf),
    /// The exchange failed.
    Broken(String),
    /// The daemon refuses, and says why.
    Refused(StatusCode, String),
    /// The command itself is wrong.
    Usage(String),
}

impl ClientError {
    /// The exit status that tells it.
    pub fn status(&self) -> u8 {
        match self {
            ClientError::NotRunning(_) | ClientError::NoRight(_) | ClientError::Broken(_) => EXIT_NO_DAEMON,
            ClientError::Several(_) | ClientError::Usage(_) => EXIT_CONFIG,
            ClientError::Refused(StatusCode::SERVICE_UNAVAILABLE, _) => EXIT_NO_DAEMON,
            ClientError::Refused(StatusCode::UNPROCESSABLE_ENTITY, _) => EXIT_CONFIG,
            ClientError::Refused(..) => EXIT_FAILURE,
        }
    }
}

impl fmt::Display for ClientError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ClientError::NotRunning(path) => write!(
                f,
                "no daemon answers at {}: start it (`systemctl start lvsentry`), or name another with \
                 --instance",
                path.display()
            ),
            ClientError::Several(names) => {
                write!(f, "several daemons run: name one with --instance ({})", names.join(", "))
            }
            ClientError::NoRight(path) => {
                write!(f, "no right to use {}: be root, or of the group that owns it", path.display())
            }
            ClientError::Broken(why) => write!(f, "the daemon does not answer as it should: {why}"),
            ClientError::Refused(_, why) | ClientError::Usage(why) => {
                f.write_str(show::plain(why).trim_end())
            }
        }
    }
}

impl std::error::Error for ClientError {}

/// Does what a command asks for; `now` is people's clock, since 1970. The answer is the exit status.
pub fn run(command: Command, instance: &Instance, now: Duration) -> Result<u8, ClientError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|why| ClientError::Broken(why.to_string()))?;
    let client = Client { socket: find(instance)? };
    runtime.block_on(client.obey(command, now))
}

/// The socket of the daemon that is meant: the one named, else the only one.
fn find(instance: &Instance) -> Result<PathBuf, ClientError> {
    if let Some(path) = &instance.socket {
        return Ok(path.clone());
    }
    if let Some(name) = &instance.instance {
        return Ok(socket::path(name));
    }
    match &socket::instances()[..] {
        [] => Ok(socket::path("lvsentry")),
        [one] => Ok(socket::path(one)),
        several => Err(ClientError::Several(several.to_vec())),
    }
}

struct Client {
    socket: PathBuf,
}

impl Client {
    async fn obey(&self, command: Command, now: Duration) -> Result<u8, ClientError> {
        match command {
            Command::Status { service, json } => self.status(service.as_deref(), json).await,
            Command::Explain { service, server, json } => {
                self.explain(&service, server.as_deref(), json).await
            }
            Command::Events { follow, since, json } => self.events(follow, since.as_deref(), json, now).await,
            Command::Drain { order, wait, deadline } => self.drain(order, wait, deadline).await,
            Command::Disable(order) => self.order(request("disable", order)).await.map(|_| EXIT_OK),
            Command::Enable(whom) => self.lift(whom, &["drain", "disable"]).await,
            Command::Weight { order, weight: Given::Auto } => self.lift(order.whom, &["weight"]).await,
            Command::Weight { order, weight: Given::Weight(weight) } => {
                let request = OrderRequest { weight: Some(weight), ..request("weight", order) };
                self.order(request).await.map(|_| EXIT_OK)
            }
            Command::Reload => self.reload().await,
            Command::Promote => self.turn("promote").await,
            Command::Demote => self.turn("demote").await,
            Command::Stop => self.stop().await,
            Command::Run(_) | Command::Check { .. } | Command::Convert { .. } | Command::Config(_) => {
                Err(ClientError::Usage("this command asks no daemon".into()))
            }
        }
    }

    async fn status(&self, service: Option<&str>, json: bool) -> Result<u8, ClientError> {
        let query = service.map(|service| format!("?service={}", encoded(service))).unwrap_or_default();
        let text = self.call(Method::GET, &format!("/api/v1/status{query}"), None::<&()>).await?;
        let status: Status = read(&text)?;
        if json {
            print(&text)
        } else {
            print(show::status(&status).as_bytes())
        }
        Ok(verdict(&status))
    }

    async fn explain(&self, service: &str, server: Option<&str>, json: bool) -> Result<u8, ClientError> {
        let server = server.map(|server| format!("&server={}", encoded(server))).unwrap_or_default();
        let path = format!("/api/v1/explain?service={}{server}", encoded(service));
        let text = self.call(Method::GET, &path, None::<&()>).await?;
        let all: Vec<Explained> = read(&text)?;
        if json {
            print(&text)
        } else {
            print(show::explained(&all).as_bytes())
        }
        Ok(EXIT_OK)
    }

    async fn events(
        &self,
        follow: bool,
        since: Option<&str>,
        json: bool,
        now: Duration,
    ) -> Result<u8, ClientError> {
        let since = match since.map(|text| (text, cli::time(text))) {
            Some((_, Ok(ago))) => format!("&since={}", now.saturating_sub(ago).as_secs()),
            Some((text, Err(_))) => format!("&since={}", encoded(text)),
            None => String::new(),
        };
        let path = format!("/api/v1/events?follow={}{since}", u8::from(follow));
        let mut response = self.send(Method::GET, &path, Bytes::new()).await?;
        if response.status() != StatusCode::OK {
            return Err(refused(response).await);
        }
        let mut rest = Vec::new();
        while let Some(frame) = response.body_mut().frame().await {
            let frame = frame.map_err(|why| ClientError::Broken(why.to_string()))?;
            rest.extend_from_slice(&frame.into_data().unwrap_or_default());
            while let Some(end) = rest.iter().position(|b| *b == b'\n') {
                let line: Vec<u8> = rest.drain(..=end).collect();
                let shown =
                    if json { line } else { show::happening(&read::<Happening>(&line)?).into_bytes() };
                if stdout().write_all(&shown).and_then(|()| stdout().flush()).is_err() {
                    // Whoever closed the other end has seen enough.
                    return Ok(EXIT_OK);
                }
            }
            if rest.len() > LARGEST {
                return Err(ClientError::Broken("a line without end".into()));
            }
        }
        Ok(EXIT_OK)
    }

    async fn drain(&self, order: Order, wait: bool, deadline: Option<Duration>) -> Result<u8, ClientError> {
        let deadline = deadline.map(|time| time.as_secs());
        let done = self.order(OrderRequest { deadline, ..request("drain", order) }).await?;
        if wait {
            self.wait(&done).await?;
        }
        Ok(EXIT_OK)
    }

    /// Waits until none of these servers is drained any more, and says meanwhile who is connected.
    async fn wait(&self, done: &Done) -> Result<(), ClientError> {
        let mut said = String::new();
        loop {
            let text = self.call(Method::GET, "/api/v1/status", None::<&()>).await?;
            let left = show::draining(&read(&text)?, done);
            if left.is_empty() {
                print(b"drained\n");
                return Ok(());
            }
            if left != said {
                let _ = stderr().write_all(left.as_bytes());
                said = left;
            }
            sleep(LOOK).await;
        }
    }

    async fn order(&self, request: OrderRequest) -> Result<Done, ClientError> {
        let text = self.call(Method::POST, "/api/v1/orders", Some(&request)).await?;
        let done: Done = read(&text)?;
        print(show::done(&done, "").as_bytes());
        warn(&done);
        Ok(done)
    }

    async fn lift(&self, whom: cli::Whom, orders: &[&str]) -> Result<u8, ClientError> {
        let orders = orders.iter().map(|order| (*order).to_owned()).collect();
        let request = LiftRequest { server: whom.server, service: whom.service, orders };
        let text = self.call(Method::DELETE, "/api/v1/orders", Some(&request)).await?;
        let done: Done = read(&text)?;
        print(show::done(&done, "taken back: ").as_bytes());
        warn(&done);
        Ok(EXIT_OK)
    }

    async fn reload(&self) -> Result<u8, ClientError> {
        let text = self.call(Method::POST, "/api/v1/reload", None::<&()>).await?;
        print(show::reloaded(&read::<Reloaded>(&text)?).as_bytes());
        Ok(EXIT_OK)
    }

    /// Has it keep the table, or stand by.
    async fn turn(&self, how: &str) -> Result<u8, ClientError> {
        let text = self.call(Method::POST, &format!("/api/v1/{how}"), None::<&()>).await?;
        print(show::turned(&read::<Turned>(&text)?).as_bytes());
        Ok(EXIT_OK)
    }

    /// Tells it to end, and waits until it has.
    async fn stop(&self) -> Result<u8, ClientError> {
        self.call(Method::POST, "/api/v1/stop", None::<&()>).await?;
        let gone = async {
            while UnixStream::connect(&self.socket).await.is_ok() {
                sleep(LOOK / 5).await;
            }
        };
        timeout(END, gone).await.map_err(|_| {
            ClientError::Broken(format!("it was told to end, and has not within {} s", END.as_secs()))
        })?;
        print(b"stopped\n");
        Ok(EXIT_OK)
    }

    /// Asks, and gives back the whole of a good answer.
    async fn call(
        &self,
        method: Method,
        path: &str,
        body: Option<&impl Serialize>,
    ) -> Result<Bytes, ClientError> {
        // Texts and numbers alone: nothing that JSON can not say.
        let body = body.map(|body| serde_json::to_vec(body).unwrap_or_default()).unwrap_or_default();
        let exchange = async {
            let response = self.send(method, path, body.into()).await?;
            match response.status() {
                StatusCode::OK => whole(response).await,
                _ => Err(refused(response).await),
            }
        };
        let late = |_| ClientError::Broken(format!("no answer within {} s", PATIENCE.as_secs()));
        timeout(PATIENCE, exchange).await.map_err(late)?
    }

    async fn send(
        &self,
        method: Method,
        path: &str,
        body: Bytes,
    ) -> Result<Response<hyper::body::Incoming>, ClientError> {
        let stream = UnixStream::connect(&self.socket).await.map_err(|why| unreached(&self.socket, &why))?;
        let broken = |why: &dyn fmt::Display| ClientError::Broken(why.to_string());
        let (mut sender, connection) =
            http1::handshake(TokioIo::new(stream)).await.map_err(|why| broken(&why))?;
        // It ends with the exchange, whose end says how it went.
        tokio::spawn(async move { drop(connection.await) });
        let request = Request::builder().method(method).uri(path).header("host", "lvsentry");
        let request = request.body(Full::new(body)).map_err(|why| broken(&why))?;
        sender.send_request(request).await.map_err(|why| broken(&why))
    }
}

fn unreached(path: &Path, why: &io::Error) -> ClientError {
    match why.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => {
            ClientError::NotRunning(path.to_owned())
        }
        io::ErrorKind::PermissionDenied => ClientError::NoRight(path.to_owned()),
        _ => ClientError::Broken(why.to_string()),
    }
}

async fn whole<B: Body<Data = Bytes>>(response: Response<B>) -> Result<Bytes, ClientError>
where
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let body = Limited::new(response.into_body(), LARGEST).collect().await;
    body.map(|whole| whole.to_bytes()).map_err(|why| ClientError::Broken(why.to_string()))
}

async fn refused(response: Response<hyper::body::Incoming>) -> ClientError {
    let status = response.status();
    match whole(response).await {
        Ok(text) => match serde_json::from_slice::<Refused>(&text) {
            Ok(refused) => ClientError::Refused(status, refused.error),
            Err(_) => ClientError::Broken(format!("status {status}")),
        },
        Err(why) => why,
    }
}

fn read<T: DeserializeOwned>(text: &[u8]) -> Result<T, ClientError> {
    let other = |why| ClientError::Broken(format!("{why}; is it of another release?"));
    serde_json::from_slice(text).map_err(other)
}

fn request(what: &str, order: Order) -> OrderRequest {
    OrderRequest {
        order: what.into(),
        server: order.whom.server,
        service: order.whom.service,
        reason: order.reason,
        lasting: order.lasting.map(|time| time.as_secs()),
        ..OrderRequest::default()
    }
}

/// What monitoring is to make of it.
fn verdict(status: &Status) -> u8 {
    let services = &status.services;
    if services.iter().any(|service| matches!(service.state, State::Down | State::Fallback)) {
        return EXIT_CRITICAL;
    }
    let servers = || services.iter().flat_map(|service| &service.servers);
    let out = servers().any(|server| !server.up && server.rule != "off");
    if out || status.unwell.is_some() || status.stopping { EXIT_DEGRADED } else { EXIT_OK }
}

fn print(text: &[u8]) {
    // Whoever closed the other end has seen enough.
    let _ = stdout().write_all(text);
}

fn warn(done: &Done) {
    if let Some(warning) = &done.warning {
        let _ = writeln!(stderr(), "lvsentry: {}", show::plain(warning));
    }
}
