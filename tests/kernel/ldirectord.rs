//! Called by ldirectord's name, with a real kernel: the daemon behind the pid file.

use std::process::{Child, Command, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::support::http::{Mode, Server};
use crate::support::net::Ns;
use crate::support::room::{Room, Said, debian};
use crate::support::wait_until;

const SOON: Duration = Duration::from_secs(40);
const LOG: &str = "/var/log/ldirectord.log";

/// A configuration of one service with the server that a [`Host`] has.
fn service(last: u8) -> String {
    let options = "\tservice=http\n\treceive=\"well\"\n\tscheduler=wrr\n";
    format!("checkinterval=1\nvirtual=192.0.2.{last}:80\n\treal=127.0.0.1:8080 masq 3\n{options}")
}

fn table(last: u8) -> [String; 2] {
    let service = format!("192.0.2.{last}:80");
    [format!("-A -t {service} -s wrr"), format!("-a -t {service} -r 127.0.0.1:8080 -m -w 3")]
}

/// A director with a server on itself. What is left running in it ends with it.
struct Host {
    room: Room,
    server: Server,
}

impl Host {
    fn new() -> Host {
        let ns = Ns::new();
        let server = Server::start(&ns, "one", &[8080]);
        let room = Room::new(&ns);
        room.write("/etc/ha.d/web.cf", &service(10));
        Host { room, server }
    }

    fn call(&self, words: &str) -> Said {
        self.room.ldirectord(&words.split_whitespace().collect::<Vec<_>>())
    }

    /// Calls it, which must succeed without a word.
    #[track_caller]
    fn quietly(&self, words: &str) {
        let said = self.call(words);
        assert_eq!((said.status, &*said.out, &*said.err), (Some(0), "", ""), "{words}\n{}", self.log());
    }

    fn log(&self) -> String {
        self.room.read(LOG)
    }

    fn pid(&self, instance: &str) -> i32 {
        let text = self.room.read(&format!("/run/ldirectord.{instance}.pid"));
        text.trim().parse().unwrap_or_else(|_| panic!("pid file of {instance}: {text:?}\n{}", self.log()))
    }

    fn expect(&self, what: &str, services: &[u8]) {
        let mut wanted: Vec<String> = services.iter().flat_map(|last| table(*last)).collect();
        wanted.sort();
        let state = || format!("{:#?}\n{}", self.room.ns.table(), self.log());
        wait_until(SOON, what, state, || self.room.ns.table() == wanted);
    }

    fn told(&self, what: &str) {
        wait_until(SOON, what, || self.log(), || self.log().contains(what));
    }

    fn background(&self, words: &str) -> Child {
        let words: Vec<&str> = words.split_whitespace().collect();
        let mut command = Command::new("/usr/sbin/ldirectord");
        command.args(words).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        self.room.enter(|| command.spawn()).unwrap()
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        let list = self.room.run("sh", &["-c", "cat /run/ldirectord.*.pid"]).out;
        for pid in list.lines().filter_map(|line| line.parse().ok()) {
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
    }
}

fn lives(pid: i32) -> bool {
    std::fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|line| !line.is_empty())
}

#[test]
fn a_daemon_is_started_asked_reloaded_and_stopped() {
    let host = Host::new();
    host.quietly("web.cf start");
    // At once, as the cluster's agent asks.
    let pid = host.pid("web.cf");
    let said = host.call("web.cf status");
    let line = format!("ldirectord for /etc/ha.d/web.cf is running with pid: {pid}\n");
    assert_eq!((said.status, &*said.err), (Some(0), &*line));
    let found = host.room.run("pgrep", &["-f", "/usr/sbin/ldirectord web.cf start"]);
    assert_eq!(found.out.trim(), pid.to_string());
    let of = |what: &str| std::fs::read_link(format!("/proc/{pid}/{what}")).unwrap();
    for (what, where_to) in
        [("cwd", "/"), ("fd/0", "/dev/null"), ("fd/1", "/dev/null"), ("fd/2", "/dev/null")]
    {
        assert_eq!(of(what).to_str(), Some(where_to), "{what}");
    }
    assert_eq!(std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap(), "ldirectord\n");
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let session = stat.rsplit(") ").next().unwrap().split(' ').nth(3).unwrap();
    assert_eq!(session, pid.to_string(), "a session of its own");
    host.expect("the server is in", &[10]);

    host.quietly("web.cf start");
    host.quietly("web.cf try-restart");
    let next = host.pid("web.cf");
    assert_ne!(next, pid, "try-restart puts another one in its place");
    host.room.write("/etc/ha.d/web.cf", &service(11));
    host.quietly("web.cf force-reload");
    host.expect("the new configuration is in force", &[11]);
    host.quietly("web.cf stop");
    assert!(!lives(next) && !host.room.has("/run/ldirectord.web.cf.pid"), "it has ended");
    assert!(host.room.ns.table().is_empty(), "{:#?}", host.room.ns.table());
    assert_eq!(host.call("web.cf status").status, Some(3));

    let log = host.log();
    let mut messages = log.lines().map(|line| line.split_once("] ").unwrap().1);
    for expected in [
        "Invoking ldirectord invoked as: /usr/sbin/ldirectord web.cf start ",
        "Starting Linux Director v1.186-ha as daemon",
        "Added virtual server: 192.0.2.10:80",
        "Added real server: 127.0.0.1:8080 (192.0.2.10:80) (Weight set to 3)",
        "Linux Director Daemon terminated on signal: USR1",
        "Starting Linux Director v1.186-ha as daemon",
        "Reloading Linux Director Daemon config on signal",
        "Added virtual server: 192.0.2.11:80",
        "Purged virtual server (stop): 192.0.2.11:80",
        "Linux Director Daemon terminated on signal: TERM",
    ] {
        assert!(messages.any(|message| message == expected), "no {expected:?} in its place:\n{log}");
    }
}

#[test]
fn a_restart_leaves_the_kernels_table_alone() {
    let host = Host::new();
    host.quietly("web.cf start");
    host.expect("the server is in", &[10]);
    let first = host.pid("web.cf");
    host.quietly("web.cf restart");
    assert_ne!(host.pid("web.cf"), first);
    assert_eq!(host.room.ns.table(), table(10));
    host.server.set(Mode::Error);
    host.told("Deleted real server: 127.0.0.1:8080 (192.0.2.10:80)");
    assert!(!host.log().contains("Purged"), "{}", host.log());
    assert_eq!(host.log().matches("Added virtual server").count(), 1, "{}", host.log());
}

#[test]
fn of_many_that_start_at_once_one_stays() {
    let host = Host::new();
    let starters: Vec<Child> = (0..4).map(|_| host.background("web.cf start")).collect();
    for starter in starters {
        let said = Said::from(starter.wait_with_output().unwrap());
        assert_eq!((said.status, &*said.err), (Some(0), ""), "{}", host.log());
    }
    let found = host.room.run("pgrep", &["-f", "/usr/sbin/ldirectord web.cf start"]);
    assert_eq!(found.out.trim(), host.pid("web.cf").to_string());
}

#[test]
fn a_broken_file_harms_no_daemon_and_stop_still_ends_it() {
    let host = Host::new();
    host.quietly("web.cf start");
    host.expect("the server is in", &[10]);
    let pid = host.pid("web.cf");
    host.room.write("/etc/ha.d/web.cf", "broken\n");
    for action in ["status", "start", "reload", "restart", "try-restart"] {
        assert_eq!(host.call(&format!("web.cf {action}")).status, Some(2), "{action}");
        assert_eq!(host.pid("web.cf"), pid, "{action}");
    }
    assert_eq!(host.room.ns.table(), table(10));
    assert_eq!(host.call("web.cf stop").status, Some(2));
    assert!(!lives(pid) && !host.room.has("/run/ldirectord.web.cf.pid"));
    assert!(host.room.ns.table().is_empty());
}

#[test]
fn a_crashed_daemon_leaves_a_stale_file_and_the_next_one_takes_over() {
    let host = Host::new();
    host.quietly("web.cf start");
    host.expect("the server is in", &[10]);
    kill(Pid::from_raw(host.pid("web.cf")), Signal::SIGKILL).unwrap();
    wait_until(SOON, "it is gone", String::new, || !lives(host.pid("web.cf")));
    let said = host.call("web.cf status");
    assert_eq!(said.status, Some(1), "{said:?}");
    assert!(said.err.contains("ldirectord stale pid file"), "{said:?}");
    host.quietly("web.cf start");
    assert_eq!(host.call("web.cf status").status, Some(0));
    assert!(!host.log().contains("Purged"), "{}", host.log());
}

#[test]
fn a_configuration_named_from_the_folder_it_is_in_is_found_again_by_the_daemon() {
    let host = Host::new();
    host.room.write("/run/here.cf", &service(12));
    let mut command = Command::new("/usr/sbin/ldirectord");
    let said = host.room.command(command.args(["here.cf", "start"]).current_dir("/run"));
    assert_eq!(said.status, Some(0), "{said:?}");
    host.expect("the server is in", &[12]);
    host.room.write("/run/here.cf", &service(13));
    assert_eq!(
        host.room.command(Command::new("/usr/sbin/ldirectord").args(["/run/here.cf", "reload"])).status,
        Some(0)
    );
    host.expect("the new configuration is in force", &[13]);
}

#[test]
fn a_reload_sends_the_log_elsewhere_unless_it_cannot_be_written_there() {
    let host = Host::new();
    host.quietly("web.cf start");
    let logging = |file: &str, last: u8| {
        host.room.write("/etc/ha.d/web.cf", &format!("logfile=\"{file}\"\n{}", service(last)));
        kill(Pid::from_raw(host.pid("web.cf")), Signal::SIGHUP).unwrap();
    };
    logging("/nowhere/x.log", 11);
    host.told("at line 1: unable to open logfile: /nowhere/x.log");
    host.told("the running one stays, whole");
    logging("/var/log/new.log", 12);
    let new = || host.room.read("/var/log/new.log");
    wait_until(SOON, "the new file gets lines", new, || {
        new().contains("Added virtual server: 192.0.2.12:80")
    });
    assert!(!host.log().contains("192.0.2.12"), "{}", host.log());
}

#[test]
fn instances_run_side_by_side() {
    let host = Host::new();
    host.room.write("/etc/ha.d/ldirectord.cf", &service(20));
    host.room.write("/etc/ha.d/conf/more.cf", &service(21));
    for words in ["web.cf start", "start", "more.cf start"] {
        host.quietly(words);
    }
    host.expect("all of them are in", &[10, 20, 21]);
    host.quietly("stop");
    assert!(host.room.has("/run/ldirectord.web.cf.pid") && host.room.has("/run/ldirectord.more.cf.pid"));
    host.expect("only its own left", &[10, 21]);
}

#[test]
fn debug_and_supervised_stay_in_the_foreground_without_a_pid_file() {
    let host = Host::new();
    let child = host.background("-d web.cf start");
    host.expect("the server is in", &[10]);
    assert_eq!(host.call("web.cf status").status, Some(3), "there is no pid file");
    kill(Pid::from_raw(child.id() as i32), Signal::SIGINT).unwrap();
    let said = Said::from(child.wait_with_output().unwrap());
    assert_eq!((said.status, &*said.out), (Some(0), ""), "{said:?}");
    for line in [
        format!("with pid: {}\nStarting Linux Director v1.186-ha with pid: ", 0),
        "DEBUG2: Added virtual server: 192.0.2.10:80\nAdded virtual server: 192.0.2.10:80\n".into(),
        "DEBUG3: Activated service 127.0.0.1:8080".into(),
        "Linux Director Daemon terminated on signal: INT\n".into(),
    ] {
        let line = line.strip_prefix("with pid: 0\n").unwrap_or(&line);
        assert!(said.err.contains(line), "no {line:?} in\n{}", said.err);
    }

    host.room.write("/etc/ha.d/web.cf", &format!("supervised=yes\n{}", service(10)));
    let before = host.log();
    let child = host.background("web.cf start");
    host.expect("the server is in", &[10]);
    assert!(!host.room.has("/run/ldirectord.web.cf.pid"));
    kill(Pid::from_raw(child.id() as i32), Signal::SIGTERM).unwrap();
    let said = Said::from(child.wait_with_output().unwrap());
    assert_eq!((said.status, &*said.err), (Some(0), ""), "{said:?}");
    let first = said.out.lines().next().unwrap();
    assert!(
        first.ends_with("] Invoking ldirectord invoked as: /usr/sbin/ldirectord web.cf start "),
        "{first}"
    );
    assert!(said.out.contains("] Added virtual server: 192.0.2.10:80\n"), "{}", said.out);
    assert_eq!(host.log(), before, "the log file gets nothing");
}

#[test]
fn further_configurations_have_daemons_of_their_own() {
    let host = Host::new();
    let naming = |names: &[&str]| {
        let lines: String = names.iter().map(|name| format!("execute={name}\n")).collect();
        lines + &service(10)
    };
    host.room.write("/etc/ha.d/web.cf", &naming(&["a.cf", "b.cf", "missing.cf"]));
    for (name, last) in [("a.cf", 31), ("b.cf", 32), ("c.cf", 33)] {
        host.room.write(&format!("/etc/ha.d/{name}"), &service(last));
    }
    host.quietly("web.cf start");
    host.expect("all of them are in", &[10, 31, 32]);
    host.told("system(/usr/sbin/ldirectord missing.cf start) failed: exit status: 1: Config file missing.cf not found");
    let said = host.call("web.cf status");
    assert_eq!(said.status, Some(0));
    for name in ["web.cf", "a.cf", "b.cf"] {
        assert!(said.err.contains(&format!("ldirectord for /etc/ha.d/{name} is running")), "{said:?}");
    }
    let kept = host.pid("b.cf");
    host.room.write("/etc/ha.d/b.cf", &service(34));
    host.room.write("/etc/ha.d/web.cf", &naming(&["b.cf", "c.cf"]));
    host.quietly("web.cf reload");
    host.expect("one went, one came, one was reloaded", &[10, 33, 34]);
    assert_eq!(host.pid("b.cf"), kept);
    host.quietly("web.cf restart");
    wait_until(
        SOON,
        "b.cf runs again",
        || host.log(),
        || {
            let text = host.room.read("/run/ldirectord.b.cf.pid");
            text.trim().parse().is_ok_and(|pid: i32| pid != kept)
        },
    );
    assert!(!host.log().contains("Purged virtual server (stop): 192.0.2.34:80"), "{}", host.log());
    host.quietly("web.cf stop");
    assert!(host.room.ns.table().is_empty(), "{:#?}", host.room.ns.table());
}

/// A host with Debian's own files for ldirectord where they belong.
fn with_debians_files() -> Option<(Host, String)> {
    let folder = debian()?;
    let tree = folder.join("root");
    let host = Host::new();
    let agents = "/usr/lib/ocf/resource.d/heartbeat";
    host.room.bring(&tree, &["/usr/lib/ocf/lib", "/usr/share/resource-agents", "/etc/init.d/ldirectord"]);
    host.room.bring(&tree, &["/etc/default/ldirectord", "/usr/sbin/ocf-tester"]);
    let links =
        ["binaries", "directories", "returncodes", "shellfuncs"].map(|name| format!("{agents}/.ocf-{name}"));
    host.room.bring(&tree, &links.each_ref().map(|link| &**link));
    host.room.bring(&tree, &[&format!("{agents}/ldirectord")]);
    Some((host, tree.display().to_string()))
}

#[test]
fn debians_cluster_agent_passes_its_tester() {
    let Some((host, tree)) = with_debians_files() else { return };
    let mut command = Command::new("/usr/sbin/ocf-tester");
    command.args(["-v", "-n", "web", "-o", "configfile=/etc/ha.d/web.cf"]);
    command.arg("/usr/lib/ocf/resource.d/heartbeat/ldirectord");
    let path = std::env::var("PATH").unwrap();
    command.env("PATH", format!("{path}:{tree}/usr/bin")).env("HA_LOGFILE", "/var/log/ha");
    let libraries = ["x86_64", "aarch64"].map(|machine| format!("{tree}/usr/lib/{machine}-linux-gnu"));
    command.env("LD_LIBRARY_PATH", libraries.join(":"));
    let said = host.room.command(&mut command);
    assert_eq!(said.status, Some(0), "{}\n{}\n{}", said.out, said.err, host.log());
    assert!(said.out.contains("passed all tests"), "{}\n{}", said.out, said.err);
    assert!(!host.room.has("/run/ldirectord.web.cf.pid"));
}

#[test]
fn debians_cluster_agent_ends_a_daemon_whose_file_broke() {
    let Some((host, _)) = with_debians_files() else { return };
    let agent = |action: &str| {
        let mut command = Command::new("/usr/lib/ocf/resource.d/heartbeat/ldirectord");
        command.arg(action).env("OCF_ROOT", "/usr/lib/ocf").env("OCF_RESKEY_configfile", "/etc/ha.d/web.cf");
        command.env("OCF_RESOURCE_INSTANCE", "web").env("__OCF_ACTION", action);
        host.room.command(&mut command)
    };
    assert_eq!(agent("monitor").status, Some(7));
    assert_eq!(agent("start").status, Some(0));
    assert_eq!(agent("monitor").status, Some(0));
    let pid = host.pid("web.cf");
    host.room.write("/etc/ha.d/web.cf", "broken\n");
    let said = agent("monitor");
    assert_eq!(said.status, Some(1), "{said:?}");
    assert!(lives(pid), "asking harms nothing");
    assert_eq!(agent("stop").status, Some(0));
    assert!(!lives(pid));
    host.room.write("/etc/ha.d/web.cf", &service(10));
    assert_eq!(agent("monitor").status, Some(7), "{}", host.log());
}

#[test]
fn debians_init_script_starts_asks_reloads_and_stops() {
    let Some((host, _)) = with_debians_files() else { return };
    host.room.write("/etc/ldirectord.cf", &service(10));
    let script = |action: &str| host.room.run("/etc/init.d/ldirectord", &[action]);
    for (action, status) in [
        ("status", 3),
        ("reload", 1),
        ("start", 0),
        ("status", 0),
        ("reload", 0),
        ("restart", 0),
        ("status", 0),
        ("stop", 0),
        ("status", 3),
        ("nonsense", 1),
    ] {
        let said = script(action);
        assert_eq!(said.status, Some(status), "{action}: {said:?}\n{}", host.log());
    }
    assert!(host.room.ns.table().is_empty());
}
