//! Every configuration that ldirectord has judged, run by us: with all addresses unreachable and with
//! every server answering the tables must be the same.

use std::path::Path;
use std::process::Command;

use crate::oracle::{Answer, Case, Comparison, What, corpus, here, named, own};
use crate::support::daemon::binary;

/// How many run at a time, each in namespaces of its own. They mostly wait.
const AT_A_TIME: &str = "6";

#[test]
fn each_case_gives_the_table_that_ldirectord_made() {
    compare(own());
}

#[test]
fn each_file_of_the_corpus_gives_the_table_that_ldirectord_made() {
    match corpus() {
        Some(cases) => compare(cases),
        None => crate::support::skip("no corpus beside the repository; LVSENTRY_CORPUS=FOLDER names one"),
    }
}

fn compare(mut cases: Vec<Case>) {
    // Where one of the two refuses the file there are no two tables; the module oracle looks at those.
    let named = named();
    cases.retain(|case| {
        !case.answer("down").refused() && !named.contains_key(&(case.name.clone(), What::Parse))
    });
    let out = std::env::temp_dir().join(format!("lvsentry-oracle-{}", std::process::id()));
    let differs = |case: &Case| {
        let states = [("down", What::Down), ("up", What::Up)].into_iter();
        let known = states.filter(|(_, way)| named.contains_key(&(case.name.clone(), *way)));
        known.map(|(state, _)| format!("-x{}.{state}", case.name)).collect::<Vec<_>>()
    };
    judge(&cases, &out, cases.iter().flat_map(differs));
    let mut comparison = Comparison::new(&[What::Down, What::Up], &cases);
    for case in &cases {
        for (state, way) in [("down", What::Down), ("up", What::Up)] {
            let ours = Answer::read(&out.join(format!("{}.expected.{state}.txt", case.name)));
            comparison.note(case, way, difference(&ours, &case.answer(state)));
        }
    }
    std::fs::remove_dir_all(&out).unwrap();
    comparison.finish();
}

fn judge(cases: &[Case], out: &Path, differs: impl Iterator<Item = String>) {
    let folder = cases[0].path.parent().unwrap();
    let status = Command::new("/usr/bin/python3")
        .arg(here().join("judge.py"))
        .args(["-j", AT_A_TIME, "-d", &format!("{} run -c {{}}", binary().display()), "-o"])
        .arg(out)
        .arg("-e")
        .arg(folder)
        .args(differs)
        .args(cases.iter().map(|case| &case.path))
        .status()
        .expect("python3 runs");
    assert!(status.success(), "the judge has failed");
}

fn difference(ours: &Answer, theirs: &Answer) -> Option<String> {
    let verdicts = |ours: &Answer| format!("{}:\n  {}", ours.verdict, ours.table.join("\n  "));
    let same = ours.verdict == theirs.verdict && ours.table == theirs.table;
    (!same).then(|| format!("ours {}\ntheirs {}", verdicts(ours), verdicts(theirs)))
}
