//! `copycat cluster status`

use super::super::{Failure, Format, Target};
use super::view;
use crate::cli::client::Call;
use clap::Args;
use serde_json::Value;

#[derive(Args)]
#[command(after_help = "Example:\n  copycat cluster status --endpoint http://127.0.0.1:8701")]
pub(super) struct Status {
    #[command(flatten)]
    target: Target,
}

/// A JSON value in a table.
pub(in crate::cli) fn cell(value: &Value) -> String {
    match value {
        Value::Null => "-".into(),
        Value::String(text) if text.is_empty() => "-".into(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

impl Status {
    pub(super) fn run(self) -> Result<(), Failure> {
        let answer = self.target.client().call(&Call::new("GET", "/v1/cluster"))?.expect(&[200])?;
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
            "{:>4}  {:<17} {:<12} {:<22} {:<22} {:>12} {:>6}",
            "ID", "TYPE", "STATUS", "HTTP", "PEER", "MATCH", "LAG"
        );
        for m in cluster["members"].as_array().into_iter().flatten() {
            println!(
                "{:>4}  {:<17} {:<12} {:<22} {:<22} {:>12} {:>6}",
                cell(&m["id"]),
                view::type_of(m),
                cell(&m["status"]),
                cell(&m["http"]),
                cell(&m["peer"]),
                cell(&m["match_index"]),
                cell(&m["lag"])
            );
        }
        println!("{}", view::Tolerance::of(&cluster));
        if cluster["leader"].is_null() {
            return Err(Failure::new("there is no leader: a majority of the servers must run and reach each other"));
        }
        Ok(())
    }
}
