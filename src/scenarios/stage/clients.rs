//! What a server's port and driver do for clients: requests on their way, events, connections.

use super::{Event, MS, NETWORK, RETRY, Stage};
use crate::engine::machine::{Ask, Outcome, StateMachine};
use crate::engine::{self, Consistency, Engine, Input, Query, RequestId, Role, ServerId};
use crate::scenarios::caller::Pick;
use crate::server::{Request, understood};
use crate::wire::{Refusal, Response, ToClient, ToServer};

/// The longest that a request may take: a client asks again.
const REQUEST_TIMEOUT: u64 = 10_000 * MS;

/// A client's request on its way.
pub(super) struct Errand {
    client: usize,
    link: u64,
    /// What the client calls it.
    id: u64,
    request: Request,
    /// The server that its client speaks to.
    pub(super) home: ServerId,
    /// The server that has it.
    pub(super) at: ServerId,
    until: u64,
}

impl<M: StateMachine + Default> Stage<M> {
    /// Tells clients of their sessions' events.
    pub(super) fn push(&mut self, at: ServerId) {
        for client in 0..self.clients.len() {
            let caller = &self.clients[client];
            let (Some((session, after)), true) = (caller.following, caller.connection == Some(at)) else { continue };
            let Some(executor) = self.nodes[&at].engine.as_ref().and_then(Engine::executor) else { return };
            if executor.applied() < session.max(after) {
                continue;
            }
            let told = match executor.ask(&Ask::Events { session, after: Some(after), bytes: 1 << 20 }) {
                Some(Outcome::Events(page)) => {
                    let Some(last) = page.batches.last() else { continue };
                    self.clients[client].following = Some((session, last.index));
                    ToClient::Events { session, batches: page.batches }
                }
                Some(Outcome::Refused(error)) => {
                    self.clients[client].following = None;
                    ToClient::Ended { session, error }
                }
                other => panic!("{other:?}"),
            };
            self.tell(client, told);
        }
    }

    pub(super) fn tell(&mut self, client: usize, told: ToClient) {
        let link = self.clients[client].link;
        self.schedule(NETWORK, Event::Told { client, link, told });
    }

    /// A client's frame reaches its server.
    pub(super) fn arrive(&mut self, client: usize, frame: ToServer) {
        let Some(home) = self.clients[client].connection else { return };
        match frame {
            ToServer::Request { id, request } => {
                let link = self.clients[client].link;
                let request = match understood(home, request) {
                    Ok(request) => request,
                    Err(refusal) => return self.tell(client, ToClient::Reply { id, result: Err(refusal.into()) }),
                };
                if let Request::Query { consistency: Consistency::Sequential, index, ask } = &request
                    && let Some(response) = self.engine(home).query_now(*index, ask)
                {
                    return self.tell(client, ToClient::Reply { id, result: Ok(wired(response)) });
                }
                self.next_request += 1;
                let until = self.time + REQUEST_TIMEOUT;
                let errand = Errand { client, link, id, request, home, at: home, until };
                self.errands.insert(self.next_request, errand);
                self.carry(home, self.next_request);
            }
            ToServer::Follow { session, after } => {
                self.clients[client].following = Some((session, after));
                self.push(home);
            }
            ToServer::Ping => self.tell(client, ToClient::Pong),
        }
    }

    /// A request has come to a server: it is carried out there, or goes to the leader, or waits for one.
    pub(super) fn carry(&mut self, at: ServerId, id: RequestId) {
        let Some(errand) = self.errands.get_mut(&id) else { return };
        if errand.link != self.clients[errand.client].link {
            self.errands.remove(&id);
            return;
        }
        if self.time > errand.until {
            let (client, name) = (errand.client, errand.id);
            self.errands.remove(&id);
            let result = Err(Refusal::Timeout { maybe_applied: true });
            return self.tell(client, ToClient::Reply { id: name, result });
        }
        errand.at = at;
        let home = errand.home;
        let Some(engine) = self.nodes.get(&at).and_then(|node| node.engine.as_ref()) else {
            return self.schedule(RETRY, Event::Carry { at: home, request: id });
        };
        let sequential = matches!(errand.request, Request::Query { consistency: Consistency::Sequential, .. });
        if engine.role() == Role::Leader || sequential {
            let input = match &errand.request {
                Request::Submit(submit) => Input::Submit { id, submit: submit.clone() },
                Request::Query { consistency, index, ask } => {
                    Input::Query { id, query: Query { consistency: *consistency, index: *index, ask: ask.clone() } }
                }
                Request::Change(_) | Request::Transfer(_) => unreachable!("no client asks for that"),
            };
            return self.act(at, Some(input));
        }
        match engine.leader().filter(|_| at == home) {
            Some(leader) => self.schedule(NETWORK, Event::Carry { at: leader, request: id }),
            None => self.schedule(RETRY, Event::Carry { at: home, request: id }),
        }
    }

