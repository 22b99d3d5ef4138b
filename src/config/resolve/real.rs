//! The value of `real` and `real6`. Pure, but for the names.
//!
//! ```text
//! HOST[->HOST][:PORT] METHOD [WEIGHT] ["REQUEST", "RECEIVE"] [l:LOWER] [u:UPPER]
//! ```

use std::net::{IpAddr, SocketAddr};

use crate::config::diagnostic::Faults;
use crate::config::draft::{Pair, Said, ServerDraft};
use crate::config::raw::{Directive, Text, is_blank};
use crate::config::resolve::address::{Host, Lookup, PORT_HELP, forward, host, port};
use crate::config::value::{decimal, given};
use crate::model::{Family, Forward, Weight};
use crate::span::Fault;

/// Reads a line. A server that the kernel would refuse is told and left out.
pub fn read(
    directive: &Directive,
    family: Family,
    lookup: &Lookup,
    faults: &mut Faults,
) -> Option<ServerDraft> {
    let found = find(directive, faults);
    let (place, rest) = faults.keep(found)?;
    let resolved = faults.keep(place.resolve(directive, family, lookup));
    let method = faults.keep(method(directive, rest));
    let rest = method.as_ref().map(|(_, rest)| *rest)?;
    let tail = faults.keep(Tail::read(rest))?;
    tail.tell_dropped(faults);
    let (first, count, port) = resolved?;
    if let Some(refused) = tail.refused {
        faults.push(refused);
        return None;
    }
    let name = String::from_utf8_lossy(place.from.name.bytes).into_owned();
    Some(ServerDraft {
        span: directive.value.trim().span(),
        line: directive.name.clone(),
        name: Some(name).filter(|name| count == 1 && name.parse::<IpAddr>().is_err()),
        address: SocketAddr::new(first, port),
        count,
        forward: method?.0,
        weight: tail.weight,
        upper: tail.upper,
        lower: tail.lower,
        pair: tail.pair,
    })
}

/// ldirectord looks for the first place in the line that could be a server, whatever stands before it.
fn find<'a>(directive: &Directive<'a>, faults: &mut Faults) -> Result<(Place<'a>, Text<'a>), Fault> {
    let value = directive.value.trim();
    let first = match Place::read(value) {
        Ok(found) => return Ok(found),
        Err(first) => first,
    };
    let starts = (1..value.bytes.len()).filter(|&at| is_host(value.bytes[at]) || value.bytes[at] == b'[');
    let found = starts.filter_map(|at| Some((at, Place::read(value.from(at)).ok()?))).next();
    let Some((at, (place, rest))) = found else { return Err(first) };
    let junk = value.part(0, at);
    if junk.bytes.iter().any(|&b| is_host(b)) {
        let message = format!("`{}` is read as the server `{}`", place_of(value).shown(), place.all.shown());
        faults.push(Fault::mistake(place_of(value).span(), message).help(FORM));
    } else {
        faults.push(Fault::advice(junk.span(), format!("`{}` before the address is left out", junk.shown())));
    }
    Ok((place, rest))
}

/// The first word of a line.
fn place_of(value: Text<'_>) -> Text<'_> {
    value.take(|b| !is_blank(b)).0
}

fn is_host(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-')
}

/// The first part of a line: where the server is.
struct Place<'a> {
    all: Text<'a>,
    from: Host<'a>,
    to: Option<Host<'a>>,
    port: Option<Text<'a>>,
}

