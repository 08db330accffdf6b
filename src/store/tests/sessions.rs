//! Watches, locks, and what goes with a session.

use super::*;
use crate::engine::encode;
use crate::engine::machine::Topic;
use crate::engine::sessions::{
    DEFAULT_WINDOW_MS, EndReason, KeepAlive, Keyed, Limits, Register, SessionError, Unregister,
};

impl Machine {
    pub(super) fn session(&mut self) -> SessionId {
        let limits = Limits { events: 1000, event_bytes: 1 << 20 };
        let register = Register { timeout_ms: 1_000_000, name: String::new(), key: None, limits, window_ms: 1 };
        match self.entry(Kind::Register, 0, &register.encode()) {
            Some(Outcome::Registered { session, .. }) => session,
            other => panic!("{other:?}"),
        }
    }

    /// These end, by one entry.
    fn close(&mut self, sessions: &[SessionId]) {
        let one = |&session: &SessionId| Unregister { session, reason: EndReason::Closed, judged_by: 0 };
        self.entry(Kind::Unregister, 0, &encode(&sessions.iter().map(one).collect::<Vec<_>>()));
    }

    /// What a session was told so far: by index.
    fn told(&self, session: SessionId) -> Vec<(u64, Vec<Event>)> {
        let page = self.0.sessions().events(session, Some(0), usize::MAX, self.0.applied()).expect("it is open");
        let event = |bytes: &Vec<u8>| decode_operation(bytes).expect("an event");
        page.batches.iter().map(|batch| (batch.index, batch.events.iter().map(event).collect())).collect()
    }

    fn lock(&mut self, session: SessionId, mode: LockMode, wait_ms: u64, queue: bool) -> Output {
        self.apply_of(session, &Command::Lock { lock: b"l".to_vec(), mode, wait_ms, queue })
    }

    fn unlock(&mut self, session: SessionId) -> Output {
        self.apply_of(session, &Command::Unlock { lock: b"l".to_vec(), token: None })
    }

    fn watch(&mut self, session: SessionId, target: Target, values: bool) -> Output {
        self.apply_of(session, &Command::Watch { target, values, limit: 2 })
    }

    fn holders(&self) -> Vec<(SessionId, u64)> {
        match self.ask(&Query::Lock { lock: b"l".to_vec() }) {
            Answer::Lock(view) => view.map_or(Vec::new(), |v| v.holders.iter().map(|h| (h.session, h.token)).collect()),
            other => panic!("{other:?}"),
        }
    }

    fn queue(&self) -> Vec<SessionId> {
        match self.ask(&Query::Lock { lock: b"l".to_vec() }) {
            Answer::Lock(view) => view.map_or(Vec::new(), |v| v.queue.iter().map(|w| w.session).collect()),
            other => panic!("{other:?}"),
        }
    }
}

const EXCLUSIVE: LockMode = LockMode::Exclusive;
const SHARED: LockMode = LockMode::Shared;

fn token(output: &Output) -> u64 {
    if let Output::Granted { token, .. } = output { *token } else { panic!("{output:?}") }
}

#[test]
fn a_lock_is_fair_and_its_tokens_rise() {
    let mut m = Machine::new();
    let [a, b, c] = [m.session(), m.session(), m.session()];
    let first = token(&m.lock(a, EXCLUSIVE, 0, false));
    assert_eq!(first, m.0.applied(), "the index of the grant");
    assert_eq!(token(&m.lock(a, EXCLUSIVE, 0, false)), first, "asked again: the same");
    assert_eq!(token(&m.lock(a, SHARED, 0, false)), first, "it has more than it asks for");
    assert!(matches!(m.lock(b, EXCLUSIVE, 0, false), Output::Held { position: 1, .. }));
    assert!(m.queue().is_empty(), "a try leaves nothing");
    assert!(matches!(m.lock(b, EXCLUSIVE, 0, true), Output::Queued { position: 1, .. }));
    assert!(matches!(m.lock(c, SHARED, 0, true), Output::Queued { position: 2, .. }));
    assert!(matches!(m.lock(b, EXCLUSIVE, 0, true), Output::Queued { position: 1, .. }), "the same place");
    assert_eq!(m.unlock(a), Output::Unlocked { held: true });
    assert_eq!(m.holders(), [(b, m.0.applied())]);
    // Who comes later does not overtake who waits, though it would fit.
    m.close(&[b]);
    assert_eq!(m.holders(), [(c, m.0.applied())]);
    let queued_alone = m.lock(a, EXCLUSIVE, 0, true);
    assert!(matches!(queued_alone, Output::Queued { position: 1, .. }));
    let late = m.session();
    assert!(
        matches!(m.lock(late, SHARED, 0, false), Output::Held { position: 2, .. }),
        "shared, behind one that waits"
    );
    assert_eq!(m.unlock(late), Output::LockNotFound);
    m.unlock(c);
    m.unlock(a);
    assert!(m.0.machine().locks.is_empty() && m.0.machine().parts.is_empty(), "nothing is left");
}

