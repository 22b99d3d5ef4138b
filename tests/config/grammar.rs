//! Any text that ldirectord's grammar can be made of parses, or is refused with a place; nothing panics.
//!
//! `LVSENTRY_FUZZ=1000000 cargo test --test main grammar` tries so many texts instead of some thousand.

use proptest::prelude::*;
use proptest::sample::select;

use lvsentry::config::keys::{KEYS, Key, Value};
use lvsentry::span::Severity;

use super::load;

const INDENTS: &[&str] =
    &["", " ", "   ", "    ", "    ", "    ", "\t", "\t", " \t", "\t\t", "        ", "\u{a0}   "];
const EQUALS: &[&str] = &["=", "=", "=", "=", " = ", "\t=\t", "==", "", " ", ":", "=\""];
const ENDS: &[&str] =
    &["", "", "", "", " ", "\t", "  # why", " #", "#x", "\r", " \r", " ; x", "\"", "\0", "\u{2028}"];
const NUMBERS: &[&str] = &[
    "5",
    "5",
    "1",
    "0",
    "65535",
    "65536",
    "-1",
    "4294967296",
    "99999999999999999999999",
    "x5",
    "5x",
    "007",
    "",
];
const HOSTS: &[&str] = &[
    "10.0.0.1",
    "10.0.0.2",
    "192.0.2.1",
    "web1",
    "web1->web3",
    "10.0.0.1->10.0.0.9",
    "10.0.0.9->10.0.0.1",
    "10.0.0.254 -> 10.0.1.2",
    "1.0.0.0->200.0.0.0",
    "10.0.0.1->nobody",
    "->",
    "[2001:db8::1]",
    "[2001:db8::1]->[2001:db8::9]",
    "[2001:db8::1",
    "2001:db8::1",
    "[]",
    "nobody.example",
    "web_1",
    "010.0.0.1",
    "10.1",
    "0x7f000001",
    "1.2.3.4.5",
    "256.1.1.1",
    "7",
    "0",
    "12abc",
    "99999999999999999999",
    ",,10.0.0.3",
    "",
];
const PORTS: &[&str] =
    &[":80", ":80", "", ":http", ":domain", ":0", ":443", ":3306", ":65536", ":nosuch", "::80", ":080", ":"];
const METHODS: &[&str] =
    &[" gate", " masq", " ipip", " masq", "", " nat", " Gate", " masq,", "\tgate", " gate "];
const WEIGHTS: &[&str] =
    &["", "", " 1", " 0", " 65535", " 4294967296", " -w 5", " -1", " 5 foo", " foo 5", " w=7"];
const ASKS: &[&str] = &[
    "",
    "",
    " \"a\", \"b\"",
    " \"a\" \"b\"",
    " \"a\",\"\"",
    " \"a 7\", \"b\"",
    " \"a#\", \"b#\"",
    " \"a\"",
    " \"http://[::1]:99999/\", \"(\"",
    " \"a \"b\" c\", \"d\"",
    " \"",
];
const LIMITS: &[&str] = &["", "", "", " l:1 u:2", " u:2 l:1", " l:9 u:2", " u:99999999999", " l:x", " l:"];
const TEXTS: &[&str] = &[
    "\"index.html\"",
    "\"index.html\"",
    "\"\"",
    "",
    "bare",
    "\"a\"b\"",
    "\"open",
    "close\"",
    "\"a#b\" # c",
    "'single'",
    "“round”",
    "\"(\"",
    "\"[a-z]+(?<=x)(y)\\1(?i)z{2,}\"",
    "\"((((((((((a*)*)*)*)*)*)*)*)*)*\"",
    "\"\\\"",
    "\"http://example.com:0/\"",
    "\"/var/log/x\"",
    "\"local0\"",
    "/bin/true with arguments",
    "\"%s%n\u{1b}[31m\"",
    "é\u{202e}",
    "a@example.com, b@example.com",
];
const WORDS: &[&str] = &[
    "yes",
    "no",
    "Yes",
    "tcp",
    "udp",
    "fwm",
    "sctp",
    "wrr",
    "sh",
    "WRR",
    "sh-port,sh-fallback",
    "flag-1",
    "flag-9",
    "255.255.255.0",
    "999.1.1.1",
    "255.0.255.0",
    "64",
    "129",
    "24",
    "connect",
    "negotiate",
    "external",
    "external-perl",
    "on",
    "off",
    "ping",
    "external2",
    "3",
    "http",
    "https",
    "imap",
    "dns",
    "mysql",
    "ldap",
    "radius",
    "sip",
    "none",
    "telnet",
    "GET",
    "head",
    "all",
    "none,running",
    "starting , stopping",
    "soon",
    "mail.example.com",
];
const NOISE: &[&str] = &[
    "",
    "",
    "    ",
    "     ",
    "\t\t",
    "# comment",
    "     # comment",
    "supervised",
    "    supervised",
    "[section]",
    "include=x",
    "\u{feff}",
    "virtual",
    "=",
    "    =",
    "    real",
    "\u{85}",
    "//",
    "\\",
];

