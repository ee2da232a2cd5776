//! What happens to a ledger, one event at a time: pure changes of values. Called by `lane`, on
//! what is in memory and on what is in the file.

use super::schedule::{self, Budget};
use crate::store::{pacer_ledger::Ledger, pacer_who::Who};

/// Something that happened and has to reach the file.
#[derive(Debug, Clone, PartialEq)]
pub enum Op {
    /// A request was, or will be, sent.
    Add(Who),
    /// It does not count after all.
    Remove(f64),
    /// The server named the limit.
    Learn(u32),
    /// The window was full, and what the server advised.
    Tripped {
        /// When.
        at: f64,
        /// Seconds.
        after: Option<f64>,
    },
    /// A request went through after surprises.
    Cleared,
}

/// Brings an event into ledger and names.
pub fn apply(budget: &Budget, op: &Op, ledger: &mut Ledger, who: &mut Vec<Who>, now: f64) {
    match op {
        Op::Add(one) => {
            ledger.add(one.at);
            who.push(one.clone());
        }
        Op::Remove(at) => {
            ledger.remove(*at);
            Who::forget(who, *at);
        }
        Op::Learn(limit) => budget.learn(ledger, *limit, now),
        Op::Tripped { at, after } => budget.tripped(ledger, *at, *after),
        Op::Cleared => schedule::cleared(ledger),
    }
}

/// How many requests others seem to have in flight at their busiest: the most of their entries
/// that lie close together, of late or to come.
#[must_use]
pub fn foreign(ledger: &Ledger, who: &[Who], window: f64, now: f64) -> u32 {
    let (together, of_late) = (window / 60.0, window / 6.0);
    let others: Vec<f64> = Who::of(&ledger.sent, who)
        .filter(|(at, who)| who.is_none() && *at > now - of_late)
        .map(|(at, _)| at)
        .collect();
    let busiest = others
        .iter()
        .enumerate()
        .map(|(place, at)| {
            others[place..].iter().take_while(|other| **other - at <= together).count()
        })
        .max();
    u32::try_from(busiest.unwrap_or(0)).unwrap_or(u32::MAX)
}
