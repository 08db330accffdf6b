//! What a peer must not be able to do by sending something: end a server, move its term for good, put something in its log
//! that no leader has. Without TLS a peer is whoever says so.

use super::{Lab, command};
use copycat::engine::{
    AppendOutcome, Configuration, Event, Input, Kind, Message, Output, Role, SnapshotId, Want, WireEntry,
};
use copycat_storage::MemDisk;
use std::time::Duration;

const MOST: u64 = u64::MAX;
const LAST: u64 = 4;

fn entry(index: u64, term: u64) -> WireEntry {
    let (kind, mode, data) = (Kind::Command as u8, 1, command("forged", "x").0);
    WireEntry { index, term, time: 1, session: 0, sequence: 0, kind, mode, data }
}

fn append(term: u64, previous: (u64, u64), entries: Vec<WireEntry>, commit: u64) -> Message {
    let (previous_index, previous_term) = previous;
    let (round, recover_to, digest, global) = (1, None, (0, 0), 0);
    Message::Append { term, previous_index, previous_term, entries, commit, round, recover_to, digest, global }
}

impl Lab {
    /// Three servers; 3 leads term 1, and all have committed entry [`LAST`], and know each other's directories.
    fn serving() -> Self {
        let mut lab = Self::default();
        lab.order("cluster 1 2 3 leader=3");
        for id in 1..=3 {
            let (identity, cluster, http) = (id * 11, lab.cluster(3), String::new());
            let now = lab.now();
            lab.running(3).step(now, Input::Peer { id, identity, cluster, http }).expect("it goes on");
        }
        lab.beat();
        lab.order("put 3 a 1");
        lab.beat();
        lab.beat();
        assert_eq!((lab.at(3).2, lab.at(1).3), (LAST, LAST));
        lab
    }

    /// A heartbeat, and what comes of it.
    fn beat(&mut self) {
        self.order("wait 100ms");
        for _ in 0..4 {
            self.order("deliver");
            self.order("flush");
        }
        self.wire.clear();
    }

    /// Gives a forged message to a server, which must go on; returns why it was not taken.
    fn forge(&mut self, (from, identity): (u64, u64), to: u64, message: Message) -> Option<&'static str> {
        let (now, cluster) = (self.now(), self.cluster(3));
        let engine = self.nodes.get_mut(&to).and_then(|n| n.engine.as_mut()).expect("it runs");
        engine.step(now, Input::Message { from, identity, cluster, message }).expect("it goes on");
        while engine.poll(now).expect("it goes on") {}
        let refused = |o: Output| if let Output::Event(Event::NotTaken { why, .. }) = o { Some(why) } else { None };
        engine.take_outputs().into_iter().find_map(refused)
    }

    fn at(&mut self, id: u64) -> (Role, u64, u64, u64) {
        let s = self.running(id).status();
        (s.role, s.term, s.last_index, s.commit)
    }

    /// All three serve, and nothing forged is in their state.
    fn serves(&mut self) {
        let before = self.trace.len();
        self.order("put 3 k v");
        self.beat();
        self.beat();
        self.order("get 1 k sequential 0");
        self.order("get 3 forged");
        self.beat();
        let trace = &self.trace[before..];
        assert!(trace.contains("Put { created: "), "{trace}");
        assert!(trace.contains(": v (Sequential)") && trace.contains(": nothing (Linearizable)"), "{trace}");
    }
}

#[test]
fn an_append_of_the_leaders_own_term_does_not_end_it() {
    let mut lab = Lab::serving();
    let refused = lab.forge((2, 22), 3, append(1, (LAST, 1), vec![entry(LAST + 1, 1)], LAST + 1));
    assert_eq!(refused, Some("it leads the term that this server leads"));
    assert_eq!(lab.forge((2, 22), 3, append(1, (LAST, 1), vec![], LAST + 1)), None, "told once");
    let index = 9;
    let configuration = Configuration::bootstrap([(2, "s2:1".into())]);
    lab.forge((2, 22), 3, Message::Configure { term: 1, index, configuration: Box::new(configuration) });
    // Nor do the others take it from anybody but the leader.
    assert_eq!(
        lab.forge((2, 22), 1, append(1, (LAST, 1), vec![entry(LAST + 1, 1)], LAST + 1)),
        Some("it leads a term that another leads")
    );
    assert_eq!((lab.at(3), lab.at(1)), ((Role::Leader, 1, LAST, LAST), (Role::Follower, 1, LAST, LAST)));
    lab.serves();
}

