//! Hooks, as real processes: what is told of servers, fallbacks and the role, in which order, in which
//! environment.

use std::path::Path;
use std::time::Duration;

use lvsentry::config::role::{RoleHooks, ServiceHooks};
use lvsentry::config::{Config, Extras};
use lvsentry::daemon::Event;
use nix::sys::stat::Mode;
use nix::unistd::mkfifo;

use super::world::{Folder, Log, World, lines, until, with_extras};

const TWO: &str = "quiescent=no
virtual=192.0.2.10:80
\treal=10.0.0.1:80 masq 5
\treal=10.0.0.2:80 masq 1
\tfallback=127.0.0.1:80
\tchecktype=connect
";

/// Shows what a hook finds in its environment, after a word.
const SHOW: &str = "echo \"$LVSENTRY_EVENT|$LVSENTRY_INSTANCE|$LVSENTRY_SERVICE|$LVSENTRY_NAME|\
$LVSENTRY_SERVER|$LVSENTRY_WEIGHT|$LVSENTRY_STATE|$LVSENTRY_REASON\"";

/// A line for the shell that appends what `SHOW` shows to `told`.
fn show(folder: &Folder) -> String {
    format!("set -u; {SHOW} >>'{}'", folder.path("told").display())
}

/// A line for the shell that appends the event and the server to `told`.
fn brief(folder: &Folder) -> String {
    let told = folder.path("told");
    format!("echo $LVSENTRY_EVENT $LVSENTRY_SERVER $LVSENTRY_STATE >>'{}'", told.display())
}

/// The same line for all that can happen to a service.
fn all(line: &str) -> Extras {
    let line = Some(line.to_owned());
    let hooks = ServiceHooks { up: line.clone(), down: line.clone(), fallback: line };
    Extras { name: Some("shop".into()), hooks, ..Extras::default() }
}

fn only_servers(line: &str) -> Extras {
    let mut extras = all(line);
    extras.hooks.fallback = None;
    extras
}

fn sorted(path: &Path) -> Vec<String> {
    let mut lines = lines(path);
    lines.sort();
    lines
}

#[tokio::test]
async fn the_environment_says_what_happened_to_whom_and_why_in_one_line() {
    let folder = Folder::new();
    let (told, extras) = (folder.path("told"), all(&show(&folder)));
    let world = World::new(TWO, move |config| with_extras(config, extras.clone()));
    until("all is told", || lines(&told).len() == 3).await;
    let service = "test.cf|tcp:192.0.2.10:80|shop";
    let first = sorted(&told);
    assert_eq!(first[0], format!("fallback|{service}|||stopped|a server is up"));
    assert!(first[1].starts_with(&format!("up|{service}|10.0.0.1:80|5||well (")), "{first:?}");
    assert!(first[2].starts_with(&format!("up|{service}|10.0.0.2:80|1||well (")), "{first:?}");
    world.bad_with("10.0.0.1:80", "no\nroute\u{1b}[31m \"$(id)\"");
    until("it is down", || lines(&told).len() == 4).await;
    let down = lines(&told)[3].clone();
    let wanted = format!("down|{service}|10.0.0.1:80|||connect-refused: no route [31m \"$(id)\"");
    assert!(down.starts_with(&wanted), "{down}");
    world.bad("10.0.0.2:80");
    until("the fallback serves", || lines(&told).len() == 6).await;
    let last = lines(&told).last().cloned().unwrap();
    assert_eq!(last, format!("fallback|{service}|127.0.0.1:80||serving|no server is up"));
}

#[tokio::test]
async fn each_server_is_told_of_once_and_so_is_each_turn() {
    let folder = Folder::new();
    let (told, extras) = (folder.path("told"), all(&brief(&folder)));
    let world = World::new(TWO, move |config| with_extras(config, extras.clone()));
    until("all is told", || lines(&told).len() == 3).await;
    world.rounds("10.0.0.1:80", 5).await;
    world.send(Event::Reload).await;
    world.rounds("10.0.0.1:80", 5).await;
    world.bad("10.0.0.2:80");
    until("it is down", || lines(&told).len() == 4).await;
    world.rounds("10.0.0.1:80", 5).await;
    world.good("10.0.0.2:80");
    until("it is up", || lines(&told).len() == 5).await;
    assert_eq!(lines(&told)[3..], ["down 10.0.0.2:80", "up 10.0.0.2:80"]);
}

