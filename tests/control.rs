//! The control socket over a kernel in memory, and the commands against a daemon that runs.

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;
use std::time::Duration;

use lvsentry::config::{SystemNames, load_text};
use lvsentry::daemon::{Daemon, Event, Setup};
use lvsentry::http::{self, socket};
use lvsentry::ipvs::Memory;
use lvsentry::probe::Tools;
use lvsentry::span::Source;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::support::wait_until;

const SOON: Duration = Duration::from_secs(20);

/// Servers that nobody asks, so that nothing but orders changes anything; and one with a password.
const TEXT: &str = "quiescent=no
virtual=192.0.2.10:80
\tservicename=shop
\treal=10.0.0.1:80 masq 5
\treal=10.0.0.2:80 masq 5
\tchecktype=on
virtual=192.0.2.11:3306
\treal=10.0.0.1:3306 masq
\tservice=mysql
\tlogin=\"checker\"
\tpasswd=\"hunter2\"
\tchecktype=off
";

/// A folder of one test, gone with it.
struct Folder(PathBuf);

impl Folder {
    fn new(test: &str) -> Folder {
        let path = std::env::temp_dir().join(format!("lvsentry-control-{}-{test}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Folder(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A daemon with a control socket.
struct Site {
    folder: Folder,
    /// What the next reload reads.
    text: Arc<std::sync::Mutex<String>>,
    events: mpsc::Sender<Event>,
}

impl Site {
    fn new(test: &str) -> Site {
        let folder = Folder::new(test);
        let text = Arc::new(std::sync::Mutex::new(TEXT.to_owned()));
        let read = text.clone();
        let loader =
            move || load_text(Source::new("x.cf", read.lock().unwrap().as_bytes()), &SystemNames::new());
        let setup = Setup {
            config: loader().unwrap().config,
            path: "x.cf".into(),
            loader: Arc::new(loader),
            kernel: Box::new(Memory::default()),
            tools: Tools::new(),
            slots: 10,
        };
        let daemon = Daemon::new(setup).unwrap().with_state(folder.0.join("x.json"));
        let events = daemon.sender();
        let listener = socket::listen(&folder.0.join("x.sock")).unwrap();
        let (asks, mut asked) = mpsc::channel(16);
        let to = events.clone();
        tokio::spawn(async move {
            while let Some(ask) = asked.recv().await {
                if to.send(Event::Ask(ask)).await.is_err() {
                    return;
                }
            }
        });
        tokio::spawn(http::serve(listener, asks));
        tokio::spawn(daemon.run());
        Site { folder, text, events }
    }

    async fn connect(&self) -> UnixStream {
        UnixStream::connect(self.folder.0.join("x.sock")).await.unwrap()
    }

    /// Sends these bytes, and gives back status and body of the answer.
    async fn raw(&self, request: &[u8]) -> (u16, String) {
        let mut stream = self.connect().await;
        // What is too large is answered and not read to its end: that ends the connection with an error.
        let _ = stream.write_all(request).await;
        let mut answer = Vec::new();
        let _ = timeout(SOON, stream.read_to_end(&mut answer)).await.expect("an answer in time");
        let answer = String::from_utf8(answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
        (head.split(' ').nth(1).unwrap_or("0").parse().unwrap(), body.to_owned())
    }

    async fn ask(&self, method: &str, path: &str, body: &str) -> (u16, Value) {
        let length = body.len();
        let request =
            format!("{method} {path} HTTP/1.1\r\nhost: x\r\ncontent-length: {length}\r\n\r\n{body}");
        let (status, body) = self.raw(request.as_bytes()).await;
        (status, serde_json::from_str(&body).unwrap_or(Value::String(body)))
    }

    /// The rule of a server in the first service.
    async fn rule(&self, n: usize) -> String {
        let (_, status) = self.ask("GET", "/api/v1/status", "").await;
        status["services"][0]["servers"][n]["rule"].as_str().unwrap().to_owned()
    }
}

#[tokio::test]
async fn orders_are_given_shown_explained_and_taken_back_over_the_socket() {
    let site = Site::new("orders");
    assert_eq!(site.rule(0).await, "on");
    let order = json!({ "order": "disable", "server": "10.0.0.1:80", "service": "shop", "reason": "new disk", "for": 60 });
    let (status, done) = site.ask("POST", "/api/v1/orders", &order.to_string()).await;
    assert_eq!((status, &done["warning"]), (200, &Value::Null), "{done}");
    assert_eq!(done["servers"][0]["rule"], "disabled");
    // It was answered once it was remembered.
    let remembered = std::fs::read_to_string(site.folder.0.join("x.json")).unwrap();
    assert!(remembered.contains("new disk") && remembered.contains("until"), "{remembered}");
    assert_eq!(site.rule(0).await, "disabled");
    let (_, why) = site.ask("GET", "/api/v1/explain?service=shop&server=10.0.0.1", "").await;
    let details = &why[0]["details"][0];
    assert!(details["reasons"][0].as_str().unwrap().contains("new disk"), "{why}");
    assert!(details["next"][0].as_str().unwrap().contains("lvsentry enable 10.0.0.1:80"), "{why}");
    assert_eq!(why[0]["details"].as_array().unwrap().len(), 1);
    let lift = json!({ "server": "10.0.0.1", "orders": ["drain", "disable"] });
    let (status, done) = site.ask("DELETE", "/api/v1/orders", &lift.to_string()).await;
    assert_eq!((status, &done["orders"][0]["order"]), (200, &json!("disable")));
    assert_eq!(site.rule(0).await, "on");
    let (_, again) = site.ask("DELETE", "/api/v1/orders", &lift.to_string()).await;
    assert_eq!(again["orders"], json!([]), "nothing is left to take back");
}

#[tokio::test]
async fn an_order_about_more_is_not_taken_back_in_part() {
    let site = Site::new("wider");
    let order = json!({ "order": "drain", "server": "10.0.0.1" }).to_string();
    assert_eq!(site.ask("POST", "/api/v1/orders", &order).await.0, 200);
    let lift = json!({ "server": "10.0.0.1", "service": "shop", "orders": ["drain"] }).to_string();
    let (status, why) = site.ask("DELETE", "/api/v1/orders", &lift).await;
    assert_eq!(status, 409);
    assert!(why["error"].as_str().unwrap().contains("drain 10.0.0.1"), "{why}");
}

#[tokio::test]
async fn what_is_wrong_with_a_request_is_said_and_changes_nothing() {
    let site = Site::new("wrong");
    let unknown = r#"{"order":"drain","server":"10.0.0.3"}"#;
    let long = format!(r#"{{"order":"drain","server":"{}"}}"#, "x".repeat(70_000));
    for (method, path, body, status, says) in [
        ("POST", "/api/v1/orders", unknown, 404, "did you mean 10.0.0."),
        ("POST", "/api/v1/orders", r#"{"order":"drain"}"#, 400, "server"),
        (
            "POST",
            "/api/v1/orders",
            r#"{"order":"melt","server":"10.0.0.1"}"#,
            400,
            "drain, disable or weight",
        ),
        ("POST", "/api/v1/orders", r#"{"order":"drain","server":"10.0.0.1","x":1}"#, 400, "unknown field"),
        ("POST", "/api/v1/orders", "{", 400, "not understood"),
        ("POST", "/api/v1/orders", &long, 413, "at most"),
        ("GET", "/api/v1/explain", "", 400, "`service` is missing"),
        ("GET", "/api/v1/explain?service=shpo", "", 404, "no service is called shpo"),
        ("GET", "/api/v1/explain?service=shop&server=10.9.9.9", "", 404, "10.0.0.1:80, 10.0.0.2:80"),
        ("GET", "/api/v1/events?since=yesterday", "", 400, "seconds since 1970"),
        ("PUT", "/api/v1/orders", "", 405, "POST, DELETE"),
        ("GET", "/", "", 404, "nothing at this path"),
    ] {
        let (got, answer) = site.ask(method, path, body).await;
        let said = answer["error"].as_str().unwrap_or_default();
        assert!(got == status && said.contains(says), "{method} {path} {body:.80}: {got} {answer}");
    }
    let garbage = site.raw(b"\x16\x03\x01 nonsense\r\n\r\n").await;
    assert_eq!(garbage.0, 400);
    let head = [b"GET / HTTP/1.1\r\nx: ".to_vec(), vec![b'x'; 100_000], b"\r\n\r\n".to_vec()].concat();
    assert_eq!(site.raw(&head).await.0, 431);
    assert_eq!((site.rule(0).await, site.rule(1).await), ("on".into(), "on".into()));
}

#[tokio::test]
async fn clients_that_are_stuck_delay_nobody() {
    let site = Site::new("stuck");
    let mut stuck = Vec::new();
    for _ in 0..40 {
        let mut stream = site.connect().await;
        stream
            .write_all(b"POST /api/v1/orders HTTP/1.1\r\nhost: x\r\ncontent-length: 9\r\n\r\n{")
            .await
            .unwrap();
        stuck.push(stream);
    }
    let answer = timeout(Duration::from_secs(3), site.ask("GET", "/api/v1/status", "")).await;
    assert_eq!(answer.expect("in time").0, 200);
}

#[tokio::test]
async fn events_are_followed_as_lines_and_places_for_that_are_bounded() {
    let site = Site::new("events");
    let request = b"GET /api/v1/events?follow=1 HTTP/1.1\r\nhost: x\r\n\r\n";
    let mut follower = site.connect().await;
    follower.write_all(request).await.unwrap();
    let mut heard = String::new();
    let mut bytes = [0; 4096];
    let order = json!({ "order": "disable", "server": "10.0.0.2", "reason": "an order to hear of" });
    assert_eq!(site.ask("POST", "/api/v1/orders", &order.to_string()).await.0, 200);
    while !heard.contains("an order to hear of") {
        let n = timeout(SOON, follower.read(&mut bytes)).await.expect("in time").unwrap();
        assert!(n > 0, "it ended after {heard}");
        heard += &String::from_utf8_lossy(&bytes[..n]);
    }
    assert!(heard.contains(r#""id":"server-ordered""#), "{heard}");
    let (status, lines) = site.ask("GET", "/api/v1/events?since=2000-01-01T00:00:00Z", "").await;
    let lines = lines.as_str().unwrap().lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    assert!(status == 200 && lines.clone().any(|one| one["server"] == "10.0.0.2:80"));
    let (_, later) = site.ask("GET", "/api/v1/events?since=9999999999", "").await;
    assert_eq!(later, Value::String(String::new()), "nothing happened since then");
    let mut others = Vec::new();
    for _ in 0..15 {
        let mut one = site.connect().await;
        one.write_all(request).await.unwrap();
        assert!(one.read(&mut bytes).await.unwrap() > 0);
        others.push(one);
    }
    assert_eq!(site.ask("GET", "/api/v1/events?follow=1", "").await.0, 503);
    // With the daemon they end too.
    site.events.send(Event::Stop("TERM")).await.unwrap();
    while timeout(SOON, follower.read(&mut bytes)).await.expect("an end").unwrap() > 0 {}
}

#[tokio::test]
async fn a_reload_says_what_changed_or_why_not() {
    let site = Site::new("reload");
    *site.text.lock().unwrap() = TEXT.replace("10.0.0.2:80 masq 5", "10.0.0.2:80 masq 9");
    let (status, reloaded) = site.ask("POST", "/api/v1/reload", "").await;
    assert_eq!(status, 200);
    assert_eq!(reloaded["changes"], json!(["service tcp:192.0.2.10:80: server 10.0.0.2:80: weight 5 → 9"]));
    *site.text.lock().unwrap() = TEXT.replace("checktype=on", "checktype=maybe");
    let (status, refused) = site.ask("POST", "/api/v1/reload", "").await;
    assert_eq!(status, 422);
    let said = refused["error"].as_str().unwrap();
    assert!(said.contains("x.cf:6") && said.contains("maybe"), "{said}");
    assert_eq!(site.rule(1).await, "on");
}

#[tokio::test]
async fn no_answer_holds_a_secret() {
    let site = Site::new("secret");
    for path in ["status", "explain?service=192.0.2.11:3306", "events"] {
        let (status, answer) = site.ask("GET", &format!("/api/v1/{path}"), "").await;
        assert_eq!(status, 200);
        assert!(!answer.to_string().contains("hunter2"), "{path}: {answer}");
    }
}

#[tokio::test]
async fn a_stale_socket_is_replaced_one_that_answers_is_not_and_its_rights_are_narrow() {
    let folder = Folder::new("socket");
    let path = folder.0.join("deep/er/x.sock");
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    assert!(path.exists(), "what a killed daemon leaves");
    let first = socket::listen(&path).unwrap();
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o660);
    assert!(matches!(socket::listen(&path), Err(socket::Refused::Taken)));
    drop(first);
    assert!(!path.exists(), "it goes with its daemon");
}

// ---- the commands -------------------------------------------------------------------------------

struct Running {
    child: Child,
    folder: Folder,
}

impl Running {
    fn start(folder: Folder) -> Running {
        std::fs::write(folder.0.join("web.cf"), TEXT).unwrap();
        let child = lvsentry(&folder)
            .args(["run", "--no-kernel", "-c"])
            .arg(folder.0.join("web.cf"))
            .arg("--state")
            .arg(folder.0.join("web.json"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let running = Running { child, folder };
        let answers = || running.ask("status").status.code() != Some(3);
        wait_until(SOON, "the daemon answers", String::new, answers);
        running
    }

    fn ask(&self, words: &str) -> Output {
        lvsentry(&self.folder).args(words.split(' ')).output().unwrap()
    }

    /// Exit status, and what was said.
    fn said(&self, words: &str) -> (i32, String) {
        let output = self.ask(words);
        let text = [output.stdout, output.stderr].concat();
        (output.status.code().unwrap(), String::from_utf8(text).unwrap())
    }

    /// Ends it as a crash would.
    fn kill(mut self) -> Folder {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        std::mem::replace(&mut self.folder, Folder(PathBuf::from("/nonexistent")))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn lvsentry(folder: &Folder) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_lvsentry"));
    command.arg("--socket").arg(folder.0.join("web.sock")).stdin(Stdio::null());
    command
}

#[test]
fn the_commands_show_and_steer_a_running_daemon_and_a_crash_loses_no_order() {
    let running = Running::start(Folder::new("commands"));
    // The second service is never checked and has no fallback: nobody is up in it.
    let (status, table) = running.said("status");
    assert!(status == 2 && table.starts_with("SERVICE"), "{status}: {table}");
    assert!(table.contains("tcp:192.0.2.10:80 (shop)  up"), "{table}");
    assert_eq!(running.said("status shop").0, 0);
    let (_, drained) = running.said("drain 10.0.0.1 --service shop --for 2h --wait");
    assert!(
        drained.contains("drain 10.0.0.1 of tcp:192.0.2.10:80") && drained.contains("\ndrained\n"),
        "{drained}"
    );
    let (status, table) = running.said("status shop");
    assert!(status == 1 && table.contains("drained") && table.contains("until"), "{status}: {table}");
    let (status, json) = running.said("status shop --json");
    let json: Value = serde_json::from_str(&json).unwrap();
    assert_eq!((status, &json["services"][0]["servers"][0]["rule"]), (1, &json!("drained")));
    assert_eq!(running.said("weight 10.0.0.2 77").0, 0);
    let (status, said) = running.said("disable 10.0.0.7");
    assert!(status == 1 && said.contains("did you mean 10.0.0.") && said.lines().count() == 1, "{said}");
    assert_eq!(running.said("weight 10.0.0.2 heavy").0, 2);
    assert_eq!(running.said("promote"), (0, "active, as before\n".into()));
    assert_eq!(running.said("demote"), (0, "standby\n".into()));
    assert!(running.said("status").1.contains("standby, the kernel is left alone: by hand"));
    assert_eq!(running.said("promote"), (0, "active\n".into()));
    // A crash, and a new daemon: what was decided still is.
    let running = Running::start(running.kill());
    let (status, table) = running.said("status shop");
    assert!(status == 1 && table.contains("drained") && table.contains("77"), "{status}: {table}");
    let (_, why) = running.said("explain shop 10.0.0.1");
    assert!(why.contains("web.cf:4") && why.contains("lvsentry enable 10.0.0.1"), "{why}");
    let (_, back) = running.said("enable 10.0.0.1");
    assert!(back.starts_with("taken back: drain"), "{back}");
    assert_eq!(running.said("weight 10.0.0.2 auto").0, 0);
    assert_eq!(running.said("status shop").0, 0);
    let (_, events) = running.said("events --since 1h");
    assert!(events.contains("server-order-over: Real server 10.0.0.1:80"), "{events}");
    std::fs::write(running.folder.0.join("web.cf"), "nonsense\n").unwrap();
    let (status, said) = running.said("reload");
    assert!(status == 2 && said.contains("web.cf:1"), "{status}: {said}");
    assert_eq!(running.said("stop"), (0, "stopped\n".into()));
    let (status, said) = running.said("status");
    assert!(
        status == 3 && said.contains("no daemon answers") && said.lines().count() == 1,
        "{status}: {said}"
    );
}
