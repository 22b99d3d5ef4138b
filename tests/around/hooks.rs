//! Commands, as real processes.

use std::path::Path;
use std::time::Duration;

use lvsentry::config::{self, Config, Extras, SystemNames};
use lvsentry::daemon::Event as DaemonEvent;
use lvsentry::daemon::hooks::Hooks;
use lvsentry::director::Director;
use lvsentry::director::event::Event;
use lvsentry::model::{Moment, ServiceKey, Watch};
use lvsentry::outcome::{Failure, Outcome, Phase, Reason};
use lvsentry::span::Source;
use lvsentry::table::Table;

use super::world::{Folder, Log, World, lines, until, with_extras};

const ONE: &str = "quiescent=no\nvirtual=192.0.2.10:80\n\treal=10.0.0.1:80 masq 1\n\tchecktype=connect\n";

/// A command of these words, for the shell.
fn command(words: impl Into<String>) -> Extras {
    Extras { fallback_command: Some(words.into()), ..Extras::default() }
}

/// Writes its arguments to `told`, in the folder.
fn teller(folder: &Folder) -> String {
    let told = folder.path("told");
    let script = folder.script("tell", &format!("#!/bin/sh\necho \"$*\" >>'{}'\n", told.display()));
    format!("{} 'two words'", script.display())
}

// ---- the daemon -------------------------------------------------------------------------------------

#[tokio::test]
async fn the_command_hears_when_no_server_is_up_and_when_one_is_and_nothing_twice() {
    let folder = Folder::new();
    let extras = command(teller(&folder));
    let world = World::new(ONE, move |config| with_extras(config, extras.clone()));
    let told = folder.path("told");
    until("it is up", || lines(&told) == ["two words stop 192.0.2.10:80 tcp"]).await;
    world.rounds("10.0.0.1:80", 5).await;
    world.bad("10.0.0.1:80");
    until("it is down", || lines(&told).len() == 2).await;
    world.rounds("10.0.0.1:80", 5).await;
    world.send(DaemonEvent::Reload).await;
    world.rounds("10.0.0.1:80", 5).await;
    world.good("10.0.0.1:80");
    until("it is up again", || lines(&told).len() == 3).await;
    assert_eq!(lines(&told)[1..], ["two words start 192.0.2.10:80 tcp", "two words stop 192.0.2.10:80 tcp"]);
}

#[tokio::test]
async fn maintenance_of_the_last_server_runs_the_command_too() {
    let folder = Folder::new();
    let extras = command(teller(&folder));
    let directory = folder.path("maintenance");
    std::fs::create_dir(&directory).unwrap();
    let _world = World::new(ONE, move |config| {
        with_extras(config, extras.clone());
        config.maintenance = Some(directory.clone());
    });
    let told = folder.path("told");
    until("it is up", || lines(&told).len() == 1).await;
    std::fs::write(folder.path("maintenance/10.0.0.1"), "").unwrap();
    until("it is out", || lines(&told).len() == 2).await;
    assert_eq!(lines(&told)[1], "two words start 192.0.2.10:80 tcp");
}

#[tokio::test]
async fn a_changed_file_runs_the_callback_after_the_reload_whatever_came_of_it() {
    let (log, _guard) = Log::keep();
    let folder = Folder::new();
    let told = folder.path("told");
    let text = format!("#!/bin/sh\necho \"$#\" \"$@\" >>'{}'\n", told.display());
    let program = folder.script("call back", &text);
    let ours = program.clone();
    let reloads = format!("autoreload=yes\n{ONE}");
    let world = World::new(&reloads, move |config| config.callback = Some(ours.clone()));
    // Somebody who asks for a reload needs no call.
    world.send(DaemonEvent::Reload).await;
    until("it is read", || log.count("configuration in force") == 1).await;
    world.next(None, |_| {});
    world.send(DaemonEvent::FileChanged).await;
    until("it is called", || lines(&told) == ["1 /etc/ha.d/test.cf"]).await;
    assert_eq!(log.count("is refused; the running one stays"), 1, "{}", log.text());
    // Without autoreload the change is not read, and the call comes all the same.
    let ours = program.clone();
    let without = move |config: &mut Config| {
        config.autoreload = false;
        config.callback = Some(ours.clone());
    };
    world.next(Some(ONE), without);
    world.send(DaemonEvent::Reload).await;
    until("it is read", || log.count("configuration in force") == 2).await;
    world.send(DaemonEvent::FileChanged).await;
    until("it is called", || lines(&told).len() == 2).await;
    assert_eq!(log.count("configuration in force"), 2);
}

