//! Measures two things, ours and its floor, and shows their ratio beside that of the run before.

use std::cell::Cell;
use std::path::{Path, PathBuf};
use std::time::Duration;

use criterion::{Bencher, Criterion, SamplingMode};
use serde_json::Value;

/// What is measured: some 1.3 s for each of the two.
pub(crate) struct Pairs {
    criterion: Criterion,
    /// Where criterion writes what it measured; the run before has left its figures there.
    folder: PathBuf,
    rows: Vec<Row>,
}

struct Row {
    name: String,
    floor: &'static str,
    now: Medians,
    before: Option<Medians>,
}

/// Nanoseconds.
#[derive(Clone, Copy)]
struct Medians {
    ours: f64,
    floor: f64,
}

impl Medians {
    fn ratio(self) -> f64 {
        self.ours / self.floor
    }

    /// What criterion left of its last run.
    fn read(group: &Path) -> Option<Medians> {
        let median = |which: &str| {
            let text = std::fs::read(group.join(which).join("new/estimates.json")).ok()?;
            serde_json::from_slice::<Value>(&text).ok()?["median"]["point_estimate"].as_f64()
        };
        Some(Medians { ours: median("ours")?, floor: median("floor")? })
    }
}

impl Pairs {
    pub(crate) fn new() -> Pairs {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("micro");
        let criterion = Criterion::default().without_plots().output_directory(&folder);
        let criterion = criterion.sample_size(40).warm_up_time(Duration::from_millis(300));
        let criterion = criterion.measurement_time(Duration::from_secs(1)).configure_from_args();
        Pairs { criterion, folder, rows: Vec::new() }
    }

    /// Measures `ours` and its floor. `id` is its name for criterion and on the command line, where it may
    /// be chosen; `name` and `floor` are for people.
    pub(crate) fn add(
        &mut self,
        id: &str,
        name: impl Into<String>,
        mut ours: impl FnMut(&mut Bencher),
        floor: &'static str,
        mut least: impl FnMut(&mut Bencher),
    ) {
        let before = Medians::read(&self.folder.join(id));
        let ran = Cell::new(0);
        let mut group = self.criterion.benchmark_group(id);
        group.sampling_mode(SamplingMode::Flat);
        group.bench_function("ours", |b| {
            ran.set(ran.get() | 1);
            ours(b);
        });
        group.bench_function("floor", |b| {
            ran.set(ran.get() | 2);
            least(b);
        });
        group.finish();
        let chosen = ran.get() == 3 && is_measuring();
        if let Some(now) = Medians::read(&self.folder.join(id)).filter(|_| chosen) {
            self.rows.push(Row { name: name.into(), floor, now, before });
        }
    }

    /// The table, last on the standard output.
    pub(crate) fn show(&self) {
        if self.rows.is_empty() {
            return;
        }
        println!(
            "\n| what | median | the floor | median | ratio | ratio before |\n|---|---|---|---|---|---|"
        );
        for Row { name, floor, now, before } in &self.rows {
            let before = before.map_or("–".into(), |before| format!("{:.2}", before.ratio()));
            let (ours, least, ratio) = (time(now.ours), time(now.floor), now.ratio());
            println!("| {name} | {ours} | {floor} | {least} | {ratio:.2} | {before} |");
        }
    }
}

/// Whether criterion measures, or runs everything once to see that it works (`cargo test --all-targets`).
fn is_measuring() -> bool {
    let given = |flag: &str| std::env::args().any(|arg| arg == flag);
    given("--bench") && !given("--test")
}

fn time(nanoseconds: f64) -> String {
    match nanoseconds {
        ns if ns < 1e3 => format!("{ns:.0} ns"),
        ns if ns < 1e6 => format!("{:.1} µs", ns / 1e3),
        ns => format!("{:.2} ms", ns / 1e6),
    }
}
