//! `convert` of every `ldirectord.cf` that is accepted gives YAML that means the very same.

use std::collections::BTreeMap;
use std::fs;
use std::sync::Arc;

use lvsentry::config::diagnostic::Faults;
use lvsentry::config::{self, Config, Loaded, Names, load_with};
use lvsentry::convert;
use lvsentry::model::Service;
use lvsentry::probe;
use lvsentry::span::{Place, Source};

use super::{files, root};
use crate::config::fake::FakeNames;
use crate::oracle::{self, Case, Hosts};
use crate::support::probe::said;
use crate::support::skip;

/// The YAML of a text, and what the text is accepted as.
fn convert(name: &str, text: &[u8], names: &dyn Names) -> Option<(String, Loaded)> {
    let source = Source::new(name, text);
    let loaded = load_with(source.clone(), names, probe::kind).ok()?;
    let draft = config::draft(&source, names, probe::kind, &mut Faults::default());
    let forgiving = loaded.report.mistakes().next().is_some();
    Some((convert::yaml(&source, &draft, forgiving), loaded))
}

/// All of a configuration as text, without the places, which differ.
pub(crate) fn shown(config: &Config) -> String {
    let nowhere = Place { file: "".into(), line: 0 };
    let service = |service: &Arc<Service>| {
        let mut service = Service::clone(service);
        service.origin = nowhere.clone();
        service.servers.iter_mut().for_each(|server| server.origin = nowhere.clone());
        format!("{service:#?}")
    };
    let services: BTreeMap<_, _> = config.plan.services.iter().map(|(key, s)| (key, service(s))).collect();
    let inquiries: Vec<_> = config
        .inquiries
        .iter()
        .map(|(key, inquiry)| (said(config, key), inquiry.interval, inquiry.timeout))
        .collect();
    let mut text = String::new();
    services.values().for_each(|service| text.push_str(service));
    text.push_str(&format!("{inquiries:#?}\n{:#?}\n", config.extras));
    let Config { autoreload, log, callback, execute, maintenance, .. } = config;
    text.push_str(&format!("{autoreload} {log:?} {callback:?} {execute:?} {maintenance:?}\n"));
    text
}

/// Says whether the file was accepted, and fails when its YAML means something else.
fn check(name: &str, text: &[u8], names: &dyn Names) -> bool {
    let Some((yaml, old)) = convert(name, text, names) else { return false };
    let source = Source::new(format!("{name}.yaml"), yaml.as_bytes());
    let new = match load_with(source, names, probe::kind) {
        Ok(loaded) => loaded,
        Err(report) => panic!("{name}: its YAML is refused\n{report}\n{yaml}"),
    };
    let (old, new) = (shown(&old.config), shown(&new.config));
    if old != new {
        let differ = old.lines().zip(new.lines()).filter(|(a, b)| a != b).take(5).collect::<Vec<_>>();
        panic!("{name}: its YAML means something else, first {differ:#?}\n{yaml}");
    }
    true
}

#[test]
fn files_of_our_own_mean_the_same_in_yaml() {
    let names = FakeNames::default();
    let all = |folder: &str| {
        let files = files(&root().join(folder), "cf");
        let accepted =
            files.iter().filter(|path| check(&path.to_string_lossy(), &fs::read(path).unwrap(), &names));
        (accepted.count(), files.len())
    };
    for folder in ["config", "tests/config/good"] {
        let (accepted, files) = all(folder);
        assert!(accepted == files && files >= 2, "{folder}: {accepted} of {files}");
    }
    all("tests/config/bad");
}

#[test]
fn what_ldirectord_accepts_means_the_same_in_yaml() {
    check_cases(oracle::own());
}

#[test]
fn what_ldirectord_accepts_of_what_people_use_means_the_same_in_yaml() {
    match oracle::corpus() {
        Some(cases) => check_cases(cases),
        None => skip("no corpus beside the repository; LVSENTRY_CORPUS=FOLDER names one"),
    }
}

fn check_cases(cases: Vec<Case>) {
    let names = Hosts::new();
    for case in cases {
        let same = check(&case.name, &fs::read(&case.path).unwrap(), &names);
        assert!(same || case.answer("down").refused(), "{}: ldirectord accepts it", case.name);
    }
}
