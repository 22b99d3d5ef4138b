//! `checktype=N`: one negotiate check, then N connects, and so on (ldirectord's combined check).
//!
//! After a failure, of whichever part, the next check is negotiate, until that succeeds.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use super::{Asking, Call, Probe, late};

#[derive(Debug)]
struct Combined {
    negotiate: Arc<dyn Probe>,
    connect: Arc<dyn Probe>,
    connects: u32,
    connect_timeout: Duration,
    /// Connects until the next negotiate check. A probe never overlaps itself.
    left: AtomicU32,
}

/// A probe that asks `negotiate` once, then `connect` so many times. The asking's timeout is that
/// of the negotiate part; the connect part has one of its own, as far as the other one reaches.
pub fn combined(
    negotiate: Arc<dyn Probe>,
    connect: Arc<dyn Probe>,
    connects: u32,
    connect_timeout: Duration,
) -> Arc<dyn Probe> {
    Arc::new(Combined { negotiate, connect, connects, connect_timeout, left: AtomicU32::new(0) })
}

impl Probe for Combined {
    fn ask<'a>(&'a self, call: &'a Call) -> Asking<'a> {
        Box::pin(async move {
            // Until this succeeds the next one is negotiate, also when the deadline drops us.
            let left = self.left.swap(0, Ordering::Relaxed);
            let (answer, next) = match left.checked_sub(1) {
                None => (self.negotiate.ask(call).await, self.connects),
                Some(next) => {
                    let asking = self.connect.ask(call);
                    let answer = match tokio::time::timeout(self.connect_timeout, asking).await {
                        Ok(answer) => answer,
                        Err(_) => Err(late(call.phase(), self.connect_timeout)),
                    };
                    (answer, next)
                }
            };
            if answer.is_ok() {
                self.left.store(next, Ordering::Relaxed);
            }
            answer
        })
    }

    fn peer(&self) -> Option<IpAddr> {
        self.negotiate.peer()
    }

    fn identity(&self) -> String {
        let Combined { negotiate, connect, connects, connect_timeout, left: _ } = self;
        let (negotiate, connect) = (negotiate.identity(), connect.identity());
        format!("{connects} {connect_timeout:?} {negotiate:?} {connect:?}")
    }

    fn attempts(&self) -> u32 {
        self.negotiate.attempts()
    }
}
