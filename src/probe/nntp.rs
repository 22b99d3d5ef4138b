//! `nntp`: a news server greets with 2xx (RFC 3977 section 5.1).
//!
//! Only the first byte of the greeting counts, as in ldirectord, but the line must be a whole one.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use super::dialogue::{Dialogue, shown};
use super::options::Options;
use super::{Asking, Call, Check, Kind, Probe, Target};
use crate::outcome::Failure;
use crate::span::Fault;

/// The kind.
pub static KIND: Kind =
    Kind { name: "nntp", doc: "a news server greets with 2xx", port: Some(119), options: &[], make };

#[derive(Debug)]
struct Nntp {
    to: SocketAddr,
}

fn make(target: &Target, _options: &mut Options) -> Result<Check, Fault> {
    Ok(Check::Ask(Arc::new(Nntp { to: target.check })))
}

impl Probe for Nntp {
    fn ask<'a>(&'a self, call: &'a Call) -> Asking<'a> {
        Box::pin(self.talk(call))
    }

    fn peer(&self) -> Option<IpAddr> {
        Some(self.to.ip())
    }

    fn identity(&self) -> String {
        format!("nntp {}", self.to)
    }
}

impl Nntp {
    async fn talk(&self, call: &Call) -> Result<String, Failure> {
        let mut server = Dialogue::open(self.to, None, call).await?;
        let greeting = server.line().await?;
        match greeting.first() {
            Some(b'2') => {}
            Some(b'0'..=b'9') => return Err(server.refused("greeting", "no", &greeting)),
            _ => return Err(server.strange("greeting", &greeting)),
        }
        server.leave(&["QUIT"]).await;
        Ok(shown(&greeting))
    }
}
