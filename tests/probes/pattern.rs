//! Patterns: the same answers as Perl's.

use std::io::{ErrorKind, Write};
use std::process::{Command, Stdio};

use lvsentry::probe::pattern::{Pattern, TooComplex};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;

use crate::support::skip;

/// Reads pairs of pattern and text in hexadecimal digits, writes 1, 0, or E for a pattern it refuses.
const PERL: &str = r#"
    no warnings;
    alarm 200;
    while (<STDIN>) {
        my ($pattern, $text) = map { pack 'H*', $_ } /^([^ ]*) ([^ ]*)\n/;
        my $found = length $pattern ? eval { $text =~ m/$pattern/ ? 1 : 0 } : 1;
        print defined $found ? $found : 'E';
    }
"#;

type Pair = (Vec<u8>, Vec<u8>);

/// Perl's answers; none when there is no Perl here.
fn perl(pairs: &[Pair]) -> Option<Vec<char>> {
    let perl = Command::new("perl").args(["-e", PERL]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
    let mut perl = match perl {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            skip("there is no perl to compare with");
            return None;
        }
        other => other.unwrap(),
    };
    let hex = |bytes: &[u8]| bytes.iter().map(|b| format!("{b:02x}")).collect::<String>();
    let input: String = pairs.iter().map(|(p, t)| format!("{} {}\n", hex(p), hex(t))).collect();
    let mut stdin = perl.stdin.take().unwrap();
    let writer = std::thread::spawn(move || stdin.write_all(input.as_bytes()));
    let output = perl.wait_with_output().unwrap();
    writer.join().unwrap().unwrap();
    let answers: Vec<char> = String::from_utf8(output.stdout).unwrap().chars().collect();
    assert_eq!(answers.len(), pairs.len(), "perl gave up");
    Some(answers)
}

fn ours(pattern: &[u8], text: &[u8]) -> char {
    match Pattern::perl(pattern) {
        Err(_) => 'E',
        Ok(pattern) => match pattern.matches(text) {
            Ok(true) => '1',
            Ok(false) => '0',
            Err(_) => 'T',
        },
    }
}

fn generated() -> impl Strategy<Value = Pair> {
    let atom = prop_oneof![
        12 => prop::sample::select(vec!["a", "b", "c", "A", "B", ".", "\\n", " ", "1", "_", "-", "\\xe9", "\u{e9}"]),
        4 => prop::sample::select(vec!["\\d", "\\w", "\\s", "\\W", "\\D", "\\S", "\\h", "\\v", "\\R", "\\N", "\\H", "\\V"]),
        4 => prop::sample::select(vec!["[ab]", "[^a]", "[a-c]", "[]a]", "[^]a]", "[\\w-.]", "[[:alpha:]]", "[[:^punct:]1]", "[\\x7f-\\xff]", "[a\\]b]", "[^\\n]", "[\\d-z]", "[&&a]", "[a--b]", "[[a]", "[A-Z~~]", "[\\b]"]),
        4 => prop::sample::select(vec!["^", "$", "\\b", "\\B", "\\A", "\\z", "\\Z", "(?m)", "(?i)", "(?s)", "(?x)", "(?^)", "(?-i)", "(?#c)", ""]),
        2 => prop::sample::select(vec!["\\1", "\\2", "\\g1", "\\g{-1}", "\\k<n>"]),
        1 => prop::sample::select(vec!["{", "}", "]", "{1}", "{,2}", "{a", "\\Q", "\\p{L}", "\\K", "\\G", "\\X", "(?1)", "(?R)", "\\8", "\\012", "\\cA", "\\e", "\\x{41}", "\\x41", "\\o{101}", "\\y", "\\0", "#", "\\#", "\\ "]),
    ]
    .prop_map(|s: &str| s.to_owned());
    let pattern = atom.prop_recursive(4, 24, 4, |inner| {
        let many = prop::collection::vec(inner.clone(), 1..4).prop_map(|parts| parts.concat());
        prop_oneof![
            3 => many.clone(),
            2 => prop::collection::vec(many.clone(), 2..4).prop_map(|parts| format!("(?:{})", parts.join("|"))),
            3 => (prop::sample::select(vec!["(", "(?:", "(?i:", "(?-i:", "(?=", "(?!", "(?<=", "(?<!", "(?>", "(?<n>", "(?s-i:", "(?m:", "(?x: ", "(?^i:"]), many.clone())
                .prop_map(|(open, inner)| format!("{open}{inner})")),
            3 => (many, prop::sample::select(vec!["*", "+", "?", "*?", "+?", "??", "*+", "++", "?+", "{2}", "{1,2}", "{,2}", "{2,}", "{1,2}?", "{2}+", "{ 1 , 2 }", "{,}", "{ 1}", " *", "**"]))
                .prop_map(|(inner, times)| format!("(?:{inner}){times}")),
            2 => (inner, prop::sample::select(vec!["*", "+", "?", "*?", "{2}", "++"])).prop_map(|(inner, times)| format!("{inner}{times}")),
        ]
    });
    let top = prop::collection::vec(pattern, 1..4).prop_map(|parts| parts.concat());
    let letter = prop::sample::select(b"aaabbbcABC1_- \n\r.\xe9\xc9\x85\xa0&[]{}".to_vec());
    (top, prop::collection::vec(letter, 0..20))
        .prop_map(|(pattern, text)| (pattern.chars().map(|c| c as u8).collect(), text))
}

