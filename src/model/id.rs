//! Names and ids, parsed at the door: a value of these types cannot be wrong.

use std::{fmt, num::NonZeroU64, sync::Arc};

/// Why a text is not a name or an id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum IdError {
    /// Not `^[a-zA-Z0-9_-]{1,64}$`.
    #[error("must be 1 to 64 letters, digits, `_` or `-`")]
    Name,
    /// Not a string of ASCII digits.
    #[error("must be a string of digits")]
    Project,
    /// Not a positive integer.
    #[error("must be a positive integer")]
    Workspace,
}

macro_rules! text_id {
    ($(#[$doc:meta])* $name:ident, $error:expr, $check:expr) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(Arc<str>);

        impl $name {
            /// Parses the text.
            ///
            /// # Errors
            /// The rule that the text breaks.
            pub fn parse(text: &str) -> Result<Self, IdError> {
                let check: fn(&str) -> bool = $check;
                if check(text) { Ok(Self(text.into())) } else { Err($error) }
            }

            /// The text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

text_id!(
    /// The name of an account or of a target: `^[a-zA-Z0-9_-]{1,64}$`.
    Name,
    IdError::Name,
    |text| (1..=64).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-')
);

text_id!(
    /// A Mixpanel project id: one or more ASCII digits, kept as text.
    ProjectId,
    IdError::Project,
    |text| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit())
);

/// A Mixpanel workspace id: a positive integer, scoped to one project.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct WorkspaceId(NonZeroU64);

impl WorkspaceId {
    /// Parses ASCII digits.
    ///
    /// # Errors
    /// [`IdError::Workspace`] for anything but a positive integer.
    pub fn parse(text: &str) -> Result<Self, IdError> {
        if !text.bytes().all(|b| b.is_ascii_digit()) {
            return Err(IdError::Workspace);
        }
        text.parse().map(Self).map_err(|_| IdError::Workspace)
    }

    /// The number.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0.get()
    }
}

impl TryFrom<i64> for WorkspaceId {
    type Error = IdError;

    fn try_from(number: i64) -> Result<Self, IdError> {
        u64::try_from(number).ok().and_then(NonZeroU64::new).map(Self).ok_or(IdError::Workspace)
    }
}

impl fmt::Display for WorkspaceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_take_ascii_only() {
        assert!(Name::parse("a_B-9").is_ok());
        for bad in ["", "a b", "é", "a\n", &"x".repeat(65)] {
            assert_eq!(Name::parse(bad), Err(IdError::Name), "{bad:?}");
        }
        for bad in ["", "1_000", "+7", "٣", " 1"] {
            assert_eq!(ProjectId::parse(bad), Err(IdError::Project), "{bad:?}");
        }
        for bad in ["", "0", "-1", "+7", "1_0", "99999999999999999999999"] {
            assert_eq!(WorkspaceId::parse(bad), Err(IdError::Workspace), "{bad:?}");
        }
    }
}
