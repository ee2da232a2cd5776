//! Arguments of `mp-proxy account …`. Called by `commands/account.rs`.
//! Secrets are no arguments: they come by stdin, by the name of a variable, or by a prompt.

use super::{complete, login::AccountLogin, reach::Test};
use crate::{
    cli::output::OutputArgs,
    model::refusal::{Code, Refusal},
};
use clap::{Args, Subcommand};
use std::path::PathBuf;

/// `mp-proxy account …`.
#[derive(Debug, Subcommand)]
pub enum AccountCommand {
    /// All accounts
    List(List),
    /// Add an account; the first one becomes active
    ///
    /// `mp-proxy login` is the guided way: it finds region, project and name.
    Add(Box<Add>),
    /// Change fields of an account; its type stays
    Update(Update),
    /// Remove an account
    Remove(Remove),
    /// Make an account the active one; the active workspace is cleared
    Use(Named),
    /// One account, the active one unless it is named
    Show(Maybe),
    /// Ask `/me` whether the credential of an account is accepted
    Test(Test),
    /// Log an oauth_browser account in with the browser
    Login(AccountLogin),
    /// Remove the tokens of an account from this machine
    Logout(Named),
    /// Print the bearer of an OAuth account, refreshed if it has to be; N/A for a service account
    Token(Maybe),
    /// Write an account with its secrets to a file, for another machine
    ExportBridge(ExportBridge),
    /// Remove the bridge file
    RemoveBridge(RemoveBridge),
}

/// Nothing but how the answer looks.
#[derive(Debug, Args)]
pub struct List {
    /// How the answer looks.
    #[command(flatten)]
    pub output: OutputArgs,
}

/// An account that has to be named.
#[derive(Debug, Args)]
pub struct Named {
    /// The account
    #[arg(value_name = "NAME", add = complete::accounts())]
    pub name: String,
    /// How the answer looks.
    #[command(flatten)]
    pub output: OutputArgs,
}

/// An account that may be named.
#[derive(Debug, Args)]
pub struct Maybe {
    /// The account; the active one without it
    #[arg(value_name = "NAME", add = complete::accounts())]
    pub name: Option<String>,
    /// How the answer looks.
    #[command(flatten)]
    pub output: OutputArgs,
}

/// `mp-proxy account add`.
#[derive(Debug, Args)]
pub struct Add {
    /// Name: letters, digits, `_`, `-`; made of the organization's name without it
    #[arg(value_name = "NAME")]
    pub name: Option<String>,
    /// service_account, oauth_browser or oauth_token
    #[arg(long = "type", value_name = "TYPE", add = complete::types())]
    pub kind: String,
    /// us, eu or in; found out without it, or us for oauth_browser
    #[arg(long, value_name = "REGION", add = complete::regions())]
    pub region: Option<String>,
    /// Project; MP_PROJECT_ID without it
    #[arg(long, value_name = "ID", allow_hyphen_values = true)]
    pub project: Option<String>,
    /// The credential.
    #[command(flatten)]
    pub credential: CredentialArgs,
    /// How the answer looks.
    #[command(flatten)]
    pub output: OutputArgs,
}

/// `mp-proxy account update`.
#[derive(Debug, Args)]
pub struct Update {
    /// The account
    #[arg(value_name = "NAME", add = complete::accounts())]
    pub name: String,
    /// New region: us, eu or in
    #[arg(long, value_name = "REGION", add = complete::regions())]
    pub region: Option<String>,
    /// New project
    #[arg(long, value_name = "ID", allow_hyphen_values = true)]
    pub project: Option<String>,
    /// The credential.
    #[command(flatten)]
    pub credential: CredentialArgs,
    /// How the answer looks.
    #[command(flatten)]
    pub output: OutputArgs,
}

/// What a credential is made of. One that is added may also come from MP_SECRET, MP_OAUTH_TOKEN
/// or a prompt.
#[derive(Debug, Args)]
pub struct CredentialArgs {
    /// User name of a service_account
    #[arg(long, value_name = "NAME")]
    pub username: Option<String>,
    /// Read the secret of a service_account from stdin; `add` takes MP_SECRET or asks without it
    #[arg(long)]
    pub secret_stdin: bool,
    /// Variable that holds the token of an oauth_token account; without it, `add` stores
    /// MP_OAUTH_TOKEN
    #[arg(long, value_name = "VARIABLE")]
    pub token_env: Option<String>,
    /// Read the token of an oauth_token account from stdin
    #[arg(long)]
    pub token_stdin: bool,
}

impl CredentialArgs {
    /// There is one stdin, and one source of a token.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT` for flags that exclude each other.
    pub fn check(&self) -> Result<(), Refusal> {
        if self.secret_stdin && self.token_stdin {
            let text = "`--secret-stdin` and `--token-stdin` cannot both read stdin";
            return Err(Refusal::new(Code::InvalidArgument, text)
                .hint("an account has a secret or a token, never both"));
        }
        if self.token_env.is_some() && self.token_stdin {
            let text = "`--token-env` and `--token-stdin` are two sources of one token";
            return Err(Refusal::new(Code::InvalidArgument, text).hint("leave one of them out"));
        }
        Ok(())
    }
}

/// `mp-proxy account remove`.
#[derive(Debug, Args)]
pub struct Remove {
    /// The account
    #[arg(value_name = "NAME", add = complete::accounts())]
    pub name: String,
    /// Even if targets refer to it; they are named
    #[arg(long)]
    pub force: bool,
    /// Remove its tokens from this machine too
    #[arg(long)]
    pub purge: bool,
    /// How the answer looks.
    #[command(flatten)]
    pub output: OutputArgs,
}

/// `mp-proxy account export-bridge`.
#[derive(Debug, Args)]
pub struct ExportBridge {
    /// Account to export; the active one without it
    #[arg(long, value_name = "NAME", add = complete::accounts())]
    pub account: Option<String>,
    /// File to write
    #[arg(long, value_name = "PATH", default_value = "mixpanel_auth.json")]
    pub to: PathBuf,
    /// Project that the bridge pins
    #[arg(long, value_name = "ID", allow_hyphen_values = true)]
    pub project: Option<String>,
    /// Workspace that the bridge pins
    #[arg(long, value_name = "ID", allow_hyphen_values = true)]
    pub workspace: Option<String>,
    /// How the answer looks.
    #[command(flatten)]
    pub output: OutputArgs,
}

/// `mp-proxy account remove-bridge`.
#[derive(Debug, Args)]
pub struct RemoveBridge {
    /// The file; MP_AUTH_FILE or a default place without it
    #[arg(long, value_name = "PATH")]
    pub at: Option<PathBuf>,
    /// How the answer looks.
    #[command(flatten)]
    pub output: OutputArgs,
}
