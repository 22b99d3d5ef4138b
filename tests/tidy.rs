//! What ARCHITECTURE.md promises of the tree: who uses whom, what is pure, what is named where.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use lvsentry::probe::KINDS;

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: impl AsRef<Path>) -> String {
    std::fs::read_to_string(root().join(&path))
        .unwrap_or_else(|why| panic!("{}: {why}", path.as_ref().display()))
}

/// All Rust files below a folder, with their text up to the unit tests.
fn sources(folder: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut folders = vec![root().join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|e| e == "rs") {
                let text = std::fs::read_to_string(&path).unwrap();
                let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap().to_owned();
                let name = path.strip_prefix(root()).unwrap().display().to_string();
                found.push((name, code));
            }
        }
    }
    found.sort();
    found
}

/// The modules of this crate that a text names with `crate::`.
fn used(code: &str) -> BTreeSet<String> {
    let names = code
        .split("crate::")
        .skip(1)
        .map(|rest| rest.chars().take_while(|c| c.is_ascii_lowercase() || *c == '_').collect::<String>());
    names.filter(|name| !name.is_empty()).collect()
}

/// Module, and the modules it may use beside the nouns.
const MAY_USE: &[(&str, &[&str])] = &[
    ("model", &["span"]),
    ("outcome", &[]),
    ("span", &[]),
    ("calm", &[]),
    ("table", &[]),
    ("director", &["table"]),
    ("ipvs", &["table"]),
    ("probe", &[]),
    ("config", &["probe"]),
    ("alert", &["config", "probe"]),
    ("convert", &["config", "probe"]),
    ("cli", &["config"]),
    ("http", &["calm", "director", "table"]),
    ("client", &["cli", "http"]),
    ("daemon", &["alert", "calm", "cli", "config", "probe", "director", "http", "ipvs", "table"]),
    ("ldirectord", &["config", "daemon", "http", "ipvs"]),
];

const NOUNS: &[&str] = &["model", "outcome", "span"];

#[test]
fn nothing_points_back_up() {
    for (name, code) in sources("src") {
        let module = name.trim_start_matches("src/").split(['/', '.']).next().unwrap();
        let Some((_, may)) = MAY_USE.iter().find(|(m, _)| *m == module) else {
            assert!(["main", "lib"].contains(&module), "{name}: a module that this table does not know");
            continue;
        };
        for other in used(&code) {
            let fine = other == module
                || may.contains(&&*other)
                || (NOUNS.contains(&&*other) && !NOUNS.contains(&module));
            assert!(fine, "{name} uses {other}, which {module} may not");
        }
    }
}

#[test]
fn the_middle_is_pure() {
    let pure = ["src/model.rs", "src/outcome.rs", "src/span.rs", "src/table/", "src/director/"];
    let also = [
        "src/config/raw.rs",
        "src/config/cf.rs",
        "src/config/keys.rs",
        "src/config/diagnostic.rs",
        "src/config/workers.rs",
        "src/daemon/load.rs",
        "src/probe/options.rs",
        "src/probe/dns/wire.rs",
        "src/probe/ldap/ber.rs",
        "src/probe/ldap/wire.rs",
        "src/probe/radius/wire.rs",
        "src/probe/pattern",
        "src/ipvs/wire.rs",
        "src/ipvs/consts.rs",
        "src/ipvs/error.rs",
    ];
    let banned = [
        "tokio",
        "tracing",
        "Instant::now",
        "SystemTime",
        "std::fs",
        "std::process",
        "std::thread",
        "TcpStream",
        "UdpSocket",
        "println!",
    ];
    let mut seen = 0;
    for (name, code) in sources("src") {
        if !pure.iter().chain(&also).any(|start| name.starts_with(start)) {
            continue;
        }
        seen += 1;
        let code: String = code.lines().filter(|l| !l.trim_start().starts_with("//")).collect();
        for word in banned {
            assert!(!code.contains(word), "{name} is to be pure and names {word}");
        }
    }
    assert!(seen >= pure.len() + also.len(), "only {seen} pure files found");
}

#[test]
fn unsafe_code_stands_in_one_file() {
    for (name, code) in sources("src") {
        let code: String = code.lines().filter(|l| !l.trim_start().starts_with("//")).collect();
        assert!(!code.contains("unsafe ") || name == "src/ipvs/socket.rs", "{name} has unsafe code");
    }
}

#[test]
fn every_kind_has_a_test_and_stands_in_the_readme() {
    let readme = read("README.md");
    let tests = sources("tests/probes");
    let mut names = BTreeSet::new();
    for kind in KINDS {
        assert!(names.insert(kind.name), "kind {} is listed twice", kind.name);
        assert!(!kind.doc.is_empty(), "kind {} has no description", kind.name);
        assert!(readme.contains(&format!("`{}`", kind.name)), "README.md does not name kind {}", kind.name);
        let tested = tests.iter().any(|(_, code)| code.contains(&format!("\"{}\"", kind.name)));
        assert!(tested, "no test in tests/probes names kind {}", kind.name);
    }
}

#[test]
fn the_repository_names_no_machine() {
    let mut files = vec!["Cargo.toml".into(), "Makefile".into(), ".ci/run".into()];
    files.extend(
        std::fs::read_dir(root())
            .unwrap()
            .map(|e| e.unwrap().file_name().into_string().unwrap())
            .filter(|n| n.ends_with(".md")),
    );
    for file in files {
        let text = read(&file);
        for word in ["/root/", "/home/", "crates.io/api", "index.crates"] {
            assert!(!text.contains(word), "{file} names {word}");
        }
    }
}
