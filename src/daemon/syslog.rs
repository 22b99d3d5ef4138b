//! The system's log as a writer: each line becomes one datagram to `/dev/log` (RFC 3164).
//!
//! It stands behind a queue, so that it may take a moment; it never waits for long, since the
//! daemon's end waits for what is left. A syslog that went away and came back is found again.

use std::io::{self, Write};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::Duration;

use super::queue::say;

/// Where the system's log listens.
pub const SOCKET: &str = "/dev/log";

/// The priority of all lines: ldirectord knows no other.
const INFO: u8 = 6;

/// The facility that stands in for an unknown one.
const LOCAL0: u8 = 16;

/// Longest line that is sent, in bytes: the default limit of the usual receivers.
const LONGEST: usize = 8000;

/// How long a full receiver is tried again, and for how long in all for one batch of lines.
const NAP: Duration = Duration::from_millis(10);
const NAPS: u32 = 20;

/// The facilities by their names (RFC 3164 section 4.1.1), in the order of their numbers.
const FACILITIES: [&str; 12] =
    ["kern", "user", "mail", "daemon", "auth", "syslog", "lpr", "news", "uucp", "cron", "authpriv", "ftp"];

/// The number of a facility: `local0`, or `LOG_LOCAL0` as C has it.
pub fn facility(name: &str) -> Option<u8> {
    let name = name.to_ascii_lowercase();
    let name = name.strip_prefix("log_").unwrap_or(&name);
    if let Some(number) = name.strip_prefix("local") {
        let number: u8 = number.parse().ok().filter(|n| *n < 8)?;
        return Some(LOCAL0 + number);
    }
    let name = if name == "security" { "auth" } else { name };
    FACILITIES.iter().position(|known| *known == name).map(|at| at as u8)
}

/// What a line begins with: facility and priority as one number. An unknown facility becomes
/// `local0`, which is told once, on standard error.
pub fn priority(name: &str) -> u8 {
    let number = facility(name).unwrap_or_else(|| {
        say(format_args!("unknown syslog facility `{name}`: using local0"));
        LOCAL0
    });
    number << 3 | INFO
}

/// Sends lines, which bring their heads along.
pub struct Syslog {
    path: PathBuf,
    socket: Option<UnixDatagram>,
    /// Whether the last line could not be sent: told once.
    failed: bool,
    /// Lines that a full receiver did not take.
    lost: u64,
}

impl Syslog {
    /// Sends them to the socket at `path`.
    pub fn new(path: &Path) -> Syslog {
        Syslog { path: path.to_owned(), socket: None, failed: false, lost: 0 }
    }

    fn connected(&mut self) -> io::Result<&UnixDatagram> {
        match &mut self.socket {
            Some(socket) => Ok(socket),
            slot => {
                let socket = UnixDatagram::unbound()?;
                socket.set_nonblocking(true)?;
                socket.connect(&self.path)?;
                Ok(slot.insert(socket))
            }
        }
    }

    /// Sends a line, on a new connection when the old one leads nowhere.
    fn send(&mut self, line: &[u8], naps: &mut u32) -> io::Result<()> {
        let mut fresh = self.socket.is_none();
        loop {
            let result = self.connected().and_then(|socket| socket.send(line).map(drop));
            match result {
                Ok(()) => return Ok(()),
                Err(why) if why.kind() == io::ErrorKind::WouldBlock && *naps > 0 => {
                    *naps -= 1;
                    sleep(NAP);
                }
                Err(why) if why.kind() == io::ErrorKind::WouldBlock => return Err(why),
                Err(why) => {
                    self.socket = None;
                    if std::mem::replace(&mut fresh, true) {
                        return Err(why);
                    }
                }
            }
        }
    }

    fn told(&mut self, result: &io::Result<()>) {
        match result {
            Ok(()) => self.failed = false,
            Err(why) => {
                self.lost += 1;
                if !std::mem::replace(&mut self.failed, true) {
                    say(format_args!("cannot write to the system's log at {}: {why}", self.path.display()));
                }
            }
        }
    }
}

