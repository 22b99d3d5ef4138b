//! Runs a [`Program`]: backtracking in Perl's order, with a limit to its steps and its memory.
//! Pure.

use super::TooComplex;
use super::node::{Anchor, Look};
use super::program::{Op, Order, Program, note};
use super::set::ByteSet;

/// Steps that one search may take; one takes a few nanoseconds.
const STEPS: usize = 10_000_000;
/// Ways to come back to that are kept at most.
const WAYS: usize = 200_000;
/// Bytes of a simple scan that cost as much as a step.
const SCAN: usize = 8;

/// Whether the program finds a match anywhere in the text.
pub(super) fn find(program: &Program, text: &[u8]) -> Result<bool, TooComplex> {
    let mut run = Run { program, text, notes: vec![None; program.notes], ways: Vec::new(), left: STEPS };
    let mut start = 0;
    loop {
        if let Some(first) = &program.first {
            let skip = text[start..].iter().position(|&byte| first.has(byte));
            let Some(skip) = skip else { return Ok(false) };
            start += skip;
        }
        if program.anchored && start > 0 {
            return Ok(false);
        }
        if run.path(0, start)?.is_some() {
            return Ok(true);
        }
        start += 1;
        if start > text.len() {
            return Ok(false);
        }
    }
}

/// Something to undo or to try when the present path fails.
#[derive(Debug)]
enum Way {
    /// Go on at this instruction and position.
    Try(usize, usize),
    /// A span may end anywhere from the first to the second position: try the last, or the first.
    Shorter(usize, usize, usize),
    Longer(usize, usize, usize),
    /// A note had this value.
    Undo(usize, Option<usize>),
}

struct Run<'a> {
    program: &'a Program,
    text: &'a [u8],
    notes: Vec<Option<usize>>,
    ways: Vec<Way>,
    left: usize,
}

