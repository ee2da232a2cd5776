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