/// A server or a service as people write them, and as they should not.
fn address() -> impl Strategy<Value = String> {
    let parts =
        (select(HOSTS), select(PORTS), select(METHODS), select(WEIGHTS), select(ASKS), select(LIMITS));
    parts.prop_map(|(host, port, method, weight, asks, limits)| {
        format!("{host}{port}{method}{weight}{asks}{limits}")
    })
}

/// A value, most often one that a directive can have.
fn value(key: &'static Key) -> BoxedStrategy<String> {
    let one_of = |list: &'static [&'static str]| select(list).prop_map(str::to_owned);
    let own = match key.value {
        Value::Number(..) => one_of(NUMBERS).boxed(),
        Value::YesNo => one_of(&WORDS[..3]).boxed(),
        Value::Quoted | Value::Text => one_of(TEXTS).boxed(),
        Value::OneOf(words) => one_of(words).boxed(),
        Value::Like(_)
            if key.name.starts_with("real") || key.name.starts_with("fallback") || key.is_head() =>
        {
            address().boxed()
        }
        Value::Like(_) => one_of(WORDS).boxed(),
    };
    let any = prop_oneof![one_of(NUMBERS), one_of(TEXTS), one_of(WORDS), address()];
    prop_oneof![6 => own, 1 => any, 1 => Just(example(key))].boxed()
}

/// A value that is good.
fn example(key: &'static Key) -> String {
    match key.value {
        Value::Like(example) => example.to_owned(),
        Value::OneOf(words) => words[0].to_owned(),
        Value::Number(low, _) => low.to_string(),
        Value::YesNo => "yes".to_owned(),
        Value::Quoted | Value::Text => "\"x\"".to_owned(),
    }
}

/// A line with a directive, most often where it may stand.
fn directive(options: bool) -> impl Strategy<Value = String> {
    let may: Vec<&'static Key> =
        KEYS.iter().filter(|key| if options { key.is_option() } else { key.is_global() }).collect();
    let key = prop_oneof![12 => select(may), 1 => select(KEYS.iter().collect::<Vec<_>>())];
    let right = if options { "    " } else { "" };
    let indent = prop_oneof![8 => Just(right), 1 => select(INDENTS)];
    let equals = prop_oneof![6 => Just("="), 1 => select(EQUALS)];
    let end = prop_oneof![6 => Just(""), 1 => select(ENDS)];
    key.prop_flat_map(move |key| {
        (indent.clone(), equals.clone(), value(key), end.clone())
            .prop_map(move |(indent, equals, value, end)| format!("{indent}{}{equals}{value}{end}", key.name))
    })
}

fn block() -> impl Strategy<Value = Vec<String>> {
    let head = prop_oneof![
        6 => Just("virtual=192.0.2.1:80".to_owned()),
        2 => Just("virtual=192.0.2.2:443".to_owned()),
        1 => Just("virtual=7".to_owned()),
        2 => Just("virtual6=[2001:db8::1]:80".to_owned()),
        3 => (select(&["virtual", "virtual6"][..]), address()).prop_map(|(name, at)| format!("{name}={at}")),
    ];
    (head, prop::collection::vec(line(true), 0..10)).prop_map(|(head, mut lines)| {
        lines.insert(0, head);
        lines
    })
}

fn line(options: bool) -> impl Strategy<Value = String> {
    prop_oneof![14 => directive(options), 1 => select(NOISE).prop_map(str::to_owned)]
}

fn text() -> impl Strategy<Value = String> {
    let globals = prop::collection::vec(line(false), 0..6);
    let blocks = prop::collection::vec(block(), 0..4);
    let line_end = prop_oneof![6 => Just("\n"), 1 => Just("\r\n")];
    (globals, blocks, line_end, any::<bool>()).prop_map(|(globals, blocks, line_end, ended)| {
        let lines: Vec<String> = globals.into_iter().chain(blocks.into_iter().flatten()).collect();
        let mut text = lines.join(line_end);
        if ended {
            text.push_str(line_end);
        }
        text
    })
}

fn cases() -> u32 {
    std::env::var("LVSENTRY_FUZZ").ok().and_then(|cases| cases.parse().ok()).unwrap_or(3000)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(), failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_text_of_the_grammar_loads_or_is_refused_with_a_place(text in text()) {
        let (refused, report) = match load(&text) {
            Ok(loaded) => (false, loaded.report),
            Err(report) => (true, report),
        };
        prop_assert_eq!(refused, report.faults.iter().any(|fault| fault.severity == Severity::Error));
        let printed = report.to_string();
        for fault in &report.faults {
            prop_assert!(!fault.message.is_empty() && !fault.message.contains(['\n', '\r', '\u{1b}']), "{:?}", fault);
            // Only the lack of services has no place.
            prop_assert!(fault.span.is_some() || fault.severity <= Severity::Warning, "{:?}", fault);
            if let Some(span) = &fault.span {
                prop_assert!(span.start <= span.end && span.end <= text.len(), "{:?}", fault);
                let (line, column) = report.source.position(span.start);
                let place = format!("--> test.cf:{line}:{column}\n");
                prop_assert!(printed.contains(&place), "{} in {}", place, printed);
            }
        }
    }
}