#[test]
fn sharers_have_tokens_of_their_own_also_at_one_index() {
    let mut m = Machine::new();
    let [a, b, c, d] = [m.session(), m.session(), m.session(), m.session()];
    let first = token(&m.lock(a, EXCLUSIVE, 0, false));
    for session in [b, c, d] {
        m.lock(session, SHARED, 0, true);
    }
    m.unlock(a);
    let at = m.0.applied();
    assert_eq!(m.holders(), [(b, at), (c, at + 1), (d, at + 2)]);
    let acquired = |token| vec![Event::LockAcquired { lock: b"l".to_vec(), token, mode: SHARED }];
    assert_eq!(m.told(d), [(at, acquired(at + 2))]);
    // Two that share it and want it alone would wait for each other for ever.
    assert!(matches!(m.lock(b, EXCLUSIVE, 0, true), Output::Held { .. }));
    m.close(&[b, c, d]);
    let next = token(&m.lock(a, EXCLUSIVE, 0, false));
    assert!(next > at + 2 && first < at);
}

#[test]
fn who_waits_gets_no_less_than_it_asked_for_last() {
    let mut m = Machine::new();
    let [a, b, c] = [m.session(), m.session(), m.session()];
    token(&m.lock(a, SHARED, 0, false));
    m.lock(b, EXCLUSIVE, 0, true);
    m.lock(c, SHARED, 0, true);
    assert!(matches!(m.lock(c, EXCLUSIVE, 0, true), Output::Queued { position: 2, .. }), "the same place");
    assert!(matches!(m.lock(b, SHARED, 0, true), Output::Queued { position: 1, .. }), "alone is more than shared");
    m.unlock(a);
    m.unlock(b);
    assert_eq!(m.holders(), [(c, m.0.applied())]);
    let acquired = |token| Event::LockAcquired { lock: b"l".to_vec(), token, mode: EXCLUSIVE };
    assert_eq!(m.told(c), [(m.0.applied(), vec![acquired(m.0.applied())])]);
    assert!(matches!(m.lock(a, SHARED, 0, false), Output::Held { .. }), "it has it alone");
}

#[test]
fn a_wait_is_given_up_by_the_log_and_one_that_queues_stays() {
    let mut m = Machine::new();
    let [a, b, c] = [m.session(), m.session(), m.session()];
    m.lock(a, EXCLUSIVE, 0, false);
    m.lock(b, EXCLUSIVE, 500, false);
    m.lock(c, EXCLUSIVE, 500, true);
    m.pass(400);
    m.lock(b, EXCLUSIVE, 500, false);
    m.pass(200);
    assert_eq!(m.queue(), [b, c], "asked again: it waits on");
    m.pass(400);
    assert_eq!(m.queue(), [c], "one that queues stays");
    m.unlock(a);
    assert_eq!(m.holders().len(), 1);
    m.pass(10_000);
    assert_eq!(m.holders()[0].0, c, "no timer is left that takes it");
    assert!(m.told(b).is_empty(), "who waits is told by the answer, not by an event");
}

