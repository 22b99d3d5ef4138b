//! The binary: arguments, what it prints, exit statuses.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
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
    command.args(["run", "-c"]).arg(&path);
    if geteuid().is_root() {
        use std::os::unix::process::CommandExt;
        // Nobody has no right, and where there is no IPVS that shows first.
        command.uid(65534).gid(65534);
        set_readable(&folder.0);
    }
    let output = match command.output() {
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

fn set_readable(folder: &Path) {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o755)).unwrap();
}

/// A daemon whose standard output or error is read.
struct Running(Child);

impl Running {
    fn start(path: &Path, flags: &str) -> Running {
        let mut command = lvsentry();
        command.arg("run").args(flags.split(' ')).arg("-c").arg(path);
        Running(command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap())
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
    let running = Running::start(&path, "--no-kernel");
    std::thread::sleep(Duration::from_millis(500));
    std::fs::write(&path, "supervised=yes\nbroken\n").unwrap();
    running.signal(Signal::SIGHUP);
    std::thread::sleep(Duration::from_millis(500));
    let output = running.end(Signal::SIGTERM);
    assert!(output.status.success());
    let log = stdout(&output);
    let lines: Vec<&str> = log.lines().map(|line| line.split_once("] ").expect(line).1).collect();
    let has = |start: &str| lines.iter().any(|line| line.starts_with(start));
    for start in [
        "Starting lvsentry",
        "Added virtual server: 192.0.2.10:80",
        "Real server 127.0.0.9:1 (192.0.2.10:80) is down: connect-refused: ",
        "No real server of 192.0.2.10:80 is up, and it has no fallback",
        "Reloading Linux Director Daemon config on signal",
        "Error [",
        "the new configuration is refused; the running one stays, whole",
        "Purged virtual server (stop): 192.0.2.10:80",
        "Linux Director Daemon terminated on signal: TERM",
    ] {
        assert!(has(start), "no line begins with {start:?}:\n{log}");
    }
    assert!(lines.iter().any(|line| line.contains("at line 2: Unknown command")), "{log}");
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
