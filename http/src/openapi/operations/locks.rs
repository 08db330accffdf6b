//! `/v1/locks`.

use super::super::errors::{BACKEND, BY_PATH, FENCED, HELD, NO_LOCK, NUMBERED, READ, TIMED};
use super::{COMMAND, JSON, OF_COMMAND, OF_READ, Operation, shape};
use crate::routes::locks;

pub(super) fn all() -> Vec<Operation> {
    const PATH: &str = "/v1/locks/{name}";
    vec![
        Operation::new("get", "/v1/locks", "list_locks", "Lists locks in the order of their names")
            .about("Those that somebody has or waits for; others do not exist.")
            .takes(locks::LIST, &["Copycat-Index"])
            .answers(200, "A page.", vec![(JSON, shape("Locks"))])
            .stamped(&["Copycat-Index", "Copycat-Term", "Copycat-Consistency", "Link"])
            .fails(&[BACKEND, TIMED, READ]),
        Operation::new("get", PATH, "get_lock", "Shows who has a lock, and who waits for it")
            .takes(locks::READ, &["Copycat-Index"])
            .answers(200, "The lock.", vec![(JSON, shape("Lock"))])
            .stamped(OF_READ)
            .fails(&[BACKEND, TIMED, READ, NO_LOCK, BY_PATH]),
        Operation::new("put", PATH, "acquire", "Asks for a lock")
            .about(
                "First come, first served. Asked again, in the same session, it answers the same token, or waits in the \
                 same place. When a wait ends without the lock, the place is given up, unless `queue` says that the session \
                 stays and is told by an event, `lock_acquired`. The token is higher than any given before, over all locks: \
                 writes that name the lock and the token are carried out only while it holds.",
            )
            .takes(locks::ACQUIRE, COMMAND)
            .answers(200, "The session has the lock.", vec![(JSON, shape("Held"))])
            .answers(202, "The session stays in the queue.", vec![(JSON, shape("Queued"))])
            .stamped(&["Copycat-Index", "Copycat-Term", "Copycat-Event-Index", "Copycat-Wait"])
            .fails(&[BACKEND, TIMED, NUMBERED, HELD, BY_PATH]),
        Operation::new("delete", PATH, "release", "Releases a lock, or leaves its queue")
            .takes(locks::RELEASE, COMMAND)
            .answers(200, "It is done.", vec![(JSON, shape("Released"))])
            .stamped(OF_COMMAND)
            .fails(&[BACKEND, TIMED, NUMBERED, FENCED, NO_LOCK, BY_PATH]),
        Operation::new("get", "/v1/locks/{name}/verify", "verify", "Whether a token holds a lock")
            .takes(locks::VERIFY, &["Copycat-Index"])
            .answers(200, "It does.", vec![(JSON, shape("Held"))])
            .stamped(OF_READ)
            .fails(&[BACKEND, TIMED, READ, FENCED, BY_PATH]),
        Operation::new("delete", "/v1/locks/{name}/holders/{session}", "revoke", "Takes a lock away from a holder")
            .about("The holder is told by an event, `lock_lost`, and its token is void. The session lives on.")
            .takes(locks::REVOKE, COMMAND)
            .answers(200, "It is done.", vec![(JSON, shape("Revoked"))])
            .stamped(OF_COMMAND)
            .fails(&[BACKEND, TIMED, NUMBERED, NO_LOCK, BY_PATH]),
    ]
}