/// Pattern, text, whether it is found. Both are Latin-1.
const FINDS: &[(&str, &str, bool)] = &[
    ("OK", "is OK now", true),
    ("OK", "ok", false),
    ("(?i)OK", "ok", true),
    ("a.c", "a\nc", false),
    ("(?s)a.c", "a\nc", true),
    ("ok$", "ok\n", true),
    ("ok$", "ok\n\n", false),
    ("ok\\Z", "ok\n", true),
    ("ok\\z", "ok\n", false),
    ("ok$\\n", "ok\n", true),
    ("(?:ok$|x)\\n", "ok\n", true),
    ("^b", "a\nb", false),
    ("(?m)^b", "a\nb", true),
    ("(?m)\\n^", "a\n", false),
    ("(?m)a$", "a\nb", true),
    ("\\Ab", "ab", false),
    ("caf\u{e9}", "caf\u{e9}", true),
    ("caf\\xe9", "caf\u{e9}", true),
    ("(?i)\u{c9}", "\u{e9}", false),
    ("(?i)[\u{e0}-\u{ff}]", "\u{c9}", false),
    ("\\w", "\u{e9}", false),
    ("\\W", "\u{e9}", true),
    ("a\\b\u{e9}", "a\u{e9}", true),
    ("[[:alpha:]]", "\u{e9}", false),
    ("[^a]", "\u{ff}", true),
    ("[\\x7f-\\x80]", "\u{80}", true),
    ("\\h", "\u{a0}", true),
    ("\\s", "\u{a0}", false),
    ("\\s", "\u{b}", true),
    ("\\v", "\u{85}", true),
    ("\\H\\V", "ab", true),
    ("^\\R$", "\r\n", true),
    ("\\R\\n", "\r\n", false),
    ("\\N", "\n", false),
    ("\\d{2,3}", "a12", true),
    ("^a{,2}$", "aaa", false),
    ("^a{ 1, 2 }$", "aa", true),
    ("a{,}", "a{,}", true),
    ("a{x", "a{x", true),
    ("{1}", "{1}", true),
    ("a]}", "a]}", true),
    ("[]a]", "]", true),
    ("[^]a]", "]", false),
    ("[[a]", "[", true),
    ("[\\w-.]", "-", true),
    ("[a-c-e]", "-", true),
    ("[a&&b]", "&", true),
    ("[a~~+--]", ",", true),
    ("[[:^digit:]x]", "5", false),
    ("[:alpha:]", "p", true),
    ("[\\b]", "\u{8}", true),
    ("[\\101]", "A", true),
    ("(?i)[[:upper:]]", "a", true),
    ("(?i)[^a]", "A", false),
    ("\\x41\\x{42}\\o{103}\\0\\cA\\e\\a\\f", "ABC\0\u{1}\u{1b}\u{7}\u{c}", true),
    ("\\012", "\n", true),
    ("\\.\\#\\ \\-", ".# -", true),
    ("(a)(b)\\2\\1", "abba", true),
    ("(a)\\g1\\g{1}\\g{-1}\\g-1", "aaaaa", true),
    ("(?<n>a)(?'m'b)(?P<o>c)\\k<n>\\k{m}\\k'o'\\g{n}(?P=m)", "abcabcab", true),
    ("(?i)(a)\\1", "aA", true),
    ("(?:(a)|b)*\\1", "aba", true),
    ("^(?:(a)|b)*\\1$", "ba", false),
    ("(a)?\\1b", "b", false),
    ("a(?=b)", "ab", true),
    ("a(?!b)", "ab", false),
    ("(?<=a)b", "ab", true),
    ("(?<=a|bc)d", "bcd", true),
    ("(?<!a|bc)d", "bcd", false),
    ("(?<!a)b", "ab", false),
    ("(?=(a))\\1b", "ab", true),
    ("(?>a+)ab", "aaab", false),
    ("a++b", "aab", true),
    ("a*+a", "aaa", false),
    ("(?s)^(?=.*x)(?=.*y)(?!.*z)", "a\ny\nx", true),
    ("(a|ab)(c|bcd)(d*)$", "abcd", true),
    ("(?:a|b)*?c", "abac", true),
    ("(?x) a b # comment\n c", "abc", true),
    ("(?x) a\\ b [ ]", "a b ", true),
    ("a(?#comment)+b", "aab", true),
    ("(?i)a(?-i)b", "AB", false),
    ("(?i:a)b", "Ab", true),
    ("(?i)a(?^)b", "Ab", true),
    ("(a(?i)b)c", "aBC", false),
    ("a(?i)b|c", "C", true),
    ("(?n)(a)(?<x>b)\\1", "abb", true),
    ("(?m-s:^b.)", "a\nb\n", false),
    ("a||b", "c", true),
    ("(|a)b", "b", true),
    ("()", "", true),
    ("(?:a*)*b", "aab", true),
    ("(?:a?)+?$", "aa", true),
    ("a{0}b", "b", true),
    ("", "anything", true),
];

