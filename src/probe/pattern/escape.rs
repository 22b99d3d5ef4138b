//! What a backslash means. Pure.

use super::PatternFault;
use super::node::{Anchor, Node};
use super::parse::Parser;
use super::set::ByteSet;

/// `\s` without Unicode: blank, and from tab to carriage return.
pub(super) fn space() -> ByteSet {
    ByteSet::of(|b| b == b' ' || (b'\t'..=b'\r').contains(&b))
}

/// `\w` without Unicode.
pub(super) fn word() -> ByteSet {
    ByteSet::of(|b| b.is_ascii_alphanumeric() || b == b'_')
}

/// The set of a class escape (`d` of `\d`), in or outside a bracketed class.
pub(super) fn class_escape(letter: u8) -> Option<ByteSet> {
    let set = match letter.to_ascii_lowercase() {
        b'd' => ByteSet::range(b'0'..=b'9'),
        b'w' => word(),
        b's' => space(),
        // These two know the no-break space and the next-line of Latin-1 in any case.
        b'h' => ByteSet::of(|b| b == b' ' || b == b'\t' || b == 0xa0),
        b'v' => ByteSet::of(|b| (b'\n'..=b'\r').contains(&b) || b == 0x85),
        _ => return None,
    };
    Some(if letter.is_ascii_uppercase() { set.not() } else { set })
}

/// Reads what follows a backslash outside a class.
pub(super) fn escape(parser: &mut Parser<'_>, start: usize) -> Result<Node, PatternFault> {
    let Some(letter) = parser.peek() else {
        return Err(parser.fault(start, 1, "backslash at the end", "write `\\\\` for the character"));
    };
    let node = match byte_escape(parser, start)? {
        Some(byte) => parser.literal(byte),
        None => {
            parser.at += 1;
            letter_escape(parser, start, letter)?
        }
    };
    parser.skip()?;
    let brace = letter.is_ascii_alphanumeric() && parser.peek() == Some(b'{');
    if brace && super::parse::braces(parser.rest()).is_none() {
        return Err(parser.fault(parser.at, 1, "unescaped `{`", "write `\\{` for the character"));
    }
    Ok(node)
}

fn letter_escape(parser: &mut Parser<'_>, start: usize, letter: u8) -> Result<Node, PatternFault> {
    if let Some(set) = class_escape(letter) {
        return Ok(Node::Byte(set));
    }
    Ok(match letter {
        b'A' => Node::At(Anchor::Start),
        b'Z' => Node::At(Anchor::End),
        b'z' => Node::At(Anchor::VeryEnd),
        b'b' | b'B' if parser.peek() == Some(b'{') => {
            return Err(parser.unsupported(start, 3, "boundaries by name, `\\b{…}`,"));
        }
        b'b' => Node::At(Anchor::Word),
        b'B' => Node::At(Anchor::NotWord),
        b'N' if parser.peek() == Some(b'{') => {
            return Err(parser.unsupported(start, 3, "characters by name, `\\N{…}`,"));
        }
        b'N' => Node::Byte(ByteSet::byte(b'\n').not()),
        b'R' => line_break(),
        b'1'..=b'9' => number(parser, start)?,
        b'g' => group_number(parser, start)?,
        b'k' => group_name(parser, start)?,
        _ => return Err(unknown(parser, start)),
    })
}

/// The fault for a letter that means nothing, or something that is not supported.
fn unknown(parser: &Parser<'_>, start: usize) -> PatternFault {
    let letter = parser.rest_from(start + 1).first().copied().unwrap_or(b'?');
    let message = format!("`\\{}` is not supported", letter.escape_ascii());
    let help = match letter {
        b'Q' | b'E' | b'L' | b'U' | b'l' | b'u' | b'F' => {
            "Perl does not apply it to a pattern that comes from a variable, as this one does: escape each character"
        }
        b'p' | b'P' | b'X' => "patterns match bytes here, not characters of Unicode",
        _ => "a letter or digit behind a backslash must be an escape of Perl's that is supported",
    };
    parser.fault(start, 2, message, help)
}

/// `\R`: a line break of any kind; CR LF is not taken apart.
fn line_break() -> Node {
    let pair = Node::Concat(vec![Node::Byte(ByteSet::byte(b'\r')), Node::Byte(ByteSet::byte(b'\n'))]);
    let single = ByteSet::of(|b| (b'\n'..=b'\r').contains(&b) || b == 0x85);
    Node::Atomic(Box::new(Node::Alternatives(vec![pair, Node::Byte(single)])))
}

/// `\1` to `\9`. More digits are a group or an octal number, as the number of groups has it.
fn number(parser: &mut Parser<'_>, start: usize) -> Result<Node, PatternFault> {
    if parser.peek().is_some_and(|b| b.is_ascii_digit()) {
        parser.at += 1;
        return Err(parser.fault_from(
            start,
            "group or octal number?",
            "write `\\g{10}` for a group, `\\x0a` for a byte",
        ));
    }
    let digit = parser.rest_from(start + 1).first().map_or(0, |digit| digit - b'0');
    parser.backref_number(start, digit.into(), false)
}