#[test]
fn a_stranger_leads_nobody_who_hears_a_leader() {
    let mut lab = Lab::serving();
    for to in 1..=3 {
        for term in [1, 2] {
            lab.forge((77, 777), to, append(term, (LAST, 1), vec![entry(LAST + 1, term)], LAST + 1));
        }
        lab.forge((77, 777), to, append(0, (0, 0), vec![], 4));
        let feed =
            Message::Feed { previous_index: LAST, previous_term: 1, entries: vec![entry(LAST + 1, 1)], commit: MOST };
        lab.forge((77, 777), to, feed);
        let (last_index, last_term) = (MOST, MOST);
        lab.forge((77, 777), to, Message::Vote { term: 2, last_index, last_term, transfer: true });
        let configuration = Configuration::bootstrap([(77, "s77:1".into())]);
        lab.forge((77, 777), to, Message::Configure { term: 2, index: 9, configuration: Box::new(configuration) });
        assert_eq!(lab.at(to).1, 1, "the term is that of the leader");
        assert_eq!(lab.at(to).2, LAST, "nothing was stored");
        // A member's number with another directory is no better.
        lab.forge((3, 9), to, append(2, (LAST, 1), vec![entry(LAST + 1, 2)], LAST + 1));
        assert_eq!((lab.at(to).1, lab.at(to).2), (1, LAST));
    }
    lab.serves();
}

#[test]
fn no_term_is_adopted_that_leaves_no_room_for_another() {
    let mut lab = Lab::serving();
    let reply = |term| {
        let outcome = AppendOutcome::Matched(MOST);
        let (start, round, wants, lost, digest, configuration) = (1, MOST, MOST, false, (0, 0), MOST);
        Message::AppendReply { term, start, round, outcome, wants, lost, digest, configuration }
    };
    for term in [MOST, MOST - 1, MOST / 2, 1 << 41] {
        for to in 1..=3 {
            for from in [(1, 11), (2, 22), (3, 33), (77, 777)].into_iter().filter(|&(from, _)| from != to) {
                lab.forge(from, to, append(term, (LAST, 1), vec![entry(LAST + 1, term)], LAST + 1));
                lab.forge(from, to, Message::Vote { term, last_index: MOST, last_term: MOST, transfer: true });
                lab.forge(from, to, Message::VoteReply { term, granted: false });
                lab.forge(from, to, Message::PollReply { term, granted: false });
                lab.forge(from, to, Message::TimeoutNow { term });
                lab.forge(from, to, reply(term));
                assert_eq!(lab.at(to).1, 1);
            }
        }
    }
    lab.serves();
}

#[test]
fn entries_that_cannot_be_are_not_stored() {
    let mut lab = Lab::serving();
    let next = LAST + 1;
    let of_kind = |kind, data: &[u8]| WireEntry { kind, data: data.to_vec(), ..entry(next, 1) };
    let nobody = copycat::engine::encode(&Configuration::default());
    let runs = [
        ((LAST, 1), vec![entry(next, 1), entry(next + 2, 1)]),
        ((LAST, 1), vec![entry(next + 1, 1)]),
        ((LAST, 1), vec![entry(next, MOST)]),
        ((LAST, 1), vec![entry(next, 0)]),
        ((MOST, 1), vec![entry(0, 1)]),
        ((MOST - 1, 1), vec![entry(MOST, 1)]),
        ((1, 1), vec![entry(2, 0), entry(3, 1), entry(4, 1)]),
        ((2, 1), vec![entry(3, 2), entry(4, 2), entry(next, 2)]),
        ((LAST, 1), vec![of_kind(Kind::Configuration as u8, b"no such")]),
        ((LAST, 1), vec![of_kind(Kind::Configuration as u8, &nobody)]),
        ((LAST, 1), vec![of_kind(99, b"")]),
    ];
    for (previous, entries) in runs {
        let (index, term) = previous;
        lab.forge((3, 33), 1, append(1, previous, entries.clone(), LAST));
        let feed = Message::Feed { previous_index: index, previous_term: term, entries, commit: LAST };
        lab.forge((2, 22), 1, feed);
        assert_eq!(lab.at(1), (Role::Follower, 1, LAST, LAST));
    }
    lab.serves();
}

