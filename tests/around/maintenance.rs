//! Files that take servers out, in real directories.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use lvsentry::config::{self, Config, SystemNames};
use lvsentry::daemon::Event;
use lvsentry::daemon::maintenance::reverse::ask;
use lvsentry::daemon::maintenance::watch::{list, watch};
use lvsentry::daemon::maintenance::{Maintenance, News};
use lvsentry::span::Source;
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::world::{Folder, Log, World, until};

const TWO: &str = "failurecount=3\nquiescent=no\nvirtual=192.0.2.10:80\n\treal=10.0.0.1:80 masq 1\n\
    \treal=10.0.0.2:80 masq 2\n\tchecktype=connect\n\tfallback=127.0.0.1:80 gate\n";

/// Takes a file away, or a directory with nothing in it.
fn gone(path: &Path) {
    fs::remove_file(path).unwrap();
}

// ---- the daemon -----------------------------------------------------------------------------------

#[tokio::test]
async fn a_file_takes_a_server_out_at_once_and_without_it_a_good_check_brings_it_back() {
    let (log, _guard) = Log::keep();
    let folder = Folder::new();
    let directory = folder.path("maintenance");
    fs::create_dir(&directory).unwrap();
    let world = World::new(TWO, move |config| config.maintenance = Some(directory.clone()));
    until("both are in", || world.stands() == ["10.0.0.1:80 1", "10.0.0.2:80 2"]).await;
    let file = folder.path("maintenance/10.0.0.1:80");
    File::create(&file).unwrap();
    until("the server is out", || world.stands() == ["10.0.0.2:80 2"]).await;
    // Its good results do not count.
    world.rounds("10.0.0.1:80", 5).await;
    assert_eq!(world.stands(), ["10.0.0.2:80 2"]);
    assert_eq!(log.count("Real server 10.0.0.1:80 (192.0.2.10:80) is in maintenance: file 10.0.0.1:80"), 1);
    until("it is told", || log.count("Deleted real server: 10.0.0.1:80 (192.0.2.10:80)") == 1).await;
    gone(&file);
    until("it is back", || world.stands() == ["10.0.0.1:80 1", "10.0.0.2:80 2"]).await;
    until("it is told", || log.count("is no longer in maintenance") == 1).await;
}

#[tokio::test]
async fn the_fallback_is_in_before_the_last_server_goes_into_maintenance() {
    let folder = Folder::new();
    let directory = folder.path("maintenance");
    fs::create_dir(&directory).unwrap();
    let world = World::new(TWO, move |config| config.maintenance = Some(directory.clone()));
    until("both are in", || world.stands().len() == 2).await;
    File::create(folder.path("maintenance/10.0.0.1")).unwrap();
    until("one is out", || world.stands() == ["10.0.0.2:80 2"]).await;
    world.ops();
    File::create(folder.path("maintenance/10.0.0.2")).unwrap();
    until("the fallback serves", || world.stands() == ["127.0.0.1:80 1"]).await;
    let ops = world.ops();
    assert!(ops[0].starts_with("add server 127.0.0.1:80"), "{ops:?}");
    assert!(ops[1].starts_with("remove server 10.0.0.2:80"), "{ops:?}");
    gone(&folder.path("maintenance/10.0.0.2"));
    until("it is back", || world.stands() == ["10.0.0.2:80 2"]).await;
}

#[tokio::test]
async fn a_file_that_is_there_at_the_start_keeps_its_server_out_from_the_first_moment() {
    let folder = Folder::new();
    let directory = folder.path("maintenance");
    fs::create_dir(&directory).unwrap();
    File::create(folder.path("maintenance/10.0.0.1:80")).unwrap();
    let world = World::new(TWO, move |config| config.maintenance = Some(directory.clone()));
    world.rounds("10.0.0.1:80", 5).await;
    until("the other is in", || world.stands() == ["10.0.0.2:80 2"]).await;
    assert!(world.ops().iter().all(|op| !op.contains("10.0.0.1:80")));
}

