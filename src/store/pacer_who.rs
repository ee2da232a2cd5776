//! Whose entry of a ledger is whose: what `mp` need not know and `mp-proxy quota` shows.
//! Called by `pacer_place` and by `proxy::pace`.
//! Invariant: a name stands for one entry, also where several lie at the same time.

use super::pacer_ledger::same;
use serde::{Deserialize, Serialize};

/// Who an entry belongs to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Who {
    /// The entry.
    pub at: f64,
    /// The caller of the proxy.
    pub caller: String,
    /// The account that it went as.
    pub account: String,
    /// The process of the proxy.
    pub pid: u32,
}

impl Who {
    /// Takes the name of an entry that this process made off the list. Entries of several may lie
    /// at the same time: only one goes.
    pub fn forget(names: &mut Vec<Self>, at: f64) {
        let own = std::process::id();
        if let Some(place) = names.iter().position(|one| one.pid == own && same(one.at, at)) {
            names.remove(place);
        }
    }

    /// The name of each entry; `None` for those of other programs. Where several entries lie at
    /// the same time, each name stands for one of them.
    pub fn of<'a>(
        sent: &'a [f64],
        names: &'a [Self],
    ) -> impl Iterator<Item = (f64, Option<&'a Self>)> {
        let mut left: Vec<&Self> = names.iter().collect();
        left.sort_by(|a, b| b.at.total_cmp(&a.at));
        sent.iter().map(move |at| {
            // Both are in order, the names backwards.
            while left.last().is_some_and(|one| one.at < *at && !same(one.at, *at)) {
                left.pop();
            }
            (*at, left.pop_if(|one| same(one.at, *at)))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_stands_for_one_entry_of_several_at_a_time() {
        let who = |at, pid| Who { at, caller: pid_name(pid), account: "team".into(), pid };
        let own = std::process::id();
        let mut names = vec![who(2.0, own), who(2.000_000_4, own + 1), who(9.0, own)];
        let said = |names: &[Who]| -> Vec<_> {
            Who::of(&[1.0, 2.0, 2.0, 2.0, 3.0, 9.0], names)
                .map(|(_, who)| who.map(|who| who.pid))
                .collect()
        };
        assert_eq!(said(&names), [None, Some(own), Some(own + 1), None, None, Some(own)]);
        Who::forget(&mut names, 2.0);
        assert_eq!(said(&names), [None, Some(own + 1), None, None, None, Some(own)]);
        Who::forget(&mut names, 2.0);
        assert_eq!(names.len(), 2, "the name of another process");
    }

    fn pid_name(pid: u32) -> String {
        format!("caller-{pid}")
    }
}
