//! `receive`: what an answer must hold, as a Perl regular expression over its bytes.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use super::Call;
use super::options::{Given, Options};
use super::pattern::Pattern;
use crate::outcome::{Failure, Phase, Reason};
use crate::span::Fault;

/// What an answer must hold; may be nothing.
#[derive(Debug, Clone, Default)]
pub struct Receive {
    text: Box<[u8]>,
    pattern: Option<Arc<Pattern>>,
}

impl Receive {
    /// Takes the option `receive`; an empty one asks for nothing.
    pub fn take(options: &mut Options) -> Result<Receive, Fault> {
        match options.take("receive").filter(|given| !given.text.is_empty()) {
            Some(given) => Ok(Receive { pattern: Some(pattern(&given)?), text: given.text.into() }),
            None => Ok(Receive::default()),
        }
    }

    /// Whether nothing is asked for.
    pub fn is_empty(&self) -> bool {
        self.pattern.is_none()
    }

    /// The pattern as written, for the identity of a probe.
    pub fn text(&self) -> &[u8] {
        &self.text
    }

    /// Fails unless the pattern is found in `answer`; `what` names the answer in messages ("the
    /// body"), and `whole` says that there is no more of it than this.
    pub async fn search(&self, answer: Vec<u8>, what: &str, whole: bool, call: &Call) -> Result<(), Failure> {
        let Some(pattern) = &self.pattern else { return Ok(()) };
        call.enter(Phase::Match);
        let fail = |reason, detail: String| Err(Failure::new(Phase::Match, reason, detail));
        let length = answer.len();
        let found = match pattern.is_quick(length) {
            true => pattern.matches(&answer),
            false => {
                let pattern = pattern.clone();
                call.tools().busy.work(Phase::Match, move || pattern.matches(&answer)).await?
            }
        };
        match found {
            Ok(true) => Ok(()),
            Ok(false) if whole => {
                fail(Reason::Mismatch, format!("{what} ({length} bytes) does not match receive"))
            }
            Ok(false) => fail(
                Reason::TooLarge,
                format!("the first {length} bytes of {what} do not match receive, and no more are read"),
            ),
            Err(_) => fail(
                Reason::TooComplex,
                format!("receive takes too many steps on {what} ({length} bytes): simplify it"),
            ),
        }
    }
}

/// The compiled pattern; equal ones share one, since thousands of servers often expect the same.
fn pattern(given: &Given) -> Result<Arc<Pattern>, Fault> {
    static KNOWN: Mutex<BTreeMap<Vec<u8>, Weak<Pattern>>> = Mutex::new(BTreeMap::new());
    let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(pattern) = known.get(&given.text).and_then(Weak::upgrade) {
        return Ok(pattern);
    }
    let pattern = Pattern::perl(&given.text).map_err(|fault| {
        let start = (given.span.start + fault.offset).min(given.span.end);
        let end = (start + fault.length).min(given.span.end);
        Fault::error(start..end, format!("receive: {}", fault.message)).help(fault.help)
    })?;
    let pattern = Arc::new(pattern);
    known.retain(|_, pattern| pattern.strong_count() > 0);
    known.insert(given.text.clone(), Arc::downgrade(&pattern));
    Ok(pattern)
}