#[test]
fn patterns_find_what_they_should_and_perl_agrees() {
    let latin = |text: &str| text.chars().map(|c| u8::try_from(c).unwrap()).collect::<Vec<u8>>();
    let pairs: Vec<Pair> = FINDS.iter().map(|(pattern, text, _)| (latin(pattern), latin(text))).collect();
    let wanted: Vec<char> = FINDS.iter().map(|(_, _, found)| if *found { '1' } else { '0' }).collect();
    for ((pattern, text), wanted) in pairs.iter().zip(&wanted) {
        assert_eq!(ours(pattern, text), *wanted, "m/{}/ on {text:?}", pattern.escape_ascii());
    }
    if let Some(perl) = perl(&pairs) {
        let differ: Vec<_> =
            FINDS.iter().zip(perl.iter().zip(&wanted)).filter(|(_, (a, b))| a != b).collect();
        assert!(differ.is_empty(), "perl: {differ:?}");
    }
}

#[test]
fn what_is_not_carried_over_is_refused_where_it_stands() {
    for (pattern, offset, length, message) in [
        ("a(b", 1, 1, "unmatched `(`"),
        ("ab)", 2, 1, "unmatched `)`"),
        ("a[b", 1, 1, "unmatched `[`"),
        ("a\\", 1, 1, "backslash at the end"),
        ("(?#a", 0, 3, "comment without end"),
        ("a|*", 2, 1, "quantifier follows nothing"),
        ("a**", 1, 2, "nested quantifiers"),
        ("a{3,2}", 1, 5, "this can never match: the least is more than the most"),
        ("a{65535}", 1, 7, "this count is too large"),
        ("\\b+", 2, 1, "quantifier behind what takes no byte"),
        ("x\\d{", 3, 1, "unescaped `{`"),
        ("x\\pL", 1, 2, "`\\p` is not supported"),
        ("\\Qa\\E", 0, 2, "`\\Q` is not supported"),
        ("a\\Kb", 1, 2, "`\\K` is not supported"),
        ("\\Ga", 0, 2, "`\\G` is not supported"),
        ("\\X", 0, 2, "`\\X` is not supported"),
        ("\\N{U+41}", 0, 3, "characters by name, `\\N{…}`, are not supported"),
        ("\\b{wb}", 0, 3, "boundaries by name, `\\b{…}`, are not supported"),
        ("\\x{100}", 0, 7, "invalid number of a byte"),
        ("\\x", 0, 2, "`\\x` without a number"),
        ("\\c", 0, 2, "invalid control character"),
        ("(a)\\2", 3, 2, "no such group ends before this reference"),
        ("(a\\1)", 2, 2, "no such group ends before this reference"),
        ("(a)\\10", 3, 3, "group or octal number?"),
        ("(?!(a))\\1", 7, 2, "no such group ends before this reference"),
        ("\\k<n>", 0, 5, "no such group ends before this reference"),
        ("(?<1>a)", 0, 4, "invalid group name"),
        ("(?<n>a)(?<n>b)", 7, 5, "two groups of the same name are not supported"),
        ("a(?R)", 1, 3, "this kind of group is not supported"),
        ("(a)(?1)", 3, 3, "this kind of group is not supported"),
        ("(?(1)a)", 0, 3, "this kind of group is not supported"),
        ("(?{ exit })", 0, 3, "this kind of group is not supported"),
        ("(??{ exit })", 0, 3, "this kind of group is not supported"),
        ("(?|a|b)", 0, 3, "this kind of group is not supported"),
        ("(?u)a", 0, 3, "this kind of group is not supported"),
        ("(?xx)a", 0, 3, "this kind of group is not supported"),
        ("(?", 0, 2, "incomplete `(?`"),
        ("(*FAIL)", 0, 2, "verbs and other `(*…)` are not supported"),
        ("(?<=a+)b", 0, 7, "look-behind of variable length is not supported"),
        (
            "(?<=\\R)b",
            0,
            7,
            "atomic groups, possessive quantifiers and `\\R` in a look-behind are not supported",
        ),
        ("(?=a*)b", 0, 6, "this look-around asks for nothing"),
        ("[z-a]", 1, 3, "invalid range in a class"),
        ("[[:foo:]]", 1, 2, "unknown class of POSIX"),
        ("[[=a=]]", 1, 2, "unknown class of POSIX"),
        ("[\\R]", 1, 2, "`\\R` has no meaning in a class"),
        ("[\\y]", 1, 2, "`\\y` has no meaning in a class"),
    ] {
        let fault = Pattern::perl(pattern.as_bytes()).unwrap_err();
        assert_eq!(
            (fault.offset, fault.length, fault.message.as_str()),
            (offset, length, message),
            "{pattern}"
        );
        assert!(!fault.help.is_empty());
    }
}

