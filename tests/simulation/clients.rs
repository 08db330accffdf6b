//! The turns of clients, with and without sessions, and what the network does with their requests.

use crate::actors::Next;
use crate::world::{Event, World};
use copycat::engine::{Consistency, Input, Refusal, RequestId, Response};

impl World {
    /// Sends an actor's request to some server, now and then to two.
    pub(crate) fn ask(&mut self, request: RequestId, wait: u64) {
        let servers = self.servers.len() as u64;
        for _ in 0..if self.rng.chance(1, 10) { 2 } else { 1 } {
            let at = match self.actors.leader {
                Some(leader) if self.actors.wants_leader(request) && self.rng.chance(4, 5) => leader as usize - 1,
                _ => self.rng.below(servers) as usize,
            };
            let delay = wait + 50 + self.rng.below(1000);
            self.schedule(delay, Event::ActorRequest { at, request });
        }
        let patience = wait + self.rng.range(200_000, 1_500_000);
        self.schedule(patience, Event::ActorTimeout { request });
    }

    pub(crate) fn ask_again(&mut self, next: Next) {
        if let Next::Again(request) = next {
            let wait = self.rng.range(5_000, 100_000);
            self.ask(request, wait);
        }
    }

    pub(crate) fn actor_request(&mut self, at: usize, request: RequestId) -> Result<(), String> {
        if !self.actors.is_open(request) {
            return Ok(());
        }
        if self.postponed(at) {
            let delay = self.servers[at].paused_until - self.time + self.rng.below(500);
            self.schedule(delay, Event::ActorRequest { at, request });
            return Ok(());
        }
        if !self.servers[at].is_up() {
            let at = self.rng.below(self.servers.len() as u64) as usize;
            self.schedule(20_000, Event::ActorRequest { at, request });
            return Ok(());
        }
        let input = self.actors.input(request);
        self.act(at, input)
    }

    pub(crate) fn client_turn(&mut self, client: usize) {
        if self.workload.stopped {
            return;
        }
        let time = self.time;
        let request = self.workload.begin(client, time, &mut self.rng);
        self.schedule(3_000_000, Event::Timeout { client, request });
        self.dispatch(client, request, 0);
    }

    /// Sends a client's request to the server it believes in, or to any.
    pub(crate) fn dispatch(&mut self, client: usize, request: RequestId, wait: u64) {
        let servers = self.servers.len() as u64;
        let at = match self.workload.clients[client].leader {
            _ if self.workload.stays(client) && self.rng.chance(9, 10) => self.workload.clients[client].home,
            Some(leader) if self.rng.chance(4, 5) => leader as usize - 1,
            _ => self.rng.below(servers) as usize,
        };
        let delay = wait + 50 + self.rng.below(1000);
        self.schedule(delay, Event::Request { at, client, request });
    }

    pub(crate) fn client_request(&mut self, at: usize, client: usize, request: RequestId) -> Result<(), String> {
        if !self.workload.is_waiting(client, request) {
            return Ok(());
        }
        if self.postponed(at) {
            let delay = self.servers[at].paused_until - self.time + self.rng.below(500);
            self.schedule(delay, Event::Request { at, client, request });
            return Ok(());
        }
        if !self.servers[at].is_up() {
            // Connection refused: it was never handed over.
            self.workload.clients[client].leader = None;
            self.dispatch(client, request, 20_000);
            return Ok(());
        }
        let input = self.workload.hand_over(client, at);
        // As the server does: a sequential query that need not wait goes past the inbox.
        if let Input::Query { query, .. } = &input
            && query.consistency == Consistency::Sequential
            && let Some(response) = self.servers[at].engine().query_now(query.index, &query.ask)
        {
            self.count("queries answered at once");
            let delay = 50 + self.rng.below(1000);
            self.schedule(delay, Event::Answer { client, request, at, result: Ok(response) });
            return Ok(());
        }
        self.act(at, Some(input))
    }

    pub(crate) fn client_answer(
        &mut self,
        client: usize,
        request: RequestId,
        at: usize,
        result: Result<Response, Refusal>,
    ) -> Result<(), String> {
        if !self.workload.is_waiting(client, request) {
            return Ok(());
        }
        match result {
            Ok(response) => {
                self.workload.clients[client].leader = Some(at as u64 + 1);
                let time = self.time;
                self.workload.answered(client, time, &response, &self.invariants)?;
                self.count("requests answered");
                self.next_turn(client);
            }
            Err(Refusal::NotLeader { leader }) => {
                self.workload.clients[client].leader = leader;
                self.workload.took_back(client);
                let wait = self.rng.range(1_000, 30_000);
                self.dispatch(client, request, wait);
            }
            Err(Refusal::Lost) => self.client_gives_up(client, request, false),
            Err(Refusal::Malformed) => return Err("MALFORMED: an operation of ours was refused".into()),
            Err(_) => {
                let time = self.time;
                self.workload.refused(client, time);
                self.count("requests refused");
                self.next_turn(client);
            }
        }
        Ok(())
    }

    pub(crate) fn client_gives_up(&mut self, client: usize, request: RequestId, lost: bool) {
        if !self.workload.is_waiting(client, request) || lost && !self.workload.is_handed_over(client) {
            return;
        }
        let time = self.time;
        self.workload.gave_up(client, time);
        self.count("requests given up");
        self.next_turn(client);
    }

    pub(crate) fn next_turn(&mut self, client: usize) {
        let delay = 1 + self.rng.below(self.profile.think);
        self.schedule(delay, Event::Client { client });
    }
}
