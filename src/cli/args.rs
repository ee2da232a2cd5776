//! The arguments as clap sees them; nothing here leaves `cli`. Called by `main`.
//! One file per topic under `args/`; this one has the top: global flags and the list of commands.

pub mod account;
pub mod axes;
pub mod axis;
pub mod complete;
#[cfg(feature = "demo")]
pub mod demo;
pub mod governance;
pub mod limits;
pub mod listener;
pub mod local;
pub mod log;
pub mod login;
pub mod pace;
pub mod place;
pub mod quota;
pub mod reach;
pub mod serve;
pub mod session;
pub mod shell;
pub mod target;

pub use account::AccountCommand;
pub use axes::Axes;
pub use axis::{ProjectCommand, WorkspaceCommand};
#[cfg(feature = "demo")]
pub use demo::Demo;
pub use governance::Governance;
pub use local::{Health, Patient, Run, Tail};
pub use log::{Log, LogFormat, LogLevel};
pub use login::Login;
pub use pace::Pace;
pub use place::Place;
pub use quota::Quota;
pub use serve::Serve;
pub use session::{SessionCommand, Show};
pub use shell::{Completions, Man};
pub use target::TargetCommand;

use clap::{Parser, Subcommand};

/// A reverse proxy on localhost that signs requests to the Mixpanel API.
#[derive(Debug, Parser)]
#[command(name = "mp-proxy", version, about, propagate_version = true)]
pub struct Cli {
    /// The session, when it is named before the command, as `mp` has it.
    #[command(flatten)]
    pub axes: Axes,
    /// Data and errors only: no notes, no progress
    #[arg(short, long)]
    pub quiet: bool,
    /// Say on stderr which files are read and written, and what Mixpanel is asked
    #[arg(short, long, conflicts_with = "quiet")]
    pub verbose: bool,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Listen and forward until Ctrl-C or SIGTERM
    Serve(Box<Serve>),
    /// Run a program with a private proxy of its own
    Run(Box<Run>),
    /// Watch the requests of a running proxy
    Tail(Tail),
    /// Ask a running proxy whether it is ready; exit code 0 if it is
    Health(Health),
    /// Wait until a proxy is ready
    Wait(Patient),
    /// End a running proxy; requests under way may finish
    Stop(Patient),
    /// Add an account: type, region, project and name are found out
    Login(Box<Login>),
    /// Accounts
    #[command(subcommand)]
    Account(AccountCommand),
    /// Show or change the session
    #[command(subcommand)]
    Session(SessionCommand),
    /// Show what is left of each project's quota, and who used it
    Quota(Quota),
    /// Saved combinations of account, project and workspace
    #[command(subcommand)]
    Target(TargetCommand),
    /// The active account's project
    #[command(subcommand)]
    Project(ProjectCommand),
    /// The active workspace
    #[command(subcommand)]
    Workspace(WorkspaceCommand),
    /// Print a script that completes commands, accounts and targets in a shell
    Completions(Completions),
    /// Write the manual pages
    Man(Man),
    /// See it work: a stand-in Mixpanel, a throw-away home, no account and no network
    #[cfg(feature = "demo")]
    Demo(Demo),
}
