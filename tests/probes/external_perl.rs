//! `external-perl`.

use std::process::Command;

use lvsentry::probe::{Tools, ask};

use super::external::Folder;
use crate::support::probe::{Answer, LONG, SHORT, code, outcome, outcome_within, probe, target};
use crate::support::skip;

async fn run(file: &str) -> Answer {
    outcome("external-perl", "10.0.0.1:8080".parse().unwrap(), &[("checkcommand", file)]).await
}

fn perl_is_here() -> bool {
    let here = Command::new("perl").arg("-v").output().is_ok();
    if !here {
        skip("perl is not installed");
    }
    here
}

#[tokio::test]
async fn exit_ends_the_check_and_the_end_of_the_file_is_good() {
    if !perl_is_here() {
        return;
    }
    for (text, wanted) in [
        ("exit 0", Ok("exit status 0")),
        ("exit 3; 1", Err("run-exit: exit status 3")),
        ("1;", Ok("exit status 0")),
        ("0;", Ok("exit status 0")),
        ("", Ok("exit status 0")),
        ("return 1; exit 4", Ok("exit status 0")),
        ("sub f { exit $_[0] } f(5)", Err("run-exit: exit status 5")),
        ("die 'no'", Err("run-exit: exit status 255")),
        ("this is no Perl {", Err("run-exit: exit status 255")),
        ("kill 9, $$; sleep 9", Err("run-signal: ended by signal 9 (SIGKILL)")),
        ("exit 6 if \"@ARGV\" ne '192.0.2.10 80 10.0.0.1 8080'", Ok("exit status 0")),
        ("exit 7 if \"@_\" ne '192.0.2.10 80 10.0.0.1 8080'", Ok("exit status 0")),
        ("use strict; my $x = 1;\n__END__\nexit 8", Ok("exit status 0")),
    ] {
        let folder = Folder::new("perl");
        // Neither executable nor with a first line of its own.
        let file = folder.script(text, 0o644);
        let seen = run(&file).await.map_err(|failure| failure.to_string());
        assert_eq!(seen.as_deref().map_err(String::as_str), wanted, "{text}");
    }
}

#[tokio::test]
async fn the_file_is_read_anew_for_each_check() {
    if !perl_is_here() {
        return;
    }
    let folder = Folder::new("perl-again");
    let file = folder.script("exit 1", 0o644);
    let probe = probe("external-perl", &target("10.0.0.1:80".parse().unwrap()), &[("checkcommand", &file)]);
    assert!(!ask(&*probe, LONG, &Tools::new()).await.is_good());
    folder.script("exit 0", 0o644);
    assert!(ask(&*probe, LONG, &Tools::new()).await.is_good());
}

#[tokio::test]
async fn what_can_not_be_run_says_why() {
    let folder = Folder::new("perl-missing");
    let path = folder.0.to_str().unwrap();
    for (file, why) in [("/nonexistent/check.pl", "not found"), (path, "not a file")] {
        assert_eq!(run(file).await.unwrap_err().to_string(), format!("run-not-run: {file}: {why}"));
    }
    assert_eq!(code(run("").await), "run-not-run");
    let at = "10.0.0.1:80".parse().unwrap();
    assert_eq!(code(outcome("external-perl", at, &[]).await), "run-not-run");
}

#[tokio::test]
async fn an_endless_script_ends_at_the_deadline() {
    if !perl_is_here() {
        return;
    }
    let folder = Folder::new("perl-endless");
    let file = folder.script("1 while 1", 0o644);
    let at = "10.0.0.1:80".parse().unwrap();
    assert_eq!(
        code(outcome_within(SHORT, "external-perl", at, &[("checkcommand", &file)]).await),
        "run-timeout"
    );
}
