//! The time of a log line in RFC 3339, UTC, milliseconds. Called by `observe` for each line.
//! Invariant: the calendar is worked out once a second, not once a line.

use crate::sys::clock;

/// The length of `2026-11-18T11:06:40.`, behind which the milliseconds stand.
const WHOLE: usize = 20;

/// The last time that was written.
#[derive(Debug, Default)]
pub struct Stamp {
    second: i64,
    text: String,
}

impl Stamp {
    /// The time now.
    pub fn now(&mut self) -> &str {
        self.at(clock::now_micros())
    }

    fn at(&mut self, micros: i64) -> &str {
        let (second, millis) = (micros.div_euclid(1_000_000), micros.rem_euclid(1_000_000) / 1000);
        if self.text.is_empty() || second != self.second {
            self.second = second;
            let time = jiff::Timestamp::from_second(second).unwrap_or_default();
            self.text = time.strftime("%Y-%m-%dT%H:%M:%S.").to_string();
        }
        self.text.truncate(WHOLE);
        let digit = |power: i64| char::from(b'0' + (millis / power % 10) as u8);
        self.text.extend([digit(100), digit(10), digit(1), 'Z']);
        &self.text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_and_milliseconds_follow_the_clock() {
        let mut stamp = Stamp::default();
        assert_eq!(stamp.at(1_795_000_000_123_456), "2026-11-18T11:06:40.123Z");
        assert_eq!(stamp.at(1_795_000_000_999_999), "2026-11-18T11:06:40.999Z");
        assert_eq!(stamp.at(1_795_000_001_000_000), "2026-11-18T11:06:41.000Z");
        assert_eq!(stamp.at(0), "1970-01-01T00:00:00.000Z");
    }
}