impl<'a> Place<'a> {
    fn read(text: Text<'a>) -> Result<(Place<'a>, Text<'a>), Fault> {
        let all = text.take(|b| !is_blank(b)).0;
        let wrong = || wrong_format(all);
        let arrow = all.bytes.windows(2).position(|pair| pair == b"->");
        let (from, to, rest) = match arrow {
            Some(at) => {
                let (from, left) = host(all.part(0, at), is_host).ok_or_else(wrong)?;
                let (to, rest) = host(text.from(at + 2), is_host).ok_or_else(wrong)?;
                if !left.is_empty() {
                    return Err(wrong());
                }
                (from, Some(to), rest)
            }
            None => {
                let (from, rest) = host(text, is_host).ok_or_else(wrong)?;
                (from, None, rest)
            }
        };
        let (port, rest) = match rest.bytes.first() {
            Some(b':') => port(rest).map(|(port, rest)| (Some(port), rest)).ok_or_else(wrong)?,
            _ => (None, rest),
        };
        match rest.bytes.first() {
            None => Err(wrong()),
            Some(&b) if !is_blank(b) => Err(wrong()),
            Some(_) => Ok((Place { all, from, to, port }, rest)),
        }
    }

    /// The first address, how many there are, and the port.
    fn resolve(
        &self,
        directive: &Directive,
        family: Family,
        lookup: &Lookup,
    ) -> Result<(IpAddr, usize, u16), Fault> {
        let name = directive.key.name;
        let resolve = |host: Host, what: &str| {
            lookup.host(host.name, family).map_err(|reason| {
                let shown = host.shown();
                let message = format!("invalid address ({shown}) for real server (could not resolve {what})");
                let help = match host.bracketed && name == "real" {
                    true => "an IPv6 server is a real6 in a virtual6".into(),
                    false => reason,
                };
                Fault::error(host.name.span(), message).help(help)
            })
        };
        let first = resolve(self.from, "host")?;
        let last = self.to.map(|to| resolve(to, "end host")).transpose()?;
        let port = match self.port {
            None => 0,
            Some(port) => lookup.port(port, None).ok_or_else(|| {
                let message =
                    format!("invalid port ({}) for real server (could not resolve port)", port.shown());
                Fault::error(port.span(), message).help(PORT_HELP)
            })?,
        };
        Ok((first, self.count(first, last)?, port))
    }

    fn count(&self, first: IpAddr, last: Option<IpAddr>) -> Result<usize, Fault> {
        match (first, last) {
            (_, None) => Ok(1),
            (IpAddr::V4(a), Some(IpAddr::V4(b))) if a <= b => Ok((b.to_bits() - a.to_bits()) as usize + 1),
            (IpAddr::V4(a), Some(IpAddr::V4(b))) => {
                // ldirectord's own words, which have it the wrong way round.
                let rule = "First value must be greater than or equal to the second value";
                let message = format!("Invalid Range: {a}-{b}: {rule}");
                Err(Fault::error(self.all.span(), message).help("write the lower address first"))
            }
            _ => {
                let message = "Address range for IPv6 is not supported yet";
                Err(Fault::error(self.all.span(), message).help("write a real6 line for each server"))
            }
        }
    }
}

const FORM: &str = "a server is ADDRESS[:PORT] METHOD [WEIGHT], for instance 10.0.0.1:80 gate 1";

fn wrong_format(text: Text) -> Fault {
    let fault = Fault::error(text.span(), "invalid address for real server (wrong format)");
    let colons = text.bytes.iter().filter(|&&b| b == b':').count();
    fault.help(match colons > 2 && !text.bytes.starts_with(b"[") {
        true => "an IPv6 address stands in brackets: [2001:db8::11]:80 gate",
        false => FORM,
    })
}

/// The forwarding method, and what follows it.
fn method<'a>(directive: &Directive, rest: Text<'a>) -> Result<(Said<Forward>, Text<'a>), Fault> {
    let (word, after) = rest.trim_start().take(|b| b.is_ascii_alphanumeric() || b == b'_');
    if rest.trim().is_empty() {
        return Err(wrong_format(directive.value.trim()));
    }
    Ok((Said::at(forward(word)?, word.span()), after))
}

/// What follows the method, in any order.
struct Tail<'a> {
    weight: Said<Weight>,
    upper: u32,
    lower: u32,
    pair: Option<Pair>,
    /// Why the kernel would refuse the server.
    refused: Option<Fault>,
    /// What stood before the weight and means nothing: ldirectord drops it.
    dropped: Option<Text<'a>>,
}