impl Run<'_> {
    /// Follows the program from an instruction to its `Done`; the position there, or none when
    /// no way leads to it. Ways and notes are as before when it fails; when it succeeds, its ways are
    /// gone and only what undoes its notes is left.
    fn path(&mut self, op: usize, at: usize) -> Result<Option<usize>, TooComplex> {
        let base = self.ways.len();
        let mut here = Some((op, at));
        loop {
            let Some((op, at)) = here else {
                here = self.back(base);
                if here.is_none() {
                    return Ok(None);
                }
                continue;
            };
            self.pay(1)?;
            if let Op::Done = self.program.ops[op] {
                let ways = self.ways.split_off(base);
                self.ways.extend(ways.into_iter().filter(|way| matches!(way, Way::Undo(..))));
                return Ok(Some(at));
            }
            here = self.step(op, at)?;
        }
    }

    /// The next way to try, undoing notes on the way; none when all above `base` are used up.
    fn back(&mut self, base: usize) -> Option<(usize, usize)> {
        while self.ways.len() > base {
            match self.ways.pop()? {
                Way::Try(op, at) => return Some((op, at)),
                Way::Shorter(op, from, to) => {
                    if from < to {
                        self.ways.push(Way::Shorter(op, from, to - 1));
                    }
                    return Some((op, to));
                }
                Way::Longer(op, from, to) => {
                    if from < to {
                        self.ways.push(Way::Longer(op, from + 1, to));
                    }
                    return Some((op, from));
                }
                Way::Undo(note, value) => self.notes[note] = value,
            }
        }
        None
    }

    /// Does one instruction: the next one and the position, or none when it fails.
    fn step(&mut self, op: usize, at: usize) -> Result<Option<(usize, usize)>, TooComplex> {
        let program = self.program;
        Ok(match &program.ops[op] {
            Op::Byte(set) => self.text.get(at).is_some_and(|&byte| set.has(byte)).then_some((op + 1, at + 1)),
            Op::Span(set, least, most, order) => self.span(op, at, (set, *least, *most, *order))?,
            Op::Fork(first, second) => {
                self.keep(Way::Try(*second, at))?;
                Some((*first, at))
            }
            Op::Jump(to) => Some((*to, at)),
            Op::Note(note) => {
                self.keep(Way::Undo(*note, self.notes[*note]))?;
                self.notes[*note] = Some(at);
                Some((op + 1, at))
            }
            Op::Idle(note, end) if self.notes[*note] == Some(at) => Some((*end, at)),
            Op::Idle(..) => Some((op + 1, at)),
            Op::At(anchor) => self.holds(*anchor, at).then_some((op + 1, at)),
            Op::Again(group, fold) => self.again(*group, *fold, at)?.map(|at| (op + 1, at)),
            Op::Look(look, back, end) => self.look(op, at, *look, *back)?.then_some((*end, at)),
            Op::Once(end) => self.path(op + 1, at)?.map(|at| (*end, at)),
            Op::Done => None,
        })
    }

    fn span(
        &mut self,
        op: usize,
        at: usize,
        (set, least, most, order): (&ByteSet, usize, Option<usize>, Order),
    ) -> Result<Option<(usize, usize)>, TooComplex> {
        let room = most.unwrap_or(usize::MAX).min(self.text.len() - at);
        let length = self.text[at..].iter().take(room).take_while(|&&byte| set.has(byte)).count();
        self.pay(length / SCAN)?;
        if length < least {
            return Ok(None);
        }
        let (from, to) = (at + least, at + length);
        match order {
            Order::Greedy => {
                if from < to {
                    self.keep(Way::Shorter(op + 1, from, to - 1))?;
                }
                Ok(Some((op + 1, to)))
            }
            Order::Lazy => {
                if from < to {
                    self.keep(Way::Longer(op + 1, from + 1, to))?;
                }
                Ok(Some((op + 1, from)))
            }
        }
    }

    /// The position behind another copy of what a group took; none if it is not there, or if the
    /// group took nothing yet.
    fn again(&mut self, group: usize, fold: bool, at: usize) -> Result<Option<usize>, TooComplex> {
        let (Some(from), Some(to)) = (self.notes[note(group)], self.notes[note(group) + 1]) else {
            return Ok(None);
        };
        let Some(copy) = self.text.get(from..to) else { return Ok(None) };
        self.pay(copy.len() / SCAN)?;
        let there = self.text.get(at..at + copy.len());
        let same = |there: &[u8]| if fold { there.eq_ignore_ascii_case(copy) } else { there == copy };
        Ok(there.is_some_and(same).then_some(at + copy.len()))
    }

    fn look(&mut self, op: usize, at: usize, look: Look, back: usize) -> Result<bool, TooComplex> {
        let base = self.ways.len();
        let found = match at.checked_sub(back) {
            Some(from) => self.path(op + 1, from)?.is_some(),
            None => false,
        };
        if look.negative {
            // What it noted counts for nothing.
            while self.back(base).is_some() {}
        }
        Ok(found != look.negative)
    }

    fn holds(&self, anchor: Anchor, at: usize) -> bool {
        let (text, end) = (self.text, self.text.len());
        let after_line = at > 0 && text[at - 1] == b'\n';
        let is_word = |at: Option<usize>| {
            at.and_then(|at| text.get(at)).is_some_and(|&byte| byte.is_ascii_alphanumeric() || byte == b'_')
        };
        match anchor {
            Anchor::Start => at == 0,
            Anchor::LineStart => at == 0 || (after_line && at < end),
            Anchor::End => at == end || (at + 1 == end && text[at] == b'\n'),
            Anchor::LineEnd => at == end || text[at] == b'\n',
            Anchor::VeryEnd => at == end,
            Anchor::Word => is_word(at.checked_sub(1)) != is_word(Some(at)),
            Anchor::NotWord => is_word(at.checked_sub(1)) == is_word(Some(at)),
        }
    }

    fn keep(&mut self, way: Way) -> Result<(), TooComplex> {
        if self.ways.len() >= WAYS {
            return Err(TooComplex);
        }
        self.ways.push(way);
        Ok(())
    }

    fn pay(&mut self, steps: usize) -> Result<(), TooComplex> {
        self.left = self.left.checked_sub(steps).ok_or(TooComplex)?;
        Ok(())
    }
}
