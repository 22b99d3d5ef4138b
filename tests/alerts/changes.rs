//! Through the daemon, with scripted probes, a kernel in memory and paused time.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use lvsentry::config::diagnostic::{Faults, Report};
use lvsentry::config::{Config, Extras, Inquiry, Loaded, LogTarget, State};
use lvsentry::daemon::{Daemon, Event, Setup};
use lvsentry::ipvs::Memory;
use lvsentry::model::{
    Fallback, Forward, OnFailure, Plan, Policy, ProbeKey, Server, Service, ServiceKey, Settings, Watch,
    Weight,
};
use lvsentry::outcome::{Failure, Illness, Phase, Reason};
use lvsentry::probe::{Asking, Call, Probe, Tools};
use lvsentry::span::{Place, Source};
use lvsentry::table::{Destination, Entry, Table};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

use super::{SECOND, always, hooks, mail, server, service};
use crate::support::hook::{Hook, status};
use crate::support::log::Log;
use crate::support::mail::{Fail, MailServer, Step, Taken};

/// The server that never answers.
const HANGS: u8 = 99;

/// How long it may take.
const TIMEOUT: Duration = Duration::from_secs(4);

#[derive(Debug, Default)]
struct Ground {
    bad: BTreeSet<u8>,
    /// Whose checks fail since we have no descriptors.
    ill: BTreeSet<u8>,
    asked: BTreeMap<u8, Vec<Instant>>,
    next: Option<Config>,
}

type Shared = Arc<Mutex<Ground>>;

#[derive(Debug)]
struct Scripted(u8, Shared);

impl Probe for Scripted {
    fn ask<'a>(&'a self, _: &'a Call) -> Asking<'a> {
        Box::pin(async move {
            let (bad, ill) = {
                let mut ground = self.1.lock().unwrap();
                ground.asked.entry(self.0).or_default().push(Instant::now());
                (ground.bad.contains(&self.0), ground.ill.contains(&self.0))
            };
            if self.0 == HANGS {
                return std::future::pending().await;
            }
            if ill {
                let failure = Failure::new(Phase::Connect, Reason::Local, "too many open files");
                return Err(failure.blaming(Some(Illness::Descriptors)));
            }
            match bad {
                true => Err(Failure::new(Phase::Connect, Reason::Refused, "connection refused")),
                false => Ok("well".into()),
            }
        })
    }

    fn identity(&self) -> String {
        format!("scripted {}", self.0)
    }
}

struct World {
    ground: Shared,
    events: mpsc::Sender<Event>,
    daemon: JoinHandle<()>,
}

impl World {
    fn new(services: &[Service], extras: &Extras, bad: &[u8], stands: Table) -> World {
        let ground = Shared::default();
        ground.lock().unwrap().bad = bad.iter().copied().collect();
        let shared = ground.clone();
        let setup = Setup {
            config: config(services, extras, &ground),
            path: PathBuf::from("test.cf"),
            loader: Arc::new(move || {
                let config = shared.lock().unwrap().next.take().unwrap();
                let source = Source::new("test.cf", Vec::new());
                Ok(Loaded { config, report: Report::new(source, Faults::default()) })
            }),
            kernel: Box::new(Memory::new(stands)),
            tools: Tools::new(),
            slots: 1000,
        };
        let daemon = Daemon::new(setup).unwrap();
        World { ground, events: daemon.sender(), daemon: tokio::spawn(daemon.run()) }
    }

    fn bad(&self, n: u8) {
        self.ground.lock().unwrap().bad.insert(n);
    }

    fn good(&self, n: u8) {
        self.ground.lock().unwrap().bad.remove(&n);
    }

    /// We can not ask these any more, and all others again.
    fn ill(&self, servers: &[u8]) {
        self.ground.lock().unwrap().ill = servers.iter().copied().collect();
    }

    async fn reload(&self, services: &[Service], extras: &Extras) {
        let next = config(services, extras, &self.ground);
        self.ground.lock().unwrap().next = Some(next);
        self.events.send(Event::Reload).await.unwrap();
    }

    /// Ends it, while time stands still: it does while a blocking task runs.
    async fn stop(self) {
        let (over, wait) = std::sync::mpsc::channel::<()>();
        let still = tokio::task::spawn_blocking(move || wait.recv());
        self.end().await;
        drop(over);
        let _ = still.await;
    }

