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
    /// Most requests go as whom the one before went.
    last: Option<(Box<str>, Box<str>, Who)>,
}

impl Known {
    /// The number of a pair, without a shared lock if this thread has seen it before.
    pub fn number(&mut self, labels: &Labels, account: &str, project: &str) -> Who {
        if let Some((its, of, who)) = &self.last
            && **its == *account
            && **of == *project
        {
            return *who;
        }
        let who = self.find(labels, account, project);
        self.last = Some((account.into(), project.into(), who));
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
}
