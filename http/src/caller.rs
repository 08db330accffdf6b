//! Whose command it is, and what makes a repeat of it known: `session`, `Copycat-Session`, `Copycat-Sequence`,
//! `Idempotency-Key`.

use crate::backend::Caller;
use crate::params::{self, Params};
use crate::problem::Problem;
use axum::http::HeaderMap;

const SESSION: &str = "Copycat-Session";
const SEQUENCE: &str = "Copycat-Sequence";
const KEY: &str = "Idempotency-Key";

/// The longest idempotency key, bytes.
const KEY_BYTES: usize = 255;

/// What a request says of its caller, before its parts are held against each other.
#[derive(Debug, Default)]
pub(crate) struct Claims(Caller);

impl Claims {
    /// What parameters and headers say.
    pub(crate) fn parse(params: &Params, headers: &HeaderMap) -> Result<Self, Problem> {
        let named = real("session", params.number("session")?)?;
        let session = match (named, real(SESSION, params::number_in(headers, SESSION)?)?) {
            (Some(a), Some(b)) if a != b => {
                return Err(Problem::bad_request("session", "it and the header Copycat-Session differ"));
            }
            (a, b) => a.or(b),
        };
        let sequence = params::number_in(headers, SEQUENCE)?;
        if sequence == Some(0) {
            return Err(Problem::bad_request(SEQUENCE, "a session's commands are numbered from 1"));
        }
        let idempotency_key = params::header(headers, KEY)?;
        if idempotency_key.is_some_and(|key| !is_key(key)) {
            return Err(Problem::bad_request(KEY, format!("give 1 to {KEY_BYTES} visible ASCII characters")));
        }
        if sequence.is_some() && idempotency_key.is_some() {
            return Err(Problem::bad_request(KEY, "not together with Copycat-Sequence"));
        }
        Ok(Self(Caller { session, sequence, idempotency_key: idempotency_key.map(str::to_string) }))
    }

    /// And what the path says.
    pub(crate) fn in_path(mut self, session: u64) -> Result<Self, Problem> {
        match self.0.session.replace(session) {
            Some(other) if other != session => Err(Problem::bad_request(SESSION, "it and the path differ")),
            _ => Ok(self),
        }
    }

    /// And what the body says, in these fields.
    pub(crate) fn in_body(
        mut self,
        (session_field, session): (&str, Option<u64>),
        (sequence_field, sequence): (&str, Option<u64>),
    ) -> Result<Self, Problem> {
        let session = real(session_field, session)?;
        if session.is_some() && self.0.session.is_some_and(|other| Some(other) != session) {
            return Err(Problem::bad_request(session_field, "it and the session of the request itself differ"));
        }
        if sequence.is_some() && self.0.sequence.is_some_and(|other| Some(other) != sequence) {
            return Err(Problem::bad_request(sequence_field, "it and the header Copycat-Sequence differ"));
        }
        if sequence == Some(0) {
            return Err(Problem::bad_request(sequence_field, "a session's commands are numbered from 1"));
        }
        if sequence.is_some() && self.0.idempotency_key.is_some() {
            return Err(Problem::bad_request(sequence_field, "not together with the header Idempotency-Key"));
        }
        self.0.session = self.0.session.or(session);
        self.0.sequence = self.0.sequence.or(sequence);
        Ok(self)
    }

    /// What all of it comes to.
    pub(crate) fn caller(self) -> Result<Caller, Problem> {
        if self.0.sequence.is_some() && self.0.session.is_none() {
            return Err(Problem::bad_request("session", "missing: a sequence numbers the commands of a session"));
        }
        Ok(self.0)
    }

    /// The same where only a session can ask.
    pub(crate) fn session(self) -> Result<(u64, Caller), Problem> {
        match self.0.session {
            Some(session) => Ok((session, self.0)),
            None => Err(Problem::bad_request("session", "missing: write ?session=42, or the header Copycat-Session")),
        }
    }

    /// The idempotency key, where there is no session yet.
    pub(crate) fn key_alone(self) -> Result<Option<String>, Problem> {
        match self.0 {
            Caller { session: None, sequence: None, idempotency_key } => Ok(idempotency_key),
            Caller { session: Some(_), .. } => Err(Problem::bad_request(SESSION, "not where a session begins")),
            Caller { .. } => Err(Problem::bad_request(SEQUENCE, "not where a session begins")),
        }
    }

    /// Nothing, where a repeat does no harm by itself and takes no number.
    pub(crate) fn unnumbered(self) -> Result<(), Problem> {
        let refused = |field| Err(Problem::bad_request(field, "this request has no number: just repeat it"));
        match self.0 {
            Caller { sequence: Some(_), .. } => refused(SEQUENCE),
            Caller { idempotency_key: Some(_), .. } => refused(KEY),
            Caller { .. } => Ok(()),
        }
    }
}

/// 0 is no session.
pub(crate) fn real(field: &str, session: Option<u64>) -> Result<Option<u64>, Problem> {
    if session == Some(0) {
        return Err(Problem::bad_request(field, "0 is no session: they are numbered from 1"));
    }
    Ok(session)
}

fn is_key(key: &str) -> bool {
    (1..=KEY_BYTES).contains(&key.len()) && key.bytes().all(|b| b.is_ascii_graphic())
}

/// Whether a repeat of the very same request is known as such.
pub(crate) fn is_known(caller: &Caller) -> bool {
    caller.sequence.is_some() || caller.idempotency_key.is_some()
}
