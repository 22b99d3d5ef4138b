//! What happened, as lines of JSON, and what happens from now on. Who is slow misses some, and is told
//! how many; his connection takes its place and nothing else.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use http_body_util::{BodyExt, Full};
use hyper::body::{Body, Bytes, Frame};
use jiff::Timestamp;
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{OwnedSemaphorePermit, mpsc};

use super::ask::Happening;

/// Lines that are ready to be sent.
const READY: usize = 16;

/// A time as people write it.
pub(super) fn since(text: &str) -> Option<Timestamp> {
    match text.parse::<i64>() {
        Ok(seconds) => Timestamp::from_second(seconds).ok(),
        Err(_) => text.parse().ok(),
    }
}

/// A line each for those that happened since.
pub(super) fn lines(told: &[Arc<Happening>], since: Option<Timestamp>) -> Bytes {
    let is_new = |one: &&Arc<Happening>| {
        since.is_none_or(|since| one.time.parse::<Timestamp>().is_ok_and(|time| time >= since))
    };
    told.iter().filter(is_new).flat_map(|one| line(one)).collect::<Vec<u8>>().into()
}

fn line(one: &Happening) -> Vec<u8> {
    // Numbers and texts alone: nothing that JSON can not say.
    let mut line = serde_json::to_vec(one).unwrap_or_default();
    line.push(b'\n');
    line
}

/// An answer without end.
pub(super) struct Follow {
    told: Full<Bytes>,
    next: mpsc::Receiver<Bytes>,
}

impl Follow {
    /// What was told, and then what is, as long as somebody reads; `place` is held that long.
    pub(super) fn new(
        told: Full<Bytes>,
        next: Receiver<Arc<Happening>>,
        place: OwnedSemaphorePermit,
    ) -> Follow {
        let (lines, ready) = mpsc::channel(READY);
        let runtime = tokio::runtime::Handle::current();
        runtime.spawn(async move {
            forward(next, lines).await;
            drop(place);
        });
        Follow { told, next: ready }
    }
}

async fn forward(mut next: Receiver<Arc<Happening>>, lines: mpsc::Sender<Bytes>) {
    let mut time = String::new();
    loop {
        let one = tokio::select! {
            one = next.recv() => one,
            () = lines.closed() => return,
        };
        let line = match one {
            Ok(one) => {
                time.clone_from(&one.time);
                line(&one)
            }
            Err(RecvError::Lagged(missed)) => {
                let text = format!("{missed} events are missing: they came faster than they were read");
                let (time, id) = (time.clone(), "events-lost".into());
                line(&Happening { number: 0, time, id, service: None, server: None, text })
            }
            Err(RecvError::Closed) => return,
        };
        if lines.send(line.into()).await.is_err() {
            return;
        }
    }
}

impl Body for Follow {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if let Poll::Ready(Some(told)) = Pin::new(&mut self.told.frame()).poll(context) {
            return Poll::Ready(Some(told));
        }
        self.next.poll_recv(context).map(|line| line.map(|line| Ok(Frame::data(line))))
    }
}
