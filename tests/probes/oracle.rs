//! `oracle`: the check command as it is shipped, with a `sqlplus` of the test's own.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use lvsentry::outcome::Outcome;
use lvsentry::probe::options::Options;
use lvsentry::probe::oracle::make;
use lvsentry::probe::{Check, Tools, ask};

use super::external::Folder;
use crate::support::probe::{LONG, code, outcome, target};

const ALL: [(&str, &str); 4] = [
    ("login", "scott"),
    ("passwd", "ti'g er&$x"),
    ("database", "ORCL"),
    ("request", "SELECT name FROM t WHERE x = 'a;b' ; "),
];

/// A folder with a check command `oracle` that runs the shipped one with this `sqlplus`.
fn folder(name: &str, sqlplus: Option<&str>) -> Folder {
    let folder = Folder::new(name);
    let write = |file: &str, text: &str| {
        let path = folder.0.join(file);
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).unwrap();
    };
    let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("checks/oracle");
    let here = folder.0.display();
    // Where there is no sqlplus of the test's own, none is to be found.
    let path = if sqlplus.is_some() { format!("{here}:/usr/bin:/bin") } else { here.to_string() };
    write("oracle", &format!("#!/bin/sh\nPATH={path} exec {} \"$@\"\n", shipped.display()));
    if let Some(text) = sqlplus {
        let start = format!("#!/bin/sh\nHERE={here}\necho \"$@\" > $HERE/arguments\ncat > $HERE/input\n");
        write("sqlplus", &(start + text));
    }
    folder
}

async fn run(folder: &Folder, options: &[(&'static str, &str)]) -> Outcome {
    let mut given = Options::default();
    for (name, text) in options {
        given.give(name, *text, 0..0);
    }
    let target = target("[2001:db8::1]:1522".parse().unwrap());
    let Ok(Check::Ask(probe)) = make(vec![folder.0.clone()], &target, &mut given) else { panic!("no probe") };
    let shown = format!("{probe:?} {}", probe.identity());
    assert!(!shown.contains("g er"), "{shown}");
    // A script just written can still be open in a process that another test is forking.
    for _ in 0..50 {
        let outcome = ask(&*probe, LONG, &Tools::new()).await;
        match &*outcome.result {
            Err(failure) if failure.detail.contains("busy") => tokio::task::yield_now().await,
            _ => return outcome,
        }
    }
    panic!("the script stays busy");
}

#[tokio::test]
async fn a_first_row_is_good_and_no_secret_is_an_argument() {
    let folder = folder("oracle-row", Some("echo first-row\n"));
    assert_eq!(run(&folder, &ALL).await.into_result().unwrap(), "a first row");
    let read = |file| std::fs::read_to_string(folder.0.join(file)).unwrap();
    assert_eq!(read("arguments"), "-S -L /nolog\n");
    let input = read("input");
    let connect = "CONNECT scott/\"ti'g er&$x\"@(DESCRIPTION=(ADDRESS=(PROTOCOL=TCP)(HOST=2001:db8::1)(PORT=1522))\
                   (CONNECT_DATA=(SID=ORCL)))";
    assert!(input.lines().any(|line| line == connect), "{input}");
    let query = "SELECT 'first' || '-row' FROM (SELECT name FROM t WHERE x = 'a;b') WHERE ROWNUM = 1;";
    assert!(input.lines().any(|line| line == query), "{input}");
}

#[tokio::test]
async fn what_sqlplus_says_is_told_apart() {
    for (name, sqlplus, wanted) in [
        ("none", Some("exit 0\n"), "run-mismatch: the query has no row"),
        (
            "login",
            Some("echo 'ORA-01017: invalid username/password'; exit 3\n"),
            "run-exit: the database cannot be reached, or refuses login or query",
        ),
        (
            "query",
            Some("echo 'ORA-00942: table or view does not exist'\n"),
            "run-exit: the database cannot be reached, or refuses login or query",
        ),
        ("missing", None, "run-not-run: sqlplus not found: install Oracle's client, in PATH"),
    ] {
        let folder = folder(&format!("oracle-{name}"), sqlplus);
        assert_eq!(run(&folder, &ALL).await.into_result().unwrap_err().to_string(), wanted);
    }
}

#[tokio::test]
async fn what_cannot_be_asked_always_fails() {
    let empty = Folder::new("oracle-empty");
    assert!(run(&empty, &ALL).await.into_result().unwrap_err().detail.ends_with("/oracle: not found"));
    for options in [&ALL[..3], &ALL[1..], &[ALL[0], ALL[3], ("passwd", "a\nHOST rm")]] {
        assert_eq!(code(run(&empty, options).await.into_result()), "run-not-run");
    }
    assert_eq!(code(outcome("oracle", "127.0.0.1:1521".parse().unwrap(), &[]).await), "run-not-run");
    let quoted = [ALL[0], ("passwd", "a\"b"), ALL[3]];
    let folder = folder("oracle-quoted", Some("echo first-row\n"));
    assert_eq!(run(&folder, &quoted).await.into_result().unwrap_err().to_string(), "run-exit: exit status 2");
}
