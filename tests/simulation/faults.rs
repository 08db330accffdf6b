//! What goes wrong, how often, in one run.

use copycat_testkit::Rng;

/// Every kind of fault, as counted in reports.
pub(crate) const KINDS: &[&str] = &[
    "message lost",
    "message doubled",
    "message delayed",
    "inbound slowed",
    "link cut one way",
    "partition",
    "kill",
    "power cut",
    "pause",
    "flush hangs",
    "flush fails",
    "wall clock jumps",
    "log lost",
    "disk wiped",
    "change of members",
    "disk full",
    "leadership transfer",
];

/// The odds of one run, drawn from its seed: some runs are calm in some respect.
#[derive(Debug, Clone)]
pub(crate) struct Profile {
    pub servers: u64,
    /// Servers that may join.
    pub spares: u64,
    /// Mean time between an operator's changes, microseconds.
    pub operator_every: u64,
    pub auto_replace: bool,
    /// Bytes of entries from one snapshot to the next.
    pub snapshot_bytes: u64,
    pub clients: u64,
    pub keys: u64,
    /// Out of 1000.
    pub loss: u64,
    pub duplicate: u64,
    pub slow: u64,
    /// Longest delay of a slow message, microseconds.
    pub slow_max: u64,
    /// Mean time between faults, microseconds.
    pub fault_every: u64,
    /// How many of 100 leaders die within their first moments.
    pub early_death: u64,
    /// Longest pause of a client between operations, microseconds.
    pub think: u64,
    /// Segments are this large.
    pub segment: u32,
    /// Clients with sessions.
    pub actors: u64,
    /// Their queues of events are so small that sessions end for it.
    pub limited: bool,
    /// Longest flush that is not a hang, microseconds.
    pub flush_max: u64,
}

impl Profile {
    pub(crate) fn draw(rng: &mut Rng) -> Self {
        let pick = |rng: &mut Rng, from: &[u64]| from[rng.below(from.len() as u64) as usize];
        Self {
            servers: pick(rng, &[3, 3, 3, 3, 5, 2, 1, 4]),
            spares: pick(rng, &[0, 0, 1, 2, 3]),
            operator_every: pick(rng, &[300_000, 1_000_000, 4_000_000]),
            auto_replace: rng.chance(1, 4),
            snapshot_bytes: pick(rng, &[2_000, 6_000, 20_000]),
            clients: rng.range(2, 7),
            actors: pick(rng, &[0, 0, 1, 2, 3, 4]),
            limited: rng.chance(1, 6),
            keys: rng.range(1, 5),
            loss: pick(rng, &[0, 5, 20, 100]),
            duplicate: pick(rng, &[0, 5, 50]),
            slow: pick(rng, &[0, 10, 100]),
            slow_max: pick(rng, &[20_000, 200_000, 2_000_000]),
            fault_every: pick(rng, &[200_000, 500_000, 1_000_000, 3_000_000]),
            early_death: pick(rng, &[0, 0, 20, 50]),
            think: pick(rng, &[1_000, 10_000, 50_000]),
            segment: pick(rng, &[4096, 8192, 32_768]) as u32,
            flush_max: pick(rng, &[300, 3_000, 20_000]),
        }
    }
}
