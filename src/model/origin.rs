//! The closed host table: the only hosts that credentials can be sent to.
//! SECURITY: an [`Origin`] can only name a host of this table.

use super::region::Region;

/// A family of Mixpanel hosts; each has one host a region.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Family {
    /// Query and application API.
    App,
    /// Raw export.
    Data,
    /// Import, lookup tables, flags and tracking.
    Ingestion,
    /// The MCP server.
    Mcp,
}

impl Family {
    /// All families.
    pub const ALL: [Self; 4] = [Self::App, Self::Data, Self::Ingestion, Self::Mcp];
}

/// One Mixpanel host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Origin {
    family: Family,
    region: Region,
}

impl Origin {
    /// The host of this family in this region.
    #[must_use]
    pub const fn new(family: Family, region: Region) -> Self {
        Self { family, region }
    }

    /// Every host of the table, in the order of [`Self::index`].
    pub fn all() -> impl Iterator<Item = Self> {
        Family::ALL
            .into_iter()
            .flat_map(|family| Region::ALL.into_iter().map(move |region| Self::new(family, region)))
    }

    /// The host's place in the table.
    #[must_use]
    pub const fn index(self) -> usize {
        self.family as usize * Region::ALL.len() + self.region as usize
    }

    /// The host name.
    #[must_use]
    pub const fn host(self) -> &'static str {
        match (self.family, self.region) {
            (Family::App, Region::Us) => "mixpanel.com",
            (Family::App, Region::Eu) => "eu.mixpanel.com",
            (Family::App, Region::In) => "in.mixpanel.com",
            (Family::Data, Region::Us) => "data.mixpanel.com",
            (Family::Data, Region::Eu) => "data-eu.mixpanel.com",
            (Family::Data, Region::In) => "data-in.mixpanel.com",
            (Family::Ingestion, Region::Us) => "api.mixpanel.com",
            (Family::Ingestion, Region::Eu) => "api-eu.mixpanel.com",
            (Family::Ingestion, Region::In) => "api-in.mixpanel.com",
            (Family::Mcp, Region::Us) => "mcp.mixpanel.com",
            (Family::Mcp, Region::Eu) => "mcp-eu.mixpanel.com",
            (Family::Mcp, Region::In) => "mcp-in.mixpanel.com",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_index_is_the_place_in_the_table() {
        for (place, origin) in Origin::all().enumerate() {
            assert_eq!(origin.index(), place);
        }
        assert_eq!(Origin::all().count(), 12);
    }
}
