//! Whether this director keeps the kernel's table or stands by, and what is run around that and around
//! services.

use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;

/// What decides whether this director keeps the kernel's table.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Role {
    /// It does.
    #[default]
    Active,
    /// It stands by until it is told otherwise.
    Standby,
    /// It does while this file is there.
    File(PathBuf),
    /// It does while this host has this address.
    Address(IpAddr),
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Role::Active => f.write_str("active"),
            Role::Standby => f.write_str("standby"),
            Role::File(path) => write!(f, "file {}", path.display()),
            Role::Address(address) => write!(f, "address {address}"),
        }
    }
}

/// What becomes of our services in the kernel when this director begins to stand by.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum OnDemote {
    /// They stay as they stand.
    #[default]
    Leave,
    /// They are removed.
    Remove,
}

/// What a shell runs when the role changes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RoleHooks {
    /// When it became active.
    pub promote: Option<String>,
    /// When it became standby.
    pub demote: Option<String>,
}

/// What a shell runs when a service changes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ServiceHooks {
    /// When a server of it is up.
    pub up: Option<String>,
    /// When one is down.
    pub down: Option<String>,
    /// When its fallback serves, and when it does not.
    pub fallback: Option<String>,
}

impl ServiceHooks {
    /// Whether nothing is run.
    pub fn is_empty(&self) -> bool {
        *self == ServiceHooks::default()
    }
}
