//! Monitor files: what stands in them.

use std::fs;
use std::path::Path;

use lvsentry::config::{Config, Extras, Monitor};
use lvsentry::daemon::Event;

use super::world::{Folder, Log, World, lines, until, with_extras};

const TWO: &str =
    "virtual=192.0.2.10:80\n\treal=10.0.0.1:80 masq 1\n\treal=10.0.0.2:80 masq 2\n\tchecktype=connect\n";

fn monitored(path: &Path) -> impl Fn(&mut Config) + Send + Sync + 'static {
    let path = path.to_owned();
    move |config| {
        let names = ["connect tcp 10.0.0.1 80 1 masq /", "connect tcp 10.0.0.2 80 2 masq / "];
        let names = names.map(str::to_owned).to_vec();
        let monitor = Some(Monitor { path: path.clone(), names });
        with_extras(config, Extras { monitor, ..Extras::default() });
    }
}

/// The lines about one server, after time and process.
fn about(path: &Path, server: &str) -> Vec<String> {
    let rest = |line: &String| line.splitn(3, "] ").nth(2).unwrap_or("?").to_owned();
    lines(path).iter().map(rest).filter(|line| line.contains(server)).collect()
}

#[tokio::test]
async fn every_result_gets_a_line_though_nothing_changes() {
    let folder = Folder::new();
    let path = folder.path("monitor");
    let world = World::new(TWO, monitored(&path));
    // What ends a line comes no further than the probe.
    world.says("10.0.0.2:80", "100% | of\r\nit");
    until("some are written", || about(&path, "10.0.0.1").len() >= 3).await;
    let written = lines(&path);
    assert!(about(&path, "10.0.0.1").iter().all(|line| line == "connect tcp 10.0.0.1 80 1 masq / [up] well"));
    until("it says so", || {
        let last = about(&path, "10.0.0.2").pop();
        last.as_deref() == Some("connect tcp 10.0.0.2 80 2 masq /  [up] 100%25 %7c of  it")
    })
    .await;
    world.bad("10.0.0.1:80");
    until("it says so", || {
        let last = about(&path, "10.0.0.1").pop();
        last.as_deref() == Some("connect tcp 10.0.0.1 80 1 masq / [down] connect-refused: connection refused")
    })
    .await;
    // `[Sat Nov 21 07:43:05 2026] [751] `
    let mut fields = written[0].splitn(3, "] ");
    let time = fields.next().unwrap().strip_prefix('[').unwrap().to_owned();
    assert_eq!(fields.next().unwrap(), format!("[{}", std::process::id()));
    let shape = |c: char| {
        if c.is_ascii_digit() {
            '9'
        } else if c.is_ascii_alphabetic() {
            'a'
        } else {
            c
        }
    };
    let shape: String = time.chars().map(shape).collect();
    assert!(["aaa aaa 99 99:99:99 9999", "aaa aaa  9 99:99:99 9999"].contains(&&*shape), "{time}");
}

#[tokio::test]
async fn a_server_in_maintenance_is_written_as_that() {
    let folder = Folder::new();
    let path = folder.path("monitor");
    let directory = folder.path("maintenance");
    fs::create_dir(&directory).unwrap();
    fs::write(directory.join("10.0.0.1"), "").unwrap();
    let monitored = monitored(&path);
    let _world = World::new(TWO, move |config| {
        monitored(config);
        config.maintenance = Some(directory.clone());
    });
    until("both are written", || about(&path, "10.0.0.2").len() >= 3 && about(&path, "10.0.0.1").len() >= 3)
        .await;
    let out = "connect tcp 10.0.0.1 80 1 masq / [down] Server in maintenance";
    assert!(about(&path, "10.0.0.1").iter().all(|line| line == out));
    assert!(about(&path, "10.0.0.2").iter().all(|line| line.ends_with("[up] well")));
    fs::remove_file(folder.path("maintenance/10.0.0.1")).unwrap();
    until("it is back", || about(&path, "10.0.0.1").pop().is_some_and(|line| line.ends_with("[up] well")))
        .await;
}

#[tokio::test]
async fn a_server_of_two_services_is_written_for_each_of_them() {
    let folder = Folder::new();
    let path = folder.path("monitor");
    let both = format!("{TWO}{}", TWO.replace("192.0.2.10", "192.0.2.11"));
    let world = World::new(&both, monitored(&path));
    until("it is written", || about(&path, "10.0.0.1").len() >= 8).await;
    let (written, asked) = (about(&path, "10.0.0.1").len(), world.asked("10.0.0.1:80"));
    assert!(written + 2 >= asked * 2 - 2 && written <= asked * 2 + 2, "{written} lines, asked {asked} times");
}

#[tokio::test]
async fn a_file_that_is_moved_away_is_made_anew_and_one_that_cannot_be_written_is_told_once() {
    let (log, _guard) = Log::keep();
    let folder = Folder::new();
    let path = folder.path("logs/monitor");
    let world = World::new(TWO, monitored(&path));
    until("it is told", || log.count("unable to open monitorfile") == 1).await;
    world.rounds("10.0.0.1:80", 5).await;
    assert_eq!(log.count("unable to open monitorfile"), 1);
    until("checks go on", || world.stands().len() == 2).await;
    fs::create_dir(folder.path("logs")).unwrap();
    until("it is written", || !lines(&path).is_empty()).await;
    until("it is told", || log.count("can be written again") == 1).await;
    fs::rename(&path, folder.path("logs/monitor.1")).unwrap();
    until("it is made anew", || !lines(&path).is_empty()).await;
    assert!(!lines(&folder.path("logs/monitor.1")).is_empty());
}

#[tokio::test]
async fn a_reload_moves_the_lines_to_another_file_and_ends_the_first() {
    let folder = Folder::new();
    let (one, two) = (folder.path("one"), folder.path("two"));
    let world = World::new(TWO, monitored(&one));
    until("it is written", || !lines(&one).is_empty()).await;
    world.next(Some(TWO), monitored(&two));
    world.send(Event::Reload).await;
    until("the other is written", || lines(&two).len() >= 2).await;
    let before = lines(&one).len();
    world.rounds("10.0.0.1:80", 5).await;
    assert_eq!(lines(&one).len(), before);
}

#[tokio::test]
async fn a_pipe_that_nobody_reads_holds_nobody_up() {
    let (log, _guard) = Log::keep();
    let folder = Folder::new();
    let path = folder.path("pipe");
    nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let world = World::new(TWO, monitored(&path));
    until("it is told", || log.count("unable to open monitorfile") == 1).await;
    world.rounds("10.0.0.1:80", 5).await;
    until("checks go on", || world.stands().len() == 2).await;
}
