//! `copycat cluster promote|demote|remove|leave|transfer`

use super::view::{Tolerance, type_of};
use super::{call, cell};
use crate::cli::client::Client;
use crate::cli::{Failure, Format, Target};
use clap::{Args, ValueEnum};
use serde_json::{Value, json};
use std::thread;
use std::time::{Duration, Instant};

/// How long a member that is to vote has to catch up before the command stops looking.
const CATCHING_UP: Duration = Duration::from_secs(60);
const LOOK: Duration = Duration::from_millis(100);

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Type {
    /// It votes
    Active,
    /// It keeps the state and does not vote
    Passive,
    /// It knows the configuration only
    Reserve,
}

impl Type {
    fn name(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Passive => "passive",
            Self::Reserve => "reserve",
        }
    }
}

#[derive(Args)]
#[command(after_help = "Example:\n  copycat cluster promote 4")]
pub(super) struct Promote {
    /// The member
    id: u64,
    /// What it is to be
    #[arg(long, value_enum, default_value = "active")]
    to: Type,
    #[command(flatten)]
    how: How,
}

#[derive(Args)]
#[command(after_help = "Example:\n  copycat cluster demote 2 --to reserve")]
pub(super) struct Demote {
    /// The member
    id: u64,
    /// What it is to be
    #[arg(long, value_enum, default_value = "passive")]
    to: Type,
    #[command(flatten)]
    how: How,
}

#[derive(Args)]
#[command(after_help = "Example:\n  copycat cluster remove 3")]
pub(super) struct Remove {
    /// The member
    id: u64,
    #[command(flatten)]
    how: How,
}

#[derive(Args)]
#[command(after_help = "Example:\n  copycat cluster leave --endpoint http://127.0.0.1:8702")]
pub(super) struct Leave {
    #[command(flatten)]
    how: How,
}

#[derive(Args)]
#[command(after_help = "Example:\n  copycat cluster transfer 2")]
pub(super) struct Transfer {
    /// The member that is to lead
    id: u64,
    #[command(flatten)]
    target: Target,
}

#[derive(Args)]
struct How {
    #[command(flatten)]
    target: Target,
    /// Even if the voters that are left can form no majority: nothing is written then until others come back
    #[arg(long)]
    force: bool,
}

/// What is done to a member.
enum Change {
    Type(Type),
    Remove,
}

impl Promote {
    pub(super) fn run(self) -> Result<(), Failure> {
        if self.to == Type::Reserve {
            return Err(Failure::with_code(
                "a member is promoted to active or passive; to make it reserve, demote it",
                2,
            ));
        }
        self.how.change(&self.how.client(), self.id, &Change::Type(self.to))
    }
}

impl Demote {
    pub(super) fn run(self) -> Result<(), Failure> {
        if self.to == Type::Active {
            return Err(Failure::with_code(
                "a member is demoted to passive or reserve; to make it active, promote it",
                2,
            ));
        }
        self.how.change(&self.how.client(), self.id, &Change::Type(self.to))
    }
}

impl Remove {
    pub(super) fn run(self) -> Result<(), Failure> {
        self.how.change(&self.how.client(), self.id, &Change::Remove)
    }
}

impl Leave {
    pub(super) fn run(self) -> Result<(), Failure> {
        let client = self.how.client();
        let server = call(&client, "GET", "/v1/server", Vec::new(), None)?.json()?;
        let id = server["id"].as_u64().ok_or_else(|| Failure::new("the server does not say which one it is"))?;
        self.how.change(&client, id, &Change::Remove)
    }
}

fn look(client: &Client) -> Result<Value, Failure> {
    call(client, "GET", "/v1/cluster", Vec::new(), None)?.json()
}

fn member(cluster: &Value, id: u64) -> Option<&Value> {
    cluster["members"].as_array().into_iter().flatten().find(|m| m["id"] == id)
}

impl How {
    fn client(&self) -> Client {
        Client::new(&self.target.cluster)
    }

    /// Decides on the configuration as it is now: if it changes meanwhile, nothing is done.
    fn change(&self, client: &Client, id: u64, change: &Change) -> Result<(), Failure> {
        let before = look(client)?;
        let configuration = &before["configuration_index"];
        let path = format!("/v1/cluster/members/{id}");
        let answer = match change {
            Change::Type(to) => {
                let body = json!({ "type": to.name(), "configuration": configuration, "force": self.force });
                call(client, "POST", &path, Vec::new(), Some(body.to_string()))?
            }
            Change::Remove => {
                let mut query = vec![("configuration", configuration.to_string().into_bytes())];
                if self.force {
                    query.push(("force", b"true".to_vec()));
                }
                call(client, "DELETE", &path, query, None)?
            }
        };
        let mut after = answer.json()?;
        if self.target.output == Format::Json {
            println!("{after}");
            return Ok(());
        }
        println!("before: {}", Tolerance::of(&before));
        let changed = after["configuration_index"].as_u64();
        let begun = Instant::now();
        while member(&after, id).is_some_and(|m| !m["becoming"].is_null()) {
            if begun.elapsed() > CATCHING_UP {
                let text = format!("server {id} has not caught up yet: it becomes active as soon as it has");
                return Err(Failure::new(text));
            }
            thread::sleep(LOOK);
            // Whoever is asked may not have heard of the change yet.
            let seen = look(client)?;
            if seen["configuration_index"].as_u64() >= changed {
                after = seen;
            }
        }
        println!("after:  {}", Tolerance::of(&after));
        match member(&after, id) {
            Some(m) => println!("server {id} is {}", type_of(m)),
            None => println!("server {id} is no member any more"),
        }
        Ok(())
    }
}

impl Transfer {
    pub(super) fn run(self) -> Result<(), Failure> {
        let client = Client::new(&self.target.cluster);
        let body = json!({ "member": self.id }).to_string();
        let answer = call(&client, "POST", "/v1/cluster/leader", Vec::new(), Some(body))?.json()?;
        match self.target.output {
            Format::Json => println!("{answer}"),
            Format::Text => println!("server {} leads term {}", cell(&answer["leader"]), cell(&answer["term"])),
        }
        Ok(())
    }
}
