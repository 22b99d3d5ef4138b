//! The binary: arguments, what it prints, exit statuses.

use std::io::{BufRead, BufReader, ErrorKind};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixDatagram;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, geteuid};

use crate::support::{skip, wait_until};

/// A folder for one test, gone with it.
struct Folder(PathBuf);

impl Folder {
    fn new(test: &str) -> Folder {
        let path = std::env::temp_dir().join(format!("lvsentry-cli-{}-{test}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Folder(path)
    }

    fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.join(name);
        std::fs::write(&path, text).unwrap();
        path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn lvsentry() -> Command {
    Command::new(env!("CARGO_BIN_EXE_lvsentry"))
}

fn check(path: &Path) -> (i32, String) {
    let output = lvsentry().arg("check").arg(path).output().unwrap();
    (output.status.code().unwrap(), stdout(&output))
}

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

const GOOD: &str = "checkinterval=1\nquiescent=no\nvirtual=192.0.2.10:80\n\treal=127.0.0.9:1 masq\n\tservice=http\n\tchecktype=connect\n";

#[test]
fn check_accepts_a_good_file_and_sums_it_up() {
    let folder = Folder::new("good");
    let (status, said) = check(&folder.file("x.cf", GOOD));
    assert_eq!(status, 0, "{said}");
    assert!(said.contains("accepted: 1 services, 1 servers, 1 probes; 0 errors, 0 warnings"), "{said}");
    assert!(said.contains("cleanstop=yes in 1 services: a restart by ldirectord's own unit"), "{said}");
    let (_, said) = check(&folder.file("y.cf", &format!("cleanstop=no\n{GOOD}")));
    assert!(!said.contains("restart"), "{said}");
}

#[test]
fn check_shows_all_faults_of_a_file_with_their_places_and_exits_with_2() {
    let folder = Folder::new("faults");
    let text = "chekinterval=1\nquiescent=maybe\nvirtual=192.0.2.10:99999\n\treal=10.0.0.1:80 route\n";
    let path = folder.file("x.cf", text);
    let (status, said) = check(&path);
    assert_eq!(status, 2, "{said}");
    for (line, hint) in [(1, "checkinterval"), (2, "'yes' or 'no'"), (3, "65535"), (4, "gate, masq or ipip")]
    {
        assert!(said.contains(&format!("{}:{line}:", path.display())), "no fault of line {line}: {said}");
        assert!(said.contains(hint), "no {hint}: {said}");
    }
    assert!(said.contains("refused; 4 errors"), "{said}");
}

#[test]
fn every_bad_file_gets_one_clear_message_and_status_2_from_check_and_from_run() {
    let folder = Folder::new("bad");
    let virt = |option: &str| format!("virtual=192.0.2.10:80\n\t{option}\n");
    let cases = [
        ("unknown.cf", "bogus=1\n".to_owned(), "Unknown command"),
        ("value.cf", "checktimeout=none\n".to_owned(), "invalid check timeout value"),
        ("port.cf", virt("real=10.0.0.1:70000 masq"), "70000"),
        ("name.cf", virt("real=no.such.host.invalid:80 masq"), "no.such.host.invalid"),
        ("mail.cf", "emailalert=\n".to_owned(), "no email address specified"),
        ("quotes.cf", virt("real=10.0.0.1:80 masq\n\treceive=("), "receive"),
    ];
    for (name, text, hint) in cases {
        let path = folder.file(name, &text);
        let (status, said) = check(&path);
        assert_eq!(status, 2, "{name}: {said}");
        assert!(said.contains(hint), "{name}: {said}");
        let run = lvsentry().args(["run", "--no-kernel", "-c"]).arg(&path).output().unwrap();
        assert_eq!(run.status.code(), Some(2), "{name}: {}", stderr(&run));
        assert!(stderr(&run).contains(hint), "{name}: {}", stderr(&run));
    }
}

#[test]
fn a_mistake_is_an_error_of_check_with_status_1_and_run_takes_the_file_all_the_same() {
    let folder = Folder::new("mistake");
    let path = folder.file("x.cf", &GOOD.replace("connect", "negotiate\n\treceive=\"(\""));
    let (status, said) = check(&path);
    assert_eq!(status, 1, "{said}");
    assert!(said.contains("accepted: 1 services, 1 servers, 1 probes; 1 errors, 0 warnings"), "{said}");
    let mut running = Running::start(&path, "--no-kernel");
    let mut lines = BufReader::new(running.0.stderr.take().unwrap()).lines();
    let told = lines.find(|line| line.as_ref().unwrap().contains("this check can not be made: receive"));
    assert!(told.is_some());
    running.signal(Signal::SIGTERM);
    lines.for_each(drop);
    assert!(running.0.wait().unwrap().success());
}

#[test]
fn strict_takes_warnings_for_failures() {
    let folder = Folder::new("strict");
    let path = folder.file("x.cf", &GOOD.replace("quiescent=no\n", ""));
    let (status, said) = check(&path);
    assert_eq!(status, 0, "{said}");
    assert!(said.contains("0 errors, 1 warnings"), "{said}");
    let strict = lvsentry().args(["check", "--strict"]).arg(&path).output().unwrap();
    assert_eq!(strict.status.code(), Some(1));
}

#[test]
fn a_file_that_cannot_be_read_is_named_with_the_reason() {
    let folder = Folder::new("unreadable");
    for path in [folder.0.join("missing.cf"), folder.0.clone()] {
        let (status, said) = check(&path);
        assert_eq!(status, 2, "{said}");
        assert!(said.contains(&path.display().to_string()), "{said}");
        assert!(said.contains("No such file") || said.contains("directory"), "{said}");
    }
}

#[test]
fn a_file_that_the_user_may_not_read_is_named_with_the_reason_by_check_and_by_run() {
    let folder = Folder::new("forbidden");
    let path = folder.file("x.cf", GOOD);
    set_mode(&path, 0o000);
    for words in [&["check"][..], &["run", "--no-kernel", "-c"]] {
        let mut command = lvsentry();
        let output = match as_nobody(command.args(words).arg(&path), &folder).output() {
            Ok(output) => output,
            Err(why) => return skip(&format!("nobody cannot run the binary under test: {why}")),
        };
        let said = stdout(&output) + &stderr(&output);
        assert_eq!(output.status.code(), Some(2), "{words:?}: {said}");
        assert!(said.contains("Permission denied") && said.contains("x.cf"), "{words:?}: {said}");
    }
}

#[test]
fn an_empty_file_is_accepted_with_a_warning_that_there_is_nothing_to_do() {
    let folder = Folder::new("empty");
    let (status, said) = check(&folder.file("x.cf", ""));
    assert_eq!(status, 0, "{said}");
    assert!(said.contains("nothing to do") && said.contains("1 warnings"), "{said}");
}

#[test]
fn a_wrong_command_line_is_answered_with_usage_and_2() {
    let output = lvsentry().arg("frobnicate").output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("Usage"), "{}", stderr(&output));
}

#[test]
fn without_ipvs_or_right_run_says_which_in_one_line_with_its_cure() {
    let folder = Folder::new("kernel");
    let path = folder.file("x.cf", GOOD);
    let mut command = lvsentry();
    // Nobody has no right, and where there is no IPVS that shows first.
    let output = match as_nobody(command.args(["run", "-c"]).arg(&path), &folder).output() {
        Ok(output) => output,
        Err(why) => return skip(&format!("nobody cannot run the binary under test: {why}")),
    };
    let said = stderr(&output);
    let (status, cure) = match output.status.code() {
        Some(3) => ("no IPVS in this kernel", "modprobe ip_vs"),
        Some(4) => ("needs CAP_NET_ADMIN", "run as root"),
        other => panic!("exit status {other:?}: {said}"),
    };
    assert!(said.contains(status) && said.contains(cure), "{said}");
    assert_eq!(said.lines().count(), 1, "{said}");
}

/// Lets a command run without any right: by nobody, where we are root.
fn as_nobody<'a>(command: &'a mut Command, folder: &Folder) -> &'a mut Command {
    if geteuid().is_root() {
        set_mode(&folder.0, 0o755);
        command.uid(65534).gid(65534);
    }
    command
}