#[tokio::test]
async fn who_wants_to_hear_of_falls_alone_hears_of_each() {
    let folder = Folder::new();
    let told = folder.path("told");
    let hooks = ServiceHooks { down: Some(brief(&folder)), ..ServiceHooks::default() };
    let extras = Extras { hooks, ..Extras::default() };
    let world = World::new(TWO, move |config| with_extras(config, extras.clone()));
    for n in 1..4 {
        world.bad("10.0.0.1:80");
        until("it is down", || lines(&told).len() == n && world.stands() == ["10.0.0.2:80 1"]).await;
        world.good("10.0.0.1:80");
        until("it is up", || world.stands().len() == 2).await;
    }
    assert_eq!(lines(&told), ["down 10.0.0.1:80"; 3]);
}

/// A script that says when it begins and ends, and does not end before `GO` is there.
fn slow(folder: &Folder) -> String {
    let text = "#!/bin/sh\necho begin $LVSENTRY_EVENT $LVSENTRY_SERVER >>\"$0.told\"\n\
        while [ -e \"$0\" ] && [ ! -e \"$0.go\" ]; do sleep 0.01; done\necho end >>\"$0.told\"\n";
    folder.script("slow", text).display().to_string()
}

#[tokio::test]
async fn commands_of_a_service_never_overlap_and_none_is_lost_behind_that_of_another_server() {
    let folder = Folder::new();
    let extras = only_servers(&slow(&folder));
    let world = World::new(TWO, move |config| with_extras(config, extras.clone()));
    let told = folder.path("slow.told");
    until("the first is running", || lines(&told).len() == 1).await;
    until("both are up", || world.stands().len() == 2).await;
    // While it runs one server goes and comes, and the other one goes.
    let first = lines(&told)[0].clone();
    let other = if first.contains("10.0.0.1") { "10.0.0.2:80" } else { "10.0.0.1:80" };
    let same = if first.contains("10.0.0.1") { "10.0.0.1:80" } else { "10.0.0.2:80" };
    for (server, standing) in [(same, 1), (other, 1)] {
        world.bad(server);
        until("it is down", || world.stands().len() == standing).await;
        if server == same {
            world.good(server);
            until("it is up", || world.stands().len() == 2).await;
        }
    }
    std::fs::write(folder.path("slow.go"), "").unwrap();
    until("all is told", || lines(&told).len() >= 4).await;
    world.rounds(other, 10).await;
    // The one that is up still needs no word of it, the other one only that it is down.
    assert_eq!(lines(&told), [first, "end".into(), format!("begin down {other}"), "end".into()]);
}

#[tokio::test]
async fn services_do_not_wait_for_each_other() {
    let folder = Folder::new();
    let extras = only_servers(&slow(&folder));
    let two = format!("{TWO}{}", TWO.replace("quiescent=no\n", "").replace("192.0.2.10", "192.0.2.11"));
    let _world = World::new(&two, move |config| with_extras(config, extras.clone()));
    let told = folder.path("slow.told");
    until("one of each is running", || lines(&told).len() == 2).await;
    assert!(lines(&told).iter().all(|line| line.starts_with("begin up")), "{:?}", lines(&told));
    std::fs::write(folder.path("slow.go"), "").unwrap();
}

#[tokio::test]
async fn a_start_with_many_services_does_not_run_the_commands_of_all_at_once() {
    let folder = Folder::new();
    let text = "#!/bin/sh\necho begin >>\"$0.told\"\n[ -e \"$0.go\" ] || read x <\"$0.wait\"\n";
    let script = folder.script("many", text);
    mkfifo(&folder.path("many.wait"), Mode::S_IRWXU).unwrap();
    let told = folder.path("many.told");
    let one = |n: usize| format!("virtual=192.0.2.{n}:80\n\treal=10.0.0.1:80 masq 1\n\tchecktype=connect\n");
    let many: String = (1..=40).map(one).collect();
    let extras = only_servers(&script.display().to_string());
    let world = World::new(&many, move |config| with_extras(config, extras.clone()));
    until("as many run as may", || lines(&told).len() == 32).await;
    world.rounds("10.0.0.1:80", 10).await;
    assert_eq!(lines(&told).len(), 32);
    std::fs::write(folder.path("many.go"), "").unwrap();
    // Who waits there goes on.
    let open = std::fs::OpenOptions::new().read(true).write(true).open(folder.path("many.wait")).unwrap();
    use std::io::Write;
    (&open).write_all("x\n".repeat(64).as_bytes()).unwrap();
    until("all have run", || lines(&told).len() == 40).await;
}

