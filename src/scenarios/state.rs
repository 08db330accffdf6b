//! Machines that come back from snapshots and from what is left of the log.

use super::Cell;
use super::caller::Pick;
use super::machines::{LAST, Last, Letter, Post};
use super::stage::{Level, Stage};
use crate::engine::MemberType;
use crate::engine::machine::StateMachine;

const TIMEOUT_MS: u64 = 10_000;
/// Snapshots after so many bytes.
const SNAPSHOT_BYTES: u64 = 4096;

/// All servers have a snapshot, and a log with holes.
fn is_compacted<M: StateMachine + Default>(stage: &Stage<M>) -> bool {
    let compacted = |id| {
        let storage = stage.engine(id).storage();
        storage.snapshot().is_some() && storage.highest_hole() > 0
    };
    stage.running().all(compacted)
}

/// Each server in turn goes and comes back; from memory nothing comes back, so another takes its place.
fn restart<M: StateMachine + Default>(stage: &mut Stage<M>, level: Level, id: u64) {
    stage.kill(id);
    if level == Level::Mapped {
        stage.start(id);
    } else {
        stage.remove(id);
        stage.join(id, MemberType::Active);
    }
    stage.agree();
}

pub(super) fn snapshots(cell: Cell) {
    let mut stage = Stage::<Post>::with(cell.level, 3, SNAPSHOT_BYTES);
    let client = stage.client(Pick::Any, TIMEOUT_MS);
    let session = stage.session(client);
    let mut done = 0;
    for id in 1..=3 {
        for _ in 0..10 {
            for _ in 0..100 {
                stage.submit(client, &Letter::Count);
            }
            stage.settle(client);
            done += 100;
        }
        stage.until("the logs are compacted", is_compacted);
        restart(&mut stage, cell.level, id);
        assert_eq!(stage.ask_one(client, &(), cell.consistency).1, done);
        done += 1;
        assert_eq!(stage.do_one(client, &Letter::TellMe).1, done);
    }
    // Sessions, numbers and events are in the snapshots.
    assert_eq!(stage.session(client), session);
    stage.until("its events", |s| s.clients[client].events().len() == 3);
    stage.clients[client].check_order();
}

pub(super) fn incremental(cell: Cell) {
    let mut stage = Stage::<Last>::with(cell.level, 3, SNAPSHOT_BYTES);
    let client = stage.client(Pick::Any, TIMEOUT_MS);
    let mut number = 0;
    for id in 1..=3 {
        for _ in 0..10 {
            for _ in 0..100 {
                number += 1;
                stage.submit(client, &number);
            }
            stage.settle(client);
        }
        stage.until("the logs are compacted", is_compacted);
        restart(&mut stage, cell.level, id);
        let expected: Vec<u64> = (number + 1 - LAST as u64..=number).collect();
        assert_eq!(stage.ask_one(client, &(), cell.consistency).1, expected);
    }
    stage.agree();
}