fn set_mode(path: &Path, mode: u32) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

/// A daemon whose standard output or error is read.
struct Running(Child);

impl Running {
    fn start(path: &Path, flags: &str) -> Running {
        let mut command = lvsentry();
        command.arg("run").args(flags.split(' ')).arg("-c").arg(path);
        Running(command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap())
    }

    /// The lines of its standard output, as they come.
    fn lines(&mut self) -> Receiver<String> {
        let (sender, lines) = channel();
        let out = BufReader::new(self.0.stdout.take().unwrap());
        std::thread::spawn(move || out.lines().map_while(Result::ok).try_for_each(|line| sender.send(line)));
        lines
    }

    fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.0.id() as i32), signal).unwrap();
    }

    fn end(mut self, signal: Signal) -> Output {
        self.signal(signal);
        let exited = || self.0.try_wait().unwrap().is_some();
        let mut exited = exited;
        let start = std::time::Instant::now();
        while !exited() {
            assert!(start.elapsed() < Duration::from_secs(10), "it does not end");
            std::thread::sleep(Duration::from_millis(10));
        }
        let mut output = Output { status: self.0.wait().unwrap(), stdout: Vec::new(), stderr: Vec::new() };
        use std::io::Read;
        self.0.stdout.take().unwrap().read_to_end(&mut output.stdout).unwrap();
        self.0.stderr.take().unwrap().read_to_end(&mut output.stderr).unwrap();
        output
    }
}

