//! A state machine that takes long.

use super::{PATIENCE, block, list, turn, until};
use copycat::{Bincode, Commit, Consistency, Context, LocalNetwork, Role, Server, StateMachine, Storage};
use std::time::{Duration, Instant};

/// Ten election timeouts.
const NAP: Duration = Duration::from_secs(5);

/// It counts, and sleeps before it does if it is told to.
#[derive(Debug, Default)]
struct Sleeper(u64);

impl StateMachine for Sleeper {
    type Codec = Bincode;
    type Command = Duration;
    type Query = ();
    type Output = u64;
    type Answer = u64;
    type Event = ();

    fn apply(&mut self, commit: Commit<Duration>, context: &mut Context<()>) -> u64 {
        let _held = context.hold();
        std::thread::sleep(commit.operation);
        self.0 += 1;
        self.0
    }

    fn query(&self, (): ()) -> u64 {
        self.0
    }
}

/// Three servers nap, all at once. Returns their terms before and after.
fn terms_around_a_nap(machine_thread: bool) -> (u64, u64) {
    let network = LocalNetwork::new();
    let start = |(id, name): (u64, String)| {
        let builder = Server::<Sleeper>::builder(id).storage(Storage::Memory).memory_limit(64 << 20);
        let builder = builder
            .segment_size(1 << 20)
            .largest_entry((1 << 20) - 4096)
            .transport(network.host(&name))
            .machine_thread(machine_thread);
        builder.bootstrap(list()).unwrap()
    };
    let servers = list().map(start);
    let leader = || servers.iter().find(|s| s.state().role == Role::Leader && s.state().ready);
    let leading = until("a leader", leader);
    assert_eq!(block(leading.submit(&Duration::ZERO, PATIENCE)).unwrap().output, 1);
    until("all have applied it", || servers.iter().all(|s| s.state().applied == leading.state().commit).then_some(()));
    let before = leading.state().term;
    let begun = Instant::now();
    // If its leader is deposed meanwhile it is unknown to its client, and applied none the less.
    let napped = block(leading.submit(&NAP, PATIENCE));
    let count = until("a leader that answers", || {
        let answer = block(leader()?.query(&(), Consistency::Linearizable, 0, PATIENCE)).ok()?;
        (answer.output >= 2).then_some(answer.output)
    });
    assert!(begun.elapsed() >= NAP);
    assert_eq!(count, 2);
    let after = until("a leader", leader).state().term;
    assert!(napped.is_ok() || after > before, "{napped:?}");
    servers.into_iter().for_each(|server| server.shutdown().unwrap());
    (before, after)
}

#[test]
fn a_machine_with_a_thread_of_its_own_costs_no_election() {
    let _turn = turn();
    let (before, after) = terms_around_a_nap(true);
    assert_eq!(before, after);
}

/// So the test above can tell.
#[test]
fn a_machine_that_shares_its_servers_thread_costs_one() {
    let _turn = turn();
    let (before, after) = terms_around_a_nap(false);
    assert!(after > before, "term {before} all along");
}