#[test]
fn a_place_that_stays_is_not_given_up_by_a_later_wait() {
    let mut m = Machine::new();
    let [a, b] = [m.session(), m.session()];
    m.lock(a, EXCLUSIVE, 0, false);
    m.lock(b, EXCLUSIVE, 0, true);
    assert!(matches!(m.lock(b, EXCLUSIVE, 500, false), Output::Queued { position: 1, .. }));
    m.pass(600);
    assert_eq!(m.queue(), [b], "it was told that it is queued until it is granted");
    m.unlock(a);
    assert_eq!(m.holders().first().map(|&(session, _)| session), Some(b));
    assert_eq!(m.told(b).len(), 1, "and it hears of the grant by an event");
}

#[test]
fn a_lock_never_passes_to_one_that_ends_by_the_same_entry() {
    let mut m = Machine::new();
    let [a, b, c] = [m.session(), m.session(), m.session()];
    m.lock(a, EXCLUSIVE, 0, false);
    m.lock(b, EXCLUSIVE, 0, true);
    m.lock(c, EXCLUSIVE, 0, true);
    m.close(&[a, b]);
    assert_eq!((m.holders(), m.queue()), (vec![(c, m.0.applied())], vec![]));
    assert_eq!(m.told(c).len(), 1);
}

#[test]
fn guards_revocation_and_releases_of_others_tokens() {
    let mut m = Machine::new();
    let [a, b] = [m.session(), m.session()];
    let held = token(&m.lock(a, EXCLUSIVE, 0, false));
    m.lock(b, EXCLUSIVE, 0, true);
    let write = |token| {
        let command = Box::new(Command::Delete { key: b"k".to_vec(), condition: Condition::Always });
        Command::Guarded { lock: b"l".to_vec(), token, command }
    };
    assert_eq!(m.apply(&write(held)), Output::Deleted { version: None });
    assert!(matches!(m.apply(&write(held + 1)), Output::TokenStale { .. }));
    let other = Command::Unlock { lock: b"l".to_vec(), token: Some(held) };
    assert!(matches!(m.apply_of(b, &other), Output::TokenStale { .. }), "not b's");
    assert_eq!(m.apply(&Command::Revoke { lock: b"l".to_vec(), session: b }), Output::LockNotFound, "b only waits");
    assert_eq!(m.apply(&Command::Revoke { lock: b"l".to_vec(), session: a }), Output::Revoked { token: held });
    let at = m.0.applied();
    assert_eq!(m.told(a), [(at, vec![Event::LockLost { lock: b"l".to_vec(), token: held }])]);
    assert_eq!(m.holders(), [(b, at)]);
    assert!(matches!(m.apply(&write(held)), Output::TokenStale { .. }), "it is over");
    let transaction = |token| Command::Transaction {
        condition: Predicate::Lock { lock: b"l".to_vec(), token },
        then: vec![],
        otherwise: vec![],
        max_bytes: 100,
    };
    assert_eq!(m.apply(&transaction(at)), Output::Transaction { succeeded: true, results: vec![] });
    assert_eq!(m.apply(&transaction(held)), Output::Transaction { succeeded: false, results: vec![] });
    assert_eq!(m.lock(0, EXCLUSIVE, 0, false), Output::NoSession);
}