#[test]
fn a_leader_survives_whatever_is_answered() {
    let mut lab = Lab::serving();
    let numbers = [0, 1, 2, 3, 4, 5, MOST - 1, MOST];
    for previous_index in numbers {
        for conflict_index in numbers {
            for conflict_term in [0, 1, 2, MOST] {
                let outcome = AppendOutcome::Rejected { previous_index, conflict_term, conflict_index };
                let (term, start, round, wants, lost) = (1, 5, 99, 0, false);
                let (digest, configuration) = ((0, 0), 0);
                let reply = Message::AppendReply { term, start, round, outcome, wants, lost, digest, configuration };
                lab.forge((2, 22), 3, reply);
                lab.forge((2, 22), 3, Message::FeedReply { start, outcome, wants });
            }
        }
        lab.forge((2, 22), 3, Message::FeedRequest { start: 1, index: previous_index });
        let snapshot = SnapshotId { index: previous_index, term: conflict(previous_index), checksum: 1 };
        for to in [1, 3] {
            lab.forge((2, 22), to, Message::Offer { snapshot });
            for offset in numbers {
                lab.forge((2, 22), to, Message::Fetch { snapshot, want: Want::Bytes(offset) });
                lab.forge((2, 22), to, Message::Piece { snapshot, offset, bytes: vec![0; 100] });
            }
            lab.forge((2, 22), to, Message::Fetch { snapshot, want: Want::Entries(numbers.to_vec()) });
            lab.forge((2, 22), to, Message::Pieces { snapshot, entries: numbers.map(|i| entry(i, i)).to_vec() });
        }
    }
    lab.beat();
    lab.serves();
}

fn conflict(index: u64) -> u64 {
    if index > 3 { 1 } else { index }
}

/// A voter is away while others take the places of those it knows, or join them, and one of these leads.
#[test]
fn who_was_away_follows_a_leader_that_it_does_not_know() {
    let mut lab = Lab::serving();
    lab.order("crash 1");
    let steps = |lab: &mut Lab, orders: &[&str]| {
        for order in orders {
            lab.order(order);
            (0..8).for_each(|_| lab.beat());
        }
    };
    let index = |lab: &mut Lab| lab.running(3).configuration().index;
    steps(&mut lab, &["join 3 4 active", "enter 4 3", "transfer 3 4"]);
    assert_eq!(lab.running(4).role(), Role::Leader);
    lab.order("start 1");
    for _ in 0..40 {
        lab.beat();
    }
    assert_eq!(lab.running(1).leader(), Some(4), "the others said that there is a later term");
    steps(&mut lab, &["transfer 4 3"]);
    lab.order("crash 1");
    steps(&mut lab, &["join 3 5 active", "enter 5 3"]);
    for gone in [2, 4] {
        let order = format!("remove 3 {gone} {}", index(&mut lab));
        steps(&mut lab, &[&order]);
        lab.order(&format!("crash {gone}"));
    }
    assert_eq!(lab.running(3).role(), Role::Leader);
    // It knows 1 to 4, of whom only 3 is left, and 5 leads.
    steps(&mut lab, &["transfer 3 5"]);
    assert_eq!(lab.running(5).role(), Role::Leader);
    lab.order("crash 3");
    lab.order("start 1");
    for _ in 0..60 {
        lab.beat();
    }
    let leader = lab.running(5).leader();
    assert!(leader.is_some() && lab.running(1).leader() == leader, "{}", lab.trace);
    assert_eq!(lab.at(1).2, lab.at(5).2);
}