#[tokio::test]
async fn maintenance_stays_over_a_reload_and_a_directory_that_it_names_counts_at_once() {
    let folder = Folder::new();
    let (one, two) = (folder.path("one"), folder.path("two"));
    fs::create_dir(&one).unwrap();
    fs::create_dir(&two).unwrap();
    File::create(folder.path("one/10.0.0.1:80")).unwrap();
    File::create(folder.path("two/10.0.0.2:80")).unwrap();
    let first = one.clone();
    let world = World::new(TWO, move |config| config.maintenance = Some(first.clone()));
    until("one is in", || world.stands() == ["10.0.0.2:80 2"]).await;
    world.next(Some(&TWO.replace("masq 1", "masq 7")), move |config| config.maintenance = Some(one.clone()));
    world.send(Event::Reload).await;
    world.rounds("10.0.0.1:80", 5).await;
    assert_eq!(world.stands(), ["10.0.0.2:80 2"]);
    world.next(Some(TWO), move |config| config.maintenance = Some(two.clone()));
    world.send(Event::Reload).await;
    until("they have changed places", || world.stands() == ["10.0.0.1:80 1"]).await;
    world.next(Some(TWO), |config| config.maintenance = None);
    world.send(Event::Reload).await;
    until("nobody is out", || world.stands() == ["10.0.0.1:80 1", "10.0.0.2:80 2"]).await;
}

#[tokio::test]
async fn a_server_that_a_reload_adds_while_its_file_is_there_never_comes_in() {
    let folder = Folder::new();
    let directory = folder.path("maintenance");
    fs::create_dir(&directory).unwrap();
    File::create(folder.path("maintenance/10.0.0.3")).unwrap();
    let other = directory.clone();
    let world = World::new(TWO, move |config| config.maintenance = Some(other.clone()));
    until("both are in", || world.stands().len() == 2).await;
    let three = TWO.replace("\tchecktype", "\treal=10.0.0.3:80 masq 1\n\tchecktype");
    world.next(Some(&three), move |config| config.maintenance = Some(directory.clone()));
    world.send(Event::Reload).await;
    world.rounds("10.0.0.3:80", 5).await;
    assert!(world.ops().iter().all(|op| !op.contains("10.0.0.3:80")));
    gone(&folder.path("maintenance/10.0.0.3"));
    until("it is in", || world.stands().contains(&"10.0.0.3:80 1".into())).await;
}

// ---- noticing ---------------------------------------------------------------------------------------

/// What comes next, by an event: long before it would be looked at by the clock.
async fn next(events: &mut mpsc::Receiver<Event>) -> BTreeSet<String> {
    let event = timeout(Duration::from_secs(15), events.recv()).await.expect("something is noticed");
    match event {
        Some(Event::Maintenance(News::Listed(_, files))) => files,
        _ => panic!("another event"),
    }
}

/// Waits for a listing of just these files; in between others may come, since more than one thing happens.
async fn expect(events: &mut mpsc::Receiver<Event>, files: &[&str]) {
    let want: BTreeSet<String> = files.iter().map(|file| (*file).to_owned()).collect();
    while next(events).await != want {}
}

#[tokio::test]
async fn whatever_happens_to_the_directory_is_noticed() {
    let (log, _guard) = Log::keep();
    let folder = Folder::new();
    let directory = folder.path("a/b/maintenance");
    let (sender, mut events) = mpsc::channel(64);
    let task = tokio::spawn(watch(directory.clone(), sender));
    assert_eq!(next(&mut events).await, BTreeSet::new(), "it is not there yet");
    // Made later, its parents too.
    fs::create_dir_all(folder.path("a/b")).unwrap();
    fs::create_dir(&directory).unwrap();
    File::create(directory.join("web1")).unwrap();
    expect(&mut events, &["web1"]).await;
    // Files come and go; a directory counts as well.
    fs::create_dir(directory.join("web2")).unwrap();
    expect(&mut events, &["web1", "web2"]).await;
    fs::rename(directory.join("web1"), directory.join("web3")).unwrap();
    expect(&mut events, &["web2", "web3"]).await;
    // Moved away, and another one in its place.
    fs::rename(&directory, folder.path("a/b/away")).unwrap();
    expect(&mut events, &[]).await;
    fs::create_dir(folder.path("a/new")).unwrap();
    File::create(folder.path("a/new/web4")).unwrap();
    fs::rename(folder.path("a/new"), &directory).unwrap();
    expect(&mut events, &["web4"]).await;
    // Removed; then a file of its name, then a directory again.
    fs::remove_dir_all(&directory).unwrap();
    expect(&mut events, &[]).await;
    File::create(&directory).unwrap();
    until("the file is noticed", || log.text().contains("Not a directory")).await;
    gone(&directory);
    fs::create_dir(&directory).unwrap();
    File::create(directory.join("web5")).unwrap();
    expect(&mut events, &["web5"]).await;
    assert!(log.count("maintenance directory does not exist") >= 3, "{}", log.text());
    task.abort();
}