#[tokio::test]
async fn a_callback_that_is_no_program_is_skipped_and_told_once() {
    let (log, _guard) = Log::keep();
    let folder = Folder::new();
    std::fs::write(folder.path("data"), "").unwrap();
    let program = folder.path("data");
    let world = World::new(ONE, move |config| {
        config.callback = Some(program.clone());
        config.autoreload = false;
    });
    for n in 1..4 {
        world.send(DaemonEvent::FileChanged).await;
        until("it is ignored", || log.count("ignore new configuration") == n).await;
        until("it is skipped", || log.count("is skipped: not an executable file") == 1).await;
    }
    assert_eq!(log.count("failed"), 0, "{}", log.text());
}

// ---- the queue ----------------------------------------------------------------------------------------

/// A director and the commands of its services, turned by hand.
struct Stage {
    config: Config,
    director: Director,
    hooks: Hooks,
    now: Moment,
}

impl Stage {
    fn new(text: &str, extras: Extras) -> Stage {
        let source = Source::new("test.cf", text.as_bytes().to_vec());
        let loaded =
            config::load_text(source, &SystemNames::new()).unwrap_or_else(|report| panic!("{report}"));
        let mut config = loaded.config;
        with_extras(&mut config, extras);
        let director = Director::new(config.plan.clone(), &Table::default(), Moment::default());
        Stage { config, director, hooks: Hooks::new("test.cf".into()), now: Moment::default() }
    }

    fn key(&self) -> ServiceKey {
        *self.config.plan.services.keys().next().unwrap()
    }

    /// All servers give this result.
    fn answer(&mut self, good: bool) {
        self.now = self.now.after(Duration::from_secs(1));
        for probe in self.config.inquiries.keys() {
            let bad = || Failure::new(Phase::Connect, Reason::Refused, "refused");
            let result = if good { Ok("well".into()) } else { Err(bad()) };
            let outcome = Outcome::new(result, Duration::ZERO);
            self.director.handle(Event::Answered(*probe, outcome), self.now);
        }
        self.consider();
    }

    fn consider(&mut self) {
        self.hooks.consider(self.key(), &self.config, &self.director);
    }
}

#[tokio::test]
async fn nothing_is_run_before_the_first_results_are_in() {
    let folder = Folder::new();
    let two = ONE.replace("\tchecktype", "\treal=10.0.0.2:80 masq 1\n\tchecktype");
    let mut stage = Stage::new(&two, command(teller(&folder)));
    stage.consider();
    let probe = match &stage.config.plan.services[&stage.key()].servers[0].watch {
        Watch::Probe(key) => *key,
        _ => panic!("a probe"),
    };
    let bad = Failure::new(Phase::Connect, Reason::Refused, "refused");
    let outcome = Outcome::new(Err(bad), Duration::ZERO);
    stage.director.handle(Event::Answered(probe, outcome), Moment(Duration::from_millis(1)));
    stage.consider();
    stage.answer(true);
    until("it is run", || !lines(&folder.path("told")).is_empty()).await;
    // The script that runs first would have told first.
    assert_eq!(lines(&folder.path("told")), ["two words stop 192.0.2.10:80 tcp"]);
}

#[tokio::test]
async fn a_slow_command_is_not_overtaken_and_only_the_newest_of_those_that_wait_is_run() {
    let folder = Folder::new();
    let text = "#!/bin/sh\necho begin $1 >>\"$0.told\"\nwhile [ ! -e \"$0.go\" ]; do sleep 0.01; done\necho end $1 >>\"$0.told\"\n";
    let script = folder.script("slow", text);
    let (told_by, go_by) = (folder.path("slow.told"), folder.path("slow.go"));
    let mut stage = Stage::new(ONE, command(script.display().to_string()));
    stage.answer(false);
    until("the first is running", || lines(&told_by) == ["begin start"]).await;
    for good in [true, false, true, false, true] {
        stage.answer(good);
        tokio::task::yield_now().await;
    }
    std::fs::write(&go_by, "").unwrap();
    until("the last is done", || lines(&told_by).len() >= 4).await;
    assert_eq!(lines(&told_by), ["begin start", "end start", "begin stop", "end stop"]);
}

