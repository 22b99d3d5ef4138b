//! A check that cannot succeed as it is configured: it fails each time, and says why. ldirectord
//! accepts such configurations, and takes the server out. Not in the list of kinds.

use std::sync::Arc;

use super::{Asking, Call, Check, Probe};
use crate::outcome::Phase;

#[derive(Debug)]
struct Never {
    why: String,
}

/// A check that fails with `run-not-run` and this reason.
pub fn never(why: impl Into<String>) -> Check {
    Check::Ask(Arc::new(Never { why: why.into() }))
}

impl Probe for Never {
    fn ask<'a>(&'a self, call: &'a Call) -> Asking<'a> {
        Box::pin(async {
            call.enter(Phase::Run);
            Err(super::process::not_run(self.why.clone()))
        })
    }

    fn identity(&self) -> String {
        format!("never {:?}", self.why)
    }
}