    pub(super) fn answered(&mut self, at: ServerId, id: RequestId, result: Result<engine::Response, engine::Refusal>) {
        use engine::Refusal as R;
        let errand = &self.errands[&id];
        let home = errand.home;
        let result = match result {
            Ok(response) => Ok(wired(response)),
            Err(R::Malformed) => Err(Refusal::Malformed),
            // What such a one had is with another meanwhile, or will be.
            Err(R::NotLeader { .. } | R::Lost) => {
                if errand.at == at {
                    self.schedule(RETRY, Event::Carry { at: home, request: id });
                }
                return;
            }
            Err(R::Behind) => {
                let leader = self.engine(at).leader().unwrap_or(home);
                return self.schedule(NETWORK, Event::Carry { at: leader, request: id });
            }
            Err(R::Overloaded) => Err(Refusal::Overloaded),
            Err(R::TooLarge) => Err(Refusal::TooLarge),
            Err(R::StorageFull) => Err(Refusal::StorageFull),
            Err(R::Session(error)) => Err(Refusal::Session(error)),
            Err(R::SessionBusy) => Err(Refusal::SessionBusy),
            Err(R::Configuration(error)) => Err(Refusal::Configuration(error)),
        };
        if let Some(Errand { client, link, id, .. }) = self.errands.remove(&id)
            && link == self.clients[client].link
        {
            self.tell(client, ToClient::Reply { id, result });
        }
    }

    /// Another connection for a client, after a while.
    pub(in crate::scenarios) fn dial(&mut self, client: usize, delay: u64) {
        let caller = &mut self.clients[client];
        caller.link += 1;
        let link = caller.link;
        self.schedule(delay, Event::Dial { client, link });
    }

    pub(super) fn connect(&mut self, client: usize) {
        let running: Vec<ServerId> = self.running().collect();
        let leads = |id: &ServerId| self.engine(*id).role() == Role::Leader;
        let wanted = |id: &&ServerId| match self.clients[client].pick {
            Pick::Any => true,
            Pick::Leader => leads(id),
            Pick::Followers => !leads(id),
            Pick::This(this) => **id == this,
        };
        let found = running.iter().find(wanted).or(running.first()).copied();
        let Some(at) = found.filter(|_| !self.cut.contains(&client)) else { return self.dial(client, RETRY) };
        let now = self.now().monotonic;
        let caller = &mut self.clients[client];
        (caller.connection, caller.following) = (Some(at), None);
        caller.core.connect(now);
        self.turn(client);
    }

    /// A client's turn, and what it decides.
    pub(in crate::scenarios) fn turn(&mut self, client: usize) {
        let now = self.now().monotonic;
        let (frames, lost) = self.clients[client].turn(now);
        let link = self.clients[client].link;
        for frame in frames {
            self.schedule(NETWORK, Event::Frame { client, link, frame });
        }
        if lost {
            self.dial(client, NETWORK);
        }
        if let Some(at) = self.clients[client].core.deadline() {
            let delay = u64::try_from(at.as_micros()).expect("soon").saturating_sub(self.time).max(1);
            self.schedule(delay, Event::Turn { client });
        }
    }

    /// Cuts a client off: its connection breaks.
    pub(in crate::scenarios) fn cut_off(&mut self, client: usize) {
        self.cut.insert(client);
        self.clients[client].disconnect();
        self.turn(client);
        self.dial(client, NETWORK);
    }
}

/// As a server writes it to a client.
fn wired(response: engine::Response) -> Response {
    let engine::Response { index, term, event_index, output, consistency, .. } = response;
    Response { index, term, event_index, output, consistency }
}
