//! Writes a pattern for the `regex` crate, which matches in linear time. Only a small, plain part
//! of its syntax is used: classes as ranges of bytes, groups without captures or flags. Pure.

use std::fmt::Write;

use super::node::{Anchor, Node, Times};
use super::set::ByteSet;

/// The pattern for `regex` in its bytes mode; none when it takes more than a regular expression
/// has: look-around, atomic groups, back-references, or an anchor that would need them.
pub(super) fn emit(node: &Node) -> Option<String> {
    let mut out = String::new();
    write(&mut out, node, Place { last: true, byte_follows: false })?;
    Some(out)
}

/// What is known of what follows.
#[derive(Clone, Copy)]
struct Place {
    /// Nothing does: this is the end of the whole pattern.
    last: bool,
    /// At least a byte does.
    byte_follows: bool,
}

fn write(out: &mut String, node: &Node, place: Place) -> Option<()> {
    match node {
        Node::Empty => out.push_str("(?:)"),
        Node::Byte(set) => class(out, set),
        Node::Concat(nodes) => {
            for (i, node) in nodes.iter().enumerate() {
                let rest = &nodes[i + 1..];
                let byte_follows = place.byte_follows || rest.iter().any(|node| node.width().0 > 0);
                write(out, node, Place { last: place.last && rest.is_empty(), byte_follows })?;
            }
        }
        Node::Alternatives(nodes) => {
            for (i, node) in nodes.iter().enumerate() {
                out.push_str(if i == 0 { "(?:" } else { "|" });
                write(out, node, place)?;
            }
            out.push(')');
        }
        Node::Repeat(node, times) => {
            out.push_str("(?:");
            write(out, node, Place { last: false, byte_follows: false })?;
            out.push(')');
            count(out, times);
        }
        Node::Group(_, node) => {
            out.push_str("(?:");
            write(out, node, place)?;
            out.push(')');
        }
        Node::At(anchor) => out.push_str(assertion(*anchor, place)?),
        Node::Backref(..) | Node::Look(..) | Node::Atomic(_) => return None,
    }
    Some(())
}

/// Who yields first makes no difference to whether there is a match.
fn count(out: &mut String, times: &Times) {
    // Writing to a string can not fail.
    let _ = match times.max {
        None => write!(out, "{{{},}}", times.min),
        Some(max) => write!(out, "{{{},{max}}}", times.min),
    };
}

fn assertion(anchor: Anchor, place: Place) -> Option<&'static str> {
    Some(match anchor {
        Anchor::Start => r"\A",
        // Elsewhere it would have to look for the end of the text.
        Anchor::LineStart if place.byte_follows => "(?m:^)",
        // Where nothing follows, the line feed may as well be taken.
        Anchor::End if place.last => r"\n?\z",
        Anchor::LineStart | Anchor::End => return None,
        Anchor::LineEnd => "(?m:$)",
        Anchor::VeryEnd => r"\z",
        Anchor::Word => r"\b",
        Anchor::NotWord => r"\B",
    })
}

fn class(out: &mut String, set: &ByteSet) {
    if *set == ByteSet::NONE {
        return out.push_str(r"[^\x00-\xff]");
    }
    out.push('[');
    for range in set.ranges() {
        let _ = write!(out, r"\x{:02x}-\x{:02x}", range.start(), range.end());
    }
    out.push(']');
}