#[tokio::test]
async fn a_hook_that_fails_is_told_and_the_next_one_is_run() {
    let (log, _guard) = Log::keep();
    let folder = Folder::new();
    let told = folder.path("told");
    let extras = only_servers(&format!("{}; exit 7", brief(&folder)));
    let _world = World::new(TWO, move |config| with_extras(config, extras.clone()));
    until("both are told", || lines(&told).len() == 2).await;
    until("both failures are told", || log.count("failed: exit status 7") == 2).await;
}

#[tokio::test(start_paused = true)]
async fn a_hook_without_end_is_ended_after_a_minute_and_the_next_one_is_run() {
    let folder = Folder::new();
    let text = "#!/bin/sh\necho $LVSENTRY_SERVER >>\"$0.told\"\n[ -e \"$0.go\" ] || sleep 1003\n";
    let script = folder.script("endless", text);
    let (told, extras) = (folder.path("endless.told"), only_servers(&script.display().to_string()));
    tokio::time::resume();
    let _world = World::new(TWO, move |config| with_extras(config, extras.clone()));
    until("the first is running", || lines(&told).len() == 1).await;
    std::fs::write(folder.path("endless.go"), "").unwrap();
    tokio::time::pause();
    tokio::time::sleep(Duration::from_secs(58)).await;
    assert_eq!(lines(&told).len(), 1, "nothing overtakes it");
    tokio::time::sleep(Duration::from_secs(5)).await;
    tokio::time::resume();
    until("the next is run", || lines(&told).len() == 2).await;
}

// ---- the role -------------------------------------------------------------------------------------

fn with_role_hooks(config: &mut Config, line: &str) {
    config.hooks = RoleHooks { promote: Some(line.to_owned()), demote: Some(line.to_owned()) };
}

#[tokio::test]
async fn the_role_is_told_at_the_start_and_at_each_turn_once_the_table_follows() {
    let folder = Folder::new();
    let (told, line) = (folder.path("told"), show(&folder));
    let world = World::new(TWO, move |config| with_role_hooks(config, &line));
    until("it is told", || lines(&told) == ["promote|test.cf||||||as configured"]).await;
    world.send(Event::Demote("told so".into())).await;
    until("it is told", || lines(&told).len() == 2).await;
    world.send(Event::Demote("again".into())).await;
    world.send(Event::Reload).await;
    world.rounds("10.0.0.1:80", 5).await;
    world.send(Event::Promote("and back".into())).await;
    until("it is told", || lines(&told).len() == 3).await;
    assert_eq!(lines(&told)[1..], ["demote|test.cf||||||told so", "promote|test.cf||||||and back"]);
}

#[tokio::test]
async fn a_standby_tells_nothing_of_services_and_once_promoted_it_tells_all_that_is_so() {
    let folder = Folder::new();
    let (told, extras) = (folder.path("told"), all(&brief(&folder)));
    let world = World::new(TWO, move |config| with_extras(config, extras.clone()));
    let up = ["fallback stopped", "up 10.0.0.1:80", "up 10.0.0.2:80"];
    until("all is told", || sorted(&told) == up).await;
    world.send(Event::Demote("told so".into())).await;
    world.bad("10.0.0.1:80");
    world.rounds("10.0.0.1:80", 5).await;
    assert_eq!(lines(&told).len(), 3, "nothing is served from here");
    world.send(Event::Promote("told so".into())).await;
    until("all is told", || lines(&told).len() == 6).await;
    let mut news = lines(&told).split_off(3);
    news.sort();
    assert_eq!(news, ["down 10.0.0.1:80", "fallback stopped", "up 10.0.0.2:80"]);
}

#[tokio::test]
async fn a_role_that_turns_while_a_hook_runs_starts_no_second_one_and_drops_what_waits() {
    let folder = Folder::new();
    let extras = only_servers(&slow(&folder));
    let world = World::new(TWO, move |config| with_extras(config, extras.clone()));
    let told = folder.path("slow.told");
    until("the first is running", || lines(&told).len() == 1).await;
    for _ in 0..5 {
        world.send(Event::Demote("told so".into())).await;
        world.send(Event::Promote("told so".into())).await;
        world.rounds("10.0.0.1:80", 2).await;
    }
    assert_eq!(lines(&told).len(), 1, "nothing overtakes it");
    std::fs::write(folder.path("slow.go"), "").unwrap();
    until("all is told", || lines(&told).len() == 6).await;
    world.rounds("10.0.0.1:80", 10).await;
    let lines = lines(&told);
    let begins = lines.iter().step_by(2).map(|line| line.starts_with("begin up"));
    assert_eq!(begins.collect::<Vec<_>>(), [true; 3], "the first, and both once more: {lines:?}");
    assert!(lines.iter().skip(1).step_by(2).all(|line| line == "end"), "{lines:?}");
}
