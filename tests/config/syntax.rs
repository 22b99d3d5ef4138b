//! Lines, blocks, comments and the kinds of value.

use std::time::{Duration, Instant};

use lvsentry::config::LogTarget;
use lvsentry::config::keys::{KEYS, Support};
use lvsentry::model::Watch;

use super::{accept, asked, faults, load, service, times, with};

#[test]
fn a_global_needs_no_empty_line_before_it_and_ends_the_block() {
    let config = accept(
        "virtual=192.0.2.1:80\n\treal=10.0.0.1:80 gate\nautoreload=yes\nvirtual=192.0.2.2:80\n\treal=10.0.0.1:80 gate\n",
    );
    assert!(config.autoreload);
    assert_eq!(config.plan.services.len(), 2);
}

#[test]
fn comments_and_blanks_behind_values_do_what_they_do_in_ldirectord_or_are_told() {
    let quiet = [
        "checktimeout=3 # comment 5",
        "checktimeout=3   ",
        "logfile=\"/var/log/x\" # \"comment\"",
        "autoreload=yes",
        "    quiescent=yes#comment",
        "    checktype=connect # comment",
        "    checktype=connect   ",
        "    request=\"a#b\" # comment \"quoted\"",
        "    request=\"a#b\"",
        "    virtualhost=www.example.com # comment",
    ];
    let told = [
        "autoreload=yes ",
        "autoreload=yes # x",
        "    quiescent=yes # x",
        "    quiescent=yes ",
        "fallback=127.0.0.1:80 gate # x",
    ];
    let text = |line: &str| match line.starts_with(' ') {
        true => with("checktype=connect").trim_end().to_owned() + "\n" + line,
        false => line.to_owned() + "\n" + &with("checktype=connect"),
    };
    let warnings = |line| {
        faults(text(line))
            .into_iter()
            .filter(|f| !f.contains("has no effect") && !f.contains("again"))
            .collect()
    };
    for line in quiet {
        let said: Vec<String> = warnings(line);
        assert!(said.is_empty(), "{line}: {said:?}");
    }
    for line in told {
        let said: Vec<String> = warnings(line);
        assert!(
            said.len() == 1 && said[0].starts_with("warning") && said[0].ends_with("left out"),
            "{line}: {said:?}"
        );
    }
}

#[test]
fn a_hash_within_quotes_is_no_comment_and_a_tab_is_four_blanks() {
    assert_eq!(
        asked(&with("service=http\nrequest=\"a#b\" # c\nreceive=\"x\ty\"")),
        ["http 10.0.0.1:80 of tcp:192.0.2.1:80 receive=x    y request=a#b"]
    );
    // Nothing is left open before this one, so it begins a comment.
    assert_eq!(
        asked(&with("service=http\nvirtualhost=www.example.com # 5\" and 6\"")),
        ["http 10.0.0.1:80 of tcp:192.0.2.1:80 virtualhost=www.example.com"]
    );
}

#[test]
fn numbers_are_the_first_run_of_digits() {
    let text = "checktimeout = =7 seconds\n".to_owned() + &with("checktype=connect");
    assert_eq!(times(&text).0, 7);
    assert_eq!(faults(&text), ["warning 1:16 `=7 seconds` is read as 7"]);
    assert_eq!(times(&("checktimeout=007\n".to_owned() + &with("checktype=connect"))).0, 7);
}

#[test]
fn words_lose_what_stands_around_them_with_a_warning() {
    let text = with("checktype=connect now\nscheduler=\"rr\"\nprotocol=tcp,");
    assert_eq!(service(&text).settings.scheduler, "rr");
    assert_eq!(faults(&text).len(), 3);
}

#[test]
fn indentation_of_four_columns_makes_an_option_and_a_tab_counts_four() {
    for indent in ["    ", "\t", " \t", "\t ", "   \t", "         "] {
        let text = format!("virtual=192.0.2.1:80\n{indent}real=10.0.0.1:80 gate\n{indent}checktype=on\n");
        assert_eq!(service(text).servers.len(), 1, "{indent:?}");
    }
    for indent in [" ", "  ", "   "] {
        let said = faults(format!("virtual=192.0.2.1:80\n{indent}real=10.0.0.1:80 gate\n"));
        assert_eq!(said.len(), 1, "{said:?}");
        assert!(said[0].contains("Unknown command") && said[0].contains("real=10.0.0.1:80 gate"), "{said:?}");
    }
}

#[test]
fn a_white_line_ends_the_block_and_a_wide_one_is_told() {
    for (blanks, told) in [(" ", false), ("    ", false), ("\t", false), ("     ", true), ("\t\t", true)] {
        let text = format!("virtual=192.0.2.1:80\n\treal=10.0.0.1:80 gate\n{blanks}\nautoreload=no\n");
        accept(&text);
        assert_eq!(faults(&text).len(), usize::from(told), "{blanks:?}");
        let said =
            faults(format!("virtual=192.0.2.1:80\n\treal=10.0.0.1:80 gate\n{blanks}\n\tservice=http\n"));
        assert!(said.iter().any(|fault| fault.starts_with("error 4:")), "{said:?}");
    }
}

#[test]
fn comments_do_not_end_a_block_whatever_their_indentation() {
    let text = "virtual=192.0.2.1:80\n# a\n\treal=10.0.0.1:80 gate\n  # b\n\t\t# c\n\tchecktype=on\n";
    assert_eq!(service(text).servers[0].watch, Watch::On);
    assert!(faults(text).is_empty());
}