#[test]
fn a_dry_run_says_what_it_would_do_and_every_end_by_a_signal_is_status_0() {
    let folder = Folder::new("dry");
    let listener = std::net::TcpListener::bind("127.0.0.9:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let path = folder.file("x.cf", &GOOD.replace("127.0.0.9:1", &format!("127.0.0.9:{port}")));
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        let mut running = Running::start(&path, "--dry-run");
        let mut lines = BufReader::new(running.0.stdout.take().unwrap()).lines();
        assert_eq!(lines.next().unwrap().unwrap(), "would add service 192.0.2.10:80 (wrr)");
        let added = format!("would add server 127.0.0.9:{port} (masq, weight 1) to 192.0.2.10:80");
        assert_eq!(lines.next().unwrap().unwrap(), added);
        running.signal(signal);
        assert_eq!(lines.next().unwrap().unwrap(), "would remove service 192.0.2.10:80");
        assert!(running.0.wait().unwrap().success());
    }
}

#[test]
fn a_flag_makes_it_stand_by_whatever_the_file_says_now_and_after_a_reload() {
    let folder = Folder::new("standby");
    let text = "role: active\nservices: [{ listen: '192.0.2.10:80', forward: masq, \
        check: { connect: {}, interval: 1s }, servers: ['127.0.0.9:1'], fallback: ['127.0.0.1:80'] }]\n";
    let path = folder.file("x.yaml", text);
    let mut running = Running::start(&path, "--standby --dry-run");
    let mut lines = BufReader::new(running.0.stderr.take().unwrap()).lines().map(Result::unwrap);
    let mut said = |what: &str| lines.by_ref().find(|line| line.contains(what)).expect(what);
    said("This director is standby and leaves the kernel alone: as configured, or by --standby");
    said("is down: connect-refused: ");
    running.signal(Signal::SIGHUP);
    said("configuration in force: 1 services");
    running.signal(Signal::SIGTERM);
    said("terminated on signal: TERM");
    let output = running.0.wait_with_output().unwrap();
    assert!(output.status.success());
    assert!(!stdout(&output).contains("would "), "{}", stdout(&output));
}

