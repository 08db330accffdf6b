//! From the shapes to the port's types, within the limits.

use super::command::{
    Command, CommandRequest, Guarded, KeyCondition, KeyName, Op, Put, PutCommand, Transaction, Watch,
};
use super::cond::Cond;
use super::object::Object;
use super::text::{self, Encoding};
use crate::backend::{self, Condition, Operation, Predicate, WatchTarget};
use crate::code::Code;
use crate::config::HttpConfig;
use crate::duration::parse_ttl;
use crate::key::KEY_BYTES;
use crate::name;
use crate::problem::Problem;
use crate::value;

/// Keys that one command, or one batch, removes by their prefixes.
pub(crate) const DELETED_KEYS: u64 = 10_000;
/// Bytes of values that a transaction's answer, or a batch's, may hold.
pub(crate) const READ_BYTES: u64 = 4 * 1024 * 1024;

/// What is wrong, and in which field.
#[derive(Debug)]
pub(crate) struct Fault {
    code: Code,
    field: String,
    detail: String,
}

impl Fault {
    fn new(code: Code, field: &str, detail: impl Into<String>) -> Self {
        Self { code, field: field.into(), detail: detail.into() }
    }

    fn bad(field: &str, detail: impl Into<String>) -> Self {
        Self::new(Code::BadRequest, field, detail)
    }

    /// The same, seen from outside of this field.
    pub(crate) fn within(self, outer: impl std::fmt::Display) -> Self {
        let dot = if self.field.is_empty() || self.field.starts_with('[') { "" } else { "." };
        Self { field: format!("{outer}{dot}{}", self.field), ..self }
    }
}

impl From<Fault> for Problem {
    fn from(fault: Fault) -> Self {
        let Fault { code, field, detail } = fault;
        Self::new(code, format!("{field}: {detail}")).with("field", field)
    }
}

/// Bytes that are no longer than a key.
pub(crate) fn short(field: &str, text: String, encoding: Option<Encoding>) -> Result<Vec<u8>, Fault> {
    let bytes = text::bytes(text, encoding).map_err(|detail| Fault::bad(field, detail))?;
    match bytes.len() {
        0..=KEY_BYTES => Ok(bytes),
        n => Err(Fault::bad(field, format!("{n} bytes; at most {KEY_BYTES}"))),
    }
}

fn key(text: String, encoding: Option<Encoding>) -> Result<Vec<u8>, Fault> {
    let key = short("key", text, encoding)?;
    if key.is_empty() { Err(Fault::bad("key", "a key has at least one byte")) } else { Ok(key) }
}

fn lock(text: String, encoding: Option<Encoding>) -> Result<Vec<u8>, Fault> {
    let name = text::bytes(text, encoding).map_err(|detail| Fault::bad("lock", detail))?;
    match name::fault(name.len()) {
        Some(detail) => Err(Fault::bad("lock", detail)),
        None => Ok(name),
    }
}

pub(crate) fn key_of(name: KeyName) -> Result<Vec<u8>, Fault> {
    key(name.key, name.key_encoding)
}

fn value(text: String, encoding: Option<Encoding>, config: &HttpConfig) -> Result<Vec<u8>, Fault> {
    let value = text::bytes(text, encoding).map_err(|detail| Fault::bad("value", detail))?;
    let limit = config.value_bytes;
    if value.len() > limit {
        let detail = format!("a value has at most {limit} bytes");
        return Err(Fault::new(Code::ValueTooLarge, "value", detail));
    }
    Ok(value)
}

fn content_type(given: Option<&str>, value: &[u8]) -> Result<String, Fault> {
    match given.map_or("", str::trim) {
        "" => Ok(value::default_type(value).into()),
        kind if kind.len() <= value::CONTENT_TYPE_BYTES && kind.bytes().all(|b| matches!(b, b' '..=b'~')) => {
            Ok(kind.into())
        }
        _ => {
            let detail = format!("not ASCII, or longer than {} bytes", value::CONTENT_TYPE_BYTES);
            Err(Fault::bad("content_type", detail))
        }
    }
}

fn condition(condition: Option<KeyCondition>) -> Condition {
    match condition {
        None => Condition::Always,
        Some(KeyCondition::Version(0) | KeyCondition::Exists(false)) => Condition::Absent,
        Some(KeyCondition::Version(version)) => Condition::Versions(vec![version]),
        Some(KeyCondition::Versions(versions)) => Condition::Versions(versions),
        Some(KeyCondition::Exists(true)) => Condition::Exists,
    }
}

