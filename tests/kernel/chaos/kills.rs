//! kill -9 at random moments, while servers fail and come back and others work on the table. What a
//! failed request is excused by is written down when it is done; what is left is ours.

use std::collections::BTreeMap;
use std::thread::sleep;
use std::time::{Duration, Instant};

use super::{Request, Stage, count};
use crate::support::daemon::Daemon;
use crate::support::http::Mode;

const SERVERS: usize = 4;

/// From the death of a server to its leaving, while the daemon runs: interval, timeout and room.
const DETECTION: Duration = Duration::from_millis(2500);
/// From another's change of the table to its repair, while the daemon runs.
const REPAIR: Duration = Duration::from_millis(6000);
/// From the start of a daemon until it has put right what it found.
const START: Duration = Duration::from_millis(2000);

fn configuration() -> String {
    let mut text = String::from(
        "services:
  - name: shop
    listen: [\"10.1.0.200:80/tcp\"]
    scheduler: wrr
    forward: masq
    check: { interval: 500ms, timeout: 500ms, fall: 1, rise: 1, http: { path: /, expect: { body: well } } }
    fallback: [{ address: \"127.0.0.1:80\", forward: gate }]
    servers:
",
    );
    for n in 1..=SERVERS {
        text += &format!("      - {{ address: \"10.2.0.{n}:80\", weight: 1 }}\n");
    }
    text
}

/// What happened, and when.
#[derive(Debug, Clone, Copy)]
enum Mark {
    /// The daemon runs: it said so.
    Up,
    /// It was killed.
    Down,
    /// Something that costs requests until a daemon that runs has had so much time.
    Harm(Duration),
}

/// Numbers from a seed: xorshift.
struct Dice(u64);

impl Dice {
    fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % end
    }

    fn millis(&mut self, end: u64) -> Duration {
        Duration::from_millis(self.below(end))
    }
}

/// Who does it all, and what he remembers.
struct Storm {
    stage: Stage,
    dice: Dice,
    dead: [bool; SERVERS],
    /// Services that are not ours, by port, each with the weights of its servers.
    foreign: BTreeMap<u16, BTreeMap<u8, u32>>,
    marks: Vec<(Instant, Mark)>,
    /// The same in words, with the milliseconds since the start.
    story: Vec<String>,
    start: Instant,
}

impl Storm {
    fn note(&mut self, what: &str, mark: Option<Mark>) {
        let now = Instant::now();
        self.story.push(format!("{:6} {what}", (now - self.start).as_millis()));
        self.marks.extend(mark.map(|mark| (now, mark)));
    }

    fn disturb(&mut self) {
        match self.dice.below(10) {
            0..4 => self.turn_server(),
            4 => {
                self.note("ipvsadm -C", Some(Mark::Harm(REPAIR)));
                self.foreign.clear();
                assert!(self.stage.ipvsadm("-C"));
            }
            5..7 => self.edit_ours(),
            _ => self.edit_foreign(),
        }
    }

    /// A server fails or comes back; two stay well.
    fn turn_server(&mut self) {
        let n = self.dice.below(SERVERS as u64) as usize;
        let dead = self.dead.iter().filter(|dead| **dead).count();
        if self.dead[n] {
            self.note(&format!("s{} is back", n + 1), None);
            self.stage.servers[n].set(Mode::Well);
        } else if dead < SERVERS - 2 {
            let mode = [Mode::Error, Mode::Hang, Mode::Refuse, Mode::Reset][self.dice.below(4) as usize];
            self.note(&format!("s{} fails: {mode:?}", n + 1), Some(Mark::Harm(DETECTION)));
            self.stage.servers[n].set(mode);
        } else {
            return;
        }
        self.dead[n] = !self.dead[n];
    }

    /// Another program works on our service; what is not there it can't change.
    fn edit_ours(&mut self) {
        let server = format!("-t 10.1.0.200:80 -r 10.2.0.{}:80", 1 + self.dice.below(SERVERS as u64));
        let (edit, mark) = match self.dice.below(4) {
            0 => (format!("-d {server}"), Some(Mark::Harm(REPAIR))),
            1 => (format!("-e {server} -m -w 0"), Some(Mark::Harm(REPAIR))),
            2 => ("-a -t 10.1.0.200:80 -r 10.2.0.77:80 -m -w 1".to_owned(), Some(Mark::Harm(REPAIR))),
            // No scheduler costs requests.
            _ => ("-E -t 10.1.0.200:80 -s rr".to_owned(), None),
        };
        self.note(&format!("ipvsadm {edit}"), mark);
        self.stage.ipvsadm(&edit);
    }

    /// Another program works on services of its own.
    fn edit_foreign(&mut self) {
        let port = 8000 + self.dice.below(3) as u16;
        let (n, weight) = (1 + self.dice.below(3) as u8, self.dice.below(5) as u32);
        let service = format!("-t 10.1.0.201:{port}");
        let edit = match self.foreign.get_mut(&port) {
            None => {
                self.foreign.insert(port, BTreeMap::new());
                format!("-A {service} -s rr")
            }
            Some(_) if weight == 4 => {
                self.foreign.remove(&port);
                format!("-D {service}")
            }
            Some(servers) => {
                let verb = if servers.insert(n, weight).is_some() { "-e" } else { "-a" };
                format!("{verb} {service} -r 10.2.0.{n}:80 -m -w {weight}")
            }
        };
        self.note(&format!("ipvsadm {edit}"), None);
        assert!(self.stage.ipvsadm(&edit), "ipvsadm {edit}");
    }

    /// Learns from the log when each daemon ran: how long the system takes to start a program is not its fault.
    fn read(&mut self, log: &str) {
        let now = (jiff::Timestamp::now(), Instant::now());
        let starts = log.lines().filter(|line| line.contains("Starting lvsentry"));
        let starts = starts.filter_map(|line| line.split(' ').next()?.parse::<jiff::Timestamp>().ok());
        let starts = starts.map(|at| now.1 - at.duration_until(now.0).unsigned_abs());
        self.marks.extend(starts.filter(|at| *at > self.start).map(|at| (at, Mark::Up)));
        self.marks.sort_by_key(|(at, _)| *at);
    }

    /// What the table must be once all servers are well.
    fn table(&self) -> Vec<String> {
        let mut lines = Stage::table(1..=SERVERS);
        for (port, servers) in &self.foreign {
            lines.push(format!("-A -t 10.1.0.201:{port} -s rr"));
            let line = |(n, weight)| format!("-a -t 10.1.0.201:{port} -r 10.2.0.{n}:80 -m -w {weight}");
            lines.extend(servers.iter().map(line));
        }
        lines.sort();
        lines
    }

    /// The spans of time in which requests may fail: from a harm until a daemon has had its time.
    fn excuses(&self) -> Vec<(Instant, Instant)> {
        let (mut lives, mut end) = (Vec::new(), self.start);
        let mut up = None;
        for &(at, mark) in &self.marks {
            end = at;
            match mark {
                Mark::Up => up = Some(at),
                Mark::Down => lives.extend(up.take().map(|up| (up, at))),
                Mark::Harm(_) => {}
            }
        }
        lives.extend(up.map(|up| (up, end + Duration::from_secs(3600))));
        let harms = self.marks.iter().filter_map(|&(at, mark)| match mark {
            Mark::Harm(time) => Some((at, time)),
            Mark::Up | Mark::Down => None,
        });
        let over = |at: Instant, time: Duration| {
            let put_right = |&(up, down): &(Instant, Instant)| {
                let by = if at > up { at + time } else { up + START };
                (at < down && by <= down).then_some(by)
            };
            lives.iter().find_map(put_right).unwrap_or(end)
        };
        harms.map(|(at, time)| (at, over(at, time))).collect()
    }

    /// Judges every request, and says how many of them had no excuse to fail.
    fn judge(&self, asked: &[Request], log: &str) -> usize {
        let excuses = self.excuses();
        let excused = |request: &Request| {
            excuses.iter().any(|(from, to)| request.begun <= *to && request.ended >= *from)
        };
        let judged: Vec<_> = asked.iter().filter(|request| !excused(request)).collect();
        let since = |at: Instant| (at - self.start).as_millis();
        let failed = judged.iter().filter_map(|request| {
            let why = request.answer.as_ref().err()?;
            Some(format!("{} to {} ms: {why}", since(request.begun), since(request.ended)))
        });
        let failed: Vec<_> = failed.collect();
        let story = self.story.join("\n");
        assert!(failed.is_empty(), "lost without need: {failed:#?}\nthe story:\n{story}\nlog:\n{log}");
        judged.len()
    }
}

fn number(name: &str) -> Option<u64> {
    let value = std::env::var(name).ok()?;
    Some(value.parse().unwrap_or_else(|_| panic!("{name}={value} is no number")))
}

#[test]
fn whatever_kills_it_and_whoever_edits_nothing_is_lost() {
    let entropy = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let seed = number("LVSENTRY_CHAOS_SEED").unwrap_or(entropy.expect("a date").subsec_nanos().into());
    let kills = number("LVSENTRY_CHAOS").unwrap_or(20);
    eprintln!("chaos: {kills} kills; LVSENTRY_CHAOS_SEED={seed} repeats them");
    let stage = Stage::new(SERVERS);
    let mut daemon = Daemon::start_as(&stage.director, "lvsentry.yaml", configuration().as_bytes(), &[]);
    stage.expect(&daemon, "all are in", &Stage::table(1..=SERVERS));
    let client = stage.asks();
    let start = Instant::now();
    let mut storm = Storm {
        stage,
        dice: Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1),
        dead: [false; SERVERS],
        foreign: BTreeMap::new(),
        marks: vec![(start, Mark::Up)],
        story: Vec::new(),
        start,
    };
    for round in 0..kills {
        if round % 2 == 0 {
            for _ in 0..=storm.dice.below(2) {
                storm.disturb();
                sleep(storm.dice.millis(700));
            }
        } else {
            // Nothing but a kill: after the harm of the last round is put right every request counts.
            sleep(START + storm.dice.millis(1000));
        }
        daemon.crash();
        storm.note("kill -9", Some(Mark::Down));
        if round % 3 == 0 {
            storm.disturb();
        }
        sleep(storm.dice.millis(500));
        daemon.rise();
        storm.note("started", None);
    }
    storm.stage.servers.iter().for_each(|server| server.set(Mode::Well));
    storm.note("all servers are well", None);
    storm.stage.expect(&daemon, "the table is exactly right", &storm.table());
    // A whole comparison later it still is.
    sleep(REPAIR);
    let (table, log) = (storm.stage.director.table(), daemon.log());
    storm.read(&log);
    assert_eq!(table, storm.table(), "{}\nlog:\n{log}", storm.story.join("\n"));
    let asked = client.end();
    let judged = storm.judge(&asked, &log);
    eprintln!("{} requests, {judged} of them without an excuse to fail", asked.len());
    // How many depends on how slowly this machine starts a program.
    assert!(judged > kills as usize * 5, "{judged} of {} requests say something", asked.len());
    // Some were killed before they could say a word.
    assert!(count(&log, "Starting lvsentry") * 2 > kills as usize, "{log}");
    assert!(!log.contains("panicked"), "{log}");
}