#[test]
fn large_patterns_are_refused() {
    for pattern in
        ["a".repeat(5000), "(".repeat(100), "(?:(?:a{99}){99}){99}".to_owned(), "((a)\\2){9999}".to_owned()]
    {
        assert!(Pattern::perl(pattern.as_bytes()).is_err());
    }
}

#[test]
fn a_search_ends_however_bad_pattern_and_text_are() {
    let mib = 1 << 20;
    let texts = [vec![b'a'; mib], b"ab".repeat(mib / 2), b"aaaaaaaa aaaa\n".repeat(mib / 14)];
    for pattern in [
        "(?>a+)c",
        "a++c",
        "(a*)*\\1c",
        "(a+)+\\1c",
        "(?s)(.*)(.*)\\1\\2c",
        "(?s)a(?!.*c)d",
        "(?:(a)|b)*\\1c",
        "(a|aa)+c",
        "(?:a*)*c",
        "[ab]*a[ab]{300}c",
        "(?s)(?=(.+))\\1c",
        "(?:(?=a)a)*c",
        "((a?){30}a{30})\\1c",
    ] {
        let pattern = Pattern::perl(pattern.as_bytes()).unwrap();
        for text in &texts {
            // None of them is found; that it ends is what is tested.
            assert_ne!(pattern.matches(text), Ok(true), "{pattern:?}");
        }
    }
}

#[test]
fn a_text_without_end_of_work_is_told_from_one_that_does_not_match() {
    let pattern = Pattern::perl(b"(a+)+\\1b").unwrap();
    assert_eq!(pattern.matches(b"aaab"), Ok(true));
    assert_eq!(pattern.matches(b"aaac"), Ok(false));
    assert_eq!(pattern.matches(&[b'a'; 5000]), Err(TooComplex));
}

#[test]
fn generated_patterns_find_what_perl_finds() {
    // `PATTERNS=300000` asks for more, and for others at each run.
    let asked = std::env::var("PATTERNS").ok().and_then(|count| count.parse().ok());
    let mut runner = if asked.is_some() { TestRunner::default() } else { TestRunner::deterministic() };
    let count = asked.unwrap_or(4000);
    let strategy = generated();
    let pairs: Vec<Pair> = (0..count).map(|_| strategy.new_tree(&mut runner).unwrap().current()).collect();
    let Some(perl) = perl(&pairs) else { return };
    let mut wrong = Vec::new();
    let (mut same, mut refused) = (0, 0);
    for ((pattern, text), perl) in pairs.iter().zip(perl) {
        match ours(pattern, text) {
            'E' => refused += 1,
            ours if ours == perl => same += 1,
            ours => wrong.push(format!(
                "m/{}/ on \"{}\": perl {perl}, ours {ours}",
                pattern.escape_ascii(),
                text.escape_ascii()
            )),
        }
    }
    wrong.sort_by_key(|line| line.len());
    wrong.truncate(40);
    assert!(wrong.is_empty(), "same {same}, refused {refused}\n{}", wrong.join("\n"));
    assert!(same > count / 3, "only {same} of {count} patterns were compared");
}