/// What commands are held against.
#[derive(Clone, Copy)]
pub(crate) struct Bounds<'a> {
    pub(crate) config: &'a HttpConfig,
    /// They are a session's.
    pub(crate) session: bool,
}

/// A command as it is sent alone.
pub(crate) fn command(shape: Command, bounds: Bounds<'_>) -> Result<backend::Command, Fault> {
    one(shape, bounds, READ_BYTES).map_err(|fault| fault.within("command"))
}

/// The session that all of a batch's commands name, and their number, which the first of them bears; each with the field
/// that says so.
pub(crate) fn claims(requests: &[Object<CommandRequest>]) -> Result<[(String, Option<u64>); 2], Fault> {
    let mut session: (String, Option<u64>) = ("session".into(), None);
    let mut sequence: (String, Option<u64>) = ("sequence".into(), None);
    for (n, Object(request)) in requests.iter().enumerate() {
        let fault = |field: &str, detail: &str| Err(Fault::bad(field, detail).within(format!("[{n}]")));
        match (session.1, request.session) {
            (Some(a), Some(b)) if a != b => return fault("session", "all commands of a batch are of one session"),
            (None, Some(_)) => session = (format!("[{n}].session"), request.session),
            _ => {}
        }
        match request.sequence {
            Some(_) if n > 0 => return fault("sequence", "a batch has one number, which its first object bears"),
            Some(_) => sequence = (format!("[{n}].sequence"), request.sequence),
            None => {}
        }
    }
    Ok([session, sequence])
}

/// Commands to be carried out together.
pub(crate) fn batch(requests: Vec<Object<CommandRequest>>, bounds: Bounds<'_>) -> Result<backend::Command, Fault> {
    match requests.len() {
        0 => return Err(Fault::bad("body", "an empty batch")),
        n if n > bounds.config.commands => {
            let detail = format!("{n} commands; a batch has at most {}", bounds.config.commands);
            return Err(Fault::new(Code::TooManyOperations, "body", detail));
        }
        _ => {}
    }
    // All answers are in memory together.
    let transactions = requests.iter().filter(|request| is_transaction(&request.0.command)).count();
    let read_bytes = READ_BYTES / (transactions as u64).max(1);
    let (mut commands, mut deleted, mut watches) = (Vec::with_capacity(requests.len()), 0, 0);
    for (n, Object(request)) in requests.into_iter().enumerate() {
        let within = |fault: Fault| fault.within("command").within(format!("[{n}]"));
        let command = one(request.command, bounds, read_bytes).map_err(within)?;
        deleted += deletes(&command);
        if deleted > DELETED_KEYS {
            let detail = format!("the limits of a batch add up to at most {DELETED_KEYS}");
            return Err(within(Fault::new(Code::TooManyOperations, "delete_prefix.limit", detail)));
        }
        watches += u64::from(watches_something(&command));
        if watches > 1 {
            return Err(within(Fault::bad("watch", "a watch is known by its index: one in a batch")));
        }
        commands.push(command);
    }
    Ok(backend::Command::Batch(commands))
}

fn is_transaction(shape: &Command) -> bool {
    match shape {
        Command::Transaction(_) => true,
        Command::Guarded(guarded) => is_transaction(&guarded.command),
        _ => false,
    }
}

fn watches_something(command: &backend::Command) -> bool {
    match command {
        backend::Command::Watch { .. } => true,
        backend::Command::Guarded { command, .. } => watches_something(command),
        _ => false,
    }
}

/// How many keys a command may delete by a prefix.
fn deletes(command: &backend::Command) -> u64 {
    match command {
        backend::Command::DeletePrefix { limit, .. } => *limit,
        backend::Command::Guarded { command, .. } => deletes(command),
        _ => 0,
    }
}

