//! What comes in over the socket: paths, queries and JSON, each bounded, made into plain values. Pure.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::ask::{Lift, Named, Wish};
use crate::director::order::{Deed, Sort};
use crate::model::Weight;

/// Longest reason, in characters.
const REASON: usize = 300;

/// Longest time that can be asked for: ten years, in seconds.
const LONGEST: u64 = 10 * 366 * 86_400;

/// An order, as it is posted.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OrderRequest {
    /// `drain`, `disable` or `weight`.
    pub order: String,
    /// Whom: an address, with or without port, or a name as the configuration has it.
    pub server: String,
    /// In which service: its id, address or name; none for all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
    /// For `weight`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weight: Option<u32>,
    /// Why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// For how many seconds.
    #[serde(default, rename = "for", skip_serializing_if = "Option::is_none")]
    pub lasting: Option<u64>,
    /// For `drain`: after how many seconds it is over, whoever is connected.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deadline: Option<u64>,
}

/// Orders that are taken back.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LiftRequest {
    /// Whom they are about.
    pub server: String,
    /// In which service; none for all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
    /// Which: `drain`, `disable`, `weight`.
    pub orders: Vec<String>,
}

impl OrderRequest {
    /// What it asks for, or what is wrong with it.
    pub fn wish(self) -> Result<Wish, String> {
        let deed = match (self.order.as_str(), self.weight) {
            ("drain", None) => Deed::Drain,
            ("disable", None) => Deed::Disable,
            ("weight", Some(weight)) => {
                let most = Weight::MAX;
                Deed::Weight(Weight::new(weight).ok_or_else(|| format!("a weight is at most {most}"))?)
            }
            ("weight", None) => return Err("`weight` is missing".into()),
            ("drain" | "disable", Some(_)) => return Err("`weight` goes with the order `weight` only".into()),
            _ => return Err("`order` is drain, disable or weight".into()),
        };
        if self.deadline.is_some() && deed != Deed::Drain {
            return Err("`deadline` goes with the order `drain` only".into());
        }
        let time = |seconds: Option<u64>| match seconds {
            Some(LONGEST..) => Err(format!("a time is at most {LONGEST} s")),
            seconds => Ok(seconds.map(Duration::from_secs)),
        };
        let line =
            |text: String| text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(REASON).collect();
        Ok(Wish {
            named: Named { server: self.server, service: self.service },
            deed,
            reason: self.reason.map(line).filter(|reason: &String| !reason.trim().is_empty()),
            lasting: time(self.lasting)?,
            deadline: time(self.deadline)?,
        })
    }
}

impl LiftRequest {
    /// What it asks for, or what is wrong with it.
    pub fn lift(self) -> Result<Lift, String> {
        let sort = |word: &String| match word.as_str() {
            "drain" => Ok(Sort::Drain),
            "disable" => Ok(Sort::Disable),
            "weight" => Ok(Sort::Weight),
            _ => Err("`orders` are drain, disable or weight".to_owned()),
        };
        let sorts = self.orders.iter().map(sort).collect::<Result<Vec<_>, _>>()?;
        if sorts.is_empty() {
            return Err("`orders` are missing".into());
        }
        Ok(Lift { named: Named { server: self.server, service: self.service }, sorts })
    }
}

/// The value of a name in a query.
pub(super) fn query(query: Option<&str>, name: &str) -> Option<String> {
    let pairs = query.unwrap_or_default().split('&');
    let mut pairs = pairs.map(|pair| pair.split_once('=').unwrap_or((pair, "")));
    pairs.find(|(key, _)| *key == name).map(|(_, value)| decoded(value))
}

/// A text without its `%XX` and `+`.
fn decoded(text: &str) -> String {
    let mut bytes = text.as_bytes().iter();
    let mut out = Vec::new();
    while let Some(&byte) = bytes.next() {
        out.push(match byte {
            b'+' => b' ',
            b'%' => {
                let digits = bytes.as_slice().get(..2).and_then(|two| std::str::from_utf8(two).ok());
                match digits.and_then(|two| u8::from_str_radix(two, 16).ok()) {
                    Some(byte) => {
                        bytes.nth(1);
                        byte
                    }
                    None => b'%',
                }
            }
            byte => byte,
        });
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// A text that is safe in a query.
pub fn encoded(text: &str) -> String {
    let safe = |b: u8| b.is_ascii_alphanumeric() || b"-._~:".contains(&b);
    text.bytes().map(|b| if safe(b) { char::from(b).to_string() } else { format!("%{b:02X}") }).collect()
}

/// What a change of role did.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Turned {
    /// Whether it keeps the table now.
    pub active: bool,
    /// Whether it had another role before.
    pub turned: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_is_read_as_it_was_written_and_junk_is_no_panic() {
        for text in ["[2001:db8::1]:80", "a&b=c", "50% off+more", "wörter", ""] {
            let line = format!("x=1&service={}&y", encoded(text));
            assert_eq!(query(Some(&line), "service").as_deref(), Some(text));
        }
        assert_eq!(query(Some("follow"), "follow").as_deref(), Some(""));
        assert_eq!(query(Some("a=%"), "a").as_deref(), Some("%"));
        assert_eq!(query(Some("a=%zz%4"), "a").as_deref(), Some("%zz%4"));
        assert_eq!(query(None, "a"), None);
    }

    #[test]
    fn an_order_that_makes_no_sense_is_answered_with_what_is_wrong() {
        let order =
            |order: &str, weight| OrderRequest { order: order.into(), weight, ..OrderRequest::default() };
        assert!(order("drain", None).wish().is_ok_and(|wish| wish.deed == Deed::Drain));
        assert!(order("weight", Some(0)).wish().is_ok());
        for (bad, why) in [
            (order("weight", None), "`weight` is missing"),
            (order("weight", Some(u32::MAX)), "a weight is at most 2147483647"),
            (order("drain", Some(1)), "`weight` goes with the order `weight` only"),
            (order("explode", None), "`order` is drain, disable or weight"),
            (
                OrderRequest { deadline: Some(1), ..order("disable", None) },
                "`deadline` goes with the order `drain` only",
            ),
            (
                OrderRequest { lasting: Some(u64::MAX), ..order("drain", None) },
                "a time is at most 316224000 s",
            ),
        ] {
            assert_eq!(bad.wish().unwrap_err(), why);
        }
        let long = OrderRequest { reason: Some("x\ny".repeat(1000)), ..order("drain", None) };
        let reason = long.wish().unwrap().reason.unwrap();
        assert_eq!((reason.chars().count(), reason.contains('\n')), (REASON, false));
        assert_eq!(LiftRequest::default().lift().unwrap_err(), "`orders` are missing");
    }
}
