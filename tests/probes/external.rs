//! `external`: scripts in a folder of the test's own.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use lvsentry::model::{Family, Protocol, ServiceKey};
use lvsentry::outcome::Outcome;
use lvsentry::probe::{Target, Tools, ask};
use nix::errno::Errno;
use nix::sys::signal::kill;
use nix::unistd::Pid;

use crate::support::probe::{LONG, make, probe, target};

/// A folder that vanishes with the test.
pub(super) struct Folder(pub(super) PathBuf);

impl Folder {
    pub(super) fn new(name: &str) -> Folder {
        let path = std::env::temp_dir().join(format!("lvsentry-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Folder(path)
    }

    pub(super) fn script(&self, text: &str, mode: u32) -> String {
        let path = self.0.join("check");
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, PermissionsExt::from_mode(mode)).unwrap();
        path.to_str().unwrap().to_owned()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn web() -> Target {
    target("10.0.0.1:8080".parse().unwrap())
}

async fn run(target: &Target, command: &str, limit: Duration) -> Outcome {
    // A script just written can still be open in a process that another test is forking.
    for _ in 0..50 {
        let outcome =
            ask(&*probe("external", target, &[("checkcommand", command)]), limit, &Tools::new()).await;
        match &*outcome.result {
            Err(failure) if failure.detail.contains("busy") => {
                tokio::time::sleep(Duration::from_millis(20)).await
            }
            _ => return outcome,
        }
    }
    panic!("{command} stays busy");
}

#[tokio::test]
async fn the_exit_status_is_the_verdict() {
    let folder = Folder::new("exit");
    for (line, wanted) in [
        ("exit 0", Ok("exit status 0")),
        ("exit 1", Err("run-exit: exit status 1")),
        ("exit 255", Err("run-exit: exit status 255")),
        ("kill -9 $$", Err("run-signal: ended by signal 9 (SIGKILL)")),
        ("kill -15 $$", Err("run-signal: ended by signal 15 (SIGTERM)")),
        ("cat && echo x && echo y >&2", Ok("exit status 0")),
    ] {
        let script = folder.script(&format!("#!/bin/sh\n{line}\n"), 0o755);
        let seen = run(&web(), &script, LONG).await.into_result().map_err(|failure| failure.to_string());
        assert_eq!(seen.as_deref().map_err(String::as_str), wanted, "{line}");
    }
}

#[tokio::test]
async fn a_script_without_a_first_line_is_run_by_the_shell() {
    let folder = Folder::new("bare");
    let script = folder.script("test $# = 4 && exit 0\nexit 1\n", 0o755);
    run(&web(), &script, LONG).await.into_result().unwrap();
}

#[tokio::test]
async fn a_program_is_found_along_the_path_and_the_default_is_true() {
    run(&web(), "true", LONG).await.into_result().unwrap();
    ask(&*probe("external", &web(), &[]), LONG, &Tools::new()).await.into_result().unwrap();
}

#[tokio::test]
async fn what_can_not_be_run_says_why() {
    let folder = Folder::new("missing");
    let script = folder.script("#!/bin/sh\n", 0o644);
    for (command, why) in [("/nonexistent/check", "not found"), (script.as_str(), "not executable")] {
        let failure = run(&web(), command, LONG).await.into_result().unwrap_err();
        assert_eq!(failure.to_string(), format!("run-not-run: {command}: {why}"));
    }
}

#[tokio::test]
async fn four_arguments_name_service_and_server() {
    let address = |text: &str| ServiceKey::Address(Protocol::Tcp, text.parse().unwrap());
    for (service, server, wanted) in [
        (address("192.0.2.10:80"), "10.0.0.1:8080", "192.0.2.10 80 10.0.0.1 8080"),
        (address("[2001:db8::1]:80"), "[2001:db8::2]:0", "[2001:db8::1] 80 [2001:db8::2] 0"),
        (ServiceKey::Mark(Family::V4, 7), "10.0.0.1:0", "7 0 10.0.0.1 0"),
        (ServiceKey::Mark(Family::V6, 8), "[::1]:80", "8 0 [::1] 80"),
    ] {
        let folder = Folder::new("arguments");
        let script = folder.script("#!/bin/sh\necho \"$@\" > \"$(dirname \"$0\")/seen\"\n", 0o755);
        // `checkport` is not passed on.
        let target =
            Target { service, server: server.parse().unwrap(), check: "10.9.9.9:99".parse().unwrap() };
        run(&target, &script, LONG).await.into_result().unwrap();
        assert_eq!(std::fs::read_to_string(folder.0.join("seen")).unwrap().trim_end(), wanted);
    }
}

#[tokio::test]
async fn a_command_with_arguments_of_its_own_always_fails() {
    for command in ["/bin/true -x", "/bin/true\t", " x", "/bin/a\u{0}"] {
        let failure = run(&web(), command, LONG).await.into_result().unwrap_err();
        let why = "run-not-run: checkcommand is one program, without arguments: wrap it in a script";
        assert_eq!(failure.to_string(), why);
    }
    assert!(make("external", &web(), &[("checkcommand", "")]).is_err());
}

#[tokio::test]
async fn what_a_script_leaves_running_is_gone_when_the_check_is_over() {
    for (status, good) in [(0, true), (1, false)] {
        let folder = Folder::new(&format!("left{status}"));
        let text = format!(
            "#!/bin/sh\ncd \"$(dirname \"$0\")\"\ntrap '' TERM\ni=0\nwhile [ $i -lt 40 ]; do sleep 1000 & \
             echo $! > child$i; i=$((i+1)); done\nexit {status}\n"
        );
        let script = folder.script(&text, 0o755);
        assert_eq!(run(&web(), &script, LONG).await.is_good(), good);
        let names: Vec<_> = (0..40).map(|i| format!("child{i}")).collect();
        let children = noted(&folder.0, &names.iter().map(String::as_str).collect::<Vec<_>>());
        assert_eq!(children.len(), 40);
        assert!(all_gone(&children).await, "{children:?} still live");
    }
}

#[tokio::test]
async fn a_flood_of_output_holds_up_nobody() {
    let folder = Folder::new("flood");
    let text = "#!/bin/sh\nhead -c 100000000 /dev/zero\nhead -c 100000000 /dev/zero >&2\nexit 0\n";
    let script = folder.script(text, 0o755);
    run(&web(), &script, LONG).await.into_result().unwrap();
}

/// The processes that a script has noted, by their ids.
fn noted(folder: &Path, names: &[&str]) -> Vec<Pid> {
    let read = |name: &&str| std::fs::read_to_string(folder.join(name)).ok()?.trim().parse().ok();
    names.iter().filter_map(read).map(Pid::from_raw).collect()
}

async fn all_gone(pids: &[Pid]) -> bool {
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(10) {
        if pids.iter().all(|&pid| kill(pid, None) == Err(Errno::ESRCH) || is_zombie(pid)) {
            return true;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    false
}

/// A dead grandchild waits for its new parent, whoever that is here.
fn is_zombie(pid: Pid) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| stat.contains(") Z "))
}

#[tokio::test]
async fn a_deaf_script_and_its_children_are_gone_soon_after_the_deadline() {
    let folder = Folder::new("deaf");
    let text = "#!/bin/sh\ncd \"$(dirname \"$0\")\"\ntrap '' TERM\nsleep 1000 &\necho $! > child\necho $$ > leader\nwait\nsleep 1000\n";
    let script = folder.script(text, 0o755);
    let limit = Duration::from_secs(1);
    let outcome = run(&web(), &script, limit).await;
    assert_eq!(
        outcome.clone().into_result().unwrap_err().to_string(),
        "run-timeout: no end of the command within 1 s"
    );
    assert!(outcome.took < limit + Duration::from_millis(500), "{:?}", outcome.took);

    let pids = noted(&folder.0, &["leader", "child"]);
    assert_eq!(pids.len(), 2);
    assert!(all_gone(&pids).await, "{pids:?} still live");
    let leader = pids[0];
    assert_eq!(kill(leader, None), Err(Errno::ESRCH), "the script was not reaped");
}

#[tokio::test]
async fn a_script_may_clean_up_when_its_time_is_over() {
    let folder = Folder::new("clean");
    let text = "#!/bin/sh\ncd \"$(dirname \"$0\")\"\ntrap 'echo $$ > cleaned; exit 0' TERM\necho $$ > leader\nwhile :; do sleep 0.05; done\n";
    let script = folder.script(text, 0o755);
    run(&web(), &script, Duration::from_secs(1)).await.into_result().unwrap_err();
    assert!(all_gone(&noted(&folder.0, &["leader"])).await);
    assert_eq!(noted(&folder.0, &["cleaned"]).len(), 1);
}

#[test]
fn the_end_of_the_daemon_ends_what_runs() {
    let folder = Folder::new("end");
    let script = folder.script(
        "#!/bin/sh\ntrap '' TERM\necho $$ > \"$(dirname \"$0\")/leader\"\nsleep 1000\nsleep 1000\n",
        0o755,
    );
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(run(&web(), &script, Duration::from_secs(1))).into_result().unwrap_err();
    drop(runtime);
    let pids = noted(&folder.0, &["leader"]);
    assert_eq!(pids.len(), 1);
    let waiting = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    assert!(waiting.block_on(all_gone(&pids)), "{pids:?} still live");
}
