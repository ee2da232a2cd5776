//! Accounts and projects as metric labels, bounded. Used by `shard`, shared by all threads.
//! Invariants: a pair keeps its number for the life of the process, so counters only grow;
//! past the bound every new pair is `other`, so a caller cannot grow the metrics at will.

use std::{
    collections::HashMap,
    sync::{Arc, PoisonError, RwLock},
};

/// How many pairs of account and project are told apart.
pub const MOST: usize = 256;

/// The number of a pair.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Who(u32);

impl Who {
    /// A request that no session was resolved for.
    pub const NOBODY: Self = Self(0);
    /// Any pair past the bound.
    pub const OTHER: Self = Self(1);

    /// Its place in [`Labels::all`].
    #[must_use]
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

/// The pairs seen so far.
#[derive(Debug)]
pub struct Labels(RwLock<Vec<Pair>>);

/// Account and project.
pub type Pair = (Arc<str>, Arc<str>);

impl Default for Labels {
    fn default() -> Self {
        let pair = |text: &str| (Arc::from(text), Arc::from(text));
        Self(RwLock::new(vec![pair(""), pair("other")]))
    }
}

impl Labels {
    /// The number of a pair. Takes a lock: asked once for each pair and thread.
    pub fn number(&self, account: &str, project: &str) -> Who {
        let mut pairs = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let found = pairs.iter().position(|(have, its)| **have == *account && **its == *project);
        let at = found.unwrap_or_else(|| {
            if pairs.len() >= MOST + 2 {
                return 1;
            }
            pairs.push((account.into(), project.into()));
            pairs.len() - 1
        });
        Who(u32::try_from(at).unwrap_or(1))
    }

    /// All pairs, by number.
    #[must_use]
    pub fn all(&self) -> Vec<Pair> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// One thread's copy of what it has asked [`Labels`] already.
#[derive(Debug, Default)]
pub struct Known {
    accounts: HashMap<Box<str>, HashMap<Box<str>, Who>>,
    pairs: usize,
    /// Found without hashing at length: the first pair that fell on a place keeps it.
    places: Vec<Option<Box<Placed>>>,
}

#[derive(Debug)]
struct Placed {
    account: Box<str>,
    project: Box<str>,
    who: Who,
}

/// A few hundred pairs on few bytes; those that meet on one place are found the longer way.
const PLACES: usize = 256;

impl Known {
    /// The number of a pair, without a shared lock if this thread has seen it before.
    pub fn number(&mut self, labels: &Labels, account: &str, project: &str) -> Who {
        let place = place(account, project);
        if let Some(Some(placed)) = self.places.get(place)
            && *placed.account == *account
            && *placed.project == *project
        {
            return placed.who;
        }
        let who = self.find(labels, account, project);
        self.places.resize_with(PLACES, || None);
        self.places[place].get_or_insert_with(|| {
            Box::new(Placed { account: account.into(), project: project.into(), who })
        });
        who
    }

    fn find(&mut self, labels: &Labels, account: &str, project: &str) -> Who {
        if let Some(who) = self.accounts.get(account).and_then(|projects| projects.get(project)) {
            return *who;
        }
        // Full: what is not known by now is `other` for good, and is not kept here either.
        if self.pairs > MOST {
            return Who::OTHER;
        }
        let who = labels.number(account, project);
        self.pairs += 1;
        self.accounts.entry(account.into()).or_default().insert(project.into(), who);
        who
    }
}

/// Where a pair is looked for first.
fn place(account: &str, project: &str) -> usize {
    let bytes = account.bytes().chain(project.bytes());
    bytes.fold(0, |place: usize, byte| place.wrapping_mul(31).wrapping_add(byte.into())) % PLACES
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_keep_their_number_and_are_bounded() {
        let labels = Labels::default();
        let (mut one, mut two) = (Known::default(), Known::default());
        let first = one.number(&labels, "team", "1");
        assert_eq!(two.number(&labels, "team", "1"), first);
        assert_ne!(two.number(&labels, "team", "2"), first);
        for project in 0..1000 {
            one.number(&labels, "team", &project.to_string());
        }
        assert_eq!(labels.all().len(), MOST + 2);
        assert_eq!(one.number(&labels, "late", "1"), Who::OTHER);
        assert_eq!(two.number(&labels, "late", "1"), Who::OTHER);
        assert_eq!(one.number(&labels, "team", "1"), first);
    }

    #[test]
    fn pairs_that_meet_on_a_place_are_not_taken_for_each_other() {
        let (labels, mut known) = (Labels::default(), Known::default());
        let pairs = [("team", "12"), ("team1", "2"), ("tea", "m12")];
        assert!(pairs.iter().all(|(a, p)| place(a, p) == place("team", "12")));
        for _ in 0..2 {
            let numbers = pairs.map(|(account, project)| known.number(&labels, account, project));
            assert_eq!(numbers.map(Who::index), [2, 3, 4]);
        }
    }
}