#[test]
fn without_a_kernel_it_checks_reloads_and_tells_its_log() {
    let folder = Folder::new("nokernel");
    let path = folder.file("x.cf", &format!("supervised=yes\n{GOOD}"));
    let mut running = Running::start(&path, "--no-kernel");
    let lines = running.lines();
    // Waits until each of these has begun a line, in whatever order; what follows the time counts.
    let expect = |starts: &[&str]| {
        let mut seen = Vec::new();
        let begun = |seen: &[String], start| {
            seen.iter().any(|line| line.split_once("] ").is_some_and(|(_, said)| said.starts_with(start)))
        };
        while let Some(start) = starts.iter().find(|start| !begun(&seen, **start)) {
            match lines.recv_timeout(Duration::from_secs(10)) {
                Ok(line) => seen.push(line),
                Err(why) => panic!("no line begins with {start:?} ({why}): {seen:#?}"),
            }
        }
    };
    expect(&[
        "Starting lvsentry",
        "Added virtual server: 192.0.2.10:80",
        "Real server 127.0.0.9:1 (192.0.2.10:80) is down: connect-refused: ",
        "No real server of 192.0.2.10:80 is up, and no fallback",
    ]);
    std::fs::write(&path, "supervised=yes\nbroken\n").unwrap();
    running.signal(Signal::SIGHUP);
    expect(&[
        "Reloading Linux Director Daemon config on signal",
        &format!("Error [{}] reading file {} at line 2: Unknown command", running.0.id(), path.display()),
        "the new configuration is refused; the running one stays, whole",
    ]);
    running.signal(Signal::SIGTERM);
    expect(&[
        "Purged virtual server (stop): 192.0.2.10:80",
        "Linux Director Daemon terminated on signal: TERM",
    ]);
    assert!(running.0.wait().unwrap().success());
}

#[test]
fn a_supervisor_is_told_once_that_the_daemon_is_ready_and_not_of_one_that_does_not_start() {
    let folder = Folder::new("notify");
    let at = folder.0.join("notify");
    let supervisor = UnixDatagram::bind(&at).unwrap();
    supervisor.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let mut said = [0; 100];
    let start = |text: &str| {
        let mut command = lvsentry();
        command.args(["run", "--no-kernel", "-c"]).arg(folder.file("x.cf", text));
        command.env("NOTIFY_SOCKET", &at).stdout(Stdio::piped()).stderr(Stdio::piped());
        Running(command.spawn().unwrap())
    };
    let mut refused = start("bogus=1\n");
    assert_eq!(refused.0.wait().unwrap().code(), Some(2));
    let running = start(GOOD);
    let heard = || match supervisor.recv(&mut said) {
        // The end of another test's child is a signal to this process.
        Err(error) if error.kind() == ErrorKind::Interrupted => None,
        heard => Some(heard.unwrap()),
    };
    let count = std::iter::repeat_with(heard).flatten().next().unwrap();
    assert_eq!(String::from_utf8_lossy(&said[..count]).trim_end(), "READY=1");
    assert!(running.end(Signal::SIGTERM).status.success(), "it listens to signals by then");
    supervisor.set_nonblocking(true).unwrap();
    assert!(supervisor.recv(&mut said).is_err(), "told twice, or of the one that was refused");
}

#[test]
fn the_log_file_has_ldirectords_lines_and_is_made_anew_when_it_was_moved() {
    let folder = Folder::new("log");
    let log = folder.0.join("ld.log");
    let target = lvsentry::config::LogTarget::File(log.clone());
    let (subscriber, _guards) = lvsentry::daemon::logging::subscriber(Some(&target), "web.cf");
    let _here = tracing::subscriber::set_default(subscriber);
    let read = || std::fs::read_to_string(&log).unwrap_or_default();
    tracing::info!(id = "x", "Added virtual server: 192.0.2.10:80");
    wait_until(Duration::from_secs(5), "the first line is written", read, || read().ends_with('\n'));
    let line = read();
    let parts: Vec<&str> = line.trim_end().splitn(4, ['|', ']']).collect();
    assert_eq!(parts[0].len(), "[Sat Nov 21 07:43:03 2026".len(), "{line}");
    assert_eq!(
        &parts[1..],
        ["web.cf", &std::process::id().to_string(), " Added virtual server: 192.0.2.10:80"]
    );
    std::fs::rename(&log, folder.0.join("ld.log.1")).unwrap();
    tracing::info!(id = "x", "after the rotation");
    wait_until(Duration::from_secs(5), "a new file is made", read, || read().contains("after the rotation"));
}
