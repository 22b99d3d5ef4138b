//! A value that nobody may see.

use std::fmt;

use ring::digest::{SHA256, digest};

use super::options::Options;

/// A password or the like. Its `Debug` form is a digest, so that identities of probes differ where
/// their secrets do, and none of them shows one.
#[derive(Clone, Default)]
pub(super) struct Secret(Vec<u8>);

impl Secret {
    /// Takes an option; empty where it is not given.
    pub(super) fn take(options: &mut Options, name: &'static str) -> Secret {
        Secret(options.take(name).map(|given| given.text).unwrap_or_default())
    }

    /// The bytes themselves.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// Whether there are none.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for byte in digest(&SHA256, &self.0).as_ref() {
            write!(f, "{byte:02x}")?;
        }
        Ok(())
    }
}