#[test]
fn a_watch_tells_of_its_keys_until_it_is_gone() {
    let mut m = Machine::new();
    let s = m.session();
    let prefix = Target::Prefix(b"a/".to_vec());
    let Output::Watching { watch, created: true } = m.watch(s, prefix.clone(), false) else { panic!("no watch") };
    assert_eq!(m.watch(s, prefix, true), Output::Watching { watch, created: false }, "the same, now with values");
    let Output::Watching { watch: exact, .. } = m.watch(s, Target::Key(b"a/1".to_vec()), false) else { panic!() };
    assert_eq!(m.watch(s, Target::Key(b"x".to_vec()), false), Output::TooManyWatches);
    m.put("a/1", "one", Condition::Always);
    let put = m.0.applied();
    m.put("b", "other", Condition::Always);
    m.put_for("a/2", 50);
    m.pass(60);
    let expired = m.0.applied();
    m.delete("a/1", Condition::Always);
    let told = m.told(s);
    let (content_type, key) = (String::from("text/plain"), b"a/1".to_vec());
    let event = |watch, value: Option<&str>| Event::Put {
        watch,
        key: key.clone(),
        value: value.map(|v| serde_bytes::ByteBuf::from(v.as_bytes())),
        content_type: content_type.clone(),
        version: put,
        created: true,
    };
    assert_eq!(told[0], (put, vec![event(exact, None), event(watch, Some("one"))]), "one batch, in order");
    assert_eq!(told[2], (expired, vec![Event::Expire { watch, key: b"a/2".to_vec(), version: expired - 1 }]));
    assert_eq!(told[3].1.len(), 2, "both watches tell of the deletion");
    assert_eq!(m.apply_of(s, &Command::Unwatch { watch: exact }), Output::Unwatched { existed: true });
    assert_eq!(m.apply_of(s, &Command::Unwatch { watch: exact }), Output::Unwatched { existed: false });
    m.put("a/1", "two", Condition::Always);
    assert_eq!(m.told(s).last().map(|(_, events)| events.len()), Some(1));
    m.close(&[s]);
    assert!(m.0.machine().watches == Watches::default() && m.0.machine().parts.is_empty(), "nothing is left");
}

#[test]
fn a_watch_on_a_prefix_tells_of_the_key_that_is_the_prefix_itself() {
    let mut m = Machine::new();
    let s = m.session();
    m.watch(s, Target::Prefix(b"a/".to_vec()), false);
    m.put("a/", "itself", Condition::Always);
    m.delete("a/", Condition::Always);
    m.put("a", "shorter", Condition::Always);
    assert_eq!(m.told(s).len(), 2);
}

#[test]
fn whoever_waits_for_a_session_is_woken_by_its_events_polls_and_end() {
    let mut m = Machine::new();
    let s = m.session();
    m.watch(s, Target::Prefix(b"a/".to_vec()), false);
    m.0.listen(true);
    let woken = |m: &mut Machine| m.0.take_touched().contains(&Topic::Session(s));
    m.put("b", "not watched", Condition::Always);
    assert!(!woken(&mut m));
    m.put("a/1", "watched", Condition::Always);
    assert!(woken(&mut m), "an event");
    let poll = KeepAlive { session: s, poll: true, ..KeepAlive::default() };
    m.entry(Kind::KeepAlive, 0, &encode(&vec![poll]));
    assert!(woken(&mut m), "a newer poll");
    m.close(&[s]);
    assert!(woken(&mut m), "the end");
}

#[test]
fn a_session_that_is_asked_for_twice_under_one_key_is_one() {
    let mut m = Machine::new();
    let limits = Limits { events: 1000, event_bytes: 1 << 20 };
    let key = Some(String::from("k"));
    let register = Register { timeout_ms: 1000, name: String::new(), key, limits, window_ms: DEFAULT_WINDOW_MS };
    let first = m.entry(Kind::Register, 0, &register.encode());
    assert!(matches!(first, Some(Outcome::Registered { .. })));
    assert_eq!(m.entry(Kind::Register, 0, &register.encode()), first);
    assert_eq!(m.0.sessions().len(), 1);
}