#[tokio::test]
async fn a_busy_directory_costs_one_listing_at_a_time_and_ends_right() {
    let folder = Folder::new();
    let directory = folder.path("maintenance");
    fs::create_dir(&directory).unwrap();
    let (sender, mut events) = mpsc::channel(1);
    let task = tokio::spawn(watch(directory.clone(), sender));
    for n in 0..2000 {
        File::create(directory.join(format!("web{n}"))).unwrap();
        fs::remove_file(directory.join(format!("web{n}"))).unwrap();
    }
    File::create(directory.join("last")).unwrap();
    expect(&mut events, &["last"]).await;
    task.abort();
}

#[test]
fn a_link_that_leads_nowhere_is_no_file() {
    let folder = Folder::new();
    std::os::unix::fs::symlink("/nowhere/at/all", folder.path("web1")).unwrap();
    std::os::unix::fs::symlink("/", folder.path("web2")).unwrap();
    assert_eq!(list(&folder.path("")).unwrap(), BTreeSet::from(["web2".to_owned()]));
}

// ---- names ------------------------------------------------------------------------------------------

fn config(text: &str) -> Config {
    let source = Source::new("test.cf", text.as_bytes().to_vec());
    config::load_text(source, &SystemNames::new()).unwrap_or_else(|report| panic!("{report}")).config
}

fn servers(list: &[&str]) -> BTreeSet<SocketAddr> {
    list.iter().map(|server| server.parse().unwrap()).collect()
}

/// Who is held when the directory holds one file of this name.
fn held(config: &Config, file: &str) -> BTreeSet<SocketAddr> {
    let (sender, _events) = mpsc::channel(8);
    let mut maintenance = Maintenance::new(sender);
    let directory = config.maintenance.clone().unwrap();
    maintenance.hear(News::Listed(directory, [file.to_owned()].into()));
    maintenance.set(config).into_keys().collect()
}

#[tokio::test]
async fn a_file_is_called_by_address_or_name_with_the_configured_port_or_without() {
    let folder = Folder::new();
    let mut config = config(
        "virtual=192.0.2.10:80\n\treal=10.0.0.1:80 masq\n\treal=10.0.0.1:81 masq\n\tcheckport=99\n\
         virtual=7\n\treal=10.0.0.2 gate\n\
         virtual6=[2001:db8::10]:80\n\treal6=[2001:db8::1]:80 masq\n",
    );
    config.maintenance = Some(folder.path("maintenance"));
    config.names = BTreeMap::from([("10.0.0.1".parse().unwrap(), ["web1.example.org".to_owned()].into())]);
    let table: &[(&str, &[&str])] = &[
        ("10.0.0.1:80", &["10.0.0.1:80"]),
        ("10.0.0.1", &["10.0.0.1:80", "10.0.0.1:81"]),
        ("10.0.0.1:99", &[]),
        ("web1.example.org:81", &["10.0.0.1:81"]),
        ("web1.example.org", &["10.0.0.1:80", "10.0.0.1:81"]),
        ("web1:80", &["10.0.0.1:80"]),
        ("web1", &["10.0.0.1:80", "10.0.0.1:81"]),
        ("WEB1", &[]),
        ("web1.example", &[]),
        ("10.0.0.2:0", &["10.0.0.2:0"]),
        ("10.0.0.2", &["10.0.0.2:0"]),
        ("10.0.0.2:80", &[]),
        ("[2001:db8::1]:80", &["[2001:db8::1]:80"]),
        ("[2001:db8::1]", &["[2001:db8::1]:80"]),
        ("2001:db8::1", &[]),
        ("10.0.0.1.disabled", &[]),
    ];
    for (file, want) in table {
        assert_eq!(held(&config, file), servers(want), "{file}");
    }
}

