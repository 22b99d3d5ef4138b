//! Reads Perl's syntax. Pure.
//!
//! What Perl 5.36 does with `m/$pattern/` on byte strings, as perlre(1) and perlrebackslash(1)
//! have it. Constructs whose meaning is not carried over exactly are faults.

use super::node::{Anchor, Look, Node, Times};
use super::set::ByteSet;
use super::{PatternFault, class, escape};

/// How deep groups may be nested.
const DEPTH: usize = 40;
/// Perl's limit for a count.
const COUNT: u32 = 65_534;
/// Perl's limit for what stands in a look-behind, in bytes.
const BEHIND: usize = 255;

/// The flags in force at a place.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Flags {
    /// `i`: without regard to case.
    pub(super) fold: bool,
    multi: bool,
    dot_all: bool,
    extended: bool,
    plain: bool,
}

/// A capture group that has begun.
#[derive(Debug)]
struct Group {
    name: Option<Vec<u8>>,
    closed: bool,
}

/// A pattern that is being read.
#[derive(Debug)]
pub(super) struct Parser<'a> {
    pattern: &'a [u8],
    /// The next byte to read.
    pub(super) at: usize,
    /// The flags in force here.
    pub(super) flags: Flags,
    groups: Vec<Group>,
    depth: usize,
}

/// Reads a whole pattern: what it means, and how many groups it has.
pub(super) fn parse(pattern: &[u8]) -> Result<(Node, usize), PatternFault> {
    let mut parser = Parser { pattern, at: 0, flags: Flags::default(), groups: Vec::new(), depth: 0 };
    let node = parser.alternatives()?;
    match parser.peek() {
        None => Ok((node, parser.groups.len())),
        Some(_) => Err(parser.fault(parser.at, 1, "unmatched `)`", "write `\\)` for the character")),
    }
}

impl<'a> Parser<'a> {
    /// The next byte.
    pub(super) fn peek(&self) -> Option<u8> {
        self.pattern.get(self.at).copied()
    }

