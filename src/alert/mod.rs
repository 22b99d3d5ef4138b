//! Tells people, and programs of theirs, what changed: by mail and by posting JSON.
//!
//! Nothing here is on the way from a check to the kernel. [`Alerts::send`] puts an alert into the
//! queue of each receiver and returns; behind each queue a task delivers, so that a receiver that
//! hangs holds up nobody else. All is bounded: how many wait, how old they get, how often one is tried.
//! A receiver costs nothing before the first alert for it.

mod lane;
mod letter;
mod mail;
mod sendmail;
mod smtp;
mod webhook;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::watch;
use tokio::time::Instant;
use tracing::{info, warn};

use crate::config::{Extras, State};
use crate::model::{ServiceKey, Weight};
use crate::probe::tls::Trust;
use lane::{Lane, Offer};
use mail::Mailer;
use webhook::Poster;

/// Something to tell.
#[derive(Debug, Clone)]
pub struct Alert {
    /// What happened, in a word that stays the same from release to release.
    pub event: &'static str,
    /// The same for people: the log's line, with small exceptions.
    pub message: String,
    /// To which service; none when it is about this director.
    pub service: Option<ServiceKey>,
    /// To which of its servers.
    pub server: Option<SocketAddr>,
    /// The weight that the server has now; none when it is not in the table.
    pub weight: Option<Weight>,
    /// What the daemon was doing.
    pub state: State,
    /// Who is to hear of it, and what people call the service.
    pub extras: Arc<Extras>,
    /// When it happened.
    pub time: Timestamp,
    /// When nobody wants to hear of it any more.
    pub expires: Instant,
}

/// How much is done for an alert.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Alerts that may wait for one receiver.
    pub queue: usize,
    /// Time for one step of a dialogue with a mail server: a connection, a command.
    pub step: Duration,
    /// Time for a whole mail.
    pub mail: Duration,
    /// After how long a mail that could not be sent is tried again, and again.
    pub mail_again: Vec<Duration>,
    /// After how long a post that could not be made is tried again, and again.
    pub post_again: Vec<Duration>,
    /// Time for what is left at the end.
    pub finish: Duration,
    /// The program that takes local mail; none: it is looked for.
    pub sendmail: Option<PathBuf>,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            queue: 1024,
            step: Duration::from_secs(30),
            mail: Duration::from_secs(60),
            mail_again: vec![Duration::from_secs(30)],
            post_again: vec![Duration::from_secs(1), Duration::from_secs(5)],
            finish: Duration::from_secs(5),
            sendmail: None,
        }
    }
}

/// Who gets alerts: what tells one receiver from another.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum To {
    Sendmail,
    Smtp(String),
    Webhook(String, Duration),
}

impl To {
    /// All that want alerts about a service.
    fn all(extras: &Extras) -> impl Iterator<Item = To> {
        let mail = extras.mail.iter().map(|mail| match &mail.smtp {
            Some(server) => To::Smtp(server.clone()),
            None => To::Sendmail,
        });
        mail.chain(extras.webhooks.iter().map(|hook| To::Webhook(hook.url.clone(), hook.timeout)))
    }
}

/// Every receiver, with what waits for it. Must be used within a runtime.
#[derive(Debug)]
pub struct Alerts {
    limits: Arc<Limits>,
    trust: Arc<Trust>,
    lanes: BTreeMap<To, Lane>,
    /// Becomes true at the end: then nothing is tried again.
    closing: watch::Sender<bool>,
}

impl Alerts {
    /// No receivers yet. `trust` says which certificates those may have that are posted to.
    pub fn new(limits: Limits, trust: Arc<Trust>) -> Alerts {
        Alerts { limits: Arc::new(limits), trust, lanes: BTreeMap::new(), closing: watch::Sender::new(false) }
    }

    /// Hands an alert to all that its service's configuration names. Never waits: what a receiver's
    /// queue has no room for is lost, and that is told.
    pub fn send(&mut self, alert: Alert) {
        if alert.extras.mail.is_some() {
            info!(id = "emailalert", "emailalert: {}", alert.message);
        }
        let alert = Arc::new(alert);
        for to in To::all(&alert.extras) {
            let lane = self.lanes.entry(to).or_insert_with_key(|to| {
                let (limits, closing) = (self.limits.clone(), self.closing.subscribe());
                match to {
                    To::Sendmail => Lane::start(Mailer::new(None, limits.clone()), limits.queue, closing),
                    To::Smtp(server) => {
                        Lane::start(Mailer::new(Some(server), limits.clone()), limits.queue, closing)
                    }
                    To::Webhook(url, timeout) => {
                        let poster = Poster::new(url, *timeout, limits.clone(), self.trust.clone());
                        Lane::start(poster, limits.queue, closing)
                    }
                }
            });
            match lane.offer(alert.clone()) {
                Offer::Taken | Offer::Lost => {}
                Offer::FirstLost => warn!(
                    id = "alert-lost",
                    "alerts for {} are lost: {} wait and it takes them too slowly",
                    lane.name(),
                    self.limits.queue
                ),
                Offer::TakenAfter(lost) => tell_lost(lane.name(), lost),
            }
        }
    }

    /// Lets receivers go that no service of these names any more. What waits for them is still sent.
    pub fn keep<'a>(&mut self, services: impl Iterator<Item = &'a Arc<Extras>>) {
        let named: BTreeSet<To> = services.flat_map(|extras| To::all(extras)).collect();
        self.lanes.retain(|to, _| named.contains(to));
    }

    /// Gives what still waits a moment to leave.
    pub async fn finish(self) {
        self.closing.send_replace(true);
        let mut left = Vec::new();
        for lane in self.lanes.into_values() {
            let (name, lost, task) = lane.close();
            if lost > 0 {
                tell_lost(&name, lost);
            }
            left.push((name, task));
        }
        let all = async {
            for (_, task) in &mut left {
                // It fails only when the task panicked: then there is nothing to wait for.
                let _ = task.await;
            }
        };
        let _ = tokio::time::timeout(self.limits.finish, all).await;
        for (name, task) in left.iter().filter(|(_, task)| !task.is_finished()) {
            task.abort();
            warn!(id = "alert-lost", "alerts for {name} are lost: it did not take them before the end");
        }
    }
}

fn tell_lost(name: &str, lost: u64) {
    warn!(id = "alert-lost", "{lost} alerts for {name} were lost");
}

/// A text from the configuration or from another host, as one line of bounded length: no header can
/// be smuggled into a mail with it, no line into the log.
fn one_line(text: &str) -> String {
    text.trim().chars().take(LONGEST).map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// Longest text of others that is handed on, in characters.
const LONGEST: usize = 2000;
