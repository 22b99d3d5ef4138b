//! `ping`: an ICMP or ICMPv6 echo request is answered.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use super::options::Options;
use super::{Asking, Call, Check, Kind, Probe, Target};
use crate::outcome::Phase;
use crate::span::Fault;

/// The kind.
pub static KIND: Kind =
    Kind { name: "ping", doc: "an ICMP echo is answered", port: None, options: &["checkcount"], make };

#[derive(Debug)]
struct Ping {
    to: SocketAddr,
    count: u32,
}

fn make(target: &Target, options: &mut Options) -> Result<Check, Fault> {
    // A scope (of link-local addresses) stays; a port has no meaning here.
    let mut to = target.check;
    to.set_port(0);
    Ok(Check::Ask(Arc::new(Ping { to, count: count(options)? })))
}

/// How many requests may stay unanswered.
fn count(options: &mut Options) -> Result<u32, Fault> {
    let Some(given) = options.take("checkcount") else { return Ok(1) };
    match std::str::from_utf8(&given.text).ok().and_then(|text| text.parse().ok()) {
        Some(count) if count >= 1 => Ok(count),
        _ => Err(Fault::error(given.span, "invalid check count").help("a number from 1 on")),
    }
}

impl Probe for Ping {
    fn ask<'a>(&'a self, call: &'a Call) -> Asking<'a> {
        Box::pin(async move {
            call.enter(Phase::Connect);
            let pinger = &call.tools().pinger;
            // The last attempt has no timeout of its own: the deadline of the whole asking ends it.
            for _ in 1..self.count {
                if let Ok(answer) = tokio::time::timeout(call.timeout(), pinger.echo(self.to, call)).await {
                    return answer;
                }
            }
            pinger.echo(self.to, call).await
        })
    }

    fn peer(&self) -> Option<IpAddr> {
        Some(self.to.ip())
    }

    fn identity(&self) -> String {
        format!("ping {} {}", self.to, self.count)
    }

    fn attempts(&self) -> u32 {
        self.count
    }
}
