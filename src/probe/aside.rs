//! Work aside: on threads beside the one that all checks share, a bounded number at a time.
//!
//! Such work can not be ended: it outlives the check that asked for it, on a thread that nothing else
//! can use meanwhile. There are only so many of those, and the kernel's table needs one too.

use std::sync::Arc;

use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;

use crate::outcome::{Failure, Phase, Reason};

/// Places for work aside. A clone is the same ones.
#[derive(Debug, Clone)]
pub struct Aside(Arc<Semaphore>);

impl Aside {
    /// For lookups of names: the system's takes half a minute where no name server answers.
    pub fn lookups() -> Aside {
        Aside(Arc::new(Semaphore::new(32)))
    }

    /// For work that keeps a processor busy, for a tenth of a second at most.
    pub fn busy() -> Aside {
        Aside(Arc::new(Semaphore::new(8)))
    }

    /// Does it, when there is a place. The place is free again when the work is done, and not when
    /// nobody waits for it any more.
    pub async fn work<T: Send + 'static>(
        &self,
        phase: Phase,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Failure> {
        let local = |error: &dyn std::fmt::Display| Failure::new(phase, Reason::Local, error);
        let place = self.0.clone().acquire_owned().await.map_err(|error| local(&error))?;
        let done = spawn_blocking(move || {
            let _place = place;
            work()
        });
        done.await.map_err(|error| local(&error))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::sync::{Mutex, mpsc};
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;

    #[tokio::test]
    async fn work_that_nobody_waits_for_any_more_keeps_its_place_until_it_is_done() {
        let aside = Aside::busy();
        let (end, ends) = mpsc::channel::<()>();
        let ends = Arc::new(Mutex::new(ends));
        while aside.0.available_permits() > 0 {
            let ends = ends.clone();
            let stuck = aside.work(Phase::Match, move || ends.lock().unwrap().recv());
            assert!(timeout(Duration::from_millis(1), stuck).await.is_err());
        }
        let next = timeout(Duration::from_millis(20), aside.work(Phase::Match, || 7)).await;
        assert!(next.is_err(), "one more went on beside as many as may");
        // One of them ends.
        end.send(()).unwrap();
        assert_eq!(aside.work(Phase::Match, || 7).await, Ok(7));
        drop(end);
    }
}
