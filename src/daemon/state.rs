//! The file that remembers, over a restart and a reboot, which services are ours and what operators decided.
//!
//! It is written whole, beside the old one, and takes its name once it is on disk: a crash or a full disk
//! leaves the old one. One that can not be used is put aside, with a warning, and never ends the daemon.

use std::collections::BTreeSet;
use std::fmt;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::net::IpAddr;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::director::order::{Deed, Order, Whom};
use crate::model::{Moment, ServiceKey, Weight};

/// Where the files of all instances are.
const FOLDER: &str = "/var/lib/lvsentry";

/// The version of what is written here.
const VERSION: u32 = 1;

/// Largest file that is read, in bytes.
const LARGEST: u64 = 16 << 20;

/// The file of an instance.
pub fn path(instance: &str) -> PathBuf {
    Path::new(FOLDER).join(format!("{instance}.json"))
}

/// What is remembered.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Memo {
    /// The services that are ours: those that may stand in the kernel because we made them.
    pub services: BTreeSet<ServiceKey>,
    /// What operators decided, by people's clock.
    pub orders: Vec<Saved>,
}

/// An order by people's clock: seconds since 1970.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Saved {
    #[serde(rename = "order")]
    deed: Verb,
    #[serde(skip_serializing_if = "Option::is_none")]
    weight: Option<u32>,
    server: IpAddr,
    #[serde(skip_serializing_if = "Option::is_none")]
    port: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    service: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    given: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    until: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    deadline: Option<u64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Verb {
    Drain,
    Disable,
    Weight,
}

impl Saved {
    /// An order as it is written; `epoch` is when the daemon started, by people's clock.
    pub fn of(order: &Order, epoch: Duration) -> Saved {
        // A whole second later rather than sooner.
        let wall = |moment: Moment| (epoch + moment.0).as_millis().div_ceil(1000) as u64;
        let (deed, weight) = match order.deed {
            Deed::Drain => (Verb::Drain, None),
            Deed::Disable => (Verb::Disable, None),
            Deed::Weight(weight) => (Verb::Weight, Some(weight.get())),
        };
        Saved {
            deed,
            weight,
            server: order.whom.ip,
            port: order.whom.port,
            service: order.whom.service.map(|key| key.id()),
            reason: order.reason.clone(),
            given: order.given,
            until: order.until.map(wall),
            deadline: order.deadline.map(wall),
        }
    }

    /// The order again, in a daemon that started at `epoch`; what is over by now is over at its start.
    pub fn order(&self, epoch: Duration) -> Result<Order, Fault> {
        let moment = |wall: u64| Moment(Duration::from_secs(wall).saturating_sub(epoch));
        let garbled = |what: &str| Fault::Garbled(what.into());
        let deed = match (self.deed, self.weight) {
            (Verb::Drain, None) => Deed::Drain,
            (Verb::Disable, None) => Deed::Disable,
            (Verb::Weight, Some(weight)) => {
                Deed::Weight(Weight::new(weight).ok_or_else(|| garbled("a weight that is none"))?)
            }
            _ => return Err(garbled("an order with a weight missing, or one too many")),
        };
        let service = self.service.as_ref().map(|id| id.parse());
        let service = service.transpose().map_err(|()| garbled("a service that is none"))?;
        let whom = Whom { ip: self.server, port: self.port, service };
        let (until, deadline) = (self.until.map(moment), self.deadline.map(moment));
        Ok(Order { whom, deed, reason: self.reason.clone(), given: self.given, until, deadline })
    }
}

/// Why a file can not be used.
#[derive(Debug)]
pub enum Fault {
    /// It can not be read.
    Unreadable(io::Error),
    /// It is not what we write.
    Garbled(String),
    /// Another release wrote it.
    Version(u64),
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fault::Unreadable(why) => write!(f, "it can not be read: {why}"),
            Fault::Garbled(what) => write!(f, "it is damaged: {what}"),
            Fault::Version(version) => {
                write!(f, "it has version {version}, and this release knows version {VERSION}")
            }
        }
    }
}

#[derive(Serialize)]
struct Written<'a> {
    version: u32,
    services: Vec<String>,
    orders: &'a [Saved],
}

#[derive(Deserialize)]
struct Versioned {
    version: u64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Whole {
    #[serde(rename = "version")]
    _version: u64,
    services: Vec<String>,
    orders: Vec<Saved>,
}

/// Reads a file; one that is not there remembers nothing. Blocks.
pub fn read(path: &Path) -> Result<Memo, Fault> {
    let mut text = Vec::new();
    match File::open(path).and_then(|file| file.take(LARGEST + 1).read_to_end(&mut text)) {
        Err(why) if why.kind() == io::ErrorKind::NotFound => return Ok(Memo::default()),
        Err(why) => return Err(Fault::Unreadable(why)),
        Ok(_) => {}
    }
    let garbled = |why: serde_json::Error| Fault::Garbled(why.to_string());
    let Versioned { version } = serde_json::from_slice(&text).map_err(garbled)?;
    if version != u64::from(VERSION) {
        return Err(Fault::Version(version));
    }
    let whole: Whole = serde_json::from_slice(&text).map_err(garbled)?;
    let read = |id: String| id.parse().map_err(|()| Fault::Garbled("a service that is none".into()));
    let services = whole.services.into_iter().map(read).collect::<Result<_, _>>()?;
    // Each must be one: half of what an operator decided is not what he decided.
    whole.orders.iter().try_for_each(|saved| saved.order(Duration::ZERO).map(drop))?;
    Ok(Memo { services, orders: whole.orders })
}

/// Puts a file that can not be used aside, so that nothing in it is lost. Says where it is now. Blocks.
pub fn set_aside(path: &Path) -> io::Result<PathBuf> {
    let aside = path.with_extension("json.bad");
    fs::rename(path, &aside).map(|()| aside)
}

/// Writes the file. Blocks until it is on disk.
pub fn write(path: &Path, memo: &Memo) -> io::Result<()> {
    let services = memo.services.iter().map(ServiceKey::id).collect();
    let written = Written { version: VERSION, services, orders: &memo.orders };
    let mut text = serde_json::to_vec_pretty(&written)?;
    text.push(b'\n');
    let folder = path.parent().unwrap_or(Path::new("/"));
    DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    let fresh = path.with_extension("json.new");
    let done = put(&fresh, &text).and_then(|()| fs::rename(&fresh, path));
    if done.is_err() {
        // Half a file would only fill the disk.
        let _ = fs::remove_file(&fresh);
    }
    done?;
    File::open(folder)?.sync_all()
}

fn put(path: &Path, text: &[u8]) -> io::Result<()> {
    let mut options = OpenOptions::new();
    let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(path)?;
    file.write_all(text)?;
    file.sync_all()
}
