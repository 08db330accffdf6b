//! Scenarios of a cluster and its clients, each for every consistency of the queries and every storage level, on a simulated
//! clock: what happens is a function of the scenario alone, and takes no longer than it is worked on. The client's core, the
//! engine and the storage are those that ship; what is in between is `stage/`. (The same on real processes:
//! `tests/cluster/native.rs`. With random faults: `tests/simulation`.)

mod caller;
mod machines;
mod members;
mod order;
mod sessions;
mod stage;
mod state;

use crate::engine::Consistency;
use stage::Level;

/// One cell of the matrix.
#[derive(Clone, Copy, Debug)]
struct Cell {
    consistency: Consistency,
    level: Level,
}

macro_rules! matrix {
    ($($module:ident: $($scenario:ident),*;)*) => { $($(mod $scenario {
        matrix!(@cells $module $scenario:
            linearizable_mapped = Linearizable Mapped, linearizable_memory = Linearizable Memory,
            lease_mapped = Lease Mapped, lease_memory = Lease Memory,
            sequential_mapped = Sequential Mapped, sequential_memory = Sequential Memory);
    })*)* };
    (@cells $module:ident $scenario:ident: $($name:ident = $consistency:ident $level:ident),*) => { $(
        #[test]
        fn $name() {
            use crate::scenarios::{Cell, Consistency, Level, $module};
            $module::$scenario(Cell { consistency: Consistency::$consistency, level: Level::$level });
        }
    )* };
}

matrix!(
    order:
        commands_and_queries_on_one_to_five_servers,
        back_to_back,
        one_command_tells_several_sessions,
        a_handler_asks,
        servers_are_lost,
        a_command_outlives_its_leader,
        a_failed_query_blocks_nothing;
    sessions: closed_and_expired, recovered, idle;
    members: all_types_join, up_and_down_under_load, a_blank_replacement, the_leader_goes;
    state: snapshots, incremental;
);
