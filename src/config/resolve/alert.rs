//! Who is told of changes by mail: `emailalert` and its kin. Pure.

use std::collections::BTreeSet;

use crate::config::State;
use crate::config::diagnostic::Faults;
use crate::config::draft::{AlertDraft, Said};
use crate::config::raw::Directive;
use crate::config::resolve::options::{Globals, Shared, inherit, said};
use crate::config::value::{Found, decimal, did_you_mean, refuse, whole};
use crate::span::Fault;

/// The states of the daemon by the words of `emailalertstatus`.
pub const STATES: [(&str, State); 4] = [
    ("starting", State::Starting),
    ("running", State::Running),
    ("stopping", State::Stopping),
    ("reloading", State::Reloading),
];

/// Every state.
pub fn all() -> BTreeSet<State> {
    STATES.map(|(_, state)| state).into()
}

/// `emailalert`: addresses, comma separated; one pair of quotes around them means nothing.
pub fn recipients(directive: &Directive, faults: &mut Faults) -> Option<Found<String>> {
    let text = whole(directive, faults);
    let inner = text.after(b"\"").filter(|inner| inner.bytes.ends_with(b"\""));
    let list = inner.map_or(text, |inner| inner.part(0, inner.bytes.len() - 1)).trim();
    if list.is_empty() {
        faults.push(refuse(directive, "no email address specified"));
        return None;
    }
    Some(Found { value: String::from_utf8_lossy(list.bytes).into_owned(), span: list.span() })
}

/// `emailalertfrom`.
pub fn sender(directive: &Directive, faults: &mut Faults) -> Option<Found<String>> {
    let text = whole(directive, faults);
    if text.is_empty() {
        faults.push(refuse(directive, "no email from address specified"));
        return None;
    }
    Some(Found { value: String::from_utf8_lossy(text.bytes).into_owned(), span: text.span() })
}

/// `emailalertfreq`: the digits that the value begins with.
pub fn frequency(directive: &Directive, faults: &mut Faults) -> Option<Found<u32>> {
    let text = whole(directive, faults);
    let (digits, junk) = text.take(|b| b.is_ascii_digit());
    if digits.is_empty() {
        faults.push(refuse(directive, "invalid email alert frequency"));
        return None;
    }
    let value = decimal(digits.bytes).unwrap_or(u32::MAX).min(crate::config::keys::LONGEST);
    if !junk.is_empty() {
        let message = format!("`{}` is read as {value}", text.shown());
        faults.push(Fault::advice(text.span(), message).help("give digits only"));
    }
    Some(Found { value, span: digits.span() })
}

/// `smtp`: a host. What follows the characters of one means nothing.
pub fn server(directive: &Directive, faults: &mut Faults) -> Option<Found<String>> {
    let text = whole(directive, faults);
    let (host, junk) = text.take(|b| b.is_ascii_alphanumeric() || b"._+-".contains(&b));
    if host.is_empty() {
        faults.push(refuse(directive, "invalid SMTP server address"));
        return None;
    }
    if !junk.is_empty() {
        let message = format!("`{}` after the host is left out", junk.shown());
        faults.push(Fault::advice(junk.span(), message).help("mail goes to port 25 of the host"));
    }
    Some(Found { value: host.shown(), span: host.span() })
}

/// `emailalertstatus`: a list of states, `all`, or `none` alone; nothing means none.
pub fn states(directive: &Directive, faults: &mut Faults) -> Option<Found<BTreeSet<State>>> {
    let text = whole(directive, faults);
    let mut states = BTreeSet::new();
    let mut none = false;
    let mut at = 0;
    let words: Vec<_> = text.bytes.split(|&b| b == b',').collect();
    for bytes in words.iter().filter(|_| !text.is_empty()) {
        let word = text.part(at, at + bytes.len()).trim();
        at += bytes.len() + 1;
        match (word.bytes, STATES.iter().find(|(name, _)| name.as_bytes() == word.bytes)) {
            (_, Some((_, state))) => {
                states.insert(*state);
            }
            (b"all", _) => states.extend(all()),
            (b"none", _) => none = true,
            _ => {
                let message = format!("invalid email alert status at: \"{}\"", word.shown());
                let known = STATES.iter().map(|(name, _)| *name).chain(["all", "none"]);
                let help = did_you_mean(&word.shown(), known, &directive.key.allowed());
                faults.push(Fault::error(text.span(), message).help(help));
                return None;
            }
        }
    }
    if none && words.len() > 1 {
        let others = words.iter().map(|word| String::from_utf8_lossy(word).trim().to_owned());
        let others: Vec<_> = others.filter(|word| word != "none").collect();
        let message =
            format!("invalid email alert status: \"{}\" specified with \"none\"", others.join(", "));
        faults.push(Fault::error(text.span(), message).help("`none` stands alone"));
        return None;
    }
    Some(Found { value: states, span: text.span() })
}

/// Who is told of changes of a service with these directives of its own.
pub fn draft(own: &Shared, globals: &Globals) -> AlertDraft {
    let shared = &globals.shared;
    let text = |found: &Found<String>| Said::at(found.value.clone(), found.span.clone());
    AlertDraft {
        mail: inherit(&own.emailalert, &shared.emailalert).map(text),
        from: globals.emailalertfrom.as_ref().map(text),
        smtp: inherit(&own.smtp, &shared.smtp).map(text),
        when: said(inherit(&own.emailalertstatus, &shared.emailalertstatus), BTreeSet::clone, all),
        again: said(inherit(&own.emailalertfreq, &shared.emailalertfreq), |n| *n, || 0),
        webhooks: Vec::new(),
    }
}