/// Nothing but the snapshot of a later term reaches a server that was away.
#[test]
fn a_snapshot_that_is_installed_raises_the_term() {
    let mut lab = Lab::serving();
    for order in ["crash 2", "transfer 3 1"] {
        lab.order(order);
        (0..4).for_each(|_| lab.beat());
    }
    for order in ["snapshot 1", "work 1", "done 1", "work 1", "done 1", "flush 1", "start 2"] {
        lab.order(order);
    }
    assert_eq!((lab.at(1).1, lab.at(2).1), (2, 1));
    let info = lab.running(1).storage().snapshot().expect("a snapshot");
    let snapshot = SnapshotId { index: info.index, term: info.term, checksum: info.checksum };
    lab.wire.push((1, 2, Message::Offer { snapshot }));
    for _ in 0..8 {
        lab.order("deliver 1 2");
        lab.order("deliver 2 1");
        lab.wire.retain(|(.., m)| !matches!(m, Message::Append { .. } | Message::Configure { .. }));
        if let Some(work) = lab.running(2).work() {
            let worked = work.run(usize::MAX, || true).expect("it is not interrupted");
            lab.step(2, Some(Input::Worked(worked)));
        }
        lab.flush(2);
    }
    assert_eq!((lab.at(2).1, lab.at(2).2), (2, snapshot.index));
}

/// Messages of random kinds and numbers, from anybody, to everybody.
#[test]
fn random_messages_end_nobody() {
    let mut random = 7_u64;
    let mut draw = move |most: u64| {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from((random >> 33) % most).expect("a small number")
    };
    for _ in 0..20 {
        let mut lab = Lab::serving();
        for _ in 0..1000 {
            let to = 1 + draw(3) as u64;
            let from = [1, 2, 3, 77][draw(4)];
            let identity = if draw(8) == 0 { 5 } else { from * 11 };
            let (term, last) = (lab.at(to).1, lab.at(to).2);
            let mut number = || {
                let near = [0, 1, term, term + 1, last, last + 1, last + 2, MOST];
                near[draw(8)]
            };
            let (a, b, c, d) = (number(), number(), number(), number());
            let snapshot = SnapshotId { index: a, term: b, checksum: 1 };
            let outcome = if d % 2 == 0 {
                AppendOutcome::Matched(c)
            } else {
                AppendOutcome::Rejected { previous_index: a, conflict_term: b, conflict_index: c }
            };
            let (lost, digest, start) = (a % 2 == 0, (0, 0), b);
            let message = match draw(16) {
                0 => Message::Poll { term: a, last_index: b, last_term: c },
                1 => Message::PollReply { term: a, granted: b % 2 == 0 },
                2 => Message::Vote { term: a, last_index: b, last_term: c, transfer: d % 2 == 0 },
                3 => Message::VoteReply { term: a, granted: b % 2 == 0 },
                4..=6 => {
                    let entries = (0..draw(3)).map(|i| entry(b.wrapping_add(1 + i as u64), c)).collect();
                    append(a, (b, c), entries, d)
                }
                7 | 8 => {
                    let (round, wants, configuration) = (c, d, a);
                    Message::AppendReply { term, start, round, outcome, wants, lost, digest, configuration }
                }
                9 => Message::TimeoutNow { term: a },
                10 => {
                    let entries = (0..draw(3)).map(|i| entry(b.wrapping_add(1 + i as u64), c)).collect();
                    Message::Feed { previous_index: b, previous_term: c, entries, commit: d }
                }
                11 => Message::FeedReply { start, outcome, wants: d },
                12 => Message::FeedRequest { start, index: c },
                13 => Message::Offer { snapshot },
                14 => Message::Fetch { snapshot, want: Want::Entries(vec![a, b, c]) },
                _ => Message::Piece { snapshot, offset: d, bytes: vec![1; 80] },
            };
            lab.forge((from, identity), to, message);
            if draw(4) == 0 {
                lab.time += Duration::from_millis(draw(200) as u64);
                let other = 1 + draw(3) as u64;
                lab.step(other, None::<Input<MemDisk>>);
                lab.flush(other);
                lab.order("deliver");
            }
        }
    }
}
