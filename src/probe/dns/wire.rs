//! DNS messages (RFC 1035 section 4), as much as one question and its answer need. Pure.

use std::fmt::{self, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Longest name, in bytes of its wire form.
const NAME: usize = 255;
/// Longest label.
const LABEL: usize = 63;
/// Jumps within a name: one before each label is as many as make sense.
const JUMPS: usize = 128;
/// Bytes of a header.
const HEADER: usize = 12;
/// Class IN.
const IN: u16 = 1;

/// A type of record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Record {
    A = 1,
    Ns = 2,
    Cname = 5,
    Soa = 6,
    Ptr = 12,
    Mx = 15,
    Txt = 16,
    Aaaa = 28,
    Srv = 33,
}

impl Record {
    /// The words of the option `record`.
    pub(super) const WORDS: [(&str, Record); 9] = [
        ("a", Record::A),
        ("aaaa", Record::Aaaa),
        ("ptr", Record::Ptr),
        ("mx", Record::Mx),
        ("ns", Record::Ns),
        ("soa", Record::Soa),
        ("txt", Record::Txt),
        ("srv", Record::Srv),
        ("cname", Record::Cname),
    ];
}

impl fmt::Display for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = Record::WORDS.iter().find(|(_, record)| record == self);
        f.write_str(&word.map_or("", |(word, _)| word).to_uppercase())
    }
}

/// A domain name in its wire form.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Name(Vec<u8>);

impl Name {
    /// Reads a name of labels between dots; a dot at its end changes nothing. None when a label is
    /// empty or too long, or the whole is.
    pub(super) fn parse(text: &[u8]) -> Option<Name> {
        let text = text.strip_suffix(b".").unwrap_or(text);
        let mut wire = Vec::new();
        for label in text.split(|&b| b == b'.').filter(|_| !text.is_empty()) {
            let length = u8::try_from(label.len()).ok().filter(|&l| l > 0 && usize::from(l) <= LABEL)?;
            wire.push(length);
            wire.extend(label);
        }
        wire.push(0);
        (wire.len() <= NAME).then_some(Name(wire))
    }

    /// The name under which an address's own name is found (RFC 1035 section 3.5, RFC 3596 section 2.5).
    pub(super) fn reverse(ip: IpAddr) -> Name {
        let mut labels: Vec<String> = match ip {
            IpAddr::V4(ip) => ip.octets().iter().rev().map(u8::to_string).collect(),
            IpAddr::V6(ip) => {
                ip.octets().iter().rev().flat_map(|b| [b & 15, b >> 4]).map(|n| format!("{n:x}")).collect()
            }
        };
        labels.push(if ip.is_ipv4() { "in-addr" } else { "ip6" }.into());
        labels.push("arpa".into());
        // Short enough: at most 34 labels, 75 bytes.
        let wire = labels.iter().flat_map(|label| [&[label.len() as u8], label.as_bytes()].concat());
        Name(wire.chain([0]).collect())
    }

    fn is_same(&self, other: &Name) -> bool {
        self.0.eq_ignore_ascii_case(&other.0)
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rest = &self.0[..];
        let mut is_first = true;
        while let Some((&length, after)) = rest.split_first().filter(|(length, _)| **length > 0) {
            let (label, after) = after.split_at_checked(length.into()).unwrap_or((after, &[]));
            if !is_first {
                f.write_char('.')?;
            }
            is_first = false;
            escape(label, b"\\.", f)?;
            rest = after;
        }
        if is_first { f.write_char('.') } else { Ok(()) }
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Bytes as master files write them (RFC 1035 section 5.1): `\.`, `\255`.
fn escape(bytes: &[u8], special: &[u8], out: &mut impl Write) -> fmt::Result {
    for &byte in bytes {
        match byte {
            b if special.contains(&b) => write!(out, "\\{}", char::from(b))?,
            b' '..=b'~' => out.write_char(byte.into())?,
            _ => write!(out, "\\{byte:03}")?,
        }
    }
    Ok(())
}

/// One question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Question {
    pub(super) name: Name,
    pub(super) record: Record,
}

impl Question {
    /// The query: recursion is desired, as resolvers ask.
    pub(super) fn query(&self, id: u16) -> Vec<u8> {
        let mut query = Vec::with_capacity(HEADER + NAME + 4);
        for word in [id, 0x0100, 1, 0, 0, 0] {
            query.extend(word.to_be_bytes());
        }
        query.extend(&self.name.0);
        query.extend((self.record as u16).to_be_bytes());
        query.extend(IN.to_be_bytes());
        query
    }

    /// Reads a message as the answer to this question.
    pub(super) fn answer(&self, id: u16, message: &[u8]) -> Result<Answer, Wrong> {
        let mut reader = Reader { message, at: 0 };
        let mut word = || reader.word().ok_or(Wrong::Stray("a datagram too short for an answer"));
        let (found, flags, questions, answers) = (word()?, word()?, word()?, word()?);
        let (_authorities, _additional) = (word()?, word()?);
        if found != id || flags & 0xf800 != 0x8000 {
            return Err(Wrong::Stray("an answer to another question"));
        }
        let (is_cut, code) = (flags & 0x0200 != 0, flags & 0x000f);
        // A server that did not understand the question may leave it out.
        let is_bare = questions == 0 && code != 0;
        if !is_bare && (questions != 1 || !self.stands_in(&mut reader)) {
            return Err(Wrong::Stray("an answer to another question"));
        }
        if code != 0 || is_cut {
            return Ok(Answer { code, is_cut, records: Vec::new() });
        }
        let mut records = Vec::new();
        for _ in 0..answers {
            let record = reader.record(self.record).ok_or(Wrong::Broken)?;
            records.extend(record);
        }
        Ok(Answer { code, is_cut, records })
    }