fn one(shape: Command, bounds: Bounds<'_>, read_bytes: u64) -> Result<backend::Command, Fault> {
    let within = |outer: &'static str| move |fault: Fault| fault.within(outer);
    let of_session = |kind: &str| match bounds.session {
        true => Ok(()),
        false => Err(Fault::bad(kind, NO_SESSION)),
    };
    match shape {
        Command::Put(shape) => put(shape, bounds).map_err(within("put")),
        Command::Delete(delete) => {
            let key = key(delete.key, delete.key_encoding).map_err(within("delete"))?;
            Ok(backend::Command::Delete { key, condition: condition(delete.condition) })
        }
        Command::DeletePrefix(delete) => {
            let prefix = short("prefix", delete.prefix, delete.prefix_encoding).map_err(within("delete_prefix"))?;
            delete_prefix(prefix, delete.limit, delete.all).map_err(within("delete_prefix"))
        }
        Command::Transaction(shape) => transaction(shape, bounds.config, read_bytes).map_err(within("transaction")),
        Command::Guarded(shape) => guarded(shape, bounds, read_bytes).map_err(within("guarded")),
        Command::Watch(shape) => {
            of_session("watch")?;
            watch(shape).map_err(within("watch"))
        }
        Command::Unwatch(shape) => {
            of_session("unwatch")?;
            Ok(backend::Command::Unwatch { watch: shape.watch })
        }
        Command::Unlock(shape) => {
            of_session("unlock")?;
            let lock = lock(shape.lock, shape.lock_encoding).map_err(within("unlock"))?;
            Ok(backend::Command::Unlock { lock, token: shape.token })
        }
        Command::Revoke(shape) => {
            let lock = lock(shape.lock, shape.lock_encoding).map_err(within("revoke"))?;
            if shape.session == 0 {
                return Err(Fault::bad("session", "0 is no session").within("revoke"));
            }
            Ok(backend::Command::Revoke { lock, session: shape.session })
        }
    }
}

const NO_SESSION: &str = "needs a session";

fn put(shape: PutCommand, bounds: Bounds<'_>) -> Result<backend::Command, Fault> {
    let PutCommand { key, key_encoding, value, encoding, content_type, ttl, ephemeral, condition: when } = shape;
    if ephemeral && !bounds.session {
        return Err(Fault::bad("ephemeral", NO_SESSION));
    }
    let simple = Put { key, key_encoding, value, encoding, content_type, ttl };
    let Parts { key, value, content_type, ttl_ms } = parts(simple, bounds.config)?;
    Ok(backend::Command::Put { key, value, content_type, ttl_ms, ephemeral, condition: condition(when) })
}

fn guarded(shape: Guarded, bounds: Bounds<'_>, read_bytes: u64) -> Result<backend::Command, Fault> {
    let lock = lock(shape.lock, shape.lock_encoding)?;
    if matches!(*shape.command, Command::Guarded(_)) {
        return Err(Fault::bad("command", "it is guarded itself: one token is enough"));
    }
    let command = one(*shape.command, bounds, read_bytes).map_err(|fault| fault.within("command"))?;
    Ok(backend::Command::Guarded { lock, token: shape.token, command: Box::new(command) })
}

/// One key, or the keys that begin so; all of them only if that is said.
pub(crate) fn watch(shape: Watch) -> Result<backend::Command, Fault> {
    let Watch { key: name, key_encoding, prefix, prefix_encoding, all, values } = shape;
    let target = match (name, prefix) {
        (Some(_), Some(_)) => return Err(Fault::bad("prefix", "not together with key")),
        (Some(_), None) if all => return Err(Fault::bad("all", "not together with key")),
        (Some(name), None) => WatchTarget::Key(key(name, key_encoding)?),
        (None, prefix) => {
            let given = prefix.is_some();
            let prefix = short("prefix", prefix.unwrap_or_default(), prefix_encoding)?;
            match prefix.is_empty() && !all {
                true if given => return Err(Fault::bad("all", "an empty prefix is every key: say so with all=true")),
                true => return Err(Fault::bad("key", "missing: name a key or a prefix")),
                false => WatchTarget::Prefix(prefix),
            }
        }
    };
    Ok(backend::Command::Watch { target, values })
}

/// Every key goes only if that is said.
pub(crate) fn delete_prefix(prefix: Vec<u8>, limit: Option<u64>, all: bool) -> Result<backend::Command, Fault> {
    if prefix.is_empty() && !all {
        return Err(Fault::bad("all", "an empty prefix, or none, deletes every key: say so with all=true"));
    }
    match limit.unwrap_or(DELETED_KEYS) {
        limit @ 1..=DELETED_KEYS => Ok(backend::Command::DeletePrefix { prefix, limit }),
        _ => Err(Fault::bad("limit", format!("give 1 to {DELETED_KEYS}"))),
    }
}

