//! What was found out a moment ago, and what is being found out: nobody asks the same twice.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::OnceCell;
use tokio::time::Instant;

use crate::daemon::lock;

/// How long an answer holds.
const HOLDS: Duration = Duration::from_millis(200);

/// Above so many answers old ones are looked for, to be forgotten.
const ROOM: usize = 256;

/// An answer, once it is there, and when it came.
type Slot<V> = Arc<OnceCell<(Instant, V)>>;

/// Answers by question.
#[derive(Debug)]
pub(super) struct Memo<K, V>(Mutex<Slots<K, V>>);

#[derive(Debug)]
struct Slots<K, V> {
    all: BTreeMap<K, Slot<V>>,
    /// So many there may be before old ones are looked for.
    room: usize,
}

impl<K: Ord, V> Default for Memo<K, V> {
    fn default() -> Memo<K, V> {
        Memo(Mutex::new(Slots { all: BTreeMap::new(), room: ROOM }))
    }
}

impl<K: Ord + Copy, V: Clone> Memo<K, V> {
    /// The answer to `key`: one that still holds and is not older than `since`, the one that somebody waits for
    /// already, or that of `ask`.
    pub(super) async fn get(&self, key: K, since: Instant, ask: impl Future<Output = V>) -> V {
        let slot = self.slot(key, since);
        let answer = slot.get_or_init(|| async {
            let answer = ask.await;
            (Instant::now(), answer)
        });
        answer.await.1.clone()
    }

    fn slot(&self, key: K, since: Instant) -> Slot<V> {
        let mut slots = lock(&self.0);
        let now = Instant::now();
        let holds = |slot: &Slot<V>| slot.get().is_none_or(|(at, _)| now.duration_since(*at) < HOLDS);
        if slots.all.len() >= slots.room {
            slots.all.retain(|_, slot| holds(slot));
            slots.room = slots.all.len() * 2 + ROOM;
        }
        let slot = slots.all.entry(key).or_default();
        if !holds(slot) || slot.get().is_some_and(|(at, _)| *at < since) {
            *slot = Slot::default();
        }
        slot.clone()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use tokio::time::{advance, sleep};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn who_asks_the_same_at_once_shares_one_answer() {
        let (memo, asked, start) = (Memo::default(), AtomicU32::new(0), Instant::now());
        let ask = || async {
            sleep(Duration::from_millis(300)).await;
            asked.fetch_add(1, Ordering::Relaxed)
        };
        assert_eq!(tokio::join!(memo.get(1, start, ask()), memo.get(1, start, ask())), (0, 0));
        assert_eq!(memo.get(2, start, async { 7 }).await, 7, "another question has an answer of its own");
        advance(HOLDS - Duration::from_millis(1)).await;
        assert_eq!(memo.get(1, start, ask()).await, 0);
        advance(Duration::from_millis(1)).await;
        assert_eq!(memo.get(1, start, ask()).await, 1, "it has become old");
        advance(HOLDS / 2).await;
        assert_eq!(memo.get(1, Instant::now(), ask()).await, 2, "it is older than what it is to explain");
    }

    #[tokio::test(start_paused = true)]
    async fn who_gives_up_leaves_the_asking_to_the_next() {
        let memo = Memo::default();
        let never = memo.get(1, Instant::now(), std::future::pending::<u32>());
        assert!(tokio::time::timeout(HOLDS, never).await.is_err());
        assert_eq!(memo.get(1, Instant::now(), async { 7 }).await, 7);
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_old_is_forgotten() {
        let memo = Memo::default();
        for n in 0..100 * ROOM {
            memo.get(n, Instant::now(), async { n }).await;
            advance(HOLDS / 100).await;
        }
        let kept = memo.0.lock().unwrap().all.len();
        assert!(kept <= 2 * ROOM, "{kept} answers are kept");
    }
}
