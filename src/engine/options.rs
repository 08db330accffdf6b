//! The bounds of one engine, which are its server's own, and the bugs that can be planted.

use super::settings::Settings;
use std::time::Duration;

/// Bounds of one engine. Members of a cluster may have different ones, but for `settings`.
#[derive(Clone, Debug)]
pub struct Options {
    /// What all members have alike, as this one would have it. It goes by these until the cluster has settings, which are
    /// those of its first leader; then by the cluster's.
    pub settings: Settings,
    /// Most entries in one append message.
    pub append_entries: usize,
    /// Most bytes of entries in one append message (at least one entry is sent, however large).
    pub append_bytes: usize,
    /// Most append messages with entries that are on the way to one member; then the leader waits for replies.
    pub append_inflight: usize,
    /// Most entries above the commit index; further commands are refused as [`Overloaded`](super::Refusal::Overloaded).
    pub uncommitted_entries: u64,
    /// Most queries that wait for a round or an index; further ones are refused as overloaded.
    pub waiting_queries: usize,
    /// Most entries applied in one call of `poll`, or lent at once.
    pub apply_batch: u64,
    /// Entries are applied elsewhere: [`Engine::lend`](super::Engine::lend) gives them out, with the state machine.
    pub machine_thread: bool,
    /// A member that lacks no more entries than this may become a voter: commits will not wait for it.
    pub promotion_lag: u64,
    /// A follower that knows it is further than this behind the leader answers no sequential query.
    pub sequential_lag: u64,
    /// When this many bytes of entries were applied since the last snapshot, the next one is taken.
    pub snapshot_bytes: u64,
    /// Replace members that are not heard by those that are kept ready: see [`Configuration`](super::Configuration).
    pub auto_replace: bool,
    /// A bug to run with: the simulator must find it.
    #[cfg(feature = "planted-bugs")]
    pub bug: Option<Bug>,
}

impl Default for Options {
    fn default() -> Self {
        Self::with_settings(Settings::default())
    }
}

impl Options {
    /// The defaults, with an election timeout.
    #[must_use]
    pub fn with_election_timeout(election_timeout: Duration) -> Self {
        Self::with_settings(Settings { election_timeout, ..Settings::default() })
    }

    /// The defaults, with these settings.
    #[must_use]
    pub fn with_settings(settings: Settings) -> Self {
        Self {
            settings,
            append_entries: 1024,
            append_bytes: 256 * 1024,
            append_inflight: 32,
            uncommitted_entries: 16 * 1024,
            waiting_queries: 16 * 1024,
            apply_batch: 1024,
            machine_thread: false,
            promotion_lag: 128,
            sequential_lag: 16 * 1024,
            snapshot_bytes: u64::from(copycat_storage::DEFAULT_SEGMENT) / 2,
            auto_replace: false,
            #[cfg(feature = "planted-bugs")]
            bug: None,
        }
    }
}

