//! Clusters that change shape while clients use them.

use super::Cell;
use super::caller::Pick;
use super::machines::{Letter, Post};
use super::stage::Stage;
use crate::engine::{Consistency, MemberStatus, MemberType, Role};

const TIMEOUT_MS: u64 = 10_000;

/// Has commands carried out, some of them while something else happens, and a query after each of these times.
struct Load {
    client: usize,
    done: u64,
}

impl Load {
    fn new(stage: &mut Stage<Post>) -> Self {
        Self { client: stage.client(Pick::Any, TIMEOUT_MS), done: 0 }
    }

    /// Commands go out, this happens, and then they are all done, each once.
    fn during(&mut self, stage: &mut Stage<Post>, cell: Cell, what: impl FnOnce(&mut Stage<Post>)) {
        let places: Vec<_> = (0..100).map(|_| stage.submit(self.client, &Letter::Count)).collect();
        stage.turn(self.client);
        what(stage);
        let query = stage.query(self.client, &(), cell.consistency);
        stage.settle(self.client);
        for place in places {
            self.done += 1;
            assert_eq!(stage.output(self.client, place).1, self.done, "each once");
        }
        assert_eq!(stage.answer(self.client, query).expect("an answer").1, self.done);
    }
}

pub(super) fn all_types_join(cell: Cell) {
    let mut stage = Stage::<Post>::new(cell.level, 3);
    let mut load = Load::new(&mut stage);
    for _ in 0..10 {
        load.during(&mut stage, cell, |_| ());
    }
    for (id, member_type) in [(4, MemberType::Active), (5, MemberType::Passive), (6, MemberType::Reserve)] {
        load.during(&mut stage, cell, |stage| stage.join(id, member_type));
        // Every server sees it, and where it is.
        let address = format!("s{id}:1");
        stage.until("all know it", |s| {
            let member = |at| s.engine(at).configuration().members.get(&id);
            s.running().all(|at| member(at).is_some_and(|m| m.peer == address && m.member_type == member_type))
        });
        // Whatever it is, a client may use it.
        let client = stage.client(Pick::This(id), TIMEOUT_MS);
        load.done += 1;
        assert_eq!(stage.do_one(client, &Letter::Count).1, load.done);
        assert_eq!(stage.ask_one(client, &(), cell.consistency).1, load.done, "a session sees its own command");
        assert_eq!(stage.clients[client].connection, Some(id));
    }
    assert_eq!(stage.engine(6).applied(), 0, "a reserve member keeps no state");
    stage.agree();
    // One that is gone is seen to be, and to be back.
    stage.kill(5);
    let status = |s: &Stage<Post>, available| {
        let seen = |at| (s.engine(at).configuration().members[&5].status == MemberStatus::Available) == available;
        s.running().filter(|&at| at != 5).all(seen)
    };
    stage.until("it is marked", |s| status(s, false));
    if cell.level == super::stage::Level::Mapped {
        stage.start(5);
        stage.until("it is back", |s| status(s, true));
        stage.agree();
    }
}

pub(super) fn up_and_down_under_load(cell: Cell) {
    let mut stage = Stage::<Post>::new(cell.level, 1);
    let mut load = Load::new(&mut stage);
    for id in 2..=5 {
        load.during(&mut stage, cell, |stage| stage.join(id, MemberType::Active));
    }
    stage.agree();
    for id in 1..=4 {
        load.during(&mut stage, cell, |stage| stage.remove(id));
    }
    assert_eq!(stage.running().collect::<Vec<_>>(), [5]);
    load.during(&mut stage, cell, |_| ());
}

pub(super) fn a_blank_replacement(cell: Cell) {
    let mut stage = Stage::<Post>::new(cell.level, 3);
    let mut load = Load::new(&mut stage);
    for _ in 0..10 {
        load.during(&mut stage, cell, |_| ());
    }
    let gone = stage.follower();
    load.during(&mut stage, cell, |stage| stage.kill(gone));
    load.during(&mut stage, cell, |stage| stage.remove(gone));
    // The same number and address, another disk.
    load.during(&mut stage, cell, |stage| stage.join(gone, MemberType::Passive));
    load.during(&mut stage, cell, |stage| stage.turn_into(gone, MemberType::Active));
    stage.agree();
    // It counts: with it there is a majority without the leader.
    let leader = stage.leader();
    load.during(&mut stage, cell, |stage| stage.kill(leader));
    stage.agree();
}

pub(super) fn the_leader_goes(cell: Cell) {
    let mut stage = Stage::<Post>::new(cell.level, 3);
    let mut load = Load::new(&mut stage);
    let leader = stage.leader();
    load.during(&mut stage, cell, |stage| stage.turn_into(leader, MemberType::Passive));
    assert_eq!(stage.engine(leader).role(), Role::Follower);
    load.during(&mut stage, cell, |stage| stage.turn_into(leader, MemberType::Active));
    let leader = stage.leader();
    load.during(&mut stage, cell, |stage| stage.remove(leader));
    assert_eq!(stage.running().count(), 2);
    let leader = stage.leader();
    load.during(&mut stage, cell, |stage| stage.remove(leader));
    assert_eq!(stage.running().count(), 1);
    assert_eq!(stage.ask_one(load.client, &(), Consistency::Linearizable).1, load.done);
}