/// What follows `\g`.
fn group_number(parser: &mut Parser<'_>, start: usize) -> Result<Node, PatternFault> {
    let braced = parser.eat("{");
    if braced && parser.peek().is_some_and(|b| b.is_ascii_alphabetic() || b == b'_') {
        let name = parser.name(start, b'}')?;
        return parser.backref_named(start, &name);
    }
    let relative = parser.eat("-");
    let rest = parser.rest();
    let digits = rest.iter().take_while(|b| b.is_ascii_digit()).count();
    let number = std::str::from_utf8(&rest[..digits]).ok().and_then(|digits| digits.parse().ok());
    parser.at += digits;
    match number {
        Some(number) if !braced || parser.eat("}") => parser.backref_number(start, number, relative),
        _ => Err(parser.fault_from(
            start,
            "invalid group number",
            "`\\g1`, `\\g{1}`, `\\g{-1}` or `\\g{name}`",
        )),
    }
}

/// What follows `\k`.
fn group_name(parser: &mut Parser<'_>, start: usize) -> Result<Node, PatternFault> {
    let end = match parser.peek() {
        Some(b'<') => b'>',
        Some(b'{') => b'}',
        Some(b'\'') => b'\'',
        _ => return Err(parser.fault_from(start, "`\\k` without a name", "`\\k<name>`")),
    };
    parser.at += 1;
    let name = parser.name(start, end)?;
    parser.backref_named(start, &name)
}

/// Reads an escape that stands for one byte, in or outside a class; none (and nothing read) when
/// it is of another kind.
pub(super) fn byte_escape(parser: &mut Parser<'_>, start: usize) -> Result<Option<u8>, PatternFault> {
    let Some(letter) = parser.peek() else { return Ok(None) };
    let byte = match letter {
        b'a' => 0x07,
        b'e' => 0x1b,
        b'f' => 0x0c,
        b'n' => b'\n',
        b'r' => b'\r',
        b't' => b'\t',
        b'x' | b'o' | b'c' | b'0' => {
            parser.at += 1;
            return match letter {
                b'x' => hexadecimal(parser, start),
                b'o' => octal_braced(parser, start),
                b'c' => control(parser, start),
                _ => Ok(octal(parser, 2, 0)),
            }
            .map(Some);
        }
        other if !other.is_ascii_alphanumeric() => other,
        _ => return Ok(None),
    };
    parser.at += 1;
    Ok(Some(byte))
}

/// Reads up to `most` octal digits behind those that make `value`.
pub(super) fn octal(parser: &mut Parser<'_>, most: usize, value: u8) -> u8 {
    let rest = parser.rest();
    let digits = rest.iter().take(most).take_while(|b| (b'0'..=b'7').contains(b));
    let digits: Vec<u8> = digits.map(|digit| digit - b'0').collect();
    parser.at += digits.len();
    digits.iter().fold(value, |value, digit| value.wrapping_mul(8).wrapping_add(*digit))
}

fn hexadecimal(parser: &mut Parser<'_>, start: usize) -> Result<u8, PatternFault> {
    let rest = parser.rest();
    if rest.first() == Some(&b'{') {
        return braced(parser, start, 16);
    }
    let digits = rest.iter().take(2).take_while(|b| b.is_ascii_hexdigit()).count();
    parser.at += digits;
    number_of(&rest[..digits], 16)
        .ok_or_else(|| parser.fault_from(start, "`\\x` without a number", "two hexadecimal digits: `\\x41`"))
}

fn octal_braced(parser: &mut Parser<'_>, start: usize) -> Result<u8, PatternFault> {
    match parser.peek() {
        Some(b'{') => braced(parser, start, 8),
        _ => Err(parser.fault_from(start, "`\\o` without a number", "octal digits in braces: `\\o{101}`")),
    }
}

/// A number in braces, blanks around it allowed.
fn braced(parser: &mut Parser<'_>, start: usize, radix: u32) -> Result<u8, PatternFault> {
    let rest = parser.rest();
    let end = rest.iter().position(|&b| b == b'}').unwrap_or(rest.len());
    parser.at += end + 1;
    let digits = rest.get(1..end).unwrap_or_default();
    number_of(digits.trim_ascii(), radix).ok_or_else(|| {
        parser.fault_from(
            start,
            "invalid number of a byte",
            "`\\x{00}` to `\\x{ff}`, or `\\o{0}` to `\\o{377}`",
        )
    })
}

fn number_of(digits: &[u8], radix: u32) -> Option<u8> {
    let digits = std::str::from_utf8(digits).ok().filter(|digits| !digits.starts_with('+'))?;
    u8::from_str_radix(digits, radix).ok()
}

/// `\cA`.
fn control(parser: &mut Parser<'_>, start: usize) -> Result<u8, PatternFault> {
    let letter = parser.peek().map(|b| b.to_ascii_uppercase());
    parser.at += 1;
    match letter {
        Some(letter @ (b'?' | b'@'..=b'[' | b']'..=b'_')) => Ok(letter ^ 0x40),
        _ => Err(parser.fault_from(start, "invalid control character", "`\\c` and a letter")),
    }
}
