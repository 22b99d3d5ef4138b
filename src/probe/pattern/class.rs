//! Bracketed classes: `[a-z\d[:punct:]]`. Pure.

use super::PatternFault;
use super::escape;
use super::parse::Parser;
use super::set::ByteSet;

/// One thing in a class.
enum Item {
    /// A byte, which may begin or end a range.
    Byte(u8),
    /// A class of its own.
    Set(ByteSet),
}

/// Reads what follows a `[`.
pub(super) fn class(parser: &mut Parser<'_>, start: usize) -> Result<ByteSet, PatternFault> {
    let negated = parser.eat("^");
    let mut bytes = ByteSet::NONE;
    let mut sets = ByteSet::NONE;
    let mut first = true;
    loop {
        if !first && parser.eat("]") {
            break;
        }
        first = false;
        let at = parser.at;
        match item(parser, start)? {
            Item::Set(set) => sets = sets.or(set),
            Item::Byte(low) => {
                bytes = bytes.or(match range_end(parser, start)? {
                    None => ByteSet::byte(low),
                    Some(high) if low <= high => ByteSet::range(low..=high),
                    Some(_) => {
                        return Err(parser.fault_from(
                            at,
                            "invalid range in a class",
                            "the lower end first: `[a-z]`",
                        ));
                    }
                })
            }
        }
    }
    // Case is folded in what was written as bytes; sets have been read with regard to it.
    let set = sets.or(if parser.flags.fold { bytes.fold() } else { bytes });
    Ok(if negated { set.not() } else { set })
}

/// The end of a range, when a `-` and a byte follow. Else nothing is read: a `-` at the end of a
/// class or before a set is itself.
fn range_end(parser: &mut Parser<'_>, start: usize) -> Result<Option<u8>, PatternFault> {
    let before = parser.at;
    if !parser.eat("-") {
        return Ok(None);
    }
    if parser.peek() != Some(b']')
        && let Item::Byte(high) = item(parser, start)?
    {
        return Ok(Some(high));
    }
    parser.at = before;
    Ok(None)
}

fn item(parser: &mut Parser<'_>, start: usize) -> Result<Item, PatternFault> {
    let at = parser.at;
    let Some(byte) = parser.peek() else {
        return Err(parser.fault(start, 1, "unmatched `[`", "write `\\[` for the character"));
    };
    if byte == b'[' && matches!(parser.rest().get(1), Some(b':' | b'.' | b'=')) {
        return posix(parser).map(Item::Set);
    }
    parser.at += 1;
    if byte != b'\\' {
        return Ok(Item::Byte(byte));
    }
    let Some(letter) = parser.peek() else {
        return Err(parser.fault(start, 1, "unmatched `[`", "write `\\[` for the character"));
    };
    if let Some(byte) = escape::byte_escape(parser, at)? {
        return Ok(Item::Byte(byte));
    }
    parser.at += 1;
    match letter {
        b'b' => Ok(Item::Byte(0x08)),
        b'1'..=b'7' => Ok(Item::Byte(escape::octal(parser, 2, letter - b'0'))),
        _ => match escape::class_escape(letter) {
            Some(set) => Ok(Item::Set(set)),
            None => Err(parser.fault(
                at,
                2,
                format!("`\\{}` has no meaning in a class", letter.escape_ascii()),
                "leave the backslash away for the character itself",
            )),
        },
    }
}

/// Reads a class of POSIX, `[:alpha:]` or `[:^alpha:]`.
fn posix(parser: &mut Parser<'_>) -> Result<ByteSet, PatternFault> {
    let at = parser.at;
    let rest = parser.rest();
    let end = rest.windows(2).position(|pair| pair == b":]");
    let name = end.and_then(|end| rest.get(2..end)).unwrap_or_default();
    let (name, negated) = match name.strip_prefix(b"^") {
        Some(name) => (name, true),
        None => (name, false),
    };
    let Some(set) = named(name, parser.flags.fold) else {
        return Err(parser.fault(
            at,
            2,
            "unknown class of POSIX",
            "`[[:alpha:]]` and its kin; write `\\[` for the character",
        ));
    };
    parser.at += end.unwrap_or_default() + 2;
    Ok(if negated { set.not() } else { set })
}

fn named(name: &[u8], fold: bool) -> Option<ByteSet> {
    Some(match name {
        b"alpha" => ByteSet::of(|b| b.is_ascii_alphabetic()),
        b"digit" => ByteSet::of(|b| b.is_ascii_digit()),
        b"alnum" => ByteSet::of(|b| b.is_ascii_alphanumeric()),
        b"upper" | b"lower" if fold => ByteSet::of(|b| b.is_ascii_alphabetic()),
        b"upper" => ByteSet::of(|b| b.is_ascii_uppercase()),
        b"lower" => ByteSet::of(|b| b.is_ascii_lowercase()),
        b"punct" => ByteSet::of(|b| b.is_ascii_punctuation()),
        b"space" => escape::space(),
        b"blank" => ByteSet::of(|b| b == b' ' || b == b'\t'),
        b"cntrl" => ByteSet::of(|b| b.is_ascii_control()),
        b"graph" => ByteSet::of(|b| b.is_ascii_graphic()),
        b"print" => ByteSet::of(|b| b.is_ascii_graphic() || b == b' '),
        b"xdigit" => ByteSet::of(|b| b.is_ascii_hexdigit()),
        b"word" => escape::word(),
        b"ascii" => ByteSet::of(|b| b.is_ascii()),
        _ => return None,
    })
}
