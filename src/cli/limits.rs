//! What a server allows its clients, and the operating system a server.

use clap::Args;
use copycat_http::HttpConfig;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::time::Duration;

/// What HTTP requests are held against. The sizes are the largest that the log and the servers' messages are made for.
#[derive(Args)]
#[command(next_help_heading = "Limits of requests")]
pub(super) struct Requests {
    /// The longest value, bytes
    #[arg(long, env = "COPYCAT_VALUE_BYTES", value_name = "BYTES", default_value_t = 1024 * 1024,
          value_parser = clap::value_parser!(u32).range(1..=1024 * 1024))]
    value_bytes: u32,
    /// The longest JSON body, a batch too, bytes
    #[arg(long, env = "COPYCAT_JSON_BYTES", value_name = "BYTES", default_value_t = 4 * 1024 * 1024,
          value_parser = clap::value_parser!(u32).range(1024..=4 * 1024 * 1024))]
    json_bytes: u32,
    /// How deeply JSON may be nested
    #[arg(long, env = "COPYCAT_JSON_DEPTH", value_name = "N", default_value_t = 32,
          value_parser = clap::value_parser!(u32).range(8..=64))]
    json_depth: u32,
    /// Operations in a transaction, and parts of its condition
    #[arg(long, env = "COPYCAT_OPERATIONS", value_name = "N", default_value_t = 128,
          value_parser = clap::value_parser!(u32).range(1..=1000))]
    operations: u32,
    /// Commands in a batch
    #[arg(long, env = "COPYCAT_COMMANDS", value_name = "N", default_value_t = 1000,
          value_parser = clap::value_parser!(u32).range(1..=10_000))]
    commands: u32,
    /// The largest header block, bytes
    #[arg(long, env = "COPYCAT_HEADER_BYTES", value_name = "BYTES", default_value_t = 16 * 1024,
          value_parser = clap::value_parser!(u32).range(1024..=32 * 1024))]
    header_bytes: u32,
    /// How long a header block may take
    #[arg(long, env = "COPYCAT_HEADER_TIMEOUT", default_value = "5s", value_parser = patience)]
    header_timeout: Duration,
    /// How long a body may take
    #[arg(long, env = "COPYCAT_BODY_TIMEOUT", default_value = "30s", value_parser = patience)]
    body_timeout: Duration,
    /// Connections at once
    #[arg(long, env = "COPYCAT_CONNECTIONS", value_name = "N", default_value_t = 16 * 1024,
          value_parser = clap::value_parser!(u32).range(1..))]
    connections: u32,
    /// Connections at once of one address
    #[arg(long, env = "COPYCAT_CONNECTIONS_PER_ADDRESS", value_name = "N", default_value_t = 4096,
          value_parser = clap::value_parser!(u32).range(1..))]
    connections_per_address: u32,
}

/// How long a client may take over something.
fn patience(text: &str) -> Result<Duration, String> {
    let sane = Duration::from_millis(100)..=Duration::from_secs(600);
    super::duration(text).and_then(|t| if sane.contains(&t) { Ok(t) } else { Err("give 100ms to 10m".into()) })
}

impl Requests {
    pub(super) fn apply(&self, config: &mut HttpConfig) {
        let size = |n: u32| usize::try_from(n).unwrap_or(usize::MAX);
        config.value_bytes = size(self.value_bytes);
        config.json_bytes = size(self.json_bytes);
        config.json_depth = size(self.json_depth);
        config.operations = size(self.operations);
        config.commands = size(self.commands);
        config.header_bytes = size(self.header_bytes);
        config.header_timeout = self.header_timeout;
        config.body_timeout = self.body_timeout;
        config.connections = size(self.connections);
        config.connections_per_address = size(self.connections_per_address);
    }
}

/// Each waiting client is an open connection, and many systems allow a process no more than 1,024 files unless it asks for
/// more: as many as it may.
pub(super) fn raise_open_files() {
    let limit = getrlimit(Resource::Nofile);
    if limit.current != limit.maximum
        && let Err(e) = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum })
    {
        tracing::warn!("no more than {:?} open files: {e}", limit.current);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        requests: Requests,
    }

    #[test]
    fn without_flags_the_limits_are_the_usual_ones() {
        let mut config = HttpConfig { value_bytes: 0, connections: 0, ..HttpConfig::default() };
        Line::parse_from(["copycat"]).requests.apply(&mut config);
        assert_eq!(format!("{config:?}"), format!("{:?}", HttpConfig::default()));
    }

    #[test]
    fn each_flag_sets_its_limit() {
        let mut config = HttpConfig::default();
        let line = "copycat --value-bytes 1 --json-bytes 1025 --json-depth 9 --operations 2 --commands 3 --header-bytes 1026 \
                    --header-timeout 1s --body-timeout 2s --connections 4 --connections-per-address 5";
        Line::parse_from(line.split_whitespace()).requests.apply(&mut config);
        let sizes = [config.value_bytes, config.json_bytes, config.json_depth, config.operations, config.commands];
        assert_eq!(sizes, [1, 1025, 9, 2, 3]);
        assert_eq!([config.header_bytes, config.connections, config.connections_per_address], [1026, 4, 5]);
        assert_eq!([config.header_timeout, config.body_timeout].map(|t| t.as_secs()), [1, 2]);
        for bad in ["--value-bytes 1048577", "--header-timeout 1", "--connections 0", "--json-depth 65"] {
            assert!(Line::try_parse_from(["copycat"].into_iter().chain(bad.split(' '))).is_err(), "{bad}");
        }
    }
}
