//! One receiver: a queue, and a task that delivers what is in it, in order.
//!
//! What could not be delivered is tried again a few times, unless what came before it could not be
//! delivered either: then each alert has one try until one succeeds. So a receiver that is away for
//! a moment misses nothing, and one that is away for long does not let alerts pile up behind tries.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc::{self, error::TrySendError};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{sleep, sleep_until};

use super::Alert;

/// Why an alert did not get through.
#[derive(Debug)]
pub(super) struct Trouble {
    /// In words, without secrets.
    pub(super) why: String,
    /// Whether it may get through later.
    pub(super) passing: bool,
}

impl Trouble {
    /// It may get through later.
    pub(super) fn passing(why: impl Into<String>) -> Trouble {
        Trouble { why: why.into(), passing: true }
    }

    /// It will not get through.
    pub(super) fn lasting(why: impl Into<String>) -> Trouble {
        Trouble { why: why.into(), passing: false }
    }
}

/// A receiver of alerts, as its task sees it.
pub(super) trait Receiver: Send + Sized + 'static {
    /// An alert made ready: the same for all tries.
    type Parcel: Send;

    /// What logs call it, without secrets.
    fn name(&self) -> String;

    /// After how long what did not get through is tried again, and again.
    fn waits(&self) -> Vec<Duration>;

    /// Makes an alert ready.
    fn pack(&mut self, alert: &Alert) -> impl Future<Output = Self::Parcel> + Send;

    /// Tries to deliver it, in bounded time.
    fn deliver(&mut self, parcel: &mut Self::Parcel) -> impl Future<Output = Result<(), Trouble>> + Send;

    /// Tells that an alert did not get through.
    fn failed(&self, why: &str);
}

/// Delivers all that comes through the queue.
async fn work<R: Receiver>(
    mut receiver: R,
    mut queue: mpsc::Receiver<Arc<Alert>>,
    mut closing: watch::Receiver<bool>,
) {
    let mut well = true;
    while let Some(alert) = queue.recv().await {
        well = tokio::select! {
            biased;
            () = sleep_until(alert.expires) => {
                receiver.failed("it is too old by now");
                false
            }
            well = deliver(&mut receiver, &alert, well, &mut closing) => well,
        };
    }
}

/// Delivers one alert, with further tries if `patient`. Says whether the receiver is well, as far as
/// can be told.
async fn deliver<R: Receiver>(
    receiver: &mut R,
    alert: &Alert,
    patient: bool,
    closing: &mut watch::Receiver<bool>,
) -> bool {
    let waits = if patient { receiver.waits() } else { Vec::new() };
    let mut waits = waits.into_iter();
    let mut parcel = receiver.pack(alert).await;
    loop {
        let Err(trouble) = receiver.deliver(&mut parcel).await else { return true };
        let wait = waits.next().filter(|_| trouble.passing && !*closing.borrow());
        let Some(wait) = wait else {
            receiver.failed(&trouble.why);
            return !trouble.passing;
        };
        tokio::select! {
            () = sleep(wait) => {}
            _ = closing.changed() => {}
        }
    }
}

/// What became of an alert that was offered.
pub(super) enum Offer {
    Taken,
    /// Taken, after so many were lost.
    TakenAfter(u64),
    /// Lost, the first since one was taken.
    FirstLost,
    Lost,
}

/// The near end of a queue.
#[derive(Debug)]
pub(super) struct Lane {
    name: String,
    queue: mpsc::Sender<Arc<Alert>>,
    task: JoinHandle<()>,
    /// Alerts lost since one was taken.
    lost: u64,
}

impl Lane {
    pub(super) fn start(receiver: impl Receiver, room: usize, closing: watch::Receiver<bool>) -> Lane {
        let (queue, waiting) = mpsc::channel(room);
        let name = receiver.name();
        Lane { name, queue, task: tokio::spawn(work(receiver, waiting, closing)), lost: 0 }
    }

    /// What logs call the receiver.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Puts an alert into the queue if there is room.
    pub(super) fn offer(&mut self, alert: Arc<Alert>) -> Offer {
        match self.queue.try_send(alert) {
            Ok(()) if self.lost > 0 => Offer::TakenAfter(std::mem::take(&mut self.lost)),
            Ok(()) => Offer::Taken,
            Err(TrySendError::Full(_) | TrySendError::Closed(_)) => {
                self.lost += 1;
                if self.lost == 1 { Offer::FirstLost } else { Offer::Lost }
            }
        }
    }

    /// Takes no more: the receiver's name, how many were lost since the last was taken, and the task that ends
    /// when the queue is empty.
    pub(super) fn close(self) -> (String, u64, JoinHandle<()>) {
        (self.name, self.lost, self.task)
    }
}
