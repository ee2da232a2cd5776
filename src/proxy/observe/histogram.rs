//! A histogram of durations as plain numbers, owned by one thread. Used by `shard`, read by
//! `metrics`. Invariant: its buckets are those that it was made with, so that equals can be added.

use std::time::Duration;

/// What the proxy itself adds: from ten microseconds on.
pub const OWN: &[Duration] = &[
    Duration::from_micros(10),
    Duration::from_micros(25),
    Duration::from_micros(50),
    Duration::from_micros(100),
    Duration::from_micros(250),
    Duration::from_micros(500),
    Duration::from_millis(1),
    Duration::from_millis(5),
    Duration::from_millis(25),
    Duration::from_millis(100),
    Duration::from_secs(1),
];

/// What the upstream takes: up to its own limit on queries.
pub const UPSTREAM: &[Duration] = &[
    Duration::from_millis(5),
    Duration::from_millis(10),
    Duration::from_millis(25),
    Duration::from_millis(50),
    Duration::from_millis(100),
    Duration::from_millis(250),
    Duration::from_millis(500),
    Duration::from_secs(1),
    Duration::from_millis(2500),
    Duration::from_secs(5),
    Duration::from_secs(10),
    Duration::from_secs(30),
    Duration::from_secs(60),
    Duration::from_secs(120),
    Duration::from_secs(500),
];

/// Counts by upper bound; not cumulative.
#[derive(Debug, Clone)]
pub struct Histogram {
    bounds: &'static [Duration],
    counts: Vec<u64>,
    sum: Duration,
    count: u64,
}

impl Histogram {
    /// An empty one over ascending upper bounds.
    #[must_use]
    pub fn new(bounds: &'static [Duration]) -> Self {
        Self { bounds, counts: vec![0; bounds.len()], sum: Duration::ZERO, count: 0 }
    }

    /// Counts one duration.
    pub fn observe(&mut self, value: Duration) {
        // Past the last bound it counts in the total alone, which is the bucket `+Inf`.
        if let Some(count) = self.counts.get_mut(self.bounds.partition_point(|b| *b < value)) {
            *count += 1;
        }
        self.sum = self.sum.saturating_add(value);
        self.count += 1;
    }

    /// Adds another of the same bounds.
    pub fn add(&mut self, other: &Self) {
        for (mine, theirs) in self.counts.iter_mut().zip(&other.counts) {
            *mine += theirs;
        }
        self.sum = self.sum.saturating_add(other.sum);
        self.count += other.count;
    }

    /// Upper bounds in seconds, each with its own count.
    #[must_use]
    pub fn buckets(&self) -> Vec<(f64, u64)> {
        self.bounds.iter().map(Duration::as_secs_f64).zip(self.counts.iter().copied()).collect()
    }

    /// All seconds together.
    #[must_use]
    pub const fn sum(&self) -> f64 {
        self.sum.as_secs_f64()
    }

    /// How many were counted.
    #[must_use]
    pub const fn count(&self) -> u64 {
        self.count
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bound_belongs_to_its_own_bucket_and_the_rest_to_the_total() {
        let mut histogram = Histogram::new(OWN);
        for micros in [0, 10, 11, 2_000_000] {
            histogram.observe(Duration::from_micros(micros));
        }
        let mut twice = histogram.clone();
        twice.add(&histogram);
        assert_eq!((histogram.buckets()[0].1, histogram.buckets()[1].1), (2, 1));
        assert_eq!((twice.count(), twice.buckets()[0].1), (8, 4));
        assert!((twice.sum() - 4.000_042).abs() < 1e-9);
    }
}