/// Known bugs of systems like this one, which the simulator must find (`docs/correctness.md`).
#[cfg(feature = "planted-bugs")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bug {
    /// A vote is answered before term and vote are durable.
    VoteBeforeDurable,
    /// A follower acknowledges entries that it has only in memory.
    AcknowledgeBeforeDurable,
    /// The leader counts its own copy before it is durable.
    LeaderCountsMemory,
    /// A follower's commit index is clamped to its last index, not to what this append proved.
    CommitNotClamped,
    /// An append cuts the log behind its last entry though nothing conflicts.
    TruncateWithoutConflict,
    /// Stepping down within a term clears the vote.
    StepDownClearsVote,
    /// A linearizable read is answered before a quorum confirmed the leader.
    ReadWithoutRound,
    /// A linearizable read is served before an entry of the leader's own term is applied.
    ReadBeforeInitialize,
    /// A leader keeps its lease though it has told another to take over.
    LeaseAfterTransfer,
    /// A linearizable read does not wait until its read index is applied.
    ReadBeforeApplied,
    /// A single voter acknowledges what it has only in memory.
    AloneWithoutFlush,
    /// A quorum is taken of those members only that have answered so far.
    QuorumOfTheHeard,
    /// A lease counts from when the reply came, and followers vote though they hear a leader.
    LeaseFromReceipt,
    /// A late flush of replaced entries acknowledges their successors: the flushed *index* is believed.
    PersistedByIndex,
    /// A server that lost its log goes on voting.
    LostLogVotes,
    /// A command with a number that was applied is applied again.
    ApplyRepeats,
    /// Another command with a number that was applied gets the first one's answer.
    MismatchAccepted,
    /// Answers are dropped before they are acknowledged.
    AnswersEvicted,
    /// A session ends as timed out though it was kept alive after it was judged.
    ExpiryIgnoresKeepAlive,
    /// An election does not begin the sessions' timeouts anew.
    ElectionExpires,
    /// Log time is the leader's wall clock.
    WallClockTime,
    /// Log time moves with commands only.
    TimeOnCommandsOnly,
    /// A batch of events names the index before its own as the one before.
    WrongBackPointer,
    /// A queue that is full drops its oldest events.
    EventsTrimmed,
    /// A lock is given to a session that has ended.
    LockToEnded,
    /// Each lock counts its tokens by itself.
    TokenPerLock,
    /// A guarded write asks whether the lock is held, not by which token.
    GuardWithoutToken,
    /// A leader changes the configuration before an entry of its own term is committed.
    ChangeBeforeInitialize,
    /// A configuration is changed while the last change is not committed.
    ChangesAtOnce,
    /// A member that is found missing, or heard again, moves the index that changes are decided on.
    StatusMovesIndex,
    /// A configuration stays in force though its entry was overwritten.
    ConfigurationNotRolledBack,
    /// A leader that was demoted or removed counts itself.
    LeaderWithoutVoteCounts,
    /// Commits are counted by the voters before a change while the change is on its way.
    CommitByOldQuorum,
    /// Another data directory under a member's number is taken for the member.
    IdentityIgnored,
    /// A member that is to be a reserve discards its state before that is committed.
    DiscardBeforeCommit,
    /// A leader that hears nobody stays in office.
    NoCheckQuorum,
    /// A passive member that is not fed asks nobody else.
    HungryForEver,
    /// A snapshot leaves out the answers to numbered commands.
    SnapshotWithoutAnswers,
    /// A snapshot leaves out the answers to commands with an idempotency key.
    SnapshotWithoutKeys,
    /// A snapshot leaves out the events that are not acknowledged.
    SnapshotWithoutEvents,
    /// A snapshot leaves out the index of a session's last event, if that is acknowledged.
    SnapshotForgetsBackPointer,
    /// A snapshot leaves out the timers.
    SnapshotWithoutTimers,
    /// A snapshot leaves out the next timer's id.
    SnapshotForgetsNextTimer,
    /// A snapshot leaves out log time.
    SnapshotForgetsTime,
    /// A snapshot leaves out the configuration.
    SnapshotWithoutConfiguration,
    /// Appends leave out what the state machine has released.
    ReleasedSkippedInAppends,
    /// Released entries are dropped at once, also above the durable snapshot.
    ReleasedDroppedAtOnce,
    /// What waited for entries that a snapshot came instead of is said to have had no effect.
    InstallSaysNotApplied,
    /// What is no operation of the machine's is logged all the same.
    MalformedApplied,
    /// A lease goes by an election timeout that is not committed, or that those who grant it do not know.
    LeaseByNewTimeoutAtOnce,
    /// Votes are refused by a shorter election timeout that is not committed.
    VoteByNewTimeoutAtOnce,
    /// An entry that is larger than a server's segments ends the server.
    SegmentsNeverGrow,
    /// A leader takes itself for the only voter where one voter is a majority.
    AloneByNumber,
    /// A leader keeps its lease though it gives its vote up.
    LeaseWithoutVote,
    /// The only voter of a configuration that is not committed, or that followed another a moment ago, does not wait.
    AloneUncommitted,
    /// Entries that are fed, and a snapshot that is installed, leave the term where it was.
    TermBehindLog,
    /// A change that may lose the quorum counts members that have not yet answered this leader.
    QuorumOfTheRemembered,
    /// A member says that it knows a configuration which it may yet forget with the power.
    ReportsUndurable,
    /// What is known of a member outlives its start.
    KnownOutlivesStart,
    /// A server that has started answers from the first commit index that any leader told it.
    ServesOldCommit,
    /// A passive member that asks to be fed is fed by what it once had.
    FeedByOldMatch,
    /// A server whose disk does not finish a flush stands for election.
    HungDiskStands,
    /// A vote is given though a leader was heard within T.
    VoteWhileLed,
    /// A restarted server does not wait T before it votes or stands.
    StandsAtOnce,
    /// A follower acknowledges its whole log, also what the leader has not proved to be its own.
    MatchUnproved,
    /// Sessions are ended without a round of heartbeats that began when they were overdue.
    ExpireWithoutRound,
    /// A member becomes a voter before it has caught up.
    PromoteUnready,
    /// A lock that is released is given to one of those in the queue, also if others could share it.
    PromotesOnlyOne,
    /// Nobody is looked at behind one that gives its place in a queue up.
    GiveUpPromotesNobody,
    /// A place in the queue of a lock is never given up.
    WaitsForEver,
    /// A lock is given to whoever comes, also if others wait.
    LockOvertakes,
    /// A leader that steps down leaves those without an answer who wait for their turn.
    ForgetsWaiting,
    /// A leader that steps down leaves those without an answer who wait for a round.
    ReadsForgotten,
    /// An idempotency key ends when an entry is applied that drops it, whatever the log time is by which it is judged.
    KeysEndOnApplyOnly,
    /// A command is logged at a time at which a timer is due that has not fired, and is judged by what should be over.
    JudgedByOverdue,
    /// A start that finds no log where there was one deletes the snapshot and begins afresh. (Whoever opens the storage
    /// plants it: `Storage::open_discarding_snapshot`.)
    StartDiscardsSnapshot,
}