#[test]
fn an_ephemeral_key_goes_with_its_session_unless_another_takes_it() {
    let mut m = Machine::new();
    let [a, b] = [m.session(), m.session()];
    let put = |key: &str, ephemeral| Command::Put {
        key: key.into(),
        value: vec![],
        content_type: String::new(),
        ttl_ms: 0,
        ephemeral,
        condition: Condition::Always,
    };
    assert_eq!(m.apply(&put("x", true)), Output::NoSession);
    for key in ["mine", "taken", "plain"] {
        m.apply_of(a, &put(key, true));
    }
    assert_eq!(m.get("mine").map(|item| item.session), Some(a));
    m.apply_of(b, &put("taken", true));
    m.apply_of(a, &put("plain", false));
    m.watch(b, Target::Prefix(vec![]), false);
    m.close(&[a]);
    assert_eq!(m.get("mine"), None);
    assert_eq!((m.get("taken").map(|i| i.session), m.get("plain").map(|i| i.session)), (Some(b), Some(0)));
    assert!(matches!(&m.told(b)[0].1[..], [Event::Delete { key, .. }] if key == b"mine"));
    m.close(&[b]);
    assert_eq!(m.get("taken"), None);
    assert!(m.0.machine().parts.is_empty());
    let late = Command::Put {
        key: b"late".to_vec(),
        value: vec![],
        content_type: String::new(),
        ttl_ms: 0,
        ephemeral: true,
        condition: Condition::Always,
    };
    let refused = m.entry_of(a, Kind::Command, 0, &encode_operation(&late));
    assert!(matches!(refused, Some(Outcome::Refused(_))), "nothing is done for one that has ended: {refused:?}");
}

#[test]
fn an_acknowledgement_alone_is_no_sign_of_life() {
    let mut m = Machine::new();
    let session = m.session();
    let kept = |m: &Machine| m.0.sessions().info(session).map(|info| (info.kept_at, info.kept_by));
    let first = kept(&m);
    m.1 += 100;
    let mut item = KeepAlive { session, ..KeepAlive::default() };
    m.entry(Kind::KeepAlive, 0, &encode(&vec![item]));
    assert_eq!(kept(&m), first);
    item.alive = true;
    m.entry(Kind::KeepAlive, 0, &encode(&vec![item]));
    assert_eq!(kept(&m), Some((m.1, m.0.applied())));
}

#[test]
fn an_answer_is_known_by_its_key_for_ten_minutes_and_to_the_same_session() {
    let mut m = Machine::new();
    let [a, b] = [m.session(), m.session()];
    let watch = Command::Watch { target: Target::Prefix(b"a".to_vec()), values: false, limit: 9 };
    let keyed = Keyed { key: "k".into(), operation: encode_operation(&watch), window_ms: DEFAULT_WINDOW_MS }.encode();
    let ask = |m: &mut Machine, session| m.entry_of(session, Kind::KeyedCommand, 0, &keyed);
    let first = ask(&mut m, a);
    let watch = Output::Watching { watch: m.0.applied(), created: true };
    assert_eq!(first, Some(Outcome::Output(encode_operation(&watch))));
    m.pass(10 * 60 * 1000 - 1);
    assert_eq!(ask(&mut m, a), first);
    assert_eq!(ask(&mut m, b), Some(Outcome::Refused(SessionError::IdempotencyMismatch)), "another's request");
    m.pass(1);
    assert_ne!(ask(&mut m, a), first, "it is another command now: the watch is there already");
}

#[test]
fn a_key_that_ends_with_an_entrys_own_time_is_new_for_it() {
    let mut m = Machine::new();
    let session = m.session();
    let watch = Command::Watch { target: Target::Prefix(b"a".to_vec()), values: false, limit: 9 };
    let keyed = Keyed { key: "k".into(), operation: encode_operation(&watch), window_ms: 2000 }.encode();
    let ask = |m: &mut Machine| m.entry_of(session, Kind::KeyedCommand, 0, &keyed);
    let first = ask(&mut m);
    m.1 += 1999;
    assert_eq!(ask(&mut m), first);
    // Nothing was applied meanwhile that could have dropped it.
    m.1 += 1;
    let second = ask(&mut m);
    assert_ne!(second, first);
    // A late entry of an older time does not go back.
    m.1 -= 1000;
    assert_eq!(ask(&mut m), second);

    let limits = Limits { events: 1, event_bytes: 1 };
    let key = Some("register".to_string());
    let register = Register { timeout_ms: 1_000_000, name: String::new(), key, limits, window_ms: 1000 }.encode();
    m.1 += 5000;
    let first = m.entry(Kind::Register, 0, &register);
    m.1 += 999;
    assert_eq!(m.entry(Kind::Register, 0, &register), first);
    m.1 += 1;
    assert_ne!(m.entry(Kind::Register, 0, &register), first);
}
