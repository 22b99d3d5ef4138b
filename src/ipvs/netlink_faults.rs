//! Everything that can happen to an answer, at random, over a scripted kernel that holds a table: what is read is
//! the table or an error, what is told as done is done, and nothing hangs.

use super::*;
use crate::ipvs::consts::NLM_F_DUMP_INTR;
use crate::table::diff;

const EBUSY: i32 = 16;
const ENOMEM: i32 = 12;

/// What happens to an answer.
#[derive(Debug, Clone, Copy)]
enum Fault {
    /// All or the rest of it is lost.
    Lost,
    /// The operation is done, and nobody hears of it.
    Unheard,
    /// The kernel has no room for it.
    Overrun,
    /// The last datagram is cut.
    Cut,
    /// It bears a number that was not asked.
    Number,
    /// It comes after one to a question that was given up.
    Late,
    /// The kernel is busy with another dump, or has no memory.
    Busy,
    /// It has no end.
    Endless,
    /// The table changed while it was read.
    Torn,
    /// The module was loaded anew: an empty table under another number.
    Reloaded,
}

const FAULTS: [Fault; 10] = [
    Fault::Lost,
    Fault::Unheard,
    Fault::Overrun,
    Fault::Cut,
    Fault::Number,
    Fault::Late,
    Fault::Busy,
    Fault::Endless,
    Fault::Torn,
    Fault::Reloaded,
];

/// Numbers from a seed: xorshift.
struct Dice(u64);

impl Dice {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as usize % end
    }
}

fn keys() -> impl Iterator<Item = ServiceKey> {
    (1..=3).map(|mark| ServiceKey::Mark(Family::V4, mark))
}

fn destination(weight: usize) -> Destination {
    Destination::new(Forward::Gate, Weight::new(weight as u32).unwrap())
}

/// Every operation that a test can send, so that one is known by its bytes.
fn every_op() -> Vec<Op> {
    let mut ops = Vec::new();
    for key in keys() {
        ops.push(Op::DelService(key));
        for scheduler in ["rr", "wlc"] {
            ops.extend([Op::NewService(key, settings(scheduler)), Op::SetService(key, settings(scheduler))]);
        }
        for at in (1..=4).map(server) {
            ops.push(Op::DelDestination(key, at));
            for weight in 0..3 {
                let to = destination(weight);
                ops.extend([Op::NewDestination(key, at, to.clone()), Op::SetDestination(key, at, to)]);
            }
        }
    }
    ops
}

fn any_table(dice: &mut Dice) -> Table {
    let mut table = Table::default();
    for key in keys().filter(|_| dice.below(4) > 0).collect::<Vec<_>>() {
        assert!(table.apply(&Op::NewService(key, settings(["rr", "wlc"][dice.below(2)]))));
        for at in (1..=4).map(server).filter(|_| dice.below(3) > 0).collect::<Vec<_>>() {
            assert!(table.apply(&Op::NewDestination(key, at, destination(dice.below(3)))));
        }
    }
    table
}

/// A kernel that holds a table.
struct Holder {
    table: Table,
    family: u16,
    ops: Vec<Op>,
    done: Vec<Op>,
    dice: Dice,
    /// Whether faults happen.
    ill: bool,
}

impl Holder {
    fn answer(&mut self, sent: &Sent, log: &Mutex<Log>) -> Answers {
        let fault = (self.ill && self.dice.below(12) == 0).then(|| FAULTS[self.dice.below(FAULTS.len())]);
        match fault {
            Some(Fault::Reloaded) => {
                self.family += 1;
                self.table = Table::default();
            }
            Some(Fault::Busy) => {
                return vec![status(sent.seq, if sent.command == 8 { EBUSY } else { ENOMEM })];
            }
            Some(Fault::Overrun) => log.lock().unwrap().errors.push_back(ENOBUFS),
            _ => {}
        }
        let mut answers = self.rightly(sent);
        let is_operation = !matches!(sent.command, 4 | 8 | 15) && sent.family != 16;
        match fault {
            Some(Fault::Unheard | Fault::Lost | Fault::Endless) if is_operation => {
                // The kernel never loses what it has to say of one in silence.
                log.lock().unwrap().errors.push_back(ENOBUFS);
                answers.clear();
            }
            Some(Fault::Unheard) => answers.clear(),
            Some(Fault::Lost | Fault::Endless) => drop(answers.pop()),
            Some(Fault::Cut) => {
                let last = answers.last_mut().unwrap();
                let cut = 1 + self.dice.below(15);
                last.truncate(last.len() - cut);
            }
            Some(Fault::Number) => answers[0][8..12].copy_from_slice(&(sent.seq + 1000).to_ne_bytes()),
            Some(Fault::Late) => answers.insert(0, status(sent.seq.wrapping_sub(500), ENOENT)),
            Some(Fault::Torn) if sent.command == 8 || sent.flags & 0x300 != 0 => {
                answers[0][6..8].copy_from_slice(&NLM_F_DUMP_INTR.to_ne_bytes());
            }
            _ => {}
        }
        answers
    }