impl Write for Syslog {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut naps = NAPS;
        for line in bytes.split(|&b| b == b'\n').filter(|line| !line.is_empty()) {
            let result = self.send(short(line), &mut naps);
            self.told(&result);
            if result.is_ok() && self.lost > 0 {
                // The head of this line serves the one about its predecessors.
                let head = line.windows(2).position(|two| two == b": ").map_or(0, |at| at + 2);
                let lost = std::mem::take(&mut self.lost);
                let note = format!("({lost} lines are lost: the system's log did not take them)");
                let result = self.send(&[&line[..head], note.as_bytes()].concat(), &mut naps);
                self.told(&result);
            }
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A line cut to [`LONGEST`], between two characters.
fn short(line: &[u8]) -> &[u8] {
    if line.len() <= LONGEST {
        return line;
    }
    let is_start = |at: &usize| line[*at] & 0xc0 != 0x80;
    let end = (LONGEST - 3..=LONGEST).rev().find(is_start).unwrap_or(LONGEST);
    &line[..end]
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    /// A socket's path that is gone with the test.
    struct Place(PathBuf);

    impl Place {
        fn new(name: &str) -> Place {
            let file = format!("lvsentry-syslog-{}-{name}", std::process::id());
            Place(std::env::temp_dir().join(file))
        }

        fn listen(&self) -> UnixDatagram {
            let _ = fs::remove_file(&self.0);
            let socket = UnixDatagram::bind(&self.0).unwrap();
            socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
            socket
        }
    }

    impl Drop for Place {
        fn drop(&mut self) {
            let _ = fs::remove_file(&self.0);
        }
    }

    fn next(socket: &UnixDatagram) -> String {
        let mut buffer = vec![0; 2 * LONGEST];
        let count = socket.recv(&mut buffer).unwrap();
        String::from_utf8(buffer[..count].to_vec()).unwrap()
    }

    #[test]
    fn facilities_have_the_numbers_of_the_rfc() {
        for (name, number) in
            [("kern", 0), ("daemon", 3), ("auth", 4), ("security", 4), ("cron", 9), ("local0", 16)]
        {
            assert_eq!(facility(name), Some(number), "{name}");
        }
        assert_eq!(facility("LOG_LOCAL7"), Some(23));
        for name in ["local8", "local", "local-1", "nonsense", ""] {
            assert_eq!(facility(name), None, "{name}");
        }
        assert_eq!((priority("local0"), priority("nonsense")), (134, 134));
    }

    #[test]
    fn each_line_is_a_datagram_of_its_own() {
        let place = Place::new("lines");
        let log = place.listen();
        let mut syslog = Syslog::new(&place.0);
        syslog.write_all(b"<134>a: one\n<134>a: two\n").unwrap();
        assert_eq!([next(&log), next(&log)], ["<134>a: one", "<134>a: two"]);
        let long = format!("{}ä", "x".repeat(LONGEST - 1));
        syslog.write_all(format!("{long}\n").as_bytes()).unwrap();
        assert_eq!(next(&log), "x".repeat(LONGEST - 1));
    }

    #[test]
    fn a_log_that_comes_back_gets_lines_again_and_hears_of_the_lost_ones() {
        let place = Place::new("again");
        let mut syslog = Syslog::new(&place.0);
        syslog.write_all(b"<134>a: before\n").unwrap();
        let first = place.listen();
        syslog.write_all(b"<134>a: one\n").unwrap();
        assert_eq!(
            [next(&first), next(&first)],
            ["<134>a: one", "<134>a: (1 lines are lost: the system's log did not take them)"]
        );
        drop(first);
        let second = place.listen();
        syslog.write_all(b"<134>a: two\n").unwrap();
        assert_eq!(next(&second), "<134>a: two");
    }

    #[test]
    fn a_log_that_stands_still_holds_nobody_up_for_long() {
        let place = Place::new("still");
        let log = place.listen();
        let mut syslog = Syslog::new(&place.0);
        let lines = "<134>a: line\n".repeat(50_000);
        // Bounded by the naps of one batch: a nap for every line would take minutes.
        syslog.write_all(lines.as_bytes()).unwrap();
        assert!(syslog.lost > 0, "nothing was lost: the test asks for too little");
        assert_eq!(next(&log), "<134>a: line");
    }
}
