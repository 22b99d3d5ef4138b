//! Lines about the table, in the words that log watchers know.

use std::time::Duration;

use lvsentry::config::{Config, Inquiry};
use lvsentry::daemon::Event;

use super::world::{Folder, Log, World, until};
use crate::support::probe::{probe, target};

/// Waits for lines, in any order, each of which comes once.
async fn expect(log: &Log, lines: &[&str]) {
    for line in lines {
        let end = format!(" {line} id=");
        until("a line comes", || log.text().contains(&end)).await;
        assert_eq!(log.count(&end), 1, "{line}");
    }
}

#[tokio::test]
async fn a_server_on_another_port_is_called_as_configured_and_mapped_where_it_leaves() {
    let (log, _guard) = Log::keep();
    let text = "quiescent=no\nvirtual=192.0.2.10:80\n\treal=10.0.0.1:8080 gate 3\n\tchecktype=connect\n\
        \tfallback=127.0.0.1:8081 gate\n";
    let world = World::new(text, |_| {});
    expect(&log, &["Added virtual server: 192.0.2.10:80"]).await;
    expect(&log, &["Added real server: 10.0.0.1:8080 (192.0.2.10:80) (Weight set to 3)"]).await;
    world.bad("10.0.0.1:8080");
    expect(&log, &["Deleted real server: 10.0.0.1:80 mapped from 10.0.0.1:8080 (192.0.2.10:80)"]).await;
    expect(&log, &["Added fallback server: 127.0.0.1:8081 (192.0.2.10:80) (Weight set to 1)"]).await;
    world.good("10.0.0.1:8080");
    expect(&log, &["Deleted fallback server: 127.0.0.1:80 mapped from 127.0.0.1:8081 (192.0.2.10:80)"]).await;
    expect(&log, &["Resetting soft failure count: 10.0.0.1:8080 (tcp:192.0.2.10:80)"]).await;
}

#[tokio::test]
async fn a_quiesced_server_is_quiescent_when_it_fails_restored_when_it_is_back_and_purged_at_the_stop() {
    let (log, _guard) = Log::keep();
    let text = "quiescent=yes\nfailurecount=2\nvirtual=192.0.2.10:80\n\treal=10.0.0.1:8080 gate 3\n\
        \treal=10.0.0.2:80 gate\n\tchecktype=connect\n";
    let world = World::new(text, |_| {});
    world.bad("10.0.0.2:80");
    expect(&log, &["Readd Quiescent real server: 10.0.0.2:80 (192.0.2.10:80) (Weight set to 0)"]).await;
    expect(&log, &["Added real server: 10.0.0.1:8080 (192.0.2.10:80) (Weight set to 3)"]).await;
    world.bad("10.0.0.1:8080");
    until("it fails softly", || log.count("failure 1/2") == 1).await;
    expect(
        &log,
        &["Quiescent real server: 10.0.0.1:80 mapped from 10.0.0.1:8080 (192.0.2.10:80) (Weight set to 0)"],
    )
    .await;
    world.good("10.0.0.1:8080");
    expect(&log, &["Restored real server: 10.0.0.1:8080 (192.0.2.10:80) (Weight set to 3)"]).await;
    world.send(Event::Stop("TERM")).await;
    expect(&log, &["Purged real server (stop): 10.0.0.1:8080 (192.0.2.10:80)"]).await;
    expect(&log, &["Purged virtual server (stop): 192.0.2.10:80"]).await;
    assert_eq!(log.count("Purged real server"), 1, "the other was down");
}

#[tokio::test]
async fn a_server_whose_configured_weight_is_0_is_added_and_not_quiescent() {
    let (log, _guard) = Log::keep();
    let text = "quiescent=yes\nvirtual=192.0.2.10:80\n\treal=10.0.0.1:80 gate 0\n\tchecktype=connect\n";
    let _world = World::new(text, |_| {});
    expect(&log, &["Added real server: 10.0.0.1:80 (192.0.2.10:80) (Weight set to 0)"]).await;
}