    /// The answer of a kernel that is well.
    fn rightly(&mut self, sent: &Sent) -> Answers {
        let seq = sent.seq;
        let header = Header { family: sent.family, seq };
        match sent.command {
            _ if sent.family == 16 => vec![family_is(seq, self.family)],
            _ if sent.family != self.family => vec![status(seq, ENOENT)],
            15 => vec![message(FAMILY, seq, &[14, 1, 0, 0])],
            4 if sent.flags & 0x300 != 0 => {
                let all = self.table.services.iter();
                let all = all.map(|(key, found)| entry(seq, &Op::NewService(*key, found.settings.clone())));
                all.chain([done(seq, 0)]).collect()
            }
            4 => {
                let asks = |key: &_| written(|into| wire::get_service(into, header, key)) == sent.bytes;
                let key = keys().find(asks).unwrap();
                match self.table.services.get(&key) {
                    Some(found) => vec![entry(seq, &Op::NewService(key, found.settings.clone()))],
                    None => vec![status(seq, ESRCH)],
                }
            }
            8 => {
                let asks = |key: &_| written(|into| wire::dump_destinations(into, header, key)) == sent.bytes;
                let key = keys().find(asks).unwrap();
                let found = self.table.services.get(&key).map(|found| found.destinations.clone());
                let all = found.unwrap_or_default().into_iter();
                let all = all.map(|(at, to)| entry(seq, &Op::NewDestination(key, at, to)));
                all.chain([done(seq, 0)]).collect()
            }
            _ => {
                let mut plain = sent.bytes.clone();
                plain[6..8].copy_from_slice(&REQUEST.to_ne_bytes());
                let is = |op: &&Op| written(|into| wire::operation(into, header, op)) == plain;
                let op = self.ops.iter().find(is).unwrap().clone();
                let is_new = matches!(op, Op::NewService(..) | Op::NewDestination(..));
                if self.table.apply(&op) {
                    self.done.push(op);
                    return vec![status(seq, 0)];
                }
                vec![status(seq, if is_new { EEXIST } else { ESRCH })]
            }
        }
    }
}

/// Carries out what is to be done; what is told as done is done.
fn carry_out(kernel: &mut Netlink, holder: &Mutex<Holder>, ops: &[Op], view: &mut Table) {
    holder.lock().unwrap().done.clear();
    let results = kernel.apply(ops);
    assert_eq!(results.len(), ops.len());
    for (op, result) in ops.iter().zip(results) {
        if result.is_ok() {
            assert!(holder.lock().unwrap().done.contains(op), "{op} was not done");
            view.apply(op);
        }
    }
}

#[test]
fn whatever_happens_to_answers_a_table_is_read_as_it_is_or_not_and_comes_right_afterwards() {
    let (mut reads, mut errors) = (0, 0);
    for seed in 1..=300 {
        let mut dice = Dice(seed);
        (0..10).for_each(|_| assert!(dice.below(2) < 2, "warm it up"));
        let desired = any_table(&mut dice);
        let ours = keys().collect();
        let holder = Holder {
            table: any_table(&mut dice),
            family: FAMILY,
            ops: every_op(),
            done: Vec::new(),
            dice,
            ill: false,
        };
        let (holder, log) = (Arc::new(Mutex::new(holder)), Arc::new(Mutex::new(Log::default())));
        let (of, told) = (holder.clone(), log.clone());
        let script: Script = Box::new(move |sent| of.lock().unwrap().answer(sent, &told));
        let mut kernel = Netlink::over(dial(log.clone(), script)).unwrap();
        for round in 0..12 {
            holder.lock().unwrap().ill = round < 9;
            if round == 9 {
                log.lock().unwrap().errors.clear();
            }
            let Ok(actual) = kernel.read(&Scope::All) else {
                assert!(round < 9, "seed {seed}: a kernel that is well is not read");
                errors += 1;
                continue;
            };
            reads += 1;
            assert_eq!(actual, holder.lock().unwrap().table, "seed {seed}, round {round}");
            let mut view = actual;
            for part in diff::PARTS {
                let ops = diff::of_all(part, &view, &desired, &ours);
                carry_out(&mut kernel, &holder, &ops, &mut view);
            }
        }
        assert_eq!(holder.lock().unwrap().table, desired, "seed {seed}");
    }
    assert!(reads > 500 && errors > 500, "{reads} reads, {errors} errors");
}