    /// What has not been read.
    pub(super) fn rest(&self) -> &'a [u8] {
        self.rest_from(self.at)
    }

    /// What stands at a place and behind it.
    pub(super) fn rest_from(&self, at: usize) -> &'a [u8] {
        &self.pattern[at.min(self.pattern.len())..]
    }

    /// Reads `text` if it comes next.
    pub(super) fn eat(&mut self, text: &str) -> bool {
        let found = self.rest().starts_with(text.as_bytes());
        if found {
            self.at += text.len();
        }
        found
    }

    /// A fault at a place.
    pub(super) fn fault(
        &self,
        from: usize,
        length: usize,
        message: impl Into<String>,
        help: &'static str,
    ) -> PatternFault {
        let offset = from.min(self.pattern.len());
        let length = length.min(self.pattern.len() - offset);
        PatternFault { offset, length, message: message.into(), help }
    }

    /// A fault that reaches from a place to here.
    pub(super) fn fault_from(
        &self,
        from: usize,
        message: impl Into<String>,
        help: &'static str,
    ) -> PatternFault {
        self.fault(from, self.at.saturating_sub(from).max(1), message, help)
    }

    fn alternatives(&mut self) -> Result<Node, PatternFault> {
        let mut nodes = vec![self.concat()?];
        while self.eat("|") {
            nodes.push(self.concat()?);
        }
        Ok(if nodes.len() == 1 { nodes.remove(0) } else { Node::Alternatives(nodes) })
    }

    fn concat(&mut self) -> Result<Node, PatternFault> {
        let mut nodes = Vec::new();
        loop {
            self.skip()?;
            if matches!(self.peek(), None | Some(b'|' | b')')) {
                break;
            }
            let Some(atom) = self.atom()? else { continue };
            nodes.push(self.quantified(atom)?);
        }
        Ok(match nodes.len() {
            0 => Node::Empty,
            1 => nodes.remove(0),
            _ => Node::Concat(nodes),
        })
    }

    /// Skips comments, and white space under `x`.
    pub(super) fn skip(&mut self) -> Result<(), PatternFault> {
        loop {
            let start = self.at;
            match self.peek() {
                _ if self.eat("(?#") => {
                    let end = self.rest().iter().position(|&b| b == b')');
                    let end = end.ok_or_else(|| {
                        self.fault(start, 3, "comment without end", "a comment ends at the first `)`")
                    })?;
                    self.at += end + 1;
                }
                Some(b' ' | b'\t'..=b'\r' | 0x85) if self.flags.extended => self.at += 1,
                Some(b'#') if self.flags.extended => {
                    let rest = self.rest();
                    self.at += rest.iter().position(|&b| b == b'\n').unwrap_or(rest.len());
                }
                _ => return Ok(()),
            }
        }
    }

    /// One atom; none for flags that stand alone.
    fn atom(&mut self) -> Result<Option<Node>, PatternFault> {
        let start = self.at;
        let Some(byte) = self.peek() else { return Ok(Some(Node::Empty)) };
        self.at += 1;
        let flags = self.flags;
        Ok(Some(match byte {
            b'(' => return self.group(start),
            b'[' => Node::Byte(class::class(self, start)?),
            b'\\' => escape::escape(self, start)?,
            b'.' if flags.dot_all => Node::Byte(ByteSet::ALL),
            b'.' => Node::Byte(ByteSet::byte(b'\n').not()),
            b'^' if flags.multi => Node::At(Anchor::LineStart),
            b'^' => Node::At(Anchor::Start),
            b'$' if flags.multi => Node::At(Anchor::LineEnd),
            b'$' => Node::At(Anchor::End),
            b'*' | b'+' | b'?' => {
                return Err(self.fault(
                    start,
                    1,
                    "quantifier follows nothing",
                    "write a backslash before it for the character",
                ));
            }
            byte => self.literal(byte),
        }))
    }

    /// One byte, in both cases if the flags say so.
    pub(super) fn literal(&self, byte: u8) -> Node {
        let set = ByteSet::byte(byte);
        Node::Byte(if self.flags.fold { set.fold() } else { set })
    }

    /// The atom with the quantifier that may follow it.
    fn quantified(&mut self, atom: Node) -> Result<Node, PatternFault> {
        self.skip()?;
        let start = self.at;
        let Some((min, max)) = self.count()? else { return Ok(atom) };
        self.skip()?;
        let lazy = self.eat("?");
        let possessive = !lazy && self.eat("+");
        self.skip()?;
        if self.count()?.is_some() {
            return Err(self.fault_from(start, "nested quantifiers", "put the inner one into `(?:…)`"));
        }
        if max.is_some_and(|max| max < min) {
            return Err(self.fault_from(
                start,
                "this can never match: the least is more than the most",
                "{LEAST,MOST}",
            ));
        }
        if atom.width().1 == Some(0) {
            return Err(self.fault_from(
                start,
                "quantifier behind what takes no byte",
                "leave the quantifier away",
            ));
        }
        let node = Node::Repeat(Box::new(atom), Times { min, max, lazy });
        Ok(if possessive { Node::Atomic(Box::new(node)) } else { node })
    }

    /// Reads a quantifier's count; none (and nothing read) when there is no quantifier.
    fn count(&mut self) -> Result<Option<(u32, Option<u32>)>, PatternFault> {
        let start = self.at;
        let count = match self.peek() {
            Some(b'*') => (0, None),
            Some(b'+') => (1, None),
            Some(b'?') => (0, Some(1)),
            Some(b'{') => {
                let Some((length, min, max)) = braces(self.rest()) else { return Ok(None) };
                self.at += length - 1;
                (min, max)
            }
            _ => return Ok(None),
        };
        self.at += 1;
        if count.0 > COUNT || count.1.is_some_and(|max| max > COUNT) {
            return Err(self.fault_from(start, "this count is too large", "at most 65534"));
        }
        Ok(Some(count))
    }

    /// Reads what follows a `(`.
    fn group(&mut self, start: usize) -> Result<Option<Node>, PatternFault> {
        let saved = self.flags;
        if self.depth >= DEPTH {
            return Err(self.fault(start, 1, "groups are nested too deep", "at most 40 deep"));
        }
        let node = if self.peek() == Some(b'*') {
            return Err(self.unsupported(start, 2, "verbs and other `(*…)`"));
        } else if !self.eat("?") {
            if self.flags.plain { self.inner(start)? } else { self.capture(start, None)? }
        } else if self.eat(":") {
            self.inner(start)?
        } else if self.eat(">") {
            Node::Atomic(Box::new(self.inner(start)?))
        } else if self.eat("=") {
            self.look(start, false, false)?
        } else if self.eat("!") {
            self.look(start, false, true)?
        } else if self.eat("<=") {
            self.look(start, true, false)?
        } else if self.eat("<!") {
            self.look(start, true, true)?
        } else if self.eat("P=") {
            let name = self.name(start, b')')?;
            return self.backref_named(start, &name).map(Some);
        } else if self.eat("<") || self.eat("P<") {
            let name = self.name(start, b'>')?;
            self.capture(start, Some(name))?
        } else if self.eat("'") {
            let name = self.name(start, b'\'')?;
            self.capture(start, Some(name))?
        } else if !self.set_flags(start)? {
            // `(?i)`: from here to the end of the group around it.
            return Ok(None);
        } else {
            self.inner(start)?
        };
        self.flags = saved;
        Ok(Some(node))
    }

    /// Reads up to the closing `)`.
    fn inner(&mut self, start: usize) -> Result<Node, PatternFault> {
        self.depth += 1;
        let node = self.alternatives()?;
        self.depth -= 1;
        if !self.eat(")") {
            return Err(self.fault(start, 1, "unmatched `(`", "write `\\(` for the character"));
        }
        Ok(node)
    }

    fn capture(&mut self, start: usize, name: Option<Vec<u8>>) -> Result<Node, PatternFault> {
        if name.is_some() && self.groups.iter().any(|group| group.name == name) {
            return Err(self.fault_from(
                start,
                "two groups of the same name are not supported",
                "give each a name of its own",
            ));
        }
        self.groups.push(Group { name, closed: false });
        let number = self.groups.len();
        let node = self.inner(start)?;
        self.groups[number - 1].closed = true;
        Ok(Node::Group(number, Box::new(node)))
    }

    fn look(&mut self, start: usize, behind: bool, negative: bool) -> Result<Node, PatternFault> {
        let before = self.groups.len();
        let node = self.inner(start)?;
        let length = self.at - start;
        if node.is_idle() {
            // Perl 5.36 itself is not of one mind about these.
            let help = "leave it away, or make it ask for something";
            return Err(self.fault(start, length, "this look-around asks for nothing", help));
        }
        if node.has_atomic() && behind {
            return Err(self.unsupported(
                start,
                length,
                "atomic groups, possessive quantifiers and `\\R` in a look-behind",
            ));
        }
        if negative {
            // What they matched is undefined outside: no reference may ask for it.
            self.groups[before..].iter_mut().for_each(|group| group.closed = false);
        }
        let look = Look { behind, negative };
        if !behind {
            return Ok(Node::Look(look, Box::new(node)));
        }
        look_behind(look, node).ok_or_else(|| {
            let help = "each of its alternatives must have one length, of at most 255 bytes";
            self.fault(start, length, "look-behind of variable length is not supported", help)
        })
    }

    /// Reads flags up to `)` or `:`; true when a group follows.
    fn set_flags(&mut self, start: usize) -> Result<bool, PatternFault> {
        let mut flags = self.flags;
        let mut on = true;
        let caret = self.eat("^");
        if caret {
            flags = Flags::default();
        }
        loop {
            let at = self.at;
            let Some(byte) = self.peek() else {
                return Err(self.fault(start, 2, "incomplete `(?`", "write `\\(` for the character"));
            };
            self.at += 1;
            match byte {
                b'i' => flags.fold = on,
                b'm' => flags.multi = on,
                b's' => flags.dot_all = on,
                b'x' if !self.rest().starts_with(b"x") => flags.extended = on,
                b'n' => flags.plain = on,
                b'-' if on && !caret => on = false,
                b')' | b':' => {
                    self.flags = flags;
                    return Ok(byte == b':');
                }
                _ => {
                    let length = at + 1 - start;
                    return Err(self.fault(start, length, "this kind of group is not supported", SUPPORTED));
                }
            }
        }
    }

    /// Reads a group's name up to its end mark.
    pub(super) fn name(&mut self, start: usize, end: u8) -> Result<Vec<u8>, PatternFault> {
        let rest = self.rest();
        let length = rest.iter().position(|b| !b.is_ascii_alphanumeric() && *b != b'_').unwrap_or(rest.len());
        let name = &rest[..length];
        let good = name.first().is_some_and(|b| !b.is_ascii_digit()) && rest.get(length) == Some(&end);
        self.at += length + usize::from(good);
        match good {
            true => Ok(name.to_vec()),
            false => Err(self.fault_from(
                start,
                "invalid group name",
                "letters, digits and `_`, not a digit first",
            )),
        }
    }

    /// A reference to a group by name.
    pub(super) fn backref_named(&self, start: usize, name: &[u8]) -> Result<Node, PatternFault> {
        let number = self.groups.iter().position(|group| group.name.as_deref() == Some(name));
        self.backref(start, number.map(|index| index + 1))
    }

    /// A reference to a group by number; one from the end, counted back from 1, if `relative`.
    pub(super) fn backref_number(
        &self,
        start: usize,
        number: usize,
        relative: bool,
    ) -> Result<Node, PatternFault> {
        let number = if relative { (self.groups.len() + 1).checked_sub(number) } else { Some(number) };
        self.backref(start, number)
    }

    fn backref(&self, start: usize, number: Option<usize>) -> Result<Node, PatternFault> {
        let number = number.filter(|&n| n > 0 && self.groups.get(n - 1).is_some_and(|group| group.closed));
        let number = number.ok_or_else(|| {
            self.fault_from(
                start,
                "no such group ends before this reference",
                "refer to a group further left",
            )
        })?;
        Ok(Node::Backref(number, self.flags.fold))
    }

    /// The fault for what is not carried over.
    pub(super) fn unsupported(&self, start: usize, length: usize, what: &str) -> PatternFault {
        self.fault(start, length, format!("{what} are not supported"), SUPPORTED)
    }
}

