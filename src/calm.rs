//! Long work that can wait, on threads that let checks have the processors first.

use std::thread;

use rustix::process::setpriority_process;
use rustix::thread::gettid;
use tokio::runtime::Handle;
use tokio::task::{JoinHandle, spawn_blocking};

/// What such a thread asks for (setpriority(2)): a tenth of what the others get, where there is not enough for all.
const NICE: i32 = 10;

/// Whether work has a thread that asks for less. On the only processor it would wait for all that runs there, and a reload for seconds.
fn lowers() -> bool {
    thread::available_parallelism().is_ok_and(|processors| processors.get() > 1)
}

/// Does it, within the runtime that this must be called in. What asks for less has a thread of its own, since who has
/// lowered his priority may not raise it again.
pub fn calmly(work: impl FnOnce() + Send + 'static) -> JoinHandle<()> {
    let runtime = Handle::current();
    spawn_blocking(move || {
        let mut work = Some(work);
        let mut once = || work.take().into_iter().for_each(|work| work());
        if lowers() {
            thread::scope(|scope| {
                let run = || {
                    let _within = runtime.enter();
                    // What can't be lowered only disturbs more.
                    let _ = setpriority_process(Some(gettid()), NICE);
                    once();
                };
                let _ = thread::Builder::new().name("calm".into()).spawn_scoped(scope, run);
            });
        }
        // On the only processor, or without a thread to be had, it is done on this one.
        once();
    })
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use rustix::process::getpriority_process;

    use super::*;

    #[tokio::test]
    async fn work_is_done_once_and_disturbs_nobody() {
        let (sender, priorities) = mpsc::channel();
        let priority = || getpriority_process(Some(gettid())).unwrap();
        let before = priority();
        calmly(move || sender.send(priority()).unwrap()).await.unwrap();
        assert_eq!(priorities.iter().collect::<Vec<_>>(), [if lowers() { NICE } else { before }]);
        assert_eq!(
            spawn_blocking(priority).await.unwrap(),
            before,
            "the thread that others use is as it was"
        );
    }
}
