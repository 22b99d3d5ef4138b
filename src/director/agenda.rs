//! What is due when. Pure.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::Moment;

/// A moment for each of some keys, in order of time too.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Agenda<K> {
    moments: BTreeMap<K, Moment>,
    queue: BTreeSet<(Moment, K)>,
}

impl<K> Default for Agenda<K> {
    fn default() -> Agenda<K> {
        Agenda { moments: BTreeMap::new(), queue: BTreeSet::new() }
    }
}

impl<K: Ord + Copy> Agenda<K> {
    /// The moment of a key from now on; none when time does nothing about it.
    pub(super) fn set(&mut self, key: K, due: Option<Moment>) {
        let before = match due {
            Some(due) => self.moments.insert(key, due),
            None => self.moments.remove(&key),
        };
        if before == due {
            return;
        }
        if let Some(before) = before {
            self.queue.remove(&(before, key));
        }
        self.queue.extend(due.map(|due| (due, key)));
    }

    /// The first moment of all.
    pub(super) fn first(&self) -> Option<Moment> {
        self.queue.first().map(|(due, _)| *due)
    }

    /// The keys whose moment has come, in their own order.
    pub(super) fn due(&self, now: Moment) -> Vec<K> {
        let due = self.queue.iter().take_while(|(due, _)| *due <= now);
        let mut keys: Vec<_> = due.map(|(_, key)| *key).collect();
        keys.sort_unstable();
        keys
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn each_key_has_one_moment_and_the_first_comes_first() {
        let at = |seconds| Moment(Duration::from_secs(seconds));
        let mut agenda = Agenda::default();
        assert_eq!(agenda.first(), None);
        agenda.set('b', Some(at(3)));
        agenda.set('a', Some(at(5)));
        agenda.set('c', Some(at(9)));
        assert_eq!(agenda.first(), Some(at(3)));
        assert!(agenda.due(at(2)).is_empty());
        assert_eq!(agenda.due(at(5)), ['a', 'b']);
        agenda.set('b', Some(at(7)));
        agenda.set('b', Some(at(7)));
        assert_eq!((agenda.first(), agenda.due(at(6))), (Some(at(5)), vec!['a']));
        agenda.set('a', None);
        agenda.set('a', None);
        agenda.set('b', None);
        assert_eq!(agenda.due(at(10)), ['c']);
        agenda.set('c', None);
        assert_eq!(agenda, Agenda::default());
    }
}
