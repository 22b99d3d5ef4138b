//! Called by ldirectord's name: what it prints, its exit statuses, and what becomes of pid files.
//!
//! A daemon of its own needs a kernel with IPVS (`tests/kernel/ldirectord.rs`); here another
//! process pretends to be one.

use std::os::unix::net::UnixDatagram;
use std::time::Duration;

use lvsentry::config::LogTarget;
use lvsentry::daemon::logging::{Stderr, subscriber_as};
use nix::sys::signal::Signal;
use nix::unistd::geteuid;

use crate::support::net::Ns;
use crate::support::room::{Pretender, Room, Said};
use crate::support::skip;

const ACTIONS: [&str; 7] = ["start", "stop", "restart", "try-restart", "reload", "force-reload", "status"];
const GOOD: &str = "virtual=192.0.2.10:80\n\treal=127.0.0.9:1 masq\n\tchecktype=connect\n";
const BROKEN: &str = "# a comment\nquiescent=maybe\nvirtual=192.0.2.10:80\n\treal=10.0.0.1:80 route\n";
const PID_FILE: &str = "/run/ldirectord.web.cf.pid";
const LOG: &str = "/var/log/ldirectord.log";

/// A room with a good configuration; none where we are not root.
fn room() -> Option<Room> {
    if !geteuid().is_root() {
        skip("a private view of the file system needs root");
        return None;
    }
    let room = Room::new(&Ns::new());
    room.write("/etc/ha.d/web.cf", GOOD);
    Some(room)
}

/// The messages of the log, without their heads.
fn log(room: &Room) -> Vec<String> {
    let text = room.read(LOG);
    text.lines().map(|line| line.split_once("] ").expect(line).1.to_owned()).collect()
}

#[track_caller]
fn expect(said: &Said, status: i32, out: &str, err: &str) {
    assert_eq!((said.status, &*said.out, &*said.err), (Some(status), out, err), "{said:?}");
}

#[test]
fn a_wrong_command_line_is_answered_with_the_usage_and_255() {
    let Some(room) = room() else { return };
    for (words, complaint) in [
        (&[][..], ""),
        (&["frobnicate"], ""),
        (&["web.cf", "frobnicate"], ""),
        (&["--bogus", "start"], "Unknown option: bogus\n"),
        (&["-dxy", "start"], "Unknown option: x\nUnknown option: y\n"),
    ] {
        let said = room.ldirectord(words);
        assert_eq!((said.status, &*said.err), (Some(255), complaint), "{words:?}");
        assert!(said.out.starts_with("SYNOPSIS\n") && said.out.contains("\nOPTIONS\n"), "{}", said.out);
    }
    assert!(!room.has(LOG), "nothing of it is logged");
}

#[test]
fn version_and_help_are_printed_and_nothing_is_logged() {
    let Some(room) = room() else { return };
    for option in ["-v", "--version", "-dv"] {
        let said = room.ldirectord(&[option]);
        assert_eq!((said.status, said.out.lines().count()), (Some(0), 8), "{said:?}");
        assert!(said.out.starts_with("Linux Director v1.186-ha\n"), "{said:?}");
    }
    for option in ["-h", "-?", "--help"] {
        let said = room.ldirectord(&[option]);
        assert_eq!((said.status, &*said.err), (Some(0), ""), "{said:?}");
        assert!(said.out.contains("SYNOPSIS") && said.out.contains("EXIT STATUS"), "{said:?}");
    }
    assert!(!room.has(LOG));
}

