//! What a pattern means: the tree between reading Perl's syntax and matching. Pure.
//!
//! Flags are gone here: case, `.`, `^` and `$` have been resolved into sets and assertions.

use super::set::ByteSet;

/// A part of a pattern.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Node {
    /// Nothing, always found.
    Empty,
    /// One byte of a set.
    Byte(ByteSet),
    /// One after the other.
    Concat(Vec<Node>),
    /// The first that leads to a match.
    Alternatives(Vec<Node>),
    /// Several times.
    Repeat(Box<Node>, Times),
    /// A capture group, by number from 1.
    Group(usize, Box<Node>),
    /// What a group matched last; without regard to case if set.
    Backref(usize, bool),
    /// Looks without moving.
    Look(Look, Box<Node>),
    /// Tried once: what it matched is not given back.
    Atomic(Box<Node>),
    /// Holds at a position.
    At(Anchor),
}

/// How often, and who yields first.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Times {
    /// At least so often.
    pub(super) min: u32,
    /// At most so often, if limited.
    pub(super) max: Option<u32>,
    /// As few as possible first.
    pub(super) lazy: bool,
}

/// The four ways of looking around.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Look {
    /// At what precedes, not at what follows.
    pub(super) behind: bool,
    /// It must not be there.
    pub(super) negative: bool,
}

/// What holds at a position.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Anchor {
    /// The start: `\A`, `^`.
    Start,
    /// The start of a line: `^` under `m`; not behind a line feed that ends the text.
    LineStart,
    /// The end, or before a line feed that ends the text: `\Z`, `$`.
    End,
    /// The end of a line: `$` under `m`.
    LineEnd,
    /// The very end: `\z`.
    VeryEnd,
    /// A word begins or ends: `\b`.
    Word,
    /// None does: `\B`.
    NotWord,
}

impl Node {
    /// The bytes that it takes: least, and most if limited.
    pub(super) fn width(&self) -> (usize, Option<usize>) {
        match self {
            Node::Empty | Node::Look(..) | Node::At(_) => (0, Some(0)),
            Node::Byte(_) => (1, Some(1)),
            Node::Backref(..) => (0, None),
            Node::Group(_, node) | Node::Atomic(node) => node.width(),
            Node::Concat(nodes) => nodes.iter().map(Node::width).fold((0, Some(0)), |(min, max), next| {
                (min.saturating_add(next.0), max.zip(next.1).map(|(a, b)| a.saturating_add(b)))
            }),
            Node::Alternatives(nodes) => {
                let min = nodes.iter().map(|node| node.width().0).min().unwrap_or(0);
                let max = nodes.iter().map(|node| node.width().1);
                (min, max.reduce(|a, b| a.zip(b).map(|(a, b)| a.max(b))).flatten())
            }
            Node::Repeat(node, times) => {
                let (min, max) = node.width();
                let most = match (max, times.max) {
                    (Some(0), _) | (_, Some(0)) => Some(0),
                    (Some(max), Some(times)) => Some(max.saturating_mul(times as usize)),
                    _ => None,
                };
                (min.saturating_mul(times.min as usize), most)
            }
        }
    }

    /// Whether it asks for nothing: it is found everywhere.
    pub(super) fn is_idle(&self) -> bool {
        match self {
            Node::Empty => true,
            Node::Byte(_) | Node::Backref(..) | Node::Look(..) | Node::At(_) => false,
            Node::Group(_, node) | Node::Atomic(node) => node.is_idle(),
            Node::Concat(nodes) => nodes.iter().all(Node::is_idle),
            Node::Alternatives(nodes) => nodes.iter().any(Node::is_idle),
            Node::Repeat(node, times) => times.min == 0 || node.is_idle(),
        }
    }

    /// Whether part of it is tried only once.
    pub(super) fn has_atomic(&self) -> bool {
        match self {
            Node::Atomic(_) => true,
            Node::Empty | Node::Byte(_) | Node::Backref(..) | Node::At(_) => false,
            Node::Group(_, node) | Node::Look(_, node) | Node::Repeat(node, _) => node.has_atomic(),
            Node::Concat(nodes) | Node::Alternatives(nodes) => nodes.iter().any(Node::has_atomic),
        }
    }

    /// How large it becomes when counted repeats are written out.
    pub(super) fn size(&self) -> usize {
        match self {
            Node::Empty | Node::Byte(_) | Node::Backref(..) | Node::At(_) => 1,
            Node::Group(_, node) | Node::Atomic(node) | Node::Look(_, node) => node.size().saturating_add(1),
            Node::Concat(nodes) | Node::Alternatives(nodes) => {
                nodes.iter().fold(1, |sum, node| sum.saturating_add(node.size()))
            }
            Node::Repeat(node, times) => {
                let copies = times.max.unwrap_or(times.min).max(times.min).max(1) as usize;
                node.size().saturating_add(1).saturating_mul(copies)
            }
        }
    }
}
