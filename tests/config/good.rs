//! Files that are accepted, and what they mean to the last value.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use lvsentry::config::{Config, LogTarget, find_in, load, load_with};
use lvsentry::model::{
    ByHand, FailOpen, Fallback, Forward, OnFailure, Persistence, Plan, Policy, Protocol, Removal, Server,
    Service, ServiceKey, Settings, Watch, Weight,
};
use lvsentry::span::{Place, Source};

use super::fake::{self, FakeNames};
use super::{accept, faults};

/// The configuration that tutorials teach, by value. `lines` are those of the virtual and of its
/// two servers, `asked` is what the check says.
fn tutorial(file: &str, lines: [u32; 3], asked: &str, config: &Config) -> Plan {
    let key = ServiceKey::Address(Protocol::Tcp, "192.0.2.10:80".parse().unwrap());
    let origin = |line| Place { file: file.into(), line };
    let server = |ip: &str, line| Server {
        entry: format!("{ip}:80").parse().unwrap(),
        address: format!("{ip}:80").parse().unwrap(),
        forward: Forward::Gate,
        weight: Weight::ONE,
        upper: 0,
        lower: 0,
        watch: Watch::Probe(probe(config, &format!("{ip}:80 of tcp:192.0.2.10:80{asked}"))),
        origin: origin(line),
    };
    let service = Service {
        key,
        settings: Settings {
            scheduler: "rr".into(),
            flags: 0,
            one_packet: false,
            persistence: Some(Persistence { seconds: 600, netmask: 0xffff_ffff }),
            engine: None,
        },
        servers: vec![server("10.0.0.11", lines[1]), server("10.0.0.12", lines[2])],
        policy: Policy {
            fall: 1,
            rise: 1,
            on_failure: OnFailure::Remove,
            by_hand: ByHand::Hold,
            removal: Removal::AsFailed,
            hold: None,
            slow_start: None,
            fallbacks: vec![Fallback {
                entry: "127.0.0.1:80".parse().unwrap(),
                address: "127.0.0.1:80".parse().unwrap(),
                forward: Forward::Gate,
                watch: Watch::On,
            }],
            zero_serves: true,
            fail_open: FailOpen::No,
            clean_stop: true,
        },
        origin: origin(lines[0]),
    };
    Plan { services: BTreeMap::from([(key, Arc::new(service))]) }
}

/// The key of the inquiry whose probe has that identity, with the tutorial's times.
fn probe(config: &Config, identity: &str) -> lvsentry::model::ProbeKey {
    let mut found = config.inquiries.iter().filter(|(_, inquiry)| inquiry.probe.identity() == identity);
    let (key, inquiry) = found.next().unwrap_or_else(|| panic!("no {identity} in {:?}", config.inquiries));
    assert_eq!(inquiry.interval, Duration::from_secs(1));
    assert_eq!(inquiry.timeout, Duration::from_secs(3));
    *key
}

fn tutorial_file(name: &str, lines: [u32; 3], asked: &str) -> Vec<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/config/good").join(name);
    let source = Source::new(name, fs::read(path).unwrap());
    let loaded =
        load_with(source.clone(), &FakeNames::default(), fake::kind).unwrap_or_else(|r| panic!("{r}"));
    assert_eq!(loaded.config.plan, tutorial(name, lines, asked, &loaded.config));
    assert_eq!(loaded.config.inquiries.len(), 2);
    assert!(loaded.config.autoreload);
    assert_eq!(loaded.config.log, LogTarget::File(PathBuf::from("/var/log/ldirectord.log")));
    faults(source.text)
}

#[test]
fn the_tutorials_configuration_works_with_chinese_comments_behind_the_values() {
    let said = tutorial_file("tutorial-utf8.cf", [12, 13, 14], "");
    let expected = [
        "warning 5:15 the comment after the value of `autoreload` left out",
        "warning 9:13 the comment after the value of `quiescent` left out",
        "warning 15:35 blanks after the value of `fallback` left out",
    ];
    assert_eq!(said, expected);
}

#[test]
fn the_tutorials_configuration_works_with_cr_lf_line_ends() {
    let asked = " receive=Test Page request=index.html";
    let said = tutorial_file("tutorial-crlf.cf", [8, 9, 10], asked);
    assert_eq!(said, ["warning 1:20 lines end with CR LF, as on Windows; the CRs are left out"]);
}

#[test]
fn every_sample_that_we_ship_loads_without_a_warning() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("config");
    let paths = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let samples: Vec<PathBuf> = paths.filter(|path| path.extension().is_some_and(|e| e == "cf")).collect();
    assert!(samples.len() >= 3, "{samples:?}");
    for path in samples {
        let source = Source::new(path.to_string_lossy(), fs::read(&path).unwrap());
        let loaded = load_with(source, &FakeNames::default(), fake::kind).unwrap_or_else(|r| panic!("{r}"));
        // One has every directive, those without effect too.
        if !path.ends_with("everything.cf") {
            assert_eq!(loaded.report.to_string(), "");
        }
        assert!(!loaded.config.plan.services.is_empty());
    }
}

#[test]
fn an_empty_file_is_accepted_with_one_warning_and_every_default() {
    for text in ["", "\n\n", "# nothing\n"] {
        let config = accept(text);
        assert!(config.plan.services.is_empty() && config.inquiries.is_empty() && !config.autoreload);
        assert_eq!(config.log, LogTarget::File(PathBuf::from("/var/log/ldirectord.log")));
    }
    assert_eq!(faults(""), ["warning 0:0 no virtual services: there is nothing to do"]);
}

#[test]
fn a_file_that_can_not_be_read_is_one_error_that_names_it() {
    let report = load(Path::new("/nonexistent/x.cf"), &FakeNames::default()).unwrap_err();
    let said = report.to_string();
    assert!(said.starts_with("error: can not open file /nonexistent/x.cf: No such file"), "{said}");
    assert!(said.contains("--> /nonexistent/x.cf"), "{said}");
    let report = load(Path::new("/"), &FakeNames::default()).unwrap_err();
    assert!(report.to_string().starts_with("error: can not open file /: Is a directory"), "{report}");
}

#[test]
fn a_name_is_looked_up_in_the_folders_in_order_and_then_taken_as_a_path() {
    let root = std::env::temp_dir().join(format!("lvsentry-find-{}", std::process::id()));
    let (first, second) = (root.join("ha.d"), root.join("ha.d/conf"));
    fs::create_dir_all(second.join("web.cf")).unwrap();
    fs::write(second.join("ldirectord.cf"), "").unwrap();
    fs::write(root.join("web.cf"), "").unwrap();
    let find = |name: &str| find_in(&[&first, &second], name);

    assert_eq!(find("ldirectord.cf"), Some(second.join("ldirectord.cf")));
    fs::write(first.join("ldirectord.cf"), "").unwrap();
    assert_eq!(find("ldirectord.cf"), Some(first.join("ldirectord.cf")));
    let absolute = root.join("web.cf");
    assert_eq!(find("web.cf"), None, "a folder is no file");
    assert_eq!(find(absolute.to_str().unwrap()), Some(absolute));
    fs::remove_dir_all(root).unwrap();
}
