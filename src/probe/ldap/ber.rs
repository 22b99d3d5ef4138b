//! The part of BER that LDAP uses (RFC 4511 section 5.1): definite lengths, tags of one byte. Pure.

/// INTEGER.
pub(super) const INTEGER: u8 = 0x02;
/// OCTET STRING.
pub(super) const OCTETS: u8 = 0x04;
/// BOOLEAN.
pub(super) const BOOLEAN: u8 = 0x01;
/// ENUMERATED.
pub(super) const ENUMERATED: u8 = 0x0a;
/// SEQUENCE, with its contents made of elements.
pub(super) const SEQUENCE: u8 = 0x30;

/// An element.
pub(super) fn element(tag: u8, contents: &[u8]) -> Vec<u8> {
    let length = contents.len().to_be_bytes();
    let length = &length[length.iter().take_while(|b| **b == 0).count()..];
    let mut out = vec![tag];
    match contents.len() {
        // One byte, as the pattern says.
        short @ 0..0x80 => out.push(short as u8),
        // At most eight bytes.
        _ => {
            out.push(0x80 | length.len() as u8);
            out.extend(length);
        }
    }
    out.extend(contents);
    out
}

/// What the first bytes of an element say of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) tag: u8,
    /// Bytes of tag and length.
    pub(super) size: usize,
    /// Bytes of contents.
    pub(super) length: usize,
}

/// The head of an element, when all of it is there.
pub(super) fn head(bytes: &[u8]) -> Result<Option<Head>, Broken> {
    let [tag, first, rest @ ..] = bytes else { return Ok(None) };
    if tag & 0x1f == 0x1f {
        return Err(Broken);
    }
    let (size, length) = match first {
        0..=0x7f => (2, usize::from(*first)),
        0x81..=0x84 => {
            let count = usize::from(first & 0x7f);
            let Some(digits) = rest.get(..count) else { return Ok(None) };
            (2 + count, digits.iter().fold(0, |length, digit| length << 8 | usize::from(*digit)))
        }
        // Without an end of its own, or longer than anything we read.
        _ => return Err(Broken),
    };
    Ok(Some(Head { tag: *tag, size, length }))
}

/// It is no BER, or not as LDAP uses it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Broken;

/// Elements one after the other.
pub(super) struct Reader<'a>(pub(super) &'a [u8]);

impl<'a> Reader<'a> {
    /// The next element: tag and contents.
    pub(super) fn next(&mut self) -> Result<(u8, &'a [u8]), Broken> {
        let head = head(self.0)?.ok_or(Broken)?;
        let (element, rest) =
            head.size.checked_add(head.length).and_then(|all| self.0.split_at_checked(all)).ok_or(Broken)?;
        self.0 = rest;
        Ok((head.tag, &element[head.size..]))
    }

    /// The contents of the next element, which has this tag.
    pub(super) fn tagged(&mut self, wanted: u8) -> Result<&'a [u8], Broken> {
        let (tag, contents) = self.next()?;
        if tag == wanted { Ok(contents) } else { Err(Broken) }
    }

    /// The next element, a number of at most 32 bits.
    pub(super) fn number(&mut self, tag: u8) -> Result<i32, Broken> {
        let contents = self.tagged(tag)?;
        let (&first, _) = contents.split_first().filter(|_| contents.len() <= 4).ok_or(Broken)?;
        let start = if first & 0x80 == 0 { 0 } else { -1 };
        Ok(contents.iter().fold(start, |number, byte| number << 8 | i32::from(*byte)))
    }
}