/// The help where a construct of Perl is refused.
pub(super) const SUPPORTED: &str = "Perl's classes, quantifiers, groups, look-around, back-references and the flags i, m, s, x, n are supported; no recursion, conditions, code, verbs or Unicode";

/// A look-behind, each alternative by itself; none when the length of one varies.
fn look_behind(look: Look, node: Node) -> Option<Node> {
    let nodes = match node {
        Node::Alternatives(nodes) => nodes,
        node => vec![node],
    };
    let fixed = |node: &Node| matches!(node.width(), (min, Some(max)) if min == max && max <= BEHIND);
    let all = nodes.iter().all(fixed);
    let nodes = nodes.into_iter().map(|node| Node::Look(look, Box::new(node))).collect();
    // None of them may stand there, or one of them must.
    all.then_some(if look.negative { Node::Concat(nodes) } else { Node::Alternatives(nodes) })
}

/// Length and limits of a `{…}` quantifier; none when the brace is a literal one.
pub(super) fn braces(text: &[u8]) -> Option<(usize, u32, Option<u32>)> {
    let end = text.iter().position(|&b| b == b'}')?;
    let inner = std::str::from_utf8(&text[1..end]).ok()?;
    let blank = |c| c == ' ' || c == '\t';
    let number = |text: &str| -> Option<u32> {
        let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        digits.then(|| text.parse().unwrap_or(u32::MAX))
    };
    let (min, max) = match inner.split_once(',') {
        None => {
            let count = number(inner.trim_matches(blank))?;
            (count, Some(count))
        }
        Some((min, max)) => match (min.trim_matches(blank), max.trim_matches(blank)) {
            ("", max) => (0, Some(number(max)?)),
            (min, "") => (number(min)?, None),
            (min, max) => (number(min)?, Some(number(max)?)),
        },
    };
    Some((end + 1, min, max))
}
