//! The three data residency regions.

use std::{fmt, str::FromStr};

/// Where a project's data lives; decides which hosts are dialled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Region {
    /// United States.
    Us,
    /// European Union.
    Eu,
    /// India.
    In,
}

impl Region {
    /// All regions, in the order in which they are probed.
    pub const ALL: [Self; 3] = [Self::Us, Self::Eu, Self::In];

    /// `us`, `eu` or `in`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Us => "us",
            Self::Eu => "eu",
            Self::In => "in",
        }
    }
}

impl fmt::Display for Region {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The text was not one of `us`, `eu`, `in` (case-sensitive).
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not one of `us`, `eu`, `in`")]
pub struct UnknownRegion;

impl FromStr for Region {
    type Err = UnknownRegion;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|region| region.as_str() == text).ok_or(UnknownRegion)
    }
}
