//! The configuration replaced in every way that editors and copies have, under autoreload: what is
//! broken, half-written or missing changes nothing and is reported once; the last good one counts.

use std::fs::{self, File};
use std::io::Write;
use std::thread::sleep;
use std::time::Duration;

use super::{SERVICE, Stage, count, expect_line};
use crate::support::daemon::Daemon;

/// Longer than a file must stand still to be read, and than reading it takes.
const AT_REST: Duration = Duration::from_millis(2300);

const REFUSED: &str = "the running one stays, whole";

/// So many servers of that weight. None is ever removed: that would cost requests that are under way.
fn configuration(servers: usize, weight: usize) -> String {
    let mut text = String::from("autoreload=yes\ncheckinterval=1\nchecktimeout=2\nquiescent=no\n");
    text += &format!("virtual={SERVICE}\n\tscheduler=wrr\n\tservice=http\n\treceive=\"well\"\n");
    (1..=servers).for_each(|n| text += &format!("\treal=10.2.0.{n}:80 masq {weight}\n"));
    text
}

fn table(servers: usize, weight: usize) -> Vec<String> {
    Stage::table(1..=servers).iter().map(|line| line.replace("-w 1", &format!("-w {weight}"))).collect()
}

/// A director whose configuration is changed.
struct Desk {
    stage: Stage,
    daemon: Daemon,
    /// How many refusals were told so far.
    refused: usize,
}

impl Desk {
    /// The file came to rest in a bad state: told once, and nothing is touched.
    #[track_caller]
    fn expect_refusal(&mut self, words: &str, table: &[String]) {
        self.refused += 1;
        expect_line(&self.daemon, words);
        sleep(AT_REST);
        let log = self.daemon.log();
        assert_eq!(count(&log, REFUSED), self.refused, "{log}");
        assert_eq!(self.stage.director.table(), table, "{log}");
    }

    #[track_caller]
    fn expect(&self, what: &str, table: &[String]) {
        self.stage.expect(&self.daemon, what, table);
        let log = self.daemon.log();
        assert_eq!(count(&log, REFUSED), self.refused, "{log}");
    }
}

#[test]
fn a_broken_half_written_empty_or_missing_file_changes_nothing_and_the_last_good_one_counts() {
    let stage = Stage::new(3);
    let daemon = Daemon::start(&stage.director, configuration(2, 1).as_bytes());
    let two = table(2, 1);
    stage.expect(&daemon, "both are in", &two);
    let client = stage.asks();
    let path = daemon.path().to_owned();
    let mut desk = Desk { stage, daemon, refused: 0 };

    desk.daemon.write(b"virtual=10.1.0.200:80\n\treal=10.2.0.1:80 masq 1\n\x00\xff\x1bgarbage\n");
    desk.expect_refusal("Unknown command", &two);

    // A slow copy, and one that stands still half-way, after a line that would be a good end.
    let text = configuration(3, 1);
    let mut file = File::create(&path).expect("the file");
    for part in text.as_bytes().chunks(text.len().div_ceil(6)) {
        file.write_all(part).expect("writing");
        sleep(Duration::from_millis(400));
    }
    drop(file);
    let three = table(3, 1);
    desk.expect("the copy is in force", &three);
    let text = configuration(3, 2);
    let half = text.find("\treal=10.2.0.2").expect("the second server");
    let mut file = File::create(&path).expect("the file");
    file.write_all(&text.as_bytes()[..half]).expect("writing");
    sleep(AT_REST);
    assert_eq!(desk.stage.director.table(), three, "half a file was read\n{}", desk.daemon.log());
    file.write_all(&text.as_bytes()[half..]).expect("writing");
    drop(file);
    let heavy = table(3, 2);
    desk.expect("the whole copy is in force", &heavy);

    desk.daemon.write(b"");
    desk.expect_refusal("names no service", &heavy);

    // An editor that keeps the old file beside the new one: for a moment there is none.
    let beside = path.with_extension("new");
    fs::write(&beside, configuration(3, 3)).expect("the new file");
    fs::rename(&path, path.with_extension("old")).expect("the old file");
    desk.expect_refusal("can not open file", &heavy);
    fs::rename(&beside, &path).expect("the new file");
    desk.expect("the new file is in force", &table(3, 3));
    client.end_well(&desk.daemon);
}