#[tokio::test]
async fn names_that_a_look_up_found_count_as_written_ones_and_stay_over_a_reload() {
    let folder = Folder::new();
    let mut config = config("virtual=192.0.2.10:80\n\treal=10.0.0.1:80 masq\n\treal=10.0.0.2:80 masq\n");
    config.maintenance = Some(folder.path("maintenance"));
    let (sender, _events) = mpsc::channel(8);
    let mut maintenance = Maintenance::new(sender);
    maintenance.set(&config);
    let files = BTreeSet::from(["web2".to_owned()]);
    assert!(maintenance.hear(News::Listed(folder.path("maintenance"), files)).is_empty());
    let names = BTreeMap::from([("10.0.0.2".parse().unwrap(), "web2.example.org".to_owned())]);
    let held = maintenance.hear(News::Named(names));
    assert_eq!(held.into_iter().collect::<Vec<_>>(), [("10.0.0.2:80".parse().unwrap(), "web2".into())]);
    // The new load has not found the name yet.
    assert_eq!(maintenance.set(&config).len(), 1);
}

async fn asked(program: &Path, ips: &[&str]) -> BTreeMap<String, String> {
    let (sender, mut events) = mpsc::channel(64);
    let ips = ips.iter().map(|ip| ip.parse().unwrap()).collect();
    ask(program.into(), ips, sender).await;
    let mut names = BTreeMap::new();
    while let Ok(Event::Maintenance(News::Named(some))) = events.try_recv() {
        names.extend(some.into_iter().map(|(ip, name)| (ip.to_string(), name)));
    }
    names
}

#[tokio::test]
async fn each_address_is_looked_up_once_and_those_without_a_name_are_left_out() {
    let folder = Folder::new();
    let program = folder.script(
        "getent",
        "#!/bin/sh\necho \"$@\" >>\"$0.asked\"\ncase $2 in\n10.0.0.9) exit 2;;\n\
         10.0.0.8) echo '10.0.0.8 10.0.0.8';;\n2001:db8::1) yes 'an answer without end' | head -c 1000000;;\n\
         *) echo \"$2  host-$2.example.org  alias\";;\nesac\n",
    );
    let ips = ["10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.0.4", "10.0.0.5", "10.0.0.8", "10.0.0.9"];
    let names = asked(&program, &ips).await;
    assert_eq!(names.len(), 5, "{names:?}");
    assert_eq!(names["10.0.0.1"], "host-10.0.0.1.example.org");
    assert_eq!(super::world::lines(&folder.path("getent.asked")).len(), ips.len());
    assert_eq!(asked(&program, &["2001:db8::1"]).await["2001:db8::1"], "answer");
}

#[tokio::test(start_paused = true)]
async fn look_ups_that_hang_end_at_their_deadline_and_a_missing_program_is_told_once() {
    let folder = Folder::new();
    let program = folder.script("getent", "#!/bin/sh\nexec sleep 1000\n");
    // Time passes as soon as everybody waits: six in two rounds of five seconds.
    let begun = tokio::time::Instant::now();
    let ips = ["10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.0.4", "10.0.0.5", "10.0.0.6"];
    assert_eq!(asked(&program, &ips).await, BTreeMap::new());
    assert!((10..11).contains(&begun.elapsed().as_secs()), "{:?}", begun.elapsed());
    let (log, _guard) = Log::keep();
    assert_eq!(asked(&folder.path("nothing"), &ips).await, BTreeMap::new());
    assert_eq!(log.count("cannot be looked up"), 1);
}

#[tokio::test]
async fn the_system_is_asked_only_when_a_file_has_a_name_that_nothing_explains() {
    let folder = Folder::new();
    let mut config = config("virtual=192.0.2.10:80\n\treal=127.0.0.1:8080 masq\n");
    config.maintenance = Some(folder.path("maintenance"));
    let (sender, mut events) = mpsc::channel(8);
    let mut maintenance = Maintenance::new(sender);
    let listed = |file: &str| News::Listed(folder.path("maintenance"), [file.to_owned()].into());
    maintenance.set(&config);
    maintenance.hear(listed("127.0.0.1"));
    // The watch tells that the directory is not there; nobody tells a name.
    assert!(matches!(events.recv().await, Some(Event::Maintenance(News::Listed(..)))));
    maintenance.hear(listed("localhost:8080"));
    let answer = timeout(Duration::from_secs(15), events.recv()).await;
    let Ok(Some(Event::Maintenance(News::Named(names)))) = answer else {
        return crate::support::skip("this host has no name for 127.0.0.1");
    };
    if names.values().any(|name| name == "localhost") {
        assert_eq!(maintenance.hear(News::Named(names)).len(), 1);
    }
}