    /// Ends it.
    async fn end(self) {
        self.events.send(Event::Stop("TERM")).await.unwrap();
        self.daemon.await.unwrap();
    }
}

fn config(services: &[Service], extras: &Extras, ground: &Shared) -> Config {
    let inquiry = |server: &Server| {
        let (Watch::Probe(key), SocketAddr::V4(address)) = (&server.watch, server.address) else {
            return None;
        };
        let probe = Arc::new(Scripted(address.ip().octets()[3], ground.clone()));
        Some((*key, Inquiry { probe, interval: SECOND, timeout: TIMEOUT }))
    };
    Config {
        inquiries: services.iter().flat_map(|s| &s.servers).filter_map(inquiry).collect(),
        extras: services.iter().map(|s| (s.key, Arc::new(extras.clone()))).collect(),
        plan: Plan { services: services.iter().map(|s| (s.key, Arc::new(s.clone()))).collect() },
        log: LogTarget::Stdout,
        ..Config::default()
    }
}

/// A service with these servers, and a fallback that masquerades.
fn with_servers(n: u8, servers: &[u8]) -> Service {
    let origin = Place { file: "test.cf".into(), line: 1 };
    let fallback = SocketAddr::from(([127, 0, 0, 1], 80));
    let one = |n: &u8| Server {
        entry: server(*n),
        address: server(*n),
        forward: Forward::Masq,
        weight: Weight::ONE,
        upper: 0,
        lower: 0,
        watch: Watch::Probe(ProbeKey::of(&format!("scripted {n}"))),
        origin: origin.clone(),
    };
    Service {
        key: service(n),
        settings: settings(),
        servers: servers.iter().map(one).collect(),
        policy: Policy {
            fallbacks: vec![Fallback {
                entry: fallback,
                address: fallback,
                forward: Forward::Gate,
                watch: Watch::On,
            }],
            ..Policy::default()
        },
        origin,
    }
}

fn settings() -> Settings {
    Settings { scheduler: "wrr".into(), flags: 0, one_packet: false, persistence: None, engine: None }
}

fn standing(key: ServiceKey, servers: &[(u8, u32)]) -> Table {
    let mut entry = Entry::new(settings());
    for (n, weight) in servers {
        let weight = Weight::new(*weight).unwrap();
        entry.destinations.insert(server(*n), Destination::new(Forward::Masq, weight));
    }
    Table { services: [(key, entry.into())].into() }
}

/// State and subject of each mail.
fn told(mails: &[Taken]) -> Vec<String> {
    let state = |mail: &Taken| {
        let line =
            mail.body().lines().find_map(|line| line.strip_prefix("Daemon-Status: ").map(String::from));
        line.unwrap()
    };
    mails.iter().map(|mail| format!("{}: {}", state(mail), mail.subject())).collect()
}

#[tokio::test(start_paused = true)]
async fn every_change_of_a_server_or_fallback_is_one_mail_in_the_words_of_the_log() {
    let (post, log) = (MailServer::start().await, Log::catch());
    let services = [with_servers(1, &[1, 2])];
    let world = World::new(&services, &mail("ops@example.org", post.at), &[2], Table::default());
    sleep(SECOND * 5).await;
    assert_eq!(
        told(&post.take(1).await),
        ["starting: Added real server: 10.0.0.1:80 (192.0.2.1:80) (Weight set to 1)"]
    );
    world.bad(1);
    sleep(SECOND * 5).await;
    let mails = post.take(2).await;
    assert_eq!(
        told(&mails),
        [
            "running: Added fallback server: 127.0.0.1:80 (192.0.2.1:80) (Weight set to 1)",
            "running: Deleted real server: 10.0.0.1:80 (192.0.2.1:80)",
        ]
    );
    assert!(mails[0].body().contains("\r\nLog-Message: Added fallback server: 127.0.0.1:80 (192.0.2.1:80)"));
    world.good(1);
    sleep(SECOND * 5).await;
    assert_eq!(
        told(&post.take(2).await),
        [
            "running: Added real server: 10.0.0.1:80 (192.0.2.1:80) (Weight set to 1)",
            "running: Deleted fallback server: 127.0.0.1:80 (192.0.2.1:80)",
        ]
    );
    world.stop().await;
    assert_eq!(told(&post.mails()), ["stopping: Purged real server (stop): 10.0.0.1:80 (192.0.2.1:80)"]);
    assert_eq!(log.count(" emailalert: "), 6, "{}", log.text());
    let order = [
        "INFO Purged real server (stop): 10.0.0.1:80",
        "INFO emailalert: Purged real",
        "INFO Purged virtual server (stop)",
    ];
    let at = order.map(|line| log.text().find(line).expect(line));
    assert!(at.is_sorted(), "{}", log.text());
}

