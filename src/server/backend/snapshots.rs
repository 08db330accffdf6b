//! Snapshots, compaction and backups of this server's own.

use super::{ServerBackend, failure};
use crate::backup::Encoder;
use crate::engine::machine::StateMachine;
use crate::server::inbox::{ChoreRefusal, Event};
use crate::server::port::Port;
use copycat_http::{Backup, Compaction, Failure, SnapshotTaken};
use copycat_storage::{Entry, MappedFile, SnapshotStream};
use futures_lite::{StreamExt, stream};
use std::sync::Arc;
use std::time::Duration;

/// Bytes of the snapshot, or of entries but for the first, in one piece of a backup.
const PIECE: usize = 256 * 1024;
/// Entries in one piece of a backup.
const ENTRIES: usize = 1024;
/// For how long the driver may be too busy to give entries.
const PATIENCE: Duration = Duration::from_secs(10);

fn refused(refusal: ChoreRefusal) -> Failure {
    match refusal {
        ChoreRefusal::Busy => Failure::Overloaded,
        ChoreRefusal::Stateless => Failure::Stateless,
        ChoreRefusal::Failed => Failure::Internal,
    }
}

impl<M: StateMachine> ServerBackend<M> {
    pub(super) async fn compaction(&self, major: bool, timeout: Duration) -> Result<Compaction, Failure> {
        let done = self
            .port
            .hear(timeout, |reply| Event::Compact { major, reply })
            .await
            .map_err(failure)?
            .map_err(refused)?;
        let crate::server::inbox::Compacted { compacted, segments, bytes_before, bytes_after } = done;
        Ok(Compaction { compacted, segments, bytes_before, bytes_after })
    }

    pub(super) async fn snapshot(&self, timeout: Duration) -> Result<SnapshotTaken, Failure> {
        let taken =
            self.port.hear(timeout, |reply| Event::TakeSnapshot { reply }).await.map_err(failure)?.map_err(refused)?;
        let info = taken.info;
        Ok(SnapshotTaken {
            new: taken.new,
            index: info.index,
            term: info.term,
            bytes: info.size,
            references: info.references,
        })
    }

    pub(super) async fn back_up(&self, timeout: Duration) -> Result<Option<Backup>, Failure> {
        let stream = self.port.hear(timeout, |reply| Event::Backup { reply }).await.map_err(failure)?;
        let Some(stream) = stream else { return Ok(None) };
        let info = stream.info();
        let (encoder, first) = Encoder::begin(&info);
        let job = Job { port: self.port.clone(), stream, encoder, at: 0, place: 0 };
        let pieces = stream::unfold(Some(job), |job| async move {
            let job = job?;
            Some(match job.piece().await {
                Ok((piece, job)) => (Ok(piece), job),
                Err(failure) => (Err(failure), None),
            })
        });
        let pieces = stream::once(Ok(first)).chain(pieces).boxed();
        Ok(Some(Backup { index: info.index, term: info.term, pieces }))
    }
}

/// A backup being made. As long as it lives, the log keeps the entries that it needs.
struct Job<M: StateMachine> {
    port: Arc<Port<M>>,
    stream: SnapshotStream<MappedFile>,
    encoder: Encoder,
    /// How much of the snapshot's file is done,
    at: u64,
    /// and how many of the entries.
    place: usize,
}

impl<M: StateMachine> Job<M> {
    /// The next piece, and what is left to do.
    async fn piece(mut self) -> Result<(Vec<u8>, Option<Self>), Failure> {
        if self.at < self.stream.info().size {
            let chunk = self.stream.chunk(self.at, PIECE).map_err(|corrupt| broken(&corrupt))?;
            self.at += chunk.len() as u64;
            let piece = self.encoder.snapshot(chunk);
            return Ok((piece, Some(self)));
        }
        let indexes: Vec<u64> =
            (self.place..self.place + ENTRIES).map_while(|p| self.stream.reference(p)).map(|r| r.index).collect();
        if indexes.is_empty() {
            return Ok((self.encoder.end(), None));
        }
        let entries = self.port.hear(PATIENCE, |reply| Event::Pick { indexes, bytes: PIECE, reply }).await;
        let entries = entries.map_err(failure)?.map_err(|why| broken(&why))?;
        let mut piece = Vec::new();
        for entry in &entries {
            piece.extend_from_slice(&self.encoded(entry)?);
        }
        Ok((piece, Some(self)))
    }

    /// The next entry, if it is that which the snapshot refers to.
    fn encoded(&mut self, entry: &Entry) -> Result<Vec<u8>, Failure> {
        let expected = self.stream.reference(self.place).map(|r| (r.index, r.term, r.digest));
        let found = entry.borrow();
        if expected != Some((found.index, found.term, found.digest())) {
            return Err(broken(&format!("entry {} is not the one that the snapshot refers to", entry.index)));
        }
        self.place += 1;
        Ok(self.encoder.entry(found))
    }
}

fn broken(why: &dyn std::fmt::Display) -> Failure {
    tracing::error!("a backup broke off: {why}");
    Failure::Internal
}
