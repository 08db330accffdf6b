//! `copycat cluster`

mod change;
mod settings;
mod status;
mod view;

use super::Failure;
use clap::{Args, Subcommand};
pub(super) use status::cell;

#[derive(Args)]
pub(super) struct Cluster {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Prints the members, the leader and how far each member is
    Status(status::Status),
    /// Makes a member passive, or active: then it votes, as soon as it has caught up
    Promote(change::Promote),
    /// Makes a member passive, or reserve: then it votes no longer
    Demote(change::Demote),
    /// Removes a member, dead or alive: one that runs stops
    Remove(change::Remove),
    /// Removes the server at the endpoint: it stops
    Leave(change::Leave),
    /// Has another member lead
    Transfer(change::Transfer),
    /// Prints or changes what all members have alike, such as the election timeout
    Settings(settings::Settings),
}

impl Cluster {
    pub(super) fn run(self) -> Result<(), Failure> {
        match self.command {
            Command::Status(c) => c.run(),
            Command::Promote(c) => c.run(),
            Command::Demote(c) => c.run(),
            Command::Remove(c) => c.run(),
            Command::Leave(c) => c.run(),
            Command::Transfer(c) => c.run(),
            Command::Settings(c) => c.run(),
        }
    }
}