impl<'a> Tail<'a> {
    fn read(all: Text<'a>) -> Result<Tail<'a>, Fault> {
        let mut tail = Tail {
            weight: Said::default(Weight::ONE),
            upper: 0,
            lower: 0,
            pair: None,
            refused: None,
            dropped: None,
        };
        let mut weighed = false;
        let mut rest = all;
        while !rest.trim().is_empty() {
            let text = rest.trim_start();
            if text.bytes.starts_with(b"\"") && tail.pair.is_none() {
                let (pair, after) = pair(text).ok_or_else(|| left_over(rest))?;
                tail.pair = Some(pair);
                rest = after;
                continue;
            }
            let (word, after) = text.take(|b| !is_blank(b));
            if let Some(number) = word.after(b"u:").and_then(|n| decimal(n.bytes)) {
                tail.upper = number;
            } else if let Some(number) = word.after(b"l:").and_then(|n| decimal(n.bytes)) {
                tail.lower = number;
            } else if !weighed && word.bytes.iter().all(u8::is_ascii_digit) {
                match weight(word) {
                    Ok(weight) => tail.weight = Said::at(weight, word.span()),
                    Err(fault) => tail.refused = Some(fault),
                }
                weighed = true;
            } else if !weighed && tail.pair.is_none() && followed_by_weight(after) {
                tail.dropped =
                    Some(tail.dropped.map_or(word, |first| all.part(first.at - all.at, after.at - all.at)));
            } else {
                return Err(left_over(rest));
            }
            rest = after;
        }
        if tail.lower > tail.upper {
            let message = "the lower threshold is above the upper one: the server stays out";
            let help = format!("l:{} u:{}: the kernel refuses this", tail.lower, tail.upper);
            tail.refused = Some(Fault::mistake(all.trim().span(), message).help(help));
        }
        Ok(tail)
    }

    fn tell_dropped(&self, faults: &mut Faults) {
        if let Some(dropped) = self.dropped {
            let message = format!("`{}` before the weight is left out", dropped.shown());
            let fault = Fault::advice(dropped.span(), message);
            faults.push(fault.help(format!("the weight follows the method: gate {}", self.weight.value)));
        }
    }
}

fn weight(word: Text) -> Result<Weight, Fault> {
    decimal(word.bytes).and_then(Weight::new).ok_or_else(|| {
        let message = format!("the kernel refuses the weight {}: the server stays out", word.shown());
        Fault::mistake(word.span(), message).help(format!("a whole number from 0 to {}", Weight::MAX))
    })
}

/// Whether a weight stands further on, before any quote.
fn followed_by_weight(text: Text) -> bool {
    let (before, _) = text.take(|b| b != b'"');
    let mut words = before.bytes.split(|&b| is_blank(b));
    words.any(|word| !word.is_empty() && word.iter().all(u8::is_ascii_digit))
}

fn left_over(rest: Text) -> Fault {
    let message = format!("Invalid real server line, around \" {}\"", rest.shown());
    let help = "after the method: WEIGHT, \"REQUEST\", \"RECEIVE\", l:LOWER u:UPPER, all optional";
    Fault::error(rest.trim().span(), message).help(help)
}

/// `"REQUEST", "RECEIVE"` and what follows. The last place where it could be split counts, so
/// that both may hold quotes.
fn pair(text: Text<'_>) -> Option<(Pair, Text<'_>)> {
    let bytes = text.bytes;
    let end = bytes.iter().rposition(|&b| b == b'"')?;
    for close in (1..end).rev() {
        if bytes[close] != b'"' || !matches!(bytes[close + 1], b',' | b' ' | b'\t') {
            continue;
        }
        let next = text.from(close + 2).trim_start();
        let open = next.at - text.at;
        if next.bytes.starts_with(b"\"") && open < end {
            let (request, receive) = (text.part(1, close), text.part(open + 1, end));
            let pair = Pair { request: given(request), receive: given(receive) };
            return Some((pair, text.from(end + 1)));
        }
    }
    None
}
