//! The list of kinds.

use std::collections::BTreeSet;

use lvsentry::model::{Protocol, ServiceKey};
use lvsentry::probe::{Check, KINDS, Target, kind};

use crate::support::probe::{make, probe, target, udp_target};

#[test]
fn names_are_unique_and_found() {
    let names: BTreeSet<_> = KINDS.iter().map(|kind| kind.name).collect();
    assert_eq!(names.len(), KINDS.len());
    assert!(KINDS.iter().all(|known| kind(known.name).is_some_and(|found| std::ptr::eq(found, *known))));
    assert!(kind("telepathy").is_none());
}

#[test]
fn every_kind_has_a_line_of_words_and_makes_a_check_without_options() {
    let target = target("127.0.0.1:80".parse().unwrap());
    for kind in KINDS {
        assert!(!kind.doc.is_empty() && !kind.doc.contains('\n'), "{}", kind.name);
        assert!(make(kind.name, &target, &[]).is_ok(), "{}", kind.name);
    }
}

#[test]
fn the_standard_ports_are_those_of_the_protocols() {
    for (name, port) in [
        ("ftp", Some(21)),
        ("http", Some(80)),
        ("https", Some(443)),
        ("imap", Some(143)),
        ("imaps", Some(993)),
        ("mysql", Some(3306)),
        ("nntp", Some(119)),
        ("pgsql", Some(5432)),
        ("pop", Some(110)),
        ("pops", Some(995)),
        ("simpletcp", Some(0)),
        ("sip", Some(5060)),
        ("smtp", Some(25)),
        ("submission", Some(587)),
        ("connect", None),
        ("ping", None),
    ] {
        assert_eq!(kind(name).unwrap().port, port, "{name}");
    }
}

#[test]
fn on_and_off_ask_nothing() {
    let target = target("127.0.0.1:80".parse().unwrap());
    assert!(matches!(make("on", &target, &[]), Ok(Check::On)));
    assert!(matches!(make("off", &target, &[]), Ok(Check::Off)));
}

