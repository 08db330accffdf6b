//! `copycat cluster promote|demote|remove|leave|transfer`

use super::cell;
use super::view::{Tolerance, type_of};
use crate::cli::client::{Call, Client};
use crate::cli::server::Type;
use crate::cli::{Failure, Format, Target};
use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Args, ValueEnum};
use copycat::engine::MemberType;
use serde_json::{Value, json};
use std::thread;
use std::time::{Duration, Instant};

/// How long a member that is to vote has to catch up before the command stops looking.
const CATCHING_UP: Duration = Duration::from_secs(60);
const LOOK: Duration = Duration::from_millis(100);

/// What may be said of a member here.
fn one_of(types: [Type; 2]) -> impl TypedValueParser<Value = MemberType> {
    let named = types.iter().filter_map(Type::to_possible_value);
    PossibleValuesParser::new(named).try_map(|name| Type::from_str(&name, false).map(MemberType::from))
}

#[derive(Args)]
#[command(after_help = "Example:\n  copycat cluster promote 4")]
pub(super) struct Promote {
    /// The member
    id: u64,
    /// What it is to be: passive is a step up from reserve
    #[arg(long, value_parser = one_of([Type::Active, Type::Passive]), default_value = "active")]
    to: MemberType,
    #[command(flatten)]
    how: How,
}

#[derive(Args)]
#[command(after_help = "Example:\n  copycat cluster demote 2 --to reserve")]
pub(super) struct Demote {
    /// The member
    id: u64,
    /// What it is to be
    #[arg(long, value_parser = one_of([Type::Passive, Type::Reserve]), default_value = "passive")]
    to: MemberType,
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
    Type(MemberType),
    Remove,
}

impl Promote {
    pub(super) fn run(self) -> Result<(), Failure> {
        self.how.change(&self.how.client(), self.id, &Change::Type(self.to))
    }
}

impl Demote {
    pub(super) fn run(self) -> Result<(), Failure> {
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
        // With several, the one that is up would leave instead of the one that is meant.
        if self.how.target.cluster.endpoints.len() != 1 {
            return Err(Failure::with_code("give one --endpoint only: that of the server that is to leave", 2));
        }
        let client = self.how.client();
        let server = client.call(&Call::new("GET", "/v1/server"))?.expect(&[200])?.json()?;
        let id = server["id"].as_u64().ok_or_else(|| Failure::new("the server does not say which one it is"))?;
        self.how.change(&client, id, &Change::Remove)
    }
}

fn look(client: &Client) -> Result<Value, Failure> {
    client.call(&Call::new("GET", "/v1/cluster"))?.expect(&[200])?.json()
}

fn member(cluster: &Value, id: u64) -> Option<&Value> {
    cluster["members"].as_array().into_iter().flatten().find(|m| m["id"] == id)
}

/// Looks until the member is what it was to become, beginning with the cluster as the change left it.
fn caught_up(client: &Client, id: u64, mut after: Value, patience: Duration) -> Result<Value, Failure> {
    let changed = after["configuration_index"].as_u64();
    let begun = Instant::now();
    while member(&after, id).is_some_and(|m| !m["becoming"].is_null()) {
        if begun.elapsed() > patience {
            // The change was accepted: that is no failure without effect, whatever comes of it.
            let text = format!("server {id} has not caught up yet: it becomes active as soon as it has");
            return Err(Failure::with_code(text, 5));
        }
        thread::sleep(LOOK);
        // Whoever is asked may be down for a moment, or not have heard of the change yet.
        if let Ok(seen) = look(client)
            && seen["configuration_index"].as_u64() >= changed
        {
            after = seen;
        }
    }
    Ok(after)
}

impl How {
    fn client(&self) -> Client {
        self.target.client()
    }

    /// Decides on the configuration as it is now: if it changes meanwhile, nothing is done.
    fn change(&self, client: &Client, id: u64, change: &Change) -> Result<(), Failure> {
        let before = look(client)?;
        let configuration = &before["configuration_index"];
        let path = format!("/v1/cluster/members/{id}");
        let call = match change {
            Change::Type(to) => {
                let body = json!({ "type": to.to_string(), "configuration": configuration, "force": self.force });
                Call { body: Some(body.to_string().into_bytes()), ..Call::new("POST", &path) }
            }
            Change::Remove => {
                let mut query = vec![("configuration", configuration.to_string().into_bytes())];
                if self.force {
                    query.push(("force", b"true".to_vec()));
                }
                Call { query, ..Call::new("DELETE", &path) }
            }
        };
        let after = client.call(&call)?.expect(&[200])?.json()?;
        if self.target.output == Format::Json {
            println!("{after}");
            return Ok(());
        }
        println!("before: {}", Tolerance::of(&before));
        let after = caught_up(client, id, after, CATCHING_UP)?;
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
        let body = Some(json!({ "member": self.id }).to_string().into_bytes());
        let call = Call { body, ..Call::new("POST", "/v1/cluster/leader") };
        let answer = self.target.client().call(&call)?.expect(&[200])?.json()?;
        self.target.print(&answer, |a| format!("server {} leads term {}", cell(&a["leader"]), cell(&a["term"])));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::Endpoints;
    use crate::cli::client::tests::serving;

    fn how(endpoints: &[&str]) -> How {
        let endpoints = endpoints.iter().map(|&e| e.to_string()).collect();
        How { target: Target { cluster: Endpoints { endpoints }, output: Format::Text }, force: false }
    }

    #[test]
    fn a_change_that_was_accepted_is_no_failure_without_effect() {
        let cluster = |index: u64, becoming: Value| json!({ "configuration_index": index, "members": [{ "id": 4, "type": "passive", "becoming": becoming }] });
        let becoming = cluster(9, json!("active"));
        let look_at = |server: &str, patience| {
            caught_up(&how(&[server]).client(), 4, becoming.clone(), Duration::from_millis(patience))
        };
        let seen = look_at(&serving(1, "200 OK", &cluster(9, Value::Null).to_string()), 60_000).expect("it caught up");
        assert_eq!(seen, cluster(9, Value::Null));
        for (times, index) in [(2, 9), (2, 8), (0, 9)] {
            let server = serving(times, "200 OK", &cluster(index, json!("active")).to_string());
            let failure = look_at(&server, 150).expect_err("it does not");
            assert_eq!((failure.code, failure.text.contains("caught up")), (5, true), "{}", failure.text);
        }
    }

    #[test]
    fn nobody_leaves_in_place_of_a_server_that_is_down() {
        let other = serving(1, "200 OK", "{\"id\":2}");
        let failure = Leave { how: how(&["127.0.0.1:1", &other]) }.run().expect_err("two endpoints");
        assert_eq!((failure.code, failure.text.contains("one --endpoint")), (2, true), "{}", failure.text);
    }
}