#[test]
fn without_a_daemon_every_action_answers_as_ldirectord_does() {
    let Some(room) = room() else { return };
    let stopped = "ldirectord is stopped for /etc/ha.d/web.cf\n";
    let stale = format!("ldirectord stale pid file /var{PID_FILE} for /etc/ha.d/web.cf\n");
    for action in ["stop", "try-restart", "reload", "force-reload", "status"] {
        let status = match action {
            "status" => 3,
            "reload" | "force-reload" => 1,
            _ => 0,
        };
        let out = if action == "status" { stopped } else { "" };
        expect(&room.ldirectord(&["web.cf", action]), status, out, "");
    }
    // A number that is no process's, and that of a process that is no ldirectord.
    let mut other = std::process::Command::new("sleep").arg("600").spawn().unwrap();
    for number in ["2147483646\n", &format!("{}\n", other.id()), "nonsense"] {
        room.write(PID_FILE, number);
        for action in ["stop", "try-restart", "reload", "force-reload", "status"] {
            let status = if matches!(action, "stop" | "try-restart") { 0 } else { 1 };
            let (out, err) = if action == "status" { (stopped, &*stale) } else { ("", "") };
            expect(&room.ldirectord(&["web.cf", action]), status, out, err);
            assert_eq!(room.read(PID_FILE), number, "{action} leaves the file as it is");
        }
    }
    assert!(other.try_wait().unwrap().is_none(), "it is left alone");
    other.kill().unwrap();
    other.wait().unwrap();
}

#[test]
fn each_action_is_logged_as_ldirectord_does() {
    let Some(room) = room() else { return };
    room.ldirectord(&["-v", "--"]);
    room.ldirectord(&["--", "web.cf", "status", "more"]);
    room.ldirectord(&["web.cf", "reload"]);
    assert_eq!(
        log(&room),
        [
            "Invoking ldirectord invoked as: /usr/sbin/ldirectord web.cf status more ",
            "ldirectord is stopped for /etc/ha.d/web.cf",
            "Exiting with exit_status 3: Exiting from ldirectord status",
            "Invoking ldirectord invoked as: /usr/sbin/ldirectord web.cf reload ",
            "ldirectord is stopped for /etc/ha.d/web.cf",
            "Exiting with exit_status 1: Exiting from ldirectord reload",
        ]
    );
    let text = room.read(LOG);
    let head: Vec<&str> = text.split(']').next().unwrap().split('|').collect();
    assert_eq!((head.len(), head[1]), (3, "web.cf"), "{text}");
}

#[test]
fn a_daemon_that_runs_is_told_and_sent_what_it_is_to_be_sent() {
    let Some(room) = room() else { return };
    for (action, signal) in [
        ("start", None),
        ("stop", Some(Signal::SIGTERM)),
        ("reload", Some(Signal::SIGHUP)),
        ("force-reload", Some(Signal::SIGHUP)),
    ] {
        let mut daemon = Pretender::start(&room, PID_FILE);
        expect(&room.ldirectord(&["web.cf", action]), 0, "", "");
        assert_eq!(daemon.ended_by(), signal.map(|signal| signal as i32), "{action}");
    }
    let mut daemon = Pretender::start(&room, PID_FILE);
    let line = format!("ldirectord for /etc/ha.d/web.cf is running with pid: {}\n", daemon.pid());
    expect(&room.ldirectord(&["web.cf", "status"]), 0, "", &line);
    assert_eq!(daemon.ended_by(), None);
    assert_eq!(log(&room)[log(&room).len() - 2..], [line.trim(), "Exiting from ldirectord status"]);
}

#[test]
fn a_restart_ends_the_old_daemon_by_a_signal_that_leaves_the_table_alone() {
    let Some(room) = room() else { return };
    for action in ["restart", "try-restart"] {
        let mut daemon = Pretender::start(&room, PID_FILE);
        let said = room.ldirectord(&["web.cf", action]);
        assert_eq!(daemon.ended_by(), Some(Signal::SIGUSR1 as i32), "{action}: {said:?}");
        // Where there is IPVS a new one runs now.
        room.ldirectord(&["web.cf", "stop"]);
    }
}

/// A command with no rights.
fn nobody(command: &mut std::process::Command) -> &mut std::process::Command {
    use std::os::unix::process::CommandExt;
    command.uid(65534).gid(65534)
}

