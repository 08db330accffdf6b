//! A state machine that panics.

use super::{PATIENCE, block, list, turn, until};
use copycat::{Bincode, Commit, Context, LocalNetwork, Role, Server, StateMachine, Storage};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// It counts, until it is broken.
#[derive(Debug)]
struct Fragile {
    broken: Arc<AtomicBool>,
    count: u64,
}

impl StateMachine for Fragile {
    type Codec = Bincode;
    type Command = ();
    type Query = ();
    type Output = u64;
    type Answer = u64;
    type Event = ();

    fn apply(&mut self, commit: Commit<()>, context: &mut Context<()>) -> u64 {
        let _held = context.hold();
        let () = commit.operation;
        assert!(!self.broken.load(Ordering::Relaxed), "it is broken");
        self.count += 1;
        self.count
    }

    fn query(&self, (): ()) -> u64 {
        self.count
    }
}

fn one_of_three_breaks(machine_thread: bool) {
    let network = LocalNetwork::new();
    let start = |(id, name): (u64, String)| {
        let broken = Arc::new(AtomicBool::new(false));
        let its = broken.clone();
        let builder = Server::builder_with(id, move || Fragile { broken: its.clone(), count: 0 });
        let builder = builder
            .storage(Storage::Memory)
            .memory_limit(64 << 20)
            .segment_size(1 << 20)
            .largest_entry((1 << 20) - 4096);
        let builder = builder.transport(network.host(&name)).machine_thread(machine_thread);
        (builder.bootstrap(list()).unwrap(), broken)
    };
    let mut servers: Vec<_> = list().map(start).into_iter().collect();
    let leads = |(server, _): &(Server<Fragile>, _)| server.state().role == Role::Leader && server.state().ready;
    let leader = until("a leader", || servers.iter().position(leads));
    assert_eq!(block(servers[leader].0.submit(&(), PATIENCE)).unwrap().output, 1);
    let (victim, broken) = servers.remove((leader + 1) % 3);
    broken.store(true, Ordering::Relaxed);
    let (leading, _) = servers.iter().find(|s| leads(s)).unwrap();
    assert_eq!(block(leading.submit(&(), PATIENCE)).unwrap().output, 2);
    let said = victim.wait().unwrap_err().to_string();
    assert!(said.contains("a bug of the server or of its state machine: it is broken"), "{said}");
    // Those whose sockets are served on the same thread go on.
    assert_eq!(block(leading.submit(&(), PATIENCE)).unwrap().output, 3);
    servers.into_iter().for_each(|(server, _)| server.shutdown().unwrap());
}

#[test]
fn a_machine_that_panics_ends_its_server_and_no_other() {
    let _turn = turn();
    one_of_three_breaks(false);
    one_of_three_breaks(true);
}