#[cfg(feature = "planted-bugs")]
impl Bug {
    /// Those that the simulator finds, and replays. (Of what a snapshot may leave out of the state the replay checker finds
    /// all; the configuration is the simulator's.)
    pub const ALL: &[Self] = &[
        Self::VoteBeforeDurable,
        Self::AcknowledgeBeforeDurable,
        Self::LeaderCountsMemory,
        Self::CommitNotClamped,
        Self::TruncateWithoutConflict,
        Self::StepDownClearsVote,
        Self::ReadWithoutRound,
        Self::ReadBeforeInitialize,
        Self::ReadBeforeApplied,
        Self::AloneWithoutFlush,
        Self::QuorumOfTheHeard,
        Self::LeaseFromReceipt,
        Self::PersistedByIndex,
        Self::LostLogVotes,
        Self::ApplyRepeats,
        Self::MismatchAccepted,
        Self::AnswersEvicted,
        Self::ExpiryIgnoresKeepAlive,
        Self::ElectionExpires,
        Self::WallClockTime,
        Self::TimeOnCommandsOnly,
        Self::WrongBackPointer,
        Self::EventsTrimmed,
        Self::LockToEnded,
        Self::TokenPerLock,
        Self::GuardWithoutToken,
        Self::ChangesAtOnce,
        Self::StatusMovesIndex,
        Self::DiscardBeforeCommit,
        Self::ConfigurationNotRolledBack,
        Self::LeaderWithoutVoteCounts,
        Self::CommitByOldQuorum,
        Self::IdentityIgnored,
        Self::NoCheckQuorum,
        Self::HungryForEver,
        Self::SnapshotWithoutAnswers,
        Self::SnapshotWithoutKeys,
        Self::SnapshotWithoutEvents,
        Self::SnapshotWithoutTimers,
        Self::SnapshotForgetsNextTimer,
        Self::SnapshotWithoutConfiguration,
        Self::ReleasedSkippedInAppends,
        Self::ReleasedDroppedAtOnce,
        Self::ChangeBeforeInitialize,
        Self::LeaseAfterTransfer,
        Self::AloneByNumber,
        Self::AloneUncommitted,
        Self::TermBehindLog,
        Self::QuorumOfTheRemembered,
        Self::ReportsUndurable,
        Self::KnownOutlivesStart,
        Self::ServesOldCommit,
        Self::FeedByOldMatch,
        Self::HungDiskStands,
        Self::SnapshotForgetsBackPointer,
        Self::SnapshotForgetsTime,
        Self::LeaseByNewTimeoutAtOnce,
        Self::VoteByNewTimeoutAtOnce,
        Self::VoteWhileLed,
        Self::StandsAtOnce,
        Self::MatchUnproved,
        Self::ExpireWithoutRound,
        Self::PromoteUnready,
        Self::PromotesOnlyOne,
        Self::GiveUpPromotesNobody,
        Self::WaitsForEver,
        Self::LockOvertakes,
        Self::ForgetsWaiting,
        Self::ReadsForgotten,
        Self::KeysEndOnApplyOnly,
        Self::StartDiscardsSnapshot,
    ];
    /// Those that no search has found of late. Golden scripts and the replay checker see them.
    pub const UNFOUND: &[Self] = &[
        Self::InstallSaysNotApplied,
        Self::MalformedApplied,
        Self::LeaseWithoutVote,
        Self::SegmentsNeverGrow,
        Self::JudgedByOverdue,
    ];
}

impl Options {
    /// Whether this bug is switched on. Always false, at compile time, without the feature.
    #[cfg(feature = "planted-bugs")]
    pub(crate) fn planted(&self, bug: Bug) -> bool {
        self.bug == Some(bug)
    }
}

/// `planted!(options, Name)`: whether that bug is switched on; the constant `false` in a build without the feature.
macro_rules! planted {
    ($options:expr, $bug:ident) => {{
        #[cfg(feature = "planted-bugs")]
        {
            $options.planted($crate::engine::Bug::$bug)
        }
        #[cfg(not(feature = "planted-bugs"))]
        {
            false
        }
    }};
}
pub(crate) use planted;

/// `planted_here!(context, Name)`: the same where a state machine's context is at hand.
macro_rules! planted_here {
    ($context:expr, $bug:ident) => {{
        #[cfg(feature = "planted-bugs")]
        {
            $context.planted($crate::engine::Bug::$bug)
        }
        #[cfg(not(feature = "planted-bugs"))]
        {
            false
        }
    }};
}
pub(crate) use planted_here;
