//! What peers say, for the tests that change it at random.

use super::transport::frame::{Frame, Hello, Me, Purpose, Rejection, Welcome, WireRequest};
use crate::engine::machine::Ask;
use crate::engine::sessions::Submit;
use crate::engine::{Change, Configuration, Consistency, MemberType, Message, NamedSettings, decode, encode};
use crate::wire::{self, Answer};

pub(crate) fn frames(
    messages: Vec<Message>,
    submits: Vec<Submit>,
    asks: Vec<Ask>,
    changes: Vec<Change>,
    answers: [Answer; 2],
) -> Vec<Vec<u8>> {
    let timeout_ms = 10_000;
    let request = |request| Frame::Request { id: 300, request };
    let query = |ask| WireRequest::Query { consistency: Consistency::Lease, index: 300, ask, timeout_ms };
    let frames = (messages.into_iter().map(Frame::Consensus))
        .chain(submits.into_iter().map(|submit| request(WireRequest::Submit { submit, timeout_ms })))
        .chain(asks.into_iter().map(|ask| request(query(ask))))
        .chain(changes.into_iter().map(|change| request(WireRequest::Change { change, timeout_ms })))
        .chain(answers.map(|result| Frame::Reply { id: u64::MAX, result }))
        .chain([request(WireRequest::Transfer { target: 2, timeout_ms }), Frame::Ping]);
    frames.map(|frame| encode(&frame)).collect()
}

pub(crate) fn is_frame(bytes: &[u8]) -> bool {
    decode::<Frame>(bytes).is_ok()
}

pub(crate) fn greetings() -> Vec<Vec<u8>> {
    let me = Me {
        id: 2,
        identity: 1 << 60,
        digest: 1 << 31,
        http: "b:2".into(),
        peer: "b:1".into(),
        given: NamedSettings::default(),
    };
    let purposes =
        [Purpose::Peer { to: 1 }, Purpose::Look, Purpose::Join { member_type: MemberType::Active }, Purpose::Members];
    let hello = purposes.map(|purpose| encode(&Hello::new(&me, 1 << 100, None, purpose)));
    hello.into_iter().chain([encode(&wire::Hello::new())]).collect()
}

pub(crate) fn is_greeting(bytes: &[u8]) -> bool {
    if wire::is_client(bytes) { decode::<wire::Hello>(bytes).is_ok() } else { decode::<Hello>(bytes).is_ok() }
}

pub(crate) fn welcomes() -> Vec<Vec<u8>> {
    let configuration = Configuration::bootstrap([(1, "a:1".into()), (2, "b:1".into())]);
    let all = [
        Welcome::Accepted { cluster: 1 << 100, identity: 9, http: "a:2".into() },
        Welcome::Joined { index: 300, configuration },
        Welcome::Leader { leader: Some(2) },
        Welcome::Rejected(Rejection::WrongServer(3)),
    ];
    all.iter().map(encode).collect()
}

pub(crate) fn is_welcome(bytes: &[u8]) -> bool {
    decode::<Welcome>(bytes).is_ok()
}