#[test]
fn each_fault_of_a_list_is_a_clear_error_and_the_next_look_is_a_whole_one() {
    type Break = fn(&Sent) -> Answers;
    let strange = |what| ReadError::Malformed(what);
    let cases: [(Break, ReadError, &str); 5] = [
        (|sent| vec![status(sent.seq, EBUSY)], ReadError::Other(EBUSY), "resource busy"),
        (
            |sent| vec![entry(sent.seq + 9, &add(1)), done(sent.seq, 0)],
            strange("an answer to a question that was not asked"),
            "strange answer: an answer to a question that was not asked",
        ),
        (
            |sent| vec![entry(sent.seq, &add(1))[..30].to_vec(), done(sent.seq, 0)],
            strange("a message's length does not fit its datagram"),
            "strange answer: a message's length does not fit its datagram",
        ),
        (
            |sent| {
                let mut torn = entry(sent.seq, &add(1));
                torn[6..8].copy_from_slice(&NLM_F_DUMP_INTR.to_ne_bytes());
                vec![torn, done(sent.seq, 0)]
            },
            ReadError::Other(EINTR),
            "Interrupted",
        ),
        (
            |sent| vec![message(1, sent.seq, &[]); DUMP_MOST * DUMP_DATAGRAMS + 1],
            strange("a list without an end"),
            "strange answer: a list without an end",
        ),
    ];
    for (answers, expected, words) in cases {
        let (mut kernel, log) = one_service(move |sent, count| (count == 2).then(|| answers(sent)));
        let error = kernel.read(&Scope::All).unwrap_err();
        assert_eq!(error, expected);
        let said = error.to_string();
        assert!(said.starts_with("cannot read the IPVS table: ") && said.contains(words), "{said}");
        assert_eq!(log.lock().unwrap().dials, 2);
        assert_eq!(kernel.read(&Scope::All), Ok(both()));
    }
}

#[test]
fn a_module_loaded_anew_while_its_table_is_read_is_read_from_the_beginning() {
    let (mut kernel, _) = one_service(|sent, count| match (sent.family, count) {
        (16, _) => Some(vec![family_is(sent.seq, FAMILY + 1)]),
        (FAMILY, 2..) => Some(vec![status(sent.seq, ENOENT)]),
        _ => None,
    });
    assert_eq!(kernel.read(&Scope::All), Ok(both()));
}

#[test]
fn an_overrun_in_the_middle_of_a_window_costs_what_it_alone_would_have_told() {
    let log = Arc::new(Mutex::new(Log::default()));
    let (told, mut count) = (log.clone(), 0);
    let script: Script = Box::new(move |sent| match (sent.family, sent.command) {
        (16, _) => vec![family_is(sent.seq, FAMILY)],
        (_, 15) => vec![message(FAMILY, sent.seq, &[14, 1, 0, 0])],
        _ => {
            count += 1;
            if count == 30 {
                told.lock().unwrap().errors.push_back(ENOBUFS);
            }
            match count {
                30..40 => Vec::new(),
                40..50 => vec![status(sent.seq, EEXIST)],
                _ => vec![status(sent.seq, 0)],
            }
        }
    });
    let mut kernel = Netlink::over(dial(log, script)).unwrap();
    let ops: Vec<_> = (0..300).map(add).collect();
    let results = kernel.apply(&ops);
    let are = |results: &[_], expected| results.iter().all(|result| *result == expected);
    // What was lost is one of those of which nothing was said; the last of the window was answered.
    assert!(are(&results[..39], Err(OpError::Unknown)) && are(&results[49..255], Err(OpError::Unknown)));
    assert!(are(&results[39..49], Err(OpError::Exists)) && are(&results[255..], Ok(())));
    assert!(
        OpError::Unknown.is_stale() && OpError::Unknown.explain(&ops[30]).contains("the table is read again")
    );
}

#[test]
fn answers_to_nothing_that_go_on_and_on_end_the_window() {
    let (mut kernel, log) = opened(|sent| vec![status(sent.seq + 1000, 0); 10 * STRAY_MOST]);
    assert_eq!(kernel.apply(&[add(1)]), [Err(OpError::Unknown)]);
    assert!(log.lock().unwrap().waits.len() <= STRAY_MOST + 1);
}
