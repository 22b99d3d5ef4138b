//! The connect part of a check by numbers for a UDP service: nobody says that the port is closed.
//!
//! An empty datagram is sent. UDP has no answer to it, and most servers have none either; but a
//! host without a server answers with ICMP "port unreachable". Not hearing that for a short while
//! is good. (ldirectord makes a socket, sends nothing, and never fails.)

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use super::{Asking, Call, Probe, dial, udp};
use crate::outcome::Phase;

/// How long a refusal is waited for; less where the timeout is short.
const WAIT: Duration = Duration::from_millis(200);

#[derive(Debug)]
struct Datagram {
    to: SocketAddr,
}

/// A probe that sends an empty datagram.
pub fn datagram(to: SocketAddr) -> Arc<dyn Probe> {
    Arc::new(Datagram { to })
}

impl Probe for Datagram {
    fn ask<'a>(&'a self, call: &'a Call) -> Asking<'a> {
        Box::pin(async move {
            call.enter(Phase::Connect);
            let socket = udp::socket(self.to).await?;
            let fault = |error| dial::fault(Phase::Connect, self.to, &error);
            socket.send(&[]).await.map_err(fault)?;
            let wait = WAIT.min(call.timeout() / 2);
            match tokio::time::timeout(wait, socket.recv(&mut [0; 1])).await {
                Ok(Ok(_)) => Ok("answered".to_owned()),
                Ok(Err(error)) => Err(fault(error)),
                Err(_) => Ok("not refused".to_owned()),
            }
        })
    }

    fn peer(&self) -> Option<IpAddr> {
        Some(self.to.ip())
    }

    fn identity(&self) -> String {
        format!("datagram {}", self.to)
    }
}
