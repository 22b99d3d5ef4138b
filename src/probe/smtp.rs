//! `smtp`: a mail server greets, and answers EHLO, or else HELO (RFC 5321).

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use super::dialogue::{Dialogue, shown};
use super::options::Options;
use super::{Asking, Call, Check, Kind, Probe, Target};
use crate::outcome::Failure;
use crate::span::Fault;

/// The kind.
pub static KIND: Kind = Kind {
    name: "smtp",
    doc: "a mail server greets and answers EHLO or HELO with 2xx",
    port: Some(25),
    options: &[],
    make,
};

#[derive(Debug)]
struct Smtp {
    to: SocketAddr,
}

/// Makes the check; the same for all ports.
pub(super) fn make(target: &Target, _options: &mut Options) -> Result<Check, Fault> {
    Ok(Check::Ask(Arc::new(Smtp { to: target.check })))
}

impl Probe for Smtp {
    fn ask<'a>(&'a self, call: &'a Call) -> Asking<'a> {
        Box::pin(self.talk(call))
    }

    fn peer(&self) -> Option<IpAddr> {
        Some(self.to.ip())
    }

    fn identity(&self) -> String {
        format!("smtp {}", self.to)
    }
}

impl Smtp {
    async fn talk(&self, call: &Call) -> Result<String, Failure> {
        let mut server = Dialogue::open(self.to, None, call).await?;
        let greeting = server.good("greeting").await?;
        server.say("EHLO localhost.localdomain").await?;
        let ehlo = server.reply("EHLO").await?;
        // With 421 the server takes its leave (section 3.8).
        if ehlo.code == 421 {
            return Err(server.bad("EHLO", &ehlo));
        }
        if !ehlo.is_good() {
            server.say("HELO localhost.localdomain").await?;
            server.good("HELO").await?;
        }
        server.leave(&["QUIT"]).await;
        Ok(shown(&greeting.line))
    }
}
