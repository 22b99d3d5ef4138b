//! Single values: numbers, times, words, texts, lists. Each reader says what is allowed. Pure.

use std::path::PathBuf;
use std::time::Duration;

use crate::config::diagnostic::Faults;
use crate::config::draft::Said;
use crate::config::keys;
use crate::config::suggest::closest;
use crate::config::yaml::node::{Node, Value};
use crate::span::{Fault, Span};

/// A value under a name.
#[derive(Debug, Clone, Copy)]
pub struct Item<'n> {
    /// The name, for messages.
    pub name: &'n str,
    /// The value.
    pub node: &'n Node,
}

/// Longest time that may be asked for.
const LONGEST: Duration = Duration::from_secs(keys::LONGEST as u64);

impl<'n> Item<'n> {
    /// Where the value stands.
    pub fn span(&self) -> Span {
        self.node.span.clone()
    }

    /// The value as a text of one line for messages, unless it is a secret.
    fn shown(&self) -> String {
        match &self.node.value {
            Value::Null => "nothing".into(),
            Value::List(_) => "a list".into(),
            Value::Map(_) => "a mapping".into(),
            Value::Text(_) if keys::is_secret(self.name) => "this".into(),
            Value::Text(text) => shown(text),
        }
    }

    /// An error: it must be something else.
    pub fn refuse(&self, must: &str, help: impl Into<String>) -> Fault {
        Fault::error(self.span(), format!("`{}` must be {must}, not {}", self.name, self.shown())).help(help)
    }

    /// The text, numbers and booleans as they are written; may be empty.
    pub fn text(&self) -> Result<&'n str, Fault> {
        match &self.node.value {
            Value::Text(text) => Ok(text),
            _ => Err(self.refuse("a text", "one value; put it in quotes if it has special characters")),
        }
    }

    /// A text of one line; may be empty.
    pub fn line(&self) -> Result<Said<String>, Fault> {
        let text = self.text()?;
        if text.contains(['\n', '\r', '\0']) {
            return Err(self.refuse("a text of one line", "without line ends within it"));
        }
        Ok(Said::at(text.to_owned(), self.span()))
    }

    /// A text that need not be UTF-8: `{ bytes: "gr\xfc\xdfe" }`, each character a byte.
    pub fn bytes(&self) -> Result<Vec<u8>, Fault> {
        let Value::Map(entries) = &self.node.value else { return Ok(self.text()?.as_bytes().to_vec()) };
        let wrong =
            || self.refuse("a text", "or { bytes: \"...\" } with characters up to \\xff, each for a byte");
        match entries.as_slice() {
            [(name, Node { value: Value::Text(text), .. })] if name.text == "bytes" => {
                text.chars().map(|c| u8::try_from(c).map_err(|_| wrong())).collect()
            }
            _ => Err(wrong()),
        }
    }

    /// A path.
    pub fn path(&self) -> Result<Said<PathBuf>, Fault> {
        use std::os::unix::ffi::OsStringExt;
        let wrong = || self.refuse("a path", "for instance /etc/lvsentry/script");
        let bytes = self.bytes().map_err(|_| wrong())?;
        if bytes.is_empty() || bytes.contains(&0) {
            return Err(wrong());
        }
        Ok(Said::at(PathBuf::from(std::ffi::OsString::from_vec(bytes)), self.span()))
    }

    /// `true` or `false`.
    pub fn flag(&self) -> Result<Said<bool>, Fault> {
        let text = self.text()?;
        match text {
            "true" => Ok(Said::at(true, self.span())),
            "false" => Ok(Said::at(false, self.span())),
            _ => {
                let meant = match text.to_ascii_lowercase().as_str() {
                    "yes" | "y" | "on" | "1" | "true" => "did you mean `true`?",
                    "no" | "n" | "off" | "0" | "false" => "did you mean `false`?",
                    _ => "true or false",
                };
                Err(self.refuse("true or false", meant))
            }
        }
    }

    /// A whole number in decimal digits.
    pub fn number(&self, least: u32, most: u32) -> Result<Said<u32>, Fault> {
        let text = self.text()?;
        let plain = text.bytes().all(|b| b.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
        let number = text.parse().ok().filter(|number| plain && (least..=most).contains(number));
        number.map(|number| Said::at(number, self.span())).ok_or_else(|| {
            let must = match most {
                u32::MAX => format!("a number, {least} or more"),
                _ => format!("a number from {least} to {most}"),
            };
            self.refuse(&must, "digits only, without zeros in front")
        })
    }

    /// A port.
    pub fn port(&self, least: u32) -> Result<Said<u16>, Fault> {
        let number = self.number(least, 65_535)?;
        Ok(Said { value: number.value as u16, span: number.span })
    }

    /// A time with its unit, from a millisecond to a year.
    pub fn time(&self) -> Result<Said<Duration>, Fault> {
        let text = self.text()?;
        let time = duration(text).filter(|time| !time.is_zero() && *time <= LONGEST);
        time.map(|time| Said::at(time, self.span())).ok_or_else(|| {
            let is_number = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
            self.refuse(
                "a time",
                match is_number && text != "0" {
                    true => format!("a time has a unit: did you mean `{text}s`?"),
                    false => "a number with its unit: 500ms, 10s, 2m, 1h, 1d".into(),
                },
            )
        })
    }

    /// A time of whole seconds.
    pub fn seconds(&self, most: u32) -> Result<Said<u32>, Fault> {
        let time = self.time()?;
        let seconds = u32::try_from(time.value.as_secs()).unwrap_or(u32::MAX);
        if time.value.subsec_nanos() != 0 || seconds > most {
            return Err(self.refuse(&format!("a time of whole seconds, {most}s at most"), "for instance 10m"));
        }
        Ok(Said { value: seconds, span: time.span })
    }

    /// One of these words.
    pub fn one_of<T: Copy>(&self, words: &[(&'static str, T)]) -> Result<Said<T>, Fault> {
        let text = self.text()?;
        let found = words.iter().find(|(word, _)| *word == text);
        found.map(|(_, value)| Said::at(*value, self.span())).ok_or_else(|| {
            let names: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
            self.refuse("one of these words", did_you_mean(text, &names))
        })
    }

    /// The members of a list.
    pub fn list(&self) -> Result<Vec<Item<'n>>, Fault> {
        match &self.node.value {
            Value::List(list) => Ok(list.iter().map(|node| Item { name: self.name, node }).collect()),
            _ => Err(self.refuse("a list", "for instance [ ONE, TWO ], or a line `- ONE` for each")),
        }
    }

    /// The members of a list; a single text is a list of one.
    pub fn one_or_more(&self) -> Result<Vec<Item<'n>>, Fault> {
        match &self.node.value {
            Value::Text(_) => Ok(vec![*self]),
            _ => self.list(),
        }
    }
}