struct Parts {
    key: Vec<u8>,
    value: Vec<u8>,
    content_type: String,
    ttl_ms: u64,
}

fn parts(put: Put, config: &HttpConfig) -> Result<Parts, Fault> {
    let key = key(put.key, put.key_encoding)?;
    let value = value(put.value, put.encoding, config)?;
    let content_type = content_type(put.content_type.as_deref(), &value)?;
    let ttl_ms = match put.ttl.as_deref().map(parse_ttl) {
        None => 0,
        Some(ttl) => ttl.map_err(|detail| Fault::new(Code::BadDuration, "ttl", detail))?,
    };
    Ok(Parts { key, value, content_type, ttl_ms })
}

pub(crate) fn transaction(shape: Transaction, config: &HttpConfig, max_bytes: u64) -> Result<backend::Command, Fault> {
    let Transaction { condition, then, otherwise } = shape;
    let limit = config.operations;
    let count = then.len() + otherwise.len();
    if count > limit {
        let detail = format!("{count} operations with those of \"else\"; a transaction has at most {limit}");
        return Err(Fault::new(Code::TooManyOperations, "then", detail));
    }
    let condition = match condition {
        None => Predicate::All(Vec::new()),
        Some(condition) => {
            let mut left = limit;
            predicate(condition, config, &mut left).map_err(|fault| fault.within("if"))?
        }
    };
    let then = operations("then", then, config)?;
    let otherwise = operations("else", otherwise, config)?;
    Ok(backend::Command::Transaction { condition, then, otherwise, max_bytes })
}

fn operations(field: &str, shapes: Vec<Op>, config: &HttpConfig) -> Result<Vec<Operation>, Fault> {
    let numbered = shapes.into_iter().enumerate();
    numbered.map(|(n, op)| operation(op, config).map_err(|fault| fault.within(format!("{field}[{n}]")))).collect()
}

fn operation(shape: Op, config: &HttpConfig) -> Result<Operation, Fault> {
    match shape {
        Op::Put(put) => {
            let Parts { key, value, content_type, ttl_ms } = parts(put, config).map_err(|fault| fault.within("put"))?;
            Ok(Operation::Put { key, value, content_type, ttl_ms })
        }
        Op::Delete(name) => Ok(Operation::Delete { key: key_of(name).map_err(|fault| fault.within("delete"))? }),
        Op::Get(name) => Ok(Operation::Get { key: key_of(name).map_err(|fault| fault.within("get"))? }),
    }
}

/// A condition; `left` is how many nodes the rest of the tree may have.
fn predicate(shape: Cond, config: &HttpConfig, left: &mut usize) -> Result<Predicate, Fault> {
    *left = left.checked_sub(1).ok_or_else(|| {
        let detail = format!("a condition has at most {} parts", config.operations);
        Fault::new(Code::TooManyOperations, "", detail)
    })?;
    let mut list = |field: &str, shapes: Vec<Cond>| {
        let numbered = shapes.into_iter().enumerate();
        let within = |n: usize, fault: Fault| fault.within(format!("{field}[{n}]"));
        numbered.map(|(n, cond)| predicate(cond, config, left).map_err(|f| within(n, f))).collect::<Result<_, _>>()
    };
    match shape {
        Cond::All(of) => Ok(Predicate::All(list("all", of.all)?)),
        Cond::Any(of) => Ok(Predicate::Any(list("any", of.any)?)),
        Cond::Not(of) => {
            let inner = predicate(*of.not, config, left).map_err(|fault| fault.within("not"))?;
            Ok(Predicate::Not(Box::new(inner)))
        }
        Cond::Version(is) => Ok(Predicate::Version { key: key(is.key, is.key_encoding)?, version: is.version }),
        Cond::Exists(is) => Ok(Predicate::Exists { key: key(is.key, is.key_encoding)?, exists: is.exists }),
        Cond::Value(is) => {
            let (key, value) = (key(is.key, is.key_encoding)?, value(is.value, is.encoding, config)?);
            Ok(Predicate::Value { key, value })
        }
        Cond::Lock(is) => Ok(Predicate::Lock { lock: lock(is.lock, is.lock_encoding)?, token: is.token }),
    }
}
