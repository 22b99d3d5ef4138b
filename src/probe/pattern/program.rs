//! A pattern as a list of instructions for [`super::run`]. Pure.

use super::node::{Anchor, Look, Node, Times};
use super::set::ByteSet;

/// One instruction; numbers are places in the list.
#[derive(Debug)]
pub(super) enum Op {
    /// Takes one byte of the set.
    Byte(ByteSet),
    /// Takes bytes of the set: at least, and at most if limited; the most first, or the least.
    Span(ByteSet, usize, Option<usize>, Order),
    /// Goes to the first; comes back for the second.
    Fork(usize, usize),
    /// Goes there.
    Jump(usize),
    /// Notes the position.
    Note(usize),
    /// Goes there if the position is the one noted: a loop's turn that took nothing ends the loop.
    Idle(usize, usize),
    /// Holds at a position.
    At(Anchor),
    /// Takes what a group took last, without regard to case if set.
    Again(usize, bool),
    /// Looks with what follows up to the next `Done`, so many bytes back, and goes there.
    Look(Look, usize, usize),
    /// Tries what follows up to the next `Done` once, and goes there.
    Once(usize),
    /// The whole, or what `Look` or `Once` asked for, is found.
    Done,
}

/// How a span tries its lengths.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Order {
    /// The longest first.
    Greedy,
    /// The shortest first.
    Lazy,
}

/// A program.
#[derive(Debug)]
pub(super) struct Program {
    /// The instructions.
    pub(super) ops: Vec<Op>,
    /// How many notes it keeps: two for each group, one for each loop that may idle.
    pub(super) notes: usize,
    /// The bytes a match may begin with; none when it may take no byte.
    pub(super) first: Option<ByteSet>,
    /// A match can only begin at the start of the text.
    pub(super) anchored: bool,
}

/// The note of a group's start; that of its end is the next one.
pub(super) fn note(group: usize) -> usize {
    (group - 1) * 2
}

impl Program {
    /// The program of a pattern with so many groups.
    pub(super) fn of(node: &Node, groups: usize) -> Program {
        let mut program = Program {
            ops: Vec::new(),
            notes: groups * 2,
            first: (node.width().0 > 0).then(|| first(node)),
            anchored: anchored(node),
        };
        program.add(node);
        program.ops.push(Op::Done);
        program
    }

    fn add(&mut self, node: &Node) {
        match node {
            Node::Empty => {}
            Node::Byte(set) => self.ops.push(Op::Byte(*set)),
            Node::Concat(nodes) => nodes.iter().for_each(|node| self.add(node)),
            Node::Alternatives(nodes) => self.alternatives(nodes),
            Node::Repeat(node, times) => self.repeat(node, times),
            Node::Group(number, node) => {
                // A reference within would have to see the group's last turn; none is let through.
                self.ops.push(Op::Note(note(*number)));
                self.add(node);
                self.ops.push(Op::Note(note(*number) + 1));
            }
            Node::Backref(number, fold) => self.ops.push(Op::Again(*number, *fold)),
            Node::Look(look, node) => {
                let back = if look.behind { node.width().0 } else { 0 };
                self.enclosed(node, |end| Op::Look(*look, back, end));
            }
            Node::Atomic(node) => self.enclosed(node, Op::Once),
            Node::At(anchor) => self.ops.push(Op::At(*anchor)),
        }
    }

    /// An instruction that is put in place later.
    fn hole(&mut self) -> usize {
        self.ops.push(Op::Done);
        self.ops.len() - 1
    }

    fn enclosed(&mut self, node: &Node, op: impl Fn(usize) -> Op) {
        let hole = self.hole();
        self.add(node);
        self.ops.push(Op::Done);
        self.ops[hole] = op(self.ops.len());
    }

    fn alternatives(&mut self, nodes: &[Node]) {
        let Some((last, others)) = nodes.split_last() else { return };
        let mut jumps = Vec::new();
        for node in others {
            let fork = self.hole();
            self.add(node);
            jumps.push(self.hole());
            self.ops[fork] = Op::Fork(fork + 1, self.ops.len());
        }
        self.add(last);
        for jump in jumps {
            self.ops[jump] = Op::Jump(self.ops.len());
        }
    }

    fn repeat(&mut self, node: &Node, times: &Times) {
        if let Node::Byte(set) = node {
            let order = if times.lazy { Order::Lazy } else { Order::Greedy };
            let max = times.max.map(|max| max as usize);
            return self.ops.push(Op::Span(*set, times.min as usize, max, order));
        }
        for _ in 0..times.min {
            self.add(node);
        }
        match times.max {
            None => self.endless(node, times.lazy),
            Some(max) => self.optional(node, max.saturating_sub(times.min), times.lazy),
        }
    }

    fn endless(&mut self, node: &Node, lazy: bool) {
        let fork = self.hole();
        let idle = (node.width().0 == 0).then(|| {
            self.notes += 1;
            self.notes - 1
        });
        self.ops.extend(idle.map(Op::Note));
        self.add(node);
        let end = self.ops.len() + if idle.is_some() { 2 } else { 1 };
        self.ops.extend(idle.map(|note| Op::Idle(note, end)));
        self.ops.push(Op::Jump(fork));
        self.ops[fork] = self.fork(fork + 1, end, lazy);
    }

    /// Up to so many times, each within the one before.
    fn optional(&mut self, node: &Node, times: u32, lazy: bool) {
        let mut forks = Vec::new();
        for _ in 0..times {
            forks.push(self.hole());
            self.add(node);
        }
        for fork in forks {
            self.ops[fork] = self.fork(fork + 1, self.ops.len(), lazy);
        }
    }

    fn fork(&self, into: usize, past: usize, lazy: bool) -> Op {
        if lazy { Op::Fork(past, into) } else { Op::Fork(into, past) }
    }
}

/// The bytes that a match of this may begin with (and more, if that is hard to say).
fn first(node: &Node) -> ByteSet {
    match node {
        Node::Byte(set) => *set,
        Node::Group(_, node) | Node::Atomic(node) | Node::Repeat(node, _) => first(node),
        Node::Alternatives(nodes) => nodes.iter().map(first).fold(ByteSet::NONE, ByteSet::or),
        Node::Concat(nodes) => {
            let mut set = ByteSet::NONE;
            for node in nodes {
                let (least, most) = node.width();
                if most != Some(0) {
                    set = set.or(first(node));
                }
                if least > 0 {
                    return set;
                }
            }
            set
        }
        Node::Backref(..) => ByteSet::ALL,
        Node::Empty | Node::Look(..) | Node::At(_) => ByteSet::NONE,
    }
}

fn anchored(node: &Node) -> bool {
    match node {
        Node::At(anchor) => *anchor == Anchor::Start,
        Node::Group(_, node) | Node::Atomic(node) => anchored(node),
        Node::Concat(nodes) => nodes.first().is_some_and(anchored),
        Node::Alternatives(nodes) => nodes.iter().all(anchored),
        Node::Repeat(node, times) => times.min > 0 && anchored(node),
        Node::Empty | Node::Byte(_) | Node::Backref(..) | Node::Look(..) => false,
    }
}