    fn stands_in(&self, reader: &mut Reader<'_>) -> bool {
        reader.name().is_some_and(|name| name.is_same(&self.name))
            && reader.word() == Some(self.record as u16)
            && reader.word() == Some(IN)
    }
}

/// What a message is when it is no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wrong {
    /// Not about our question.
    Stray(&'static str),
    /// About our question, and not readable.
    Broken,
}

/// An answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Answer {
    /// The response code; 0 for no error.
    pub(super) code: u16,
    /// Whether it did not fit into a datagram; it has no records here then.
    pub(super) is_cut: bool,
    /// The records of the type that was asked for, as text.
    pub(super) records: Vec<String>,
}

/// The name of a response code (RFC 6895 section 2.3).
pub(super) fn code(code: u16) -> String {
    match code {
        1 => "FORMERR: the server did not understand the question".into(),
        2 => "SERVFAIL: the server could not find out".into(),
        3 => "NXDOMAIN: there is no such name".into(),
        4 => "NOTIMP: the server does not answer such questions".into(),
        5 => "REFUSED: the server does not answer us".into(),
        9 => "NOTAUTH: the server is not responsible".into(),
        other => format!("response code {other}"),
    }
}

/// Reads a message from its start on; every step is bounded by its length.
struct Reader<'a> {
    message: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn bytes(&mut self, count: usize) -> Option<&'a [u8]> {
        let bytes = self.message.get(self.at..)?.get(..count)?;
        self.at += count;
        Some(bytes)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.bytes(N)?.try_into().ok()
    }

    fn word(&mut self) -> Option<u16> {
        self.array().map(u16::from_be_bytes)
    }

    fn long(&mut self) -> Option<u32> {
        self.array().map(u32::from_be_bytes)
    }

    /// A name, which may go on elsewhere (RFC 1035 section 4.1.4). Each jump must lead further back
    /// than all before, so that there is no loop; and a chain of them, which thousands of records may
    /// share, must be short.
    fn name(&mut self) -> Option<Name> {
        let mut wire = Vec::new();
        let mut far = Reader { message: self.message, at: self.at };
        let mut lowest = self.at;
        let mut after = None;
        let mut jumps = 0;
        loop {
            let [length] = far.array()?;
            match length {
                0 => break,
                1..=63 => {
                    wire.push(length);
                    wire.extend(far.bytes(length.into())?);
                    if wire.len() >= NAME {
                        return None;
                    }
                }
                0xc0.. => {
                    let [low] = far.array()?;
                    let to = usize::from(u16::from_be_bytes([length & 0x3f, low]));
                    after = after.or(Some(far.at));
                    jumps += 1;
                    if to >= lowest || jumps > JUMPS {
                        return None;
                    }
                    (lowest, far.at) = (to, to);
                }
                _ => return None,
            }
        }
        wire.push(0);
        self.at = after.unwrap_or(far.at);
        Some(Name(wire))
    }

    /// The next record: none when it cannot be read; an empty one when it is of another type.
    fn record(&mut self, wanted: Record) -> Option<Option<String>> {
        self.name()?;
        let (record, class) = (self.word()?, self.word()?);
        let _ttl = self.long()?;
        let length = usize::from(self.word()?);
        let start = self.at;
        let data = self.bytes(length)?;
        if record != wanted as u16 || class != IN {
            return Some(None);
        }
        let mut reader = Reader { message: &self.message[..self.at], at: start };
        let text = reader.data(wanted, data)?;
        // What is left over is no part of such a record.
        (reader.at == self.at).then_some(Some(text))
    }

    /// A record's data as text, as `dig` writes it but without the dot behind names.
    fn data(&mut self, record: Record, data: &[u8]) -> Option<String> {
        Some(match record {
            Record::A => Ipv4Addr::from(self.array::<4>()?).to_string(),
            Record::Aaaa => Ipv6Addr::from(self.array::<16>()?).to_string(),
            Record::Ns | Record::Cname | Record::Ptr => self.name()?.to_string(),
            Record::Mx => format!("{} {}", self.word()?, self.name()?),
            Record::Srv => {
                format!("{} {} {} {}", self.word()?, self.word()?, self.word()?, self.name()?)
            }
            Record::Soa => {
                let mut text = format!("{} {}", self.name()?, self.name()?);
                for _ in 0..5 {
                    // Writing to a String cannot fail.
                    let _ = write!(text, " {}", self.long()?);
                }
                text
            }
            Record::Txt => {
                let end = self.at + data.len();
                let mut text = String::new();
                while self.at < end {
                    let [length] = self.array()?;
                    // As above; a long text is made of many, which belong together.
                    let _ = escape(self.bytes(length.into())?, b"", &mut text);
                }
                text
            }
        })
    }
}

#[cfg(test)]
#[path = "wire_tests.rs"]
mod tests;