#[tokio::test]
async fn what_a_reload_changes_is_told_as_changed_restored_or_purged() {
    let (log, _guard) = Log::keep();
    let text = "quiescent=no\nvirtual=192.0.2.10:80\n\treal=10.0.0.1:80 gate 3\n\treal=10.0.0.2:80 gate\n\
        \tchecktype=connect\nvirtual=192.0.2.11:80\n\treal=10.0.0.3:80 gate\n\tchecktype=connect\n\
        \tfallback=127.0.0.1 gate\nvirtual=192.0.2.12:80\n\treal=10.0.0.1:80 gate\n\tchecktype=on\n";
    let world = World::new(text, |_| {});
    expect(&log, &["Added real server: 10.0.0.2:80 (192.0.2.10:80) (Weight set to 1)"]).await;
    expect(&log, &["Added real server: 10.0.0.1:80 (192.0.2.12:80) (Weight set to 1)"]).await;
    world.bad("10.0.0.3:80");
    expect(&log, &["Added fallback server: 127.0.0.1:80 (192.0.2.11:80) (Weight set to 1)"]).await;
    let next = "quiescent=no\nvirtual=192.0.2.10:80\n\treal=10.0.0.1:80 gate 5\n\tscheduler=rr\n\
        \tchecktype=connect\nvirtual=192.0.2.11:80\n\treal=10.0.0.3:80 gate\n\tchecktype=connect\n\
        \tfallback=127.0.0.1 ipip\n";
    world.next(Some(next), |_| {});
    world.send(Event::Reload).await;
    let lines = [
        "Reloading Linux Director Daemon config on signal",
        "Changed virtual server: 192.0.2.10:80",
        "Restored real server: 10.0.0.1:80 (192.0.2.10:80) (Weight set to 5)",
        "Purged real server (start): 10.0.0.2:80 (192.0.2.10:80)",
        "Restored fallback server: 127.0.0.1:80 (192.0.2.11:80) (Weight set to 1)",
        "Purged virtual server (start): 192.0.2.12:80",
    ];
    expect(&log, &lines).await;
}

#[tokio::test]
async fn a_file_that_changed_is_told_with_what_becomes_of_it() {
    let text = "quiescent=no\nvirtual=192.0.2.10:80\n\treal=10.0.0.1:80 gate\n\tchecktype=connect\n";
    for (autoreload, then) in [("yes", "reread"), ("no", "ignore")] {
        let (log, _guard) = Log::keep();
        let world = World::new(&format!("autoreload={autoreload}\n{text}"), |_| {});
        world.send(Event::FileChanged).await;
        let line = format!(" - {then} new configuration");
        expect(&log, &["Configuration file '/etc/ha.d/test.cf' has changed on disk", &line]).await;
        assert_eq!(log.count("new configuration id="), 1, "{}", log.text());
    }
}

#[tokio::test]
async fn a_check_command_that_had_to_be_ended_is_told_with_its_command_line() {
    let (log, _guard) = Log::keep();
    let folder = Folder::new();
    let script = folder.script("check", "#!/bin/sh\nexec sleep 60\n").display().to_string();
    let hangs = probe("external", &target("10.0.0.1:80".parse().unwrap()), &[("checkcommand", &script)]);
    let text = "quiescent=no\nvirtual=192.0.2.10:80\n\treal=10.0.0.1:80 gate\n\tchecktype=connect\n";
    let timeout = Duration::from_millis(200);
    let _world = World::new(text, move |config: &mut Config| {
        let inquiry = Inquiry { probe: hangs.clone(), interval: Duration::from_secs(60), timeout };
        config.inquiries.values_mut().for_each(|asked| *asked = inquiry.clone());
    });
    let line = format!("system_timeout(0.2, {script} 192.0.2.10 80 10.0.0.1 80) timed out, kill -TERM child");
    expect(&log, &[&line]).await;
}
