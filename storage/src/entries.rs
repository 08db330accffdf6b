//! Reading what a log holds, offline.

use crate::disk::{Disk, DiskFile};
use crate::entry::{self, EntryRef};
use crate::log;
use crate::storage::{floor, names, read_snapshot};

/// Looks at every entry of a directory's log that can be read, in order. What cannot is passed over: see
/// [`check`](crate::check()).
pub fn each_entry<D: Disk>(disk: &D, mut look: impl FnMut(EntryRef<'_>)) {
    let Ok(names) = names(disk) else { return };
    let snapshot = read_snapshot(disk, &names).ok().flatten();
    let Ok(plan) = log::inspect(disk, &names, floor(snapshot.as_ref())) else { return };
    for part in &plan.parts {
        let (bytes, salt) = (part.file.file.bytes(), part.file.header.salt);
        for &offset in &log::verify(part).0.offsets {
            if let Ok((_, entry)) = entry::read(bytes, offset, salt) {
                look(entry);
            }
        }
    }
}
