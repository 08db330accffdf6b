//! `copycat cluster`

use super::client::{Call, Client};
use super::{Failure, Format, Target};
use clap::{Args, Subcommand};
use serde_json::Value;

#[derive(Args)]
pub(super) struct Cluster {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Prints the members, the leader and how far each member is
    Status(Status),
}

#[derive(Args)]
#[command(after_help = "Example:\n  copycat cluster status --endpoint http://127.0.0.1:8701")]
struct Status {
    #[command(flatten)]
    target: Target,
}

impl Cluster {
    pub(super) fn run(self) -> Result<(), Failure> {
        let Command::Status(status) = self.command;
        status.run()
    }
}

/// A JSON value in a table.
pub(super) fn cell(value: &Value) -> String {
    match value {
        Value::Null => "-".into(),
        Value::String(text) if text.is_empty() => "-".into(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

impl Status {
    fn run(self) -> Result<(), Failure> {
        let client = Client::new(&self.target.cluster);
        let call = Call { method: "GET", path: "/v1/cluster", query: Vec::new(), headers: Vec::new(), body: None };
        let answer = client.call(&call)?;
        if answer.status != 200 {
            return Err(answer.failure());
        }
        let cluster = answer.json()?;
        if self.target.output == Format::Json {
            println!("{cluster}");
            return Ok(());
        }
        let seen_by = answer.header("copycat-served-by").unwrap_or("?");
        println!(
            "cluster {}, term {}, leader {}, as server {seen_by} knows it",
            cell(&cluster["cluster_id"]),
            cell(&cluster["term"]),
            cell(&cluster["leader"])
        );
        println!(
            "{:>4}  {:<8} {:<12} {:<22} {:<22} {:>12} {:>6}",
            "ID", "TYPE", "STATUS", "HTTP", "PEER", "MATCH", "LAG"
        );
        for m in cluster["members"].as_array().into_iter().flatten() {
            println!(
                "{:>4}  {:<8} {:<12} {:<22} {:<22} {:>12} {:>6}",
                cell(&m["id"]),
                cell(&m["type"]),
                cell(&m["status"]),
                cell(&m["http"]),
                cell(&m["peer"]),
                cell(&m["match_index"]),
                cell(&m["lag"])
            );
        }
        if cluster["leader"].is_null() {
            return Err(Failure::new("there is no leader: a majority of the servers must run and reach each other"));
        }
        Ok(())
    }
}
