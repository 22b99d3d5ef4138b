//! Many services and several threads: what is asked how often, and where. Real sockets on loopback.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::sync::{Arc, Mutex, Weak};
use std::thread::ThreadId;
use std::time::Duration;

use lvsentry::config::workers::Workers;
use lvsentry::config::{Config, Loaded, SystemNames, load_text};
use lvsentry::daemon::{Daemon, Event, Setup};
use lvsentry::http::ask::Ask;
use lvsentry::ipvs::Memory;
use lvsentry::probe::{Asking, Call, Probe, Tools};
use lvsentry::span::Source;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

/// How long a busy machine may take for what should be done at once.
const PATIENCE: Duration = Duration::from_secs(30);

/// So many services of these servers, each asked once an hour.
fn text(services: usize, servers: &[String], check: &str) -> String {
    let mut text = "checkinterval=3600\nchecktimeout=20\nnegotiatetimeout=20\n".to_owned();
    for n in 0..services {
        let _ = writeln!(text, "virtual=192.0.2.{}:{}\n\tprotocol=tcp\n\t{check}", n % 250 + 1, 80 + n / 250);
        for server in servers {
            let _ = writeln!(text, "\treal={server} masq");
        }
    }
    text
}

fn load(text: &str) -> Loaded {
    load_text(Source::new("x.cf", text.as_bytes()), &SystemNames::new())
        .unwrap_or_else(|report| panic!("{report}"))
}

struct Running {
    events: mpsc::Sender<Event>,
    daemon: JoinHandle<()>,
}

impl Running {
    fn new(config: Config) -> Running {
        let setup = Setup {
            config,
            path: "x.cf".into(),
            loader: Arc::new(|| unreachable!("nobody reloads")),
            kernel: Box::new(Memory::default()),
            tools: Tools::new(),
            slots: 1000,
        };
        let daemon = Daemon::new(setup).unwrap();
        Running { events: daemon.sender(), daemon: tokio::spawn(daemon.run()) }
    }

    /// Waits until so many servers, counted in each service, are up.
    async fn up(&self, count: usize) {
        let all_up = async {
            loop {
                let (reply, answer) = oneshot::channel();
                self.events.send(Event::Ask(Ask::Look(None, reply))).await.unwrap();
                let seen = answer.await.unwrap();
                let decisions = seen.services.iter().flat_map(|service| &service.decisions);
                if decisions.filter(|decision| decision.rule.is_up()).count() == count {
                    return;
                }
                sleep(Duration::from_millis(5)).await;
            }
        };
        timeout(PATIENCE, all_up).await.expect("all servers are up");
    }

    async fn stop(self) {
        self.events.send(Event::Stop("TERM")).await.unwrap();
        timeout(PATIENCE, self.daemon).await.expect("it ends").unwrap();
    }
}

#[tokio::test]
async fn a_hundred_services_that_share_twenty_servers_cost_twenty_probes() {
    let arrivals = Arc::new(Mutex::new(Vec::new()));
    let mut servers = Vec::new();
    for n in 0..20 {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        servers.push(listener.local_addr().unwrap().to_string());
        let arrivals = arrivals.clone();
        tokio::spawn(async move {
            while listener.accept().await.is_ok() {
                arrivals.lock().unwrap().push(n);
            }
        });
    }
    let config = load(&text(100, &servers, "checktype=connect")).config;
    assert_eq!((config.plan.services.len(), config.plan.servers()), (100, 2000));
    assert_eq!(config.inquiries.len(), 20);
    let running = Running::new(config);
    running.up(2000).await;
    let mut arrived = arrivals.lock().unwrap().clone();
    arrived.sort_unstable();
    assert_eq!(arrived, (0..20).collect::<Vec<_>>(), "each is asked once");
    running.stop().await;
}

/// Answers after a turn of its runtime, or never, and notes on which thread.
#[derive(Debug)]
struct Noting {
    threads: Arc<Mutex<BTreeSet<String>>>,
    ids: Arc<Mutex<BTreeSet<String>>>,
    held: Option<Arc<()>>,
}

impl Noting {
    fn note(&self) {
        let thread = std::thread::current();
        let id: ThreadId = thread.id();
        self.threads.lock().unwrap().insert(thread.name().unwrap_or_default().to_owned());
        self.ids.lock().unwrap().insert(format!("{id:?}"));
    }
}

impl Probe for Noting {
    fn ask<'a>(&'a self, _: &'a Call) -> Asking<'a> {
        Box::pin(async move {
            self.note();
            sleep(Duration::from_millis(2)).await;
            self.note();
            if let Some(held) = self.held.clone() {
                std::future::pending::<()>().await;
                drop(held);
            }
            Ok("well".into())
        })
    }

    fn identity(&self) -> String {
        unreachable!("the configuration has keys already")
    }
}

/// Runs forty probes, one of which hangs, with so many workers. Says on how many threads they were asked, and
/// what those are called.
async fn spread(workers: usize) -> (usize, BTreeSet<String>) {
    let servers: Vec<_> = (1..=40).map(|n| format!("127.0.0.{n}:80")).collect();
    let mut config = load(&text(1, &servers, "checktype=connect")).config;
    config.workers = Workers::Some(workers);
    let (threads, ids) = (Arc::default(), Arc::default());
    let (held, hangs) = (Arc::new(()), config.inquiries.len() - 1);
    let still: Weak<()> = Arc::downgrade(&held);
    let mut held = Some(held);
    for (n, inquiry) in config.inquiries.values_mut().enumerate() {
        let held = held.take_if(|_| n == hangs);
        inquiry.probe = Arc::new(Noting { threads: Arc::clone(&threads), ids: Arc::clone(&ids), held });
    }
    let running = Running::new(config);
    running.up(39).await;
    running.stop().await;
    assert_eq!(still.strong_count(), 0, "the end of the daemon is the end of every exchange");
    let (ids, threads) = (ids.lock().unwrap().len(), threads.lock().unwrap().clone());
    (ids, threads)
}

#[tokio::test]
async fn workers_share_the_probes_and_end_with_the_daemon() {
    let (threads, names) = spread(3).await;
    assert_eq!((threads, names), (3, BTreeSet::from(["probes".to_owned()])));
}

#[tokio::test]
async fn one_worker_is_the_thread_that_does_all_else() {
    let (threads, names) = spread(1).await;
    assert_eq!(threads, 1);
    assert!(!names.contains("probes"), "{names:?}");
}

#[tokio::test]
async fn check_commands_work_on_every_worker() {
    let servers: Vec<_> = (1..=8).map(|n| format!("127.0.0.{n}:80")).collect();
    let check = "checktype=external\n\tcheckcommand=/bin/true";
    let mut config = load(&text(1, &servers, check)).config;
    config.workers = Workers::Some(2);
    let running = Running::new(config);
    running.up(8).await;
    running.stop().await;
}