/// All that can be read; what can not is told.
pub fn all<T>(results: impl IntoIterator<Item = Result<T, Fault>>, faults: &mut Faults) -> Vec<T> {
    results.into_iter().filter_map(|result| faults.keep(result)).collect()
}

/// The word that was likely meant, and all that may be said.
pub fn did_you_mean(word: &str, known: &[&'static str]) -> String {
    let allowed = format!("one of {}", known.join(", "));
    match closest(word, known.iter().copied()) {
        Some(meant) => format!("did you mean `{meant}`? {allowed}"),
        None => allowed,
    }
}

/// A text within a message: one line, cut after 60 characters.
pub fn shown(text: &str) -> String {
    let mut shown: String = text.chars().take(60).map(|c| if c.is_control() { ' ' } else { c }).collect();
    if text.chars().nth(60).is_some() {
        shown.push_str("...");
    }
    format!("`{shown}`")
}

/// Units of time, in milliseconds.
const UNITS: [(&str, u64); 5] =
    [("ms", 1), ("s", 1000), ("m", 60_000), ("h", 3_600_000), ("d", 24 * 3_600_000)];

/// A time such as `10s`, `500ms` or `1h30m`.
pub fn duration(text: &str) -> Option<Duration> {
    let (mut rest, mut sum) = (text, 0u64);
    while !rest.is_empty() {
        let digits = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let (number, after) = rest.split_at(digits);
        let letters = after.len() - after.trim_start_matches(|c: char| c.is_ascii_lowercase()).len();
        let (unit, after) = after.split_at(letters);
        let (_, factor) = UNITS.iter().find(|(name, _)| *name == unit)?;
        sum = sum.checked_add(number.parse::<u64>().ok()?.checked_mul(*factor)?)?;
        rest = after;
    }
    (!text.is_empty()).then(|| Duration::from_millis(sum))
}

/// A time as it is written: the largest unit that needs one number only.
pub fn written(time: Duration) -> String {
    let milliseconds = time.as_millis() as u64;
    let fits = UNITS.iter().rev().find(|(_, factor)| milliseconds.is_multiple_of(*factor));
    let (unit, factor) = fits.unwrap_or(&UNITS[0]);
    // A minute and a half is 90s to people; a day is rarely 1d.
    match (*unit, milliseconds / factor) {
        ("d", n) => format!("{}h", n * 24),
        (unit, n) => format!("{n}{unit}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_and_written() {
        for (text, ms) in [("10s", 10_000), ("500ms", 500), ("1h30m", 5_400_000), ("2d", 172_800_000)] {
            assert_eq!(duration(text), Some(Duration::from_millis(ms)));
        }
        for text in ["", "10", "s", "1.5s", "-1s", "1 s", "10S", "99999999999999999999d", "1w"] {
            assert_eq!(duration(text), None, "{text}");
        }
        for (ms, text) in
            [(10_000, "10s"), (90_000, "90s"), (300_000, "5m"), (1_500, "1500ms"), (172_800_000, "48h")]
        {
            assert_eq!(written(Duration::from_millis(ms)), text);
            assert_eq!(duration(text), Some(Duration::from_millis(ms)));
        }
    }
}