#[test]
fn identities_tell_different_questions_apart() {
    let one = target("127.0.0.1:80".parse().unwrap());
    let other = target("127.0.0.1:81".parse().unwrap());
    let mut all = vec![
        probe("connect", &one, &[]),
        probe("connect", &other, &[]),
        probe("ping", &one, &[]),
        probe("ping", &one, &[("checkcount", "2")]),
        probe("external", &one, &[("checkcommand", "/bin/a")]),
        probe("external", &one, &[("checkcommand", "/bin/b")]),
        probe("external", &other, &[("checkcommand", "/bin/a")]),
    ];
    for kind in ["http", "https"] {
        for options in [
            &[][..],
            &[("request", "a")],
            &[("receive", "a")],
            &[("virtualhost", "a")],
            &[("virtualhost", "a\" None \"")],
            &[("httpmethod", "HEAD")],
            &[("request", "a"), ("receive", "b")],
            &[("request", "b"), ("receive", "a")],
        ] {
            all.push(probe(kind, &one, options));
        }
    }
    // Who asks is a part of the question, the password too.
    for kind in ["pop", "pops", "imap", "imaps", "ftp"] {
        for options in [
            &[][..],
            &[("login", "a")],
            &[("login", "b")],
            &[("login", "a"), ("passwd", "b")],
            &[("login", "a"), ("passwd", "c")],
            &[("login", "a\" b")],
        ] {
            all.push(probe(kind, &one, options));
        }
    }
    for kind in ["pops", "imaps"] {
        all.push(probe(kind, &one, &[("virtualhost", "a")]));
        all.push(probe(kind, &one, &[("verify", "name")]));
        all.push(probe(kind, &one, &[("verify", "nothing")]));
    }
    let udp = ServiceKey::Address(Protocol::Udp, "192.0.2.10:80".parse().unwrap());
    for target in [&one, &other, &Target { service: udp, ..one }] {
        all.push(probe("simpletcp", target, &[]));
        all.push(probe("simpletcp", target, &[("request", "a"), ("receive", "b")]));
        all.push(probe("simpletcp", target, &[("request", "a\" \"b")]));
        all.push(probe("sip", target, &[]));
        all.push(probe("sip", target, &[("login", "a")]));
    }
    for kind in ["mysql", "pgsql"] {
        for name in ["login", "passwd", "database", "request", "virtualhost"] {
            all.push(probe(kind, &one, &[(name, "a\" b")]));
        }
        all.push(probe(kind, &one, &[("login", "a"), ("passwd", "b")]));
        all.push(probe(kind, &other, &[("login", "a"), ("passwd", "b")]));
        all.push(probe(kind, &one, &[("login", "a"), ("passwd", "b"), ("verify", "chain")]));
    }
    for target in [&one, &other] {
        all.push(probe("smtp", target, &[]));
        all.push(probe("nntp", target, &[]));
    }
    all.push(probe("ftp", &one, &[("request", "a")]));
    all.push(probe("ftp", &one, &[("receive", "a")]));
    for (kind, names) in [
        ("dns", &["request", "receive"][..]),
        ("ldap", &["request", "receive"]),
        ("ldaps", &["request", "receive", "virtualhost"]),
        ("http_proxy", &["request", "receive"]),
    ] {
        all.push(probe(kind, &one, &[]));
        all.push(probe(kind, &other, &[]));
        all.extend(names.iter().map(|name| probe(kind, &one, &[(name, "a")])));
    }
    all.push(probe("dns", &udp_target(one.check), &[]));
    all.push(probe("dns", &one, &[("record", "aaaa")]));
    all.push(probe("ldaps", &one, &[("verify", "chain")]));
    all.push(probe("http_proxy", &one, &[("verify", "nothing")]));
    all.push(probe("http_proxy", &one, &[("httpmethod", "HEAD")]));
    all.push(probe("external-perl", &one, &[("checkcommand", "/bin/a")]));
    // Who asks is a part of the question.
    let base = [("login", "a"), ("passwd", "b"), ("secret", "c"), ("database", "d"), ("request", "e")];
    for (kind, names) in [
        ("radius", &["login", "passwd", "secret"][..]),
        ("ldap", &["login", "passwd"]),
        ("oracle", &["login", "passwd", "database", "request"]),
    ] {
        let options = |changed: &str| {
            let taken = base.iter().filter(|(name, _)| names.contains(name));
            taken.map(|&(name, text)| (name, if name == changed { "x" } else { text })).collect::<Vec<_>>()
        };
        all.push(probe(kind, &one, &options("")));
        all.extend(names.iter().map(|name| probe(kind, &one, &options(name))));
    }
    let identities: BTreeSet<_> = all.iter().map(|probe| probe.identity()).collect();
    assert_eq!(identities.len(), all.len(), "{identities:#?}");
}

#[test]
fn equal_questions_have_equal_identities() {
    let one = target("127.0.0.1:80".parse().unwrap());
    for (kind, options) in [
        ("http", &[("request", "a"), ("receive", "b"), ("virtualhost", "c")][..]),
        ("external", &[("checkcommand", "/bin/a")]),
        ("connect", &[]),
        ("imaps", &[("login", "a"), ("passwd", "b"), ("virtualhost", "c")]),
        ("ftp", &[("login", "a"), ("passwd", "b"), ("request", "/c"), ("receive", "d")]),
    ] {
        assert_eq!(probe(kind, &one, options).identity(), probe(kind, &one, options).identity());
    }
}

#[test]
fn every_kind_that_talks_to_a_server_says_to_which() {
    let at = target("127.0.0.9:80".parse().unwrap());
    let scripts = ["external", "external-perl", "oracle", "on", "off"];
    for kind in KINDS {
        for at in [at, udp_target(at.check)] {
            // Some are for one protocol only.
            let account = [("login", "lvs"), ("secret", "a secret")];
            let options = if kind.name == "radius" { &account[..] } else { &[] };
            let Ok(Check::Ask(probe)) = make(kind.name, &at, options) else { continue };
            let peer = probe.peer();
            assert_eq!(peer.is_none(), scripts.contains(&kind.name), "{}", kind.name);
            assert!(peer.is_none_or(|peer| peer == at.check.ip()), "{}", kind.name);
        }
    }
}