#[test]
fn a_daemon_that_cannot_start_says_why_and_leaves_no_pid_file() {
    let Some(room) = room() else { return };
    room.write(LOG, "");
    room.run("chmod", &["666", LOG]);
    room.run("chmod", &["777", "/run"]);
    for action in ["start", "restart"] {
        let mut command = std::process::Command::new("/usr/sbin/ldirectord");
        let said = room.command(nobody(command.args(["web.cf", action])));
        assert_eq!((said.status, &*said.out), (Some(1), ""), "{said:?}");
        let cure = ["modprobe ip_vs", "run as root"].iter().any(|cure| said.err.contains(cure));
        assert!(cure && said.err.lines().count() == 1, "{said:?}");
        assert!(!room.has(PID_FILE));
    }
    let told = log(&room);
    assert!(told.contains(&"Starting Linux Director v1.186-ha as daemon".to_owned()), "{told:?}");
    assert!(told.contains(&"Exiting with exit_status 1: Initialisation Error".to_owned()), "{told:?}");

    room.run("chmod", &["755", "/run"]);
    let mut command = std::process::Command::new("/usr/sbin/ldirectord");
    let said = room.command(nobody(command.args(["web.cf", "start"])));
    assert_eq!(said.status, Some(1), "{said:?}");
    assert!(said.err.starts_with("Can not open /var/run/ldirectord.web.cf.pid"), "{said:?}");
}

#[test]
fn a_broken_configuration_is_2_for_every_action_and_harms_no_daemon() {
    let Some(room) = room() else { return };
    room.write("/etc/ha.d/web.cf", BROKEN);
    for action in ACTIONS {
        for runs in [false, true] {
            let daemon = runs.then(|| Pretender::start(&room, PID_FILE));
            let said = room.ldirectord(&["web.cf", action]);
            assert_eq!(said.status, Some(2), "{action}: {said:?}");
            let first = said.err.lines().next().unwrap();
            let (head, text) = first.split_once("] ").unwrap();
            assert!(head.starts_with("Error ["), "{said:?}");
            assert_eq!(text, "reading file /etc/ha.d/web.cf at line 2: quiescent must be 'yes' or 'no'");
            assert!(said.err.contains("2 | quiescent=maybe\n"), "an excerpt follows: {said:?}");
            assert!(said.err.contains("at line 4: forward method must be gate, masq or ipip\n"), "{said:?}");
            let Some(mut daemon) = daemon else { continue };
            assert!(room.has(PID_FILE), "{action} leaves the pid file");
            let ended = (action == "stop").then_some(Signal::SIGTERM as i32);
            assert_eq!(daemon.ended_by(), ended, "{action}");
            let running = format!("is running with pid: {}\n", daemon.pid());
            assert_eq!(said.err.contains(&running), action == "status", "{said:?}");
            drop(daemon);
            room.run("rm", &[PID_FILE]);
        }
    }
    assert!(log(&room).contains(&"Exiting with exit_status 2: config_error: Configuration Error".to_owned()));
}

#[test]
fn a_missing_configuration_is_1_for_every_action_and_harms_no_daemon() {
    let Some(room) = room() else { return };
    room.run("rm", &["/etc/ha.d/web.cf"]);
    for action in ACTIONS {
        let mut daemon = Pretender::start(&room, PID_FILE);
        let said = room.ldirectord(&["web.cf", action]);
        assert_eq!(said.status, Some(1), "{action}: {said:?}");
        assert!(said.err.starts_with("Config file web.cf not found\n"), "{said:?}");
        assert!(room.has(PID_FILE));
        let ended = (action == "stop").then_some(Signal::SIGTERM as i32);
        assert_eq!(daemon.ended_by(), ended, "{action}");
    }
    assert_eq!(
        log(&room)[..2],
        ["Config file web.cf not found", "Exiting with exit_status 1: Initialisation Error"]
    );
}

