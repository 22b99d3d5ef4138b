//! Reading the largest configuration there is.

use std::hint::black_box;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use lvsentry::config::{Names, load_text};
use lvsentry::model::{Family, Protocol};
use lvsentry::span::Source;

use crate::pair::Pairs;

/// Knows no name: nothing that is measured here may ask a name server.
struct Nobody;

impl Names for Nobody {
    fn host(&self, name: &str, _: Family) -> Result<IpAddr, String> {
        Err(format!("{name} is not looked up here"))
    }

    fn port(&self, _: &str, _: Option<Protocol>) -> Option<u16> {
        None
    }

    fn this_host(&self) -> String {
        "localhost".into()
    }
}

pub(crate) fn measure(pairs: &mut Pairs) {
    let (id, name, text) = largest().unwrap_or_else(|| {
        eprintln!("no corpus beside the repository (LVSENTRY_CORPUS=FOLDER names one): reads a file made up");
        ("parse-made-up", "a made-up file".into(), made_up())
    });
    assert!(is_accepted(&text), "{name} is refused");
    pairs.add(
        id,
        format!("{name} ({} KiB) read", text.len() >> 10),
        |b| b.iter(|| load_text(Source::new("micro.cf", &*text), &Nobody)),
        "its words counted",
        |b| b.iter(|| words(black_box(&text))),
    );
}

fn is_accepted(text: &[u8]) -> bool {
    load_text(Source::new("micro.cf", text), &Nobody).is_ok()
}

/// The largest file of the corpus that is accepted, with the name of what is measured and its own.
fn largest() -> Option<(&'static str, String, Vec<u8>)> {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/corpus");
    let folder = std::env::var_os("LVSENTRY_CORPUS").map_or(beside, PathBuf::from);
    let paths = std::fs::read_dir(folder).ok()?.map(|entry| entry.unwrap().path());
    let paths = paths.filter(|path| path.extension().is_some_and(|e| e == "cf"));
    let mut files: Vec<_> = paths.map(|path| (std::fs::read(&path).unwrap(), path)).collect();
    files.sort_by_key(|(text, _)| std::cmp::Reverse(text.len()));
    let (text, path) = files.into_iter().find(|(text, _)| is_accepted(text))?;
    Some(("parse", path.file_name()?.to_string_lossy().into_owned(), text))
}

/// A file of the same size and shape: 477 services with three servers each.
fn made_up() -> Vec<u8> {
    let mut text = "checktimeout=3\ncheckinterval=50\nautoreload=yes\nquiescent=yes\n".to_owned();
    for port in 20_001..20_478 {
        text += &format!("\n# Port {port}\nvirtual=192.0.2.50:{port}\n");
        for server in [107, 122, 134] {
            text += &format!("        real=198.51.100.{server}:{port} masq 2\n");
        }
        text += "        checktype=connect\n        scheduler=wrr\n        protocol=tcp\n        negotiatetimeout=3\n";
    }
    text.into()
}

fn words(text: &[u8]) -> usize {
    let lines = text.split(|&b| b == b'\n');
    lines.map(|line| line.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty()).count()).sum()
}
