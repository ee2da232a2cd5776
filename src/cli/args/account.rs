//! Arguments of `mp-proxy account …`. Called by `commands`.

use super::login::AccountLogin;
use clap::Subcommand;

/// `mp-proxy account …`.
#[derive(Debug, Subcommand)]
pub enum AccountCommand {
    /// Log an oauth_browser account in with the browser
    Login(AccountLogin),
}