#[test]
fn a_virtual_on_the_last_line_is_accepted() {
    assert_eq!(accept("virtual=192.0.2.1:80").plan.services.len(), 1);
    assert_eq!(faults("virtual=192.0.2.1:80"), ["warning 1:9 the service has no servers"]);
}

#[test]
fn a_byte_order_mark_is_refused_and_a_bare_supervised_means_yes() {
    let text = "\u{feff}supervised\n".to_owned() + &with("checktype=on");
    assert_eq!(
        faults(&text),
        [
            "error 1:1 Unknown command \u{feff}supervised",
            "warning 1:2 please update your config not to use a bare supervised directive"
        ]
    );
    assert_eq!(accept("supervised\n").log, LogTarget::Stdout);
    for line in ["supervised yes", "supervisedly"] {
        assert_eq!(faults(format!("{line}\n") + &with("")), ["error 1:1 supervised must be 'yes' or 'no'"]);
    }
    assert_eq!(accept("supervised=yes\nlogfile=\"/x\"\n").log, LogTarget::Stdout);
    assert_eq!(accept("supervised=no\nlogfile=\"/x\"\n").log, LogTarget::File("/x".into()));
}

/// Directives that any text will do for.
const ANY_TEXT: [&str; 11] = [
    "checkcommand",
    "comment",
    "emailalert",
    "emailalertfrom",
    "execute",
    "fallbackcommand",
    "maintenancedir",
    "monitorfile",
    "schedflags",
    "servicename",
    "virtualhost",
];

#[test]
fn every_known_directive_is_read_or_refused_wherever_it_may_stand() {
    for key in KEYS.iter().filter(|key| !key.is_head()) {
        let here = |text: String, line: &str| {
            let said = faults(text);
            let of_line = said.iter().filter(|fault| fault.starts_with(&format!("error {line}:")));
            of_line.map(|fault| fault.split_once(' ').unwrap().1.to_owned()).collect::<Vec<_>>()
        };
        // A value that no directive takes, save those that take any text.
        let global = here(format!("{}=\u{1}\n", key.name), "1");
        let option = here(with(&format!("{}=\u{1}", key.name)), "3");
        for (said, may_stand) in [(global, key.is_global()), (option, key.is_option())] {
            let any_text = ANY_TEXT.contains(&key.name) && may_stand;
            assert_eq!(said.len(), usize::from(!any_text), "{}: {said:?}", key.name);
            let Some(said) = said.first() else { continue };
            let unknown = said.contains("Unknown command") && said.contains(key.name);
            match (may_stand, key.support) {
                (false, _) => assert!(unknown, "{said}"),
                (true, Support::Refused(text)) => assert!(said.ends_with(text), "{said}"),
                (true, Support::Yes) => {}
            }
        }
    }
}

#[test]
fn no_report_shows_a_password_however_its_line_is_wrong() {
    const WORDS: &str = "hush hush";
    let values = [
        "=\"hush hush\"",
        "=\"hush hush\" # why",
        "=hush hush",
        "=\"hush hush",
        "=hush hush\"",
        "='hush hush'",
        "=\u{201c}hush hush\u{201d}",
        " hush hush",
        ":hush hush",
        "==\"hush hush\"",
        " = \thush hush\r",
        "=\"\"hush hush",
    ];
    for name in ["passwd", "secret", "Passwd", "password", "paswd", "passw", "secre"] {
        for value in values {
            for head in ["", " ", "    ", "\t", "virtual=192.0.2.1:80\n\t", "virtual=192.0.2.1:80\n "] {
                let text = format!("{head}{name}{value}\n");
                let report = load(&text).map_or_else(|report| report, |loaded| loaded.report);
                let printed = report.to_string();
                assert!(!report.faults.is_empty(), "{text}");
                assert!(!WORDS.split(' ').any(|word| printed.contains(word)), "{text}\n{printed}");
            }
        }
    }
}

#[test]
fn a_thousand_faults_and_a_line_of_a_megabyte_print() {
    let many = "bogus=1\n".repeat(1_000);
    assert_eq!(load(&many).unwrap_err().to_string().matches("--> test.cf:").count(), 1_000);
    let long = format!("{}\n", "x\t\u{4e2d} ".repeat(200_000));
    assert!(load(&long).unwrap_err().to_string().contains("--> test.cf:1:1\n"));
}

#[test]
fn fifty_thousand_lines_cost_no_more_each_than_five_hundred() {
    let file = |virtuals: usize| -> String {
        let block = |i: usize| {
            let (a, b) = (i / 250, i % 250);
            format!(
                "virtual=10.{a}.{b}.1:80\n\treal=10.{a}.{b}.2:80 masq 1\n\treal=10.{a}.{b}.3:80 masq 1\n\
                 \treal=10.{a}.{b}.4:8080 gate\n\tservice=http\n\tscheduler=wlc\n\trequest=\"index.html\"\n\
                 \treceive=\"ok\"\n\tcheckcommand=/x\n\n"
            )
        };
        (0..virtuals).map(block).collect()
    };
    let time = |text: &str| {
        let start = Instant::now();
        let config = accept(text);
        (start.elapsed(), config.plan.services.len())
    };
    let (small, _) = time(&file(50));
    let text = file(5_000);
    assert_eq!(text.lines().count(), 50_000);
    let (large, services) = time(&text);
    assert_eq!(services, 5_000);
    println!("50,000 lines in {large:?}");
    // Quadratic work would cost a hundred times more for each line.
    assert!(large < (small + Duration::from_millis(5)) * 2_000, "{small:?} {large:?}");
}
