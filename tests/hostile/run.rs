//! Many exchanges at once, and what must hold of each and of all.

use std::future::poll_fn;
use std::net::{Ipv4Addr, TcpListener, UdpSocket};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use lvsentry::outcome::{Failure, Outcome};
use lvsentry::probe::{Probe, Tools, ask};
use nix::time::{ClockId, clock_gettime};
use tokio::runtime::Handle;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use super::cases::{CASES, Case, SECRET};
use super::dice::Dice;
use super::plan::Plan;
use super::server::Server;
use crate::support::probe::{probe, target, udp_target};
use crate::support::tls::{Names, acceptor, authority, trusting};

/// Exchanges at once.
pub const AT_ONCE: u64 = 96;
/// How late an end may be on a machine that is busy with other things.
const GRACE: Duration = Duration::from_secs(10);
/// As long as a check may keep others waiting: its own time on the processor in one go, without
/// optimization. It takes some milliseconds at most.
const IN_ONE_GO: Duration = Duration::from_millis(500);

/// What all exchanges share.
pub struct Run {
    pub seed: u64,
    /// Where the servers run.
    pub servers: Handle,
    tls: TlsAcceptor,
    names: Arc<Names>,
    tools: Tools,
}

impl Run {
    pub fn new(seed: u64, servers: Handle) -> Run {
        let authority = authority();
        let (tls, names) = acceptor(Some(&authority), |_| {}, rustls::ALL_VERSIONS);
        Run { seed, servers, tls, names, tools: trusting(&authority) }
    }

    /// Carries out exchanges, many at once. Fails with the first that is wrong.
    pub async fn all(self: &Arc<Run>, numbers: std::ops::Range<u64>) -> Result<(), String> {
        let next = Arc::new(AtomicU64::new(numbers.start));
        let mut workers = JoinSet::new();
        for _ in 0..AT_ONCE.min(numbers.end - numbers.start) {
            let (run, next) = (self.clone(), next.clone());
            workers.spawn(async move {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= numbers.end {
                        return Ok(());
                    }
                    let one = run.clone();
                    // A task of its own, so that a panic is told with its number.
                    let ended = tokio::spawn(async move { one.one(number).await }).await;
                    let wrong = ended.unwrap_or_else(|error| Err(error.to_string())).err();
                    if let Some(wrong) = wrong {
                        return Err(run.report(number, &wrong));
                    }
                }
            });
        }
        while let Some(ended) = workers.join_next().await {
            ended.map_err(|error| error.to_string())??;
        }
        // Nobody asks who was asked for.
        *self.names.seen.lock().unwrap() = Vec::new();
        Ok(())
    }

    fn report(&self, number: u64, wrong: &str) -> String {
        let case = case(number);
        let plan = Plan::new(case, Dice::new(self.seed, number));
        format!(
            "{wrong}\n{} {:?}, {plan:?}\nagain: LVSENTRY_HOSTILE_SEED={} LVSENTRY_HOSTILE_ONLY={number} \
             cargo test hostile",
            case.kind, case.options, self.seed
        )
    }

    async fn one(&self, number: u64) -> Result<(), String> {
        let case = case(number);
        let plan = Plan::new(case, Dice::new(self.seed, number));
        let timeout = plan.timeout(case);
        let outcome = self.exchange(number, case, &plan, timeout).await?;
        let text = match outcome.into_result() {
            Ok(seen) if plan.is_senseless(case) => return Err(format!("good from garbage: {seen:?}")),
            Ok(seen) => seen,
            Err(failure) => failure.detail,
        };
        if text.contains(SECRET) {
            return Err(format!("a secret is told: {text:?}"));
        }
        if text.chars().count() > Failure::DETAIL || text.contains(char::is_control) {
            return Err(format!("more than a short line is told: {text:?}"));
        }
        Ok(())
    }

    /// An exchange with a server that is honest: it must be good.
    pub async fn honest(&self, number: u64) -> Result<(), String> {
        let case = case(number);
        let outcome = self.exchange(number, case, &Plan::honest(), Duration::from_secs(60)).await?;
        match outcome.into_result() {
            Ok(_) => Ok(()),
            // Redirects to nowhere in particular.
            Err(failure)
                if case.kind == "http"
                    && (failure.detail.contains("302") || failure.phase.name() == "tls") =>
            {
                Ok(())
            }
            Err(failure) => Err(format!("{} {:?}: {failure}", case.kind, case.options)),
        }
    }

    /// Asks a server that follows the plan.
    pub async fn exchange(
        &self,
        number: u64,
        case: &'static Case,
        plan: &Plan,
        timeout: Duration,
    ) -> Result<Outcome, String> {
        let talk = listen(number);
        let (at, data) = (talk.local_addr().unwrap(), listen(number));
        let target = if case.udp { udp_target(at) } else { target(at) };
        let question = probe(case.kind, &target, case.options);
        let tls = self.tls.clone();
        let server = Server { case, plan: plan.clone(), tls, at, data: data.local_addr().unwrap() };
        // Bound before it is asked.
        let udp = case.udp.then(|| UdpSocket::bind(at).unwrap());
        let server = self.servers.spawn(serve(server, talk, data, udp));
        let asked = metered(&*question, timeout, &self.tools);
        let ended = tokio::time::timeout(timeout * question.attempts() + GRACE, asked).await;
        server.abort();
        let (outcome, longest) = ended.map_err(|_| format!("no end {GRACE:?} after its deadline"))?;
        if longest > IN_ONE_GO {
            return Err(format!("others waited while it was busy for {longest:?}"));
        }
        Ok(outcome)
    }
}

/// The case of an exchange.
pub fn case(number: u64) -> &'static Case {
    &CASES[number as usize % CASES.len()]
}

/// A socket on an address of loopback that few other exchanges have.
fn listen(number: u64) -> TcpListener {
    let at = Ipv4Addr::new(127, 77, (number / 250 % 250) as u8, (number % 250 + 1) as u8);
    let listener = TcpListener::bind((at, 0)).unwrap();
    listener.set_nonblocking(true).unwrap();
    listener
}

async fn serve(server: Server, talk: TcpListener, data: TcpListener, udp: Option<UdpSocket>) {
    let [talk, data] = [talk, data].map(|socket| tokio::net::TcpListener::from_std(socket).unwrap());
    let stream = server.clone().serve(talk, data);
    match udp {
        None => stream.await,
        // What does not fit into a datagram is asked for again over TCP.
        Some(socket) => {
            socket.set_nonblocking(true).unwrap();
            let socket = tokio::net::UdpSocket::from_std(socket).unwrap();
            tokio::join!(stream, server.answer(socket));
        }
    }
}

/// Asks; says too what the longest time was that the processor was busy with it in one go.
async fn metered(question: &dyn Probe, timeout: Duration, tools: &Tools) -> (Outcome, Duration) {
    let mut asking = pin!(ask(question, timeout, tools));
    let mut longest = Duration::ZERO;
    let outcome = poll_fn(|context| {
        let before = busy();
        let polled = asking.as_mut().poll(context);
        longest = longest.max(busy() - before);
        polled
    });
    (outcome.await, longest)
}

/// What this thread has had of the processor.
fn busy() -> Duration {
    clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).unwrap().into()
}