#[tokio::test(start_paused = true)]
async fn a_quiescent_server_is_told_as_such_however_it_became_so() {
    let post = MailServer::start().await;
    let mut quiescent = with_servers(1, &[1, 2]);
    quiescent.policy.on_failure = OnFailure::Quiesce;
    quiescent.policy.fallbacks.clear();
    let extras = Extras { name: Some("shop".into()), ..mail("ops", post.at) };
    let stands = standing(service(1), &[(1, 1), (77, 1)]);
    let world = World::new(&[quiescent], &extras, &[2], stands);
    sleep(SECOND * 3).await;
    let mut mails = told(&post.take(2).await);
    mails.sort();
    assert_eq!(
        mails,
        [
            "starting: [shop] Purged real server (start): 10.0.0.77:80 (192.0.2.1:80)",
            // The log says Readd.
            "starting: [shop] Quiescent real server: 10.0.0.2:80 (192.0.2.1:80) (Weight set to 0)",
        ]
    );
    world.bad(1);
    sleep(SECOND * 3).await;
    world.good(1);
    sleep(SECOND * 3).await;
    assert_eq!(
        told(&post.take(2).await),
        [
            "running: [shop] Quiescent real server: 10.0.0.1:80 (192.0.2.1:80) (Weight set to 0)",
            "running: [shop] Restored real server: 10.0.0.1:80 (192.0.2.1:80) (Weight set to 1)",
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn mail_is_sent_only_in_the_states_that_the_configuration_names() {
    for (state, word) in [
        (Some(State::Starting), "starting"),
        (Some(State::Running), "running"),
        (Some(State::Stopping), "stopping"),
        (Some(State::Reloading), "reloading"),
        (None, "none"),
    ] {
        let post = MailServer::start().await;
        let extras = Extras { alert_in: state.into_iter().collect(), ..mail("ops", post.at) };
        let world = World::new(&[with_servers(1, &[1, 2])], &extras, &[], Table::default());
        sleep(SECOND * 3).await;
        world.bad(1);
        sleep(SECOND * 3).await;
        world.reload(&[with_servers(1, &[2, 3])], &extras).await;
        sleep(SECOND * 3).await;
        world.stop().await;
        let expected = match word {
            "starting" => vec!["Added 1", "Added 2"],
            "running" => vec!["Deleted 1"],
            "reloading" => vec!["Added 3"],
            "stopping" => vec!["Purged 2", "Purged 3"],
            _ => vec![],
        };
        let short = |mail: &String| {
            let (state, line) = mail.split_once(": ").unwrap();
            assert_eq!(state, word);
            let n = line.split("10.0.0.").nth(1).unwrap().chars().next().unwrap();
            format!("{} {n}", line.split(' ').next().unwrap())
        };
        assert_eq!(told(&post.mails()).iter().map(short).collect::<Vec<_>>(), expected, "{word}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_daemon_is_starting_until_the_slowest_first_answer() {
    let post = MailServer::start().await;
    let services = [with_servers(1, &[1]), with_servers(2, &[HANGS])];
    let world = World::new(&services, &mail("ops", post.at), &[], Table::default());
    sleep(SECOND / 10).await;
    world.bad(1);
    sleep(SECOND).await;
    world.good(1);
    sleep(SECOND * 4).await;
    let mut mails = told(&post.take(6).await);
    mails.retain(|mail| mail.contains("real server"));
    assert_eq!(
        mails,
        [
            "starting: Added real server: 10.0.0.1:80 (192.0.2.1:80) (Weight set to 1)",
            "starting: Deleted real server: 10.0.0.1:80 (192.0.2.1:80)",
            "starting: Added real server: 10.0.0.1:80 (192.0.2.1:80) (Weight set to 1)",
        ]
    );
    world.bad(1);
    sleep(SECOND * 2).await;
    let mails = told(&post.take(2).await);
    assert!(mails.iter().all(|mail| mail.starts_with("running: ")), "{mails:?}");
}

const AGAIN: &str = "running: Inaccessible real server: 10.0.0.1:80 (192.0.2.1:80)";

#[tokio::test(start_paused = true)]
async fn a_server_that_stays_down_is_told_of_again_and_again_until_it_is_up() {
    let post = MailServer::start().await;
    let extras = Extras { alert_again: Some(SECOND * 60), ..mail("ops", post.at) };
    // Down from the start on: its clock runs all the same.
    let world = World::new(&[with_servers(1, &[1, 2])], &extras, &[1], Table::default());
    sleep(SECOND * 59).await;
    assert_eq!(
        told(&post.take(1).await),
        ["starting: Added real server: 10.0.0.2:80 (192.0.2.1:80) (Weight set to 1)"]
    );
    sleep(SECOND * 2).await;
    assert_eq!(told(&post.take(1).await), [AGAIN]);
    sleep(SECOND * 660).await;
    assert_eq!(told(&post.take(11).await), [AGAIN; 11]);
    world.good(1);
    sleep(SECOND * 300).await;
    assert_eq!(
        told(&post.take(1).await),
        ["running: Added real server: 10.0.0.1:80 (192.0.2.1:80) (Weight set to 1)"]
    );
    world.bad(1);
    sleep(SECOND * 63).await;
    assert_eq!(
        told(&post.take(2).await),
        ["running: Deleted real server: 10.0.0.1:80 (192.0.2.1:80)", AGAIN]
    );
}

#[tokio::test(start_paused = true)]
async fn a_server_that_a_reload_removes_is_told_of_no_more() {
    let post = MailServer::start().await;
    let extras = Extras { alert_again: Some(SECOND * 60), ..mail("ops", post.at) };
    let before = [with_servers(1, &[1, 2]), with_servers(2, &[1])];
    let world = World::new(&before, &extras, &[1], Table::default());
    sleep(SECOND * 61).await;
    let mut mails = told(&post.take(3).await);
    mails.retain(|mail| mail.contains("Inaccessible"));
    assert_eq!(mails.len(), 2, "down in two services: {mails:?}");
    // One service loses the server, the other leaves.
    world.reload(&[with_servers(1, &[2])], &extras).await;
    sleep(SECOND * 600).await;
    world.stop().await;
    let last = ["stopping: Purged real server (stop): 10.0.0.2:80 (192.0.2.1:80)"];
    assert_eq!(told(&post.mails()), last);
}

#[tokio::test(start_paused = true)]
async fn a_reload_keeps_the_clocks_of_servers_that_stay_down_and_takes_new_intervals() {
    let post = MailServer::start().await;
    let every = |seconds| Extras { alert_again: Some(SECOND * seconds), ..mail("ops", post.at) };
    let services = [with_servers(1, &[1, 2])];
    let world = World::new(&services, &every(60), &[1], Table::default());
    sleep(SECOND * 50).await;
    post.take(1).await;
    world.reload(&services, &every(60)).await;
    sleep(SECOND * 11).await;
    assert_eq!(told(&post.take(1).await), [AGAIN]);
    world.reload(&services, &every(20)).await;
    sleep(SECOND * 20).await;
    assert_eq!(told(&post.take(1).await), [AGAIN]);
    let off = Extras { alert_again: None, ..every(1) };
    world.reload(&services, &off).await;
    sleep(SECOND * 600).await;
    world.stop().await;
    let last = ["stopping: Purged real server (stop): 10.0.0.2:80 (192.0.2.1:80)"];
    assert_eq!(told(&post.mails()), last);
}

#[tokio::test(start_paused = true)]
async fn a_mail_server_that_hangs_delays_no_check_and_no_verdict() {
    let post = MailServer::start().await;
    post.fail(Some((Step::Greeting, Fail::Hang)));
    let all: Vec<u8> = (1..=50).collect();
    let extras = Extras { alert_again: Some(SECOND * 2), ..mail("ops", post.at) };
    let world = World::new(&[with_servers(1, &all)], &extras, &all[25..], Table::default());
    sleep(SECOND * 120).await;
    let asked = world.ground.lock().unwrap().asked.clone();
    assert!(post.connections() > 2);
    for (n, asked) in &asked {
        let gaps: Vec<_> = asked[1..].windows(2).map(|pair| pair[1] - pair[0]).collect();
        assert!(gaps.len() > 100 && gaps.iter().all(|gap| *gap == SECOND), "server {n}: {gaps:?}");
    }
    // Its end takes no longer than it may.
    let before = Instant::now();
    world.end().await;
    assert!(before.elapsed() <= Duration::from_secs(6), "{:?}", before.elapsed());
}

#[tokio::test(start_paused = true)]
async fn without_a_receiver_nothing_is_told_and_the_end_does_not_wait() {
    let log = Log::catch();
    let world = World::new(&[with_servers(1, &[1])], &always(), &[], Table::default());
    sleep(SECOND * 3).await;
    let before = Instant::now();
    world.end().await;
    assert!(before.elapsed() < SECOND / 10);
    assert_eq!(log.count("emailalert"), 0);
    assert_eq!(log.count("Purged real server (stop): 10.0.0.1:80 (192.0.2.1:80)"), 1);
}

const UNWELL: &str = "running: This director is unwell: no file descriptors are left (raise LimitNOFILE); \
    servers that fail for it stay in for up to 30 s";

#[tokio::test(start_paused = true)]
async fn illness_of_our_own_is_told_to_everybody_once() {
    let (post, log) = (MailServer::start().await, Log::catch());
    let services = [with_servers(1, &[1, 2]), with_servers(2, &[3, 4]), with_servers(3, &[5, 6])];
    let world = World::new(&services, &mail("ops", post.at), &[], Table::default());
    sleep(SECOND * 3).await;
    post.take(6).await;
    world.ill(&[1, 3, 5]);
    sleep(SECOND * 10).await;
    assert_eq!(told(&post.take(1).await), [UNWELL]);
    world.ill(&[]);
    sleep(SECOND * 2).await;
    assert_eq!(told(&post.take(1).await), ["running: This director is well again: no removal is delayed"]);
    // It comes and goes: the log says so, and nobody is flooded.
    for _ in 0..10 {
        world.ill(&[1]);
        sleep(SECOND * 2).await;
        world.ill(&[]);
        sleep(SECOND * 2).await;
    }
    assert_eq!(log.count("ERROR This director is unwell"), 11, "{}", log.text());
    // It stays: at its ceiling the server leaves, and both are told.
    sleep(SECOND * 300).await;
    world.ill(&[1]);
    sleep(SECOND * 40).await;
    assert_eq!(
        told(&post.take(3).await),
        [
            UNWELL,
            "running: This director is still unwell and waits no longer: servers that fail for it leave",
            "running: Deleted real server: 10.0.0.1:80 (192.0.2.1:80)",
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn illness_is_told_in_a_mail_for_each_sender_with_all_recipients_and_a_post_for_each_webhook() {
    let (post, hook) = (MailServer::start().await, Hook::start(status("204 No Content")).await);
    let url = format!("http://{}/lvs", hook.at);
    let with_hook =
        |to: &str| Extras { webhooks: hooks(std::slice::from_ref(&url)).webhooks, ..mail(to, post.at) };
    let services = [with_servers(1, &[1, 2]), with_servers(2, &[3, 4]), with_servers(3, &[5, 6])];
    let world = World::new(&services, &always(), &[], Table::default());
    sleep(SECOND * 3).await;
    let mut next = config(&services, &always(), &world.ground);
    let lists = ["a@example.org", "b@example.org, a@example.org", "a@example.org"];
    for (service, to) in services.iter().zip(lists) {
        next.extras.insert(service.key, Arc::new(with_hook(to)));
    }
    world.ground.lock().unwrap().next = Some(next);
    world.events.send(Event::Reload).await.unwrap();
    sleep(SECOND * 3).await;
    world.ill(&[1, 3]);
    sleep(SECOND * 3).await;
    let mails = post.take(1).await;
    assert_eq!(told(&mails), [UNWELL]);
    assert_eq!(mails[0].to, ["a@example.org", "b@example.org"]);
    // Time stands still for the post, but not for the machine.
    for _ in 0..2000 {
        if !hook.posts().is_empty() {
            break;
        }
        tokio::task::spawn_blocking(|| std::thread::sleep(Duration::from_millis(5))).await.unwrap();
    }
    let facts: Vec<serde_json::Value> =
        hook.posts().iter().map(|post| serde_json::from_str(&post.body).unwrap()).collect();
    assert_eq!(facts.len(), 1);
    assert_eq!(facts[0]["event"], "director-unwell");
    assert_eq!(
        (&facts[0]["service"], &facts[0]["server"]),
        (&serde_json::Value::Null, &serde_json::Value::Null)
    );
}
