//! `lvsentry convert` and `lvsentry config show`: files, modes, exit statuses, secrets.

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Command, Output};

use super::root;

struct Folder(PathBuf);

impl Folder {
    fn new(test: &str) -> Folder {
        let path = std::env::temp_dir().join(format!("lvsentry-yaml-{}-{test}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Folder(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn run(arguments: &[&str]) -> (i32, String, String) {
    let Output { status, stdout, stderr } =
        Command::new(env!("CARGO_BIN_EXE_lvsentry")).args(arguments).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (status.code().unwrap(), text(stdout), text(stderr))
}

fn sample(name: &str) -> String {
    root().join("config").join(name).to_string_lossy().into_owned()
}

#[test]
fn what_convert_makes_is_accepted_and_private() {
    let folder = Folder::new("convert");
    let made = folder.0.join("mail.yaml");
    let to = made.to_string_lossy().into_owned();
    let (status, out, _) = run(&["convert", &sample("mail.cf"), "-o", &to]);
    assert_eq!((status, out.as_str()), (0, ""));
    assert_eq!(std::fs::metadata(&made).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(run(&["check", &to]).0, 0);
    let (_, printed, _) = run(&["convert", &sample("mail.cf")]);
    assert_eq!(printed, std::fs::read_to_string(&made).unwrap());
    let (status, _, told) = run(&["convert", &sample("mail.cf"), "-o", &to]);
    assert_eq!(status, 1, "a file that stands there stays");
    assert!(told.contains("exists"), "{told}");
}

#[test]
fn a_file_that_is_refused_or_yaml_already_is_not_converted() {
    let folder = Folder::new("refused");
    let bad = folder.0.join("bad.cf");
    std::fs::write(&bad, "virtul=192.0.2.1:80\n").unwrap();
    let (status, out, told) = run(&["convert", &bad.to_string_lossy()]);
    assert_eq!((status, out.as_str()), (2, ""));
    assert!(told.contains("Unknown command"), "{told}");
    assert_eq!(run(&["convert", &sample("mail.yaml")]).0, 1);
}

#[test]
fn every_value_is_shown_with_its_origin_and_no_secret() {
    let (status, table, _) = run(&["config", "show", &sample("mail.cf")]);
    assert_eq!(status, 0);
    let has = |words: &[&str]| table.lines().any(|line| line.split_whitespace().collect::<Vec<_>>() == words);
    assert!(has(&["check.interval", "15s", "mail.cf:4"]), "{table}");
    assert!(has(&["check.rise", "1", "default"]), "{table}");
    assert!(has(&["check.password", "(hidden)", "mail.cf:37"]), "{table}");
    assert!(has(&["server", "10.0.4.11:25", "masq", "weight", "10", "mail.cf:16"]), "{table}");
    assert!(!table.contains("change me"));
}

#[test]
fn kernel_parameters_are_shown() {
    let path = std::env::temp_dir().join(format!("lvsentry-show-{}.yaml", std::process::id()));
    std::fs::write(&path, "services: []\nlvs:\n  sysctl:\n    conn_reuse_mode: 1\n").unwrap();
    let (status, table, _) = run(&["config", "show", path.to_str().unwrap()]);
    std::fs::remove_file(&path).unwrap();
    let line = table.lines().find(|line| line.starts_with("lvs.sysctl.conn_reuse_mode ")).unwrap_or(&table);
    assert!(status == 0 && line.contains(" 1 ") && line.ends_with(".yaml:4"), "{table}");
}

#[test]
fn the_same_is_there_as_json_from_yaml_too() {
    let (status, text, _) = run(&["config", "show", "--json", &sample("mail.yaml")]);
    assert_eq!(status, 0);
    let json: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(json["services"][0]["id"], "tcp:192.0.2.25:25");
    assert_eq!(json["services"][2]["values"][0]["from"], "default");
    assert!(!text.contains("change me"));
}