#[tokio::test]
async fn there_and_back_while_a_command_runs_needs_no_other() {
    let folder = Folder::new();
    let text = "#!/bin/sh\necho $1 >>\"$0.told\"\nwhile [ ! -e \"$0.go\" ]; do sleep 0.01; done\n";
    let script = folder.script("slow", text);
    let told = folder.path("slow.told");
    let mut stage = Stage::new(ONE, command(script.display().to_string()));
    stage.answer(false);
    until("the first is running", || lines(&told) == ["start"]).await;
    stage.answer(true);
    stage.answer(false);
    std::fs::write(folder.path("slow.go"), "").unwrap();
    // What comes afterwards would come after anything in between.
    until("the first is done", || !running(&script)).await;
    stage.answer(true);
    until("the next is run", || lines(&told).len() >= 2).await;
    assert_eq!(lines(&told), ["start", "stop"]);
}

/// Whether some process was started with this script.
fn running(script: &Path) -> bool {
    let name = script.display().to_string();
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    let mut lines = processes.map(|p| std::fs::read(p.path().join("cmdline")).unwrap_or_default());
    lines.any(|line| String::from_utf8_lossy(&line).contains(&name))
}

#[tokio::test]
async fn a_mark_has_no_address_to_tell_and_its_name_stands_in_the_environment() {
    let folder = Folder::new();
    let told = folder.path("told");
    let text = format!("#!/bin/sh\necho \"$* $LVSENTRY_SERVICE\" >>'{}'\n", told.display());
    let script = folder.script("tell", &text);
    let mark = "virtual=7\n\treal=10.0.0.1:80 gate\n\tchecktype=connect\n";
    let mut stage = Stage::new(mark, command(script.display().to_string()));
    stage.answer(false);
    until("it is told", || lines(&told) == ["start :0 fwm fwm:7"]).await;
    let six = "virtual6=[2001:db8::10]:53\n\treal6=[2001:db8::1]:53 masq\n\tchecktype=ping\n\tprotocol=udp\n";
    let mut stage = Stage::new(six, command(script.display().to_string()));
    stage.answer(true);
    until("it is told", || lines(&told).len() == 2).await;
    assert_eq!(lines(&told)[1], "stop [2001:db8::10]:53 udp udp:[2001:db8::10]:53");
}

#[tokio::test]
async fn the_line_goes_through_a_shell_and_its_failure_is_told() {
    let (log, _guard) = Log::keep();
    let folder = Folder::new();
    let told = folder.path("told");
    let words = format!("echo \"a  b\" >>'{}'; exit 3 #", told.display());
    let mut stage = Stage::new(ONE, command(words.clone()));
    stage.answer(false);
    let failed = format!("system({words} start 192.0.2.10:80 tcp) failed: exit status 3");
    until("it is told", || log.count(&failed) == 1).await;
    assert_eq!(lines(&told), ["a  b"]);
    let mut stage = Stage::new(ONE, command("kill -9 $$ #"));
    stage.answer(false);
    until("it is told", || log.count("failed: ended by signal 9") == 1).await;
}

#[tokio::test(start_paused = true)]
async fn a_command_without_end_is_ended_with_all_that_it_began() {
    let (log, _guard) = Log::keep();
    let folder = Folder::new();
    // It ignores TERM, and so does its child.
    let text = "#!/bin/sh\ntrap '' TERM\nsleep 1001 &\necho $! >\"$0.child\"\nwait\nsleep 1002\n";
    let script = folder.script("endless", text);
    let mut stage = Stage::new(ONE, command(script.display().to_string()));
    // Time stands still while something is to be done here, and passes as soon as all wait.
    tokio::time::resume();
    stage.answer(false);
    until("it has begun", || !lines(&folder.path("endless.child")).is_empty()).await;
    tokio::time::pause();
    tokio::time::sleep(Duration::from_secs(58)).await;
    assert_eq!(log.count("failed"), 0, "{}", log.text());
    tokio::time::sleep(Duration::from_secs(5)).await;
    tokio::time::resume();
    until("it is told", || log.count("failed: not done within 60 s, ended") == 1).await;
    let child = lines(&folder.path("endless.child"))[0].clone();
    until("all are gone", || !running(&script) && !alive(&child)).await;
}

/// Whether a process runs; one that has ended and that nobody has asked about yet does not.
fn alive(pid: &str) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit(") ").next().is_some_and(|rest| !rest.is_empty() && !rest.starts_with('Z'))
}
