//! What holds for any bytes.

use proptest::prelude::*;

use super::load;

/// Lines as people write them, good and bad.
const LINES: &[&str] = &[
    "checktimeout=3",
    "checkinterval = 5 # often",
    "quiescent=yes",
    "autoreload=no\r",
    "fallback=127.0.0.1:80 gate",
    "fork=yes",
    "logfile=\"/var/log/x\" # \"y\"",
    "supervised",
    "virtual=192.0.2.1:80",
    "virtual=192.0.2.1:80",
    "virtual=7",
    "virtual6=[2001:db8::1]:443",
    "    real=10.0.0.1->10.0.0.4:80 gate 5 \"a\", \"b#\"",
    "\treal=10.0.0.1 masq -w 5 l:1 u:2",
    "    real6=[2001:db8::2]:443 ipip",
    "    service=https",
    "\tchecktype=external # x",
    "    checktype=connect",
    "\trequest=\"index.html\"",
    "    receive=\"[a-z]+\"",
    "    virtualhost=www.example.com",
    "    persistent=600",
    "    netmask=255.255.255.0",
    "    schedflags=sh-port,flag-3",
    "\tscheduler=wrr",
    "     ",
    "",
    "# comment",
    "   # comment",
    "[section]",
];

/// Lines of the kind above with some of their bytes changed, cut or doubled.
fn mutated() -> impl Strategy<Value = Vec<u8>> {
    let line = prop::sample::select(LINES).prop_map(|line| line.as_bytes().to_vec());
    let edit = (any::<prop::sample::Index>(), any::<u8>(), 0u8..4);
    let text = (prop::collection::vec(line, 0..40), prop::collection::vec(edit, 0..12));
    text.prop_map(|(lines, edits)| {
        let mut bytes = lines.join(&b'\n');
        for (index, byte, how) in edits {
            if bytes.is_empty() {
                break;
            }
            let at = index.index(bytes.len());
            match how {
                0 => bytes[at] = byte,
                1 => bytes.insert(at, byte),
                2 => drop(bytes.remove(at)),
                _ => bytes.extend_from_within(at..(at + 20).min(bytes.len())),
            }
        }
        bytes
    })
}

/// Loads and prints; the outcome as a text that shows all of it.
fn outcome(bytes: &[u8]) -> String {
    match load(bytes) {
        Ok(loaded) => {
            let keys: Vec<_> = loaded.config.inquiries.keys().collect();
            format!("{:?} {keys:?} {}", loaded.config, loaded.report)
        }
        Err(report) => format!("{report} {}", report.render(true)),
    }
}

proptest! {
    #[test]
    fn no_bytes_panic_the_loader(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        outcome(&bytes);
    }

    #[test]
    fn no_mutated_configuration_panics_and_each_loads_the_same_twice(bytes in mutated()) {
        prop_assert_eq!(outcome(&bytes), outcome(&bytes));
    }

    #[test]
    fn every_fault_points_into_the_file_and_prints_on_one_line(bytes in mutated()) {
        let report = match load(&bytes) {
            Ok(loaded) => loaded.report,
            Err(report) => report,
        };
        let printed = report.to_string();
        for fault in &report.faults {
            prop_assert!(!fault.message.is_empty());
            prop_assert!(!fault.message.contains(['\n', '\r', '\u{1b}']), "{:?}", fault);
            if let Some(span) = &fault.span {
                prop_assert!(span.start <= span.end && span.end <= bytes.len(), "{:?}", fault);
                let (line, column) = report.source.position(span.start);
                let place = format!("--> test.cf:{line}:{column}\n");
                prop_assert!(printed.contains(&place), "{} in {}", place, printed);
            }
        }
    }
}
