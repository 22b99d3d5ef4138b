//! The director's own host fails: no descriptors, a full disk, a clock that jumps, no names. The daemon goes on,
//! says what is wrong and what to do, and is exactly right once it is over.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::thread::sleep;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use nix::mount::{MsFlags, mount};

use super::{SERVICE, Stage, count, expect_line};
use crate::support::daemon::Daemon;
use crate::support::http::Mode;
use crate::support::{skip, wait_until};

const HEAD: &str = "checkinterval=1\nchecktimeout=2\nquiescent=no\nfallback=127.0.0.1:80\n";

/// Several rounds of checks and a comparison of the whole table.
const ROUNDS: Duration = Duration::from_secs(6);

fn service(servers: &[&str]) -> String {
    let mut text = format!("virtual={SERVICE}\n\tscheduler=wrr\n\tservice=http\n\treceive=\"well\"\n");
    servers.iter().for_each(|server| text += &format!("\treal={server}:80 masq 1\n"));
    text
}

const TWO: [&str; 2] = ["10.2.0.1", "10.2.0.2"];

fn run(program: &str, arguments: &[&str]) {
    let output =
        Command::new(program).args(arguments).output().unwrap_or_else(|why| panic!("{program}: {why}"));
    assert!(output.status.success(), "{program} {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
}

fn set_descriptors(daemon: &Daemon, limit: &str) {
    run("prlimit", &["--pid", &daemon.pid().to_string(), &format!("--nofile={limit}:")]);
}

#[test]
fn without_descriptors_it_goes_on_says_so_and_is_right_again_once_it_has_some() {
    let stage = Stage::new(3);
    let text = format!("{HEAD}autoreload=yes\n{}", service(&TWO));
    let daemon = Daemon::start(&stage.director, text.as_bytes());
    stage.expect(&daemon, "both are in", &Stage::table([1, 2]));
    let client = stage.asks();
    set_descriptors(&daemon, "3");
    let named =
        || ["too many open files", "no file descriptors are left"].iter().any(|w| daemon.log().contains(w));
    wait_until(ROUNDS, "the fault is named", || daemon.log(), named);
    // What was there already still works: another's hand is noticed and undone.
    assert!(stage.ipvsadm(&format!("-E -t {SERVICE} -s rr")));
    expect_line(&daemon, &format!("settings of virtual server {SERVICE} were changed by somebody else"));
    expect_line(&daemon, "Changed virtual server");
    // A reload by hand is refused; a changed file is not forgotten.
    daemon.reload();
    expect_line(&daemon, "the running one stays, whole");
    expect_line(&daemon, "no file descriptors are left: raise LimitNOFILE");
    daemon.write(
        format!("{HEAD}autoreload=yes\n{}", service(&["10.2.0.1", "10.2.0.2", "10.2.0.3"])).as_bytes(),
    );
    expect_line(&daemon, "it is tried again every second");
    set_descriptors(&daemon, "1024");
    stage.expect(&daemon, "the new file is in force and all are in", &Stage::table([1, 2, 3]));
    client.end_well(&daemon);
}

#[test]
fn a_full_disk_stops_only_the_log_file() {
    let stage = Stage::new(2);
    let log_file = "/var/log/lvsentry.log";
    let text = format!("{HEAD}logfile=\"{log_file}\"\n{}", service(&TWO));
    let daemon = Daemon::start(&stage.director, text.as_bytes());
    stage.expect(&daemon, "both are in", &Stage::table([1, 2]));
    let fill = Path::new("/var/log/fill");
    daemon.inside(|| {
        run("mount", &["-n", "-o", "remount,size=64k", "/var/log"]);
        // Up to the last block, and to the end of the log's own.
        let _ = fs::write(fill, vec![b'x'; 128 << 10]);
    });
    let mut turns = 0;
    while !daemon.log().contains("cannot write the log file") {
        assert!(turns < 200, "the disk is full and nobody says so:\n{}", daemon.log());
        turns += 1;
        // Lines enough for what is left of the file's last block.
        (0..20).for_each(|_| daemon.reload());
        sleep(Duration::from_millis(100));
    }
    expect_line(&daemon, &format!("cannot write the log file {log_file}: No space left on device"));
    expect_line(&daemon, "make room or name another file with `logfile`");
    stage.servers[0].set(Mode::Error);
    stage.expect(&daemon, "a server that fails leaves", &Stage::table([2]));
    assert_eq!(count(&daemon.log(), "cannot write the log file"), 1, "{}", daemon.log());
    daemon.inside(|| fs::remove_file(fill).expect("the fill"));
    stage.servers[0].set(Mode::Well);
    stage.expect(&daemon, "it is back", &Stage::table([1, 2]));
    let file = || daemon.file(log_file);
    let told = || file().contains("Added real server: 10.2.0.1:80");
    wait_until(Duration::from_secs(10), "the file has lines again", file, told);
}

/// Whether the clock is the test's own: in the lab, where nobody else lives.
fn is_lab() -> bool {
    fs::read_to_string("/proc/cpuinfo").is_ok_and(|text| text.contains("User Mode Linux"))
}

/// Sets the clock so many seconds from where it ought to be.
fn set_clock(epoch: (SystemTime, Instant), offset: i64) {
    let now = epoch.0.duration_since(UNIX_EPOCH).expect("a date") + epoch.1.elapsed();
    run("date", &["-s", &format!("@{}", now.as_secs() as i64 + offset)]);
}

#[test]
fn a_clock_that_jumps_changes_nothing() {
    if !is_lab() {
        return skip("the clock of this host is not ours to set");
    }
    let stage = Stage::new(2);
    let daemon = Daemon::start(&stage.director, format!("{HEAD}{}", service(&TWO)).as_bytes());
    stage.expect(&daemon, "both are in", &Stage::table([1, 2]));
    // It is told after it is done.
    (1..=2).for_each(|n| expect_line(&daemon, &format!("Added real server: 10.2.0.{n}:80")));
    let client = stage.asks();
    let before = daemon.log();
    let epoch = (SystemTime::now(), Instant::now());
    for offset in [86_400 * 400, -86_400 * 400, 3600, 0] {
        set_clock(epoch, offset);
        sleep(Duration::from_millis(1200));
    }
    let (table, log) = (stage.director.table(), daemon.log());
    assert_eq!(table, Stage::table([1, 2]), "{log}");
    assert_eq!(log, before, "nothing happened");
    client.end_well(&daemon);
    // Over the years back and forth checks go on at their pace.
    set_clock(epoch, -86_400 * 400);
    stage.servers[1].set(Mode::Error);
    let took = stage.expect(&daemon, "a server that fails leaves", &Stage::table([1]));
    assert!(took < ROUNDS, "{took:?}");
    set_clock(epoch, 86_400 * 400);
    stage.servers[1].set(Mode::Well);
    let took = stage.expect(&daemon, "it is back", &Stage::table([1, 2]));
    assert!(took < ROUNDS, "{took:?}");
    set_clock(epoch, 0);
}

#[test]
fn names_that_nobody_knows_at_a_reload_leave_the_running_configuration_in_force() {
    let stage = Stage::new(3);
    let daemon = Daemon::start(&stage.director, format!("{HEAD}{}", service(&TWO[..1])).as_bytes());
    stage.expect(&daemon, "it is in", &Stage::table([1]));
    let client = stage.asks();
    let hosts = daemon.path().with_file_name("hosts");
    let know = |names: &str| fs::write(&hosts, format!("127.0.0.1 localhost\n{names}")).expect("the names");
    know("10.2.0.1 web1.example\n10.2.0.3 web3.example\n");
    let none: Option<&str> = None;
    daemon.inside(|| {
        mount(Some(&hosts), "/etc/hosts", none, MsFlags::MS_BIND, none).expect("names of our own");
    });
    daemon.write(format!("{HEAD}{}", service(&["web1.example", "web3.example"])).as_bytes());
    daemon.reload();
    stage.expect(&daemon, "the names are in force", &Stage::table([1, 3]));
    know("");
    daemon.write(format!("{HEAD}{}", service(&["web1.example", "10.2.0.2", "web3.example"])).as_bytes());
    daemon.reload();
    expect_line(&daemon, "the running one stays, whole");
    expect_line(&daemon, "invalid address (web1.example) for real server (could not resolve host)");
    expect_line(&daemon, "put the name into /etc/hosts; if the name server was away, reload once it is back");
    sleep(ROUNDS / 2);
    assert_eq!(stage.director.table(), Stage::table([1, 3]), "{}", daemon.log());
    know("10.2.0.1 web1.example\n10.2.0.3 web3.example\n");
    daemon.reload();
    stage.expect(&daemon, "what was refused is in force", &Stage::table([1, 2, 3]));
    client.end_well(&daemon);
}