#[test]
fn configurations_are_found_where_ldirectord_finds_them_and_name_the_instance() {
    let Some(room) = room() else { return };
    let found = |words: &[&str]| {
        let mut command = std::process::Command::new("/usr/sbin/ldirectord");
        let said = room.command(command.args(words).arg("status").current_dir("/run/here"));
        said.out.strip_prefix("ldirectord is stopped for ").unwrap_or(&said.err).trim().to_owned()
    };
    room.run("mkdir", &["/run/here"]);
    for (folder, shown) in
        [("/run/here", "x.cf"), ("/etc/ha.d/conf", "/etc/ha.d/conf/x.cf"), ("/etc/ha.d", "/etc/ha.d/x.cf")]
    {
        room.write(&format!("{folder}/x.cf"), GOOD);
        assert_eq!(found(&["x.cf"]), shown);
    }
    assert_eq!(found(&["/run/here/x.cf"]), "/run/here/x.cf");
    assert_eq!(found(&[]), "Config file ldirectord.cf not found");
    room.write("/etc/ha.d/ldirectord.cf", GOOD);
    assert_eq!(found(&[]), "/etc/ha.d/ldirectord.cf");
    // The plain one and the one by the name of its file are two.
    for (words, pid_file) in [
        (&[][..], "/run/ldirectord.ldirectord.pid"),
        (&["ldirectord.cf"], "/run/ldirectord.ldirectord.cf.pid"),
        (&["/run/here/x.cf"], "/run/ldirectord.x.cf.pid"),
    ] {
        let daemon = Pretender::start(&room, pid_file);
        assert!(found(words).ends_with(&format!("is running with pid: {}", daemon.pid())), "{words:?}");
        drop(daemon);
    }
}

#[test]
fn a_log_file_that_cannot_be_written_is_a_fault_of_the_configuration() {
    let Some(room) = room() else { return };
    room.write("/etc/ha.d/web.cf", &format!("checkinterval=5\nlogfile=\"/nowhere/x.log\"\n{GOOD}"));
    let said = room.ldirectord(&["web.cf", "status"]);
    assert_eq!(said.status, Some(2), "{said:?}");
    let first = said.err.lines().next().unwrap();
    assert!(
        first.ends_with("reading file /etc/ha.d/web.cf at line 2: unable to open logfile: /nowhere/x.log"),
        "{said:?}"
    );
    assert!(said.err.contains("No such file or directory"), "{said:?}");
}

#[test]
fn with_debug_every_line_goes_to_standard_error_and_none_to_the_log() {
    let Some(room) = room() else { return };
    let said = room.ldirectord(&["-d", "web.cf", "status"]);
    let first = "Invoking ldirectord invoked as: /usr/sbin/ldirectord web.cf status ";
    assert!(said.err.starts_with(&format!("DEBUG2: {first}\n{first}\n")), "{said:?}");
    assert_eq!(said.status, Some(3));
    assert!(!room.has(LOG));
}

#[test]
fn the_systems_log_gets_a_datagram_for_each_line() {
    let Some(room) = room() else { return };
    let lines = room.enter(|| {
        let none: Option<&str> = None;
        let flags = nix::mount::MsFlags::empty();
        nix::mount::mount(Some("tmpfs"), "/dev", Some("tmpfs"), flags, none).unwrap();
        let socket = UnixDatagram::bind("/dev/log").unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        let target = LogTarget::Syslog("local3".into());
        let (subscriber, guards) = subscriber_as(Stderr::Nothing, Some(&target), "web.cf");
        tracing::subscriber::with_default(subscriber, || {
            tracing::info!(id = "x", "Added virtual server: 192.0.2.10:80");
            tracing::error!(id = "x", "100%d\nof two lines");
        });
        drop(guards);
        let mut buffer = [0; 500];
        [0; 2].map(|_| {
            let count = socket.recv(&mut buffer).unwrap();
            String::from_utf8_lossy(&buffer[..count]).into_owned()
        })
    });
    let pid = std::process::id();
    for (line, text) in lines.iter().zip(["Added virtual server: 192.0.2.10:80", "100%d of two lines"]) {
        // <158>Nov 21 08:16:04 ldirectord[761]: text
        let (head, message) = line.split_at("<158>Nov 21 08:16:04".len());
        assert!(head.starts_with("<158>") && head.as_bytes()[8] == b' ', "{line}");
        assert_eq!(message, format!(" ldirectord[{pid}]: {text}"));
    }
}
