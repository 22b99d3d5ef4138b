//! `connect`: a TCP connection can be made; for a UDP service, as in ldirectord, a ping is answered.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use super::options::Options;
use super::{Asking, Call, Check, Kind, Probe, Target, dial, ping};
use crate::outcome::Phase;
use crate::span::Fault;

/// The kind.
pub static KIND: Kind = Kind {
    name: "connect",
    doc: "a TCP connection can be made; for UDP services, an ICMP echo is answered",
    port: None,
    options: &["checkcount"],
    make,
};

#[derive(Debug)]
struct Connect {
    to: SocketAddr,
}

fn make(target: &Target, options: &mut Options) -> Result<Check, Fault> {
    if target.is_udp() {
        return (ping::KIND.make)(target, options);
    }
    Ok(Check::Ask(to(target.check)))
}

/// A check that a TCP connection can be made.
pub fn to(address: SocketAddr) -> Arc<dyn Probe> {
    Arc::new(Connect { to: address })
}

impl Probe for Connect {
    fn ask<'a>(&'a self, call: &'a Call) -> Asking<'a> {
        Box::pin(async move {
            call.enter(Phase::Connect);
            // Closed without data: the kernel ends the connection in order, with a FIN.
            dial::brief(self.to).await.map(|_stream| "connected".to_owned())
        })
    }

    fn peer(&self) -> Option<IpAddr> {
        Some(self.to.ip())
    }

    fn identity(&self) -> String {
        format!("connect {}", self.to)
    }
}
