//! What all members of a cluster must have alike: what safety stands on, and the bounds of what each of them keeps.
//!
//! Settings are part of the replicated [`Configuration`](super::Configuration), and changed by a command
//! ([`Change::Settings`](super::Change::Settings)). What one server may choose for itself is in [`Options`](super::Options).

use super::sessions::Limits;
use bincode::de::{BorrowDecoder, Decoder};
use bincode::enc::Encoder;
use bincode::error::{DecodeError, EncodeError};
use bincode::{BorrowDecode, Decode, Encode};
use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::time::Duration;

const KIB: u64 = 1024;
const MIB: u64 = 1024 * KIB;
const GIB: u64 = 1024 * MIB;

/// The largest entry that may be asked for: a message between servers carries it, and what is around it.
pub const LARGEST_ENTRY: u64 = 28 * MIB;

/// One setting. The order of these is in the log and on the wire: new ones come last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Encode, Decode)]
pub enum Setting {
    /// See [`Settings::election_timeout`].
    ElectionTimeout,
    /// See [`Settings::clock_drift_permille`].
    ClockDrift,
    /// See [`Settings::largest_entry`].
    LargestEntry,
    /// See [`Settings::sessions`].
    Sessions,
    /// See [`Settings::session_answers`].
    SessionAnswers,
    /// See [`Settings::session_answer_bytes`].
    SessionAnswerBytes,
    /// See [`Settings::session_limits`].
    SessionEvents,
    /// See [`Settings::session_limits`].
    SessionEventBytes,
    /// See [`Settings::keys`].
    Keys,
    /// See [`Settings::key_bytes`].
    KeyBytes,
    /// See [`Settings::idempotency_window`].
    IdempotencyWindow,
}

impl Setting {
    /// All of them, in order.
    pub const ALL: [Self; 11] = [
        Self::ElectionTimeout,
        Self::ClockDrift,
        Self::LargestEntry,
        Self::Sessions,
        Self::SessionAnswers,
        Self::SessionAnswerBytes,
        Self::SessionEvents,
        Self::SessionEventBytes,
        Self::Keys,
        Self::KeyBytes,
        Self::IdempotencyWindow,
    ];

    /// Its name in JSON; with dashes, that of its flag.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::ElectionTimeout => "election_timeout",
            Self::ClockDrift => "clock_drift_permille",
            Self::LargestEntry => "largest_entry",
            Self::Sessions => "sessions",
            Self::SessionAnswers => "session_answers",
            Self::SessionAnswerBytes => "session_answer_bytes",
            Self::SessionEvents => "session_events",
            Self::SessionEventBytes => "session_event_bytes",
            Self::Keys => "idempotency_keys",
            Self::KeyBytes => "idempotency_key_bytes",
            Self::IdempotencyWindow => "idempotency_window",
        }
    }

    /// The flag that names it.
    #[must_use]
    pub fn flag(self) -> String {
        format!("--{}", self.name().replace('_', "-"))
    }

    /// Whether its value is a time, in milliseconds.
    #[must_use]
    pub const fn is_time(self) -> bool {
        matches!(self, Self::ElectionTimeout | Self::IdempotencyWindow)
    }

    /// What may be asked for: times in milliseconds, sizes in bytes.
    #[must_use]
    pub const fn range(self) -> RangeInclusive<u64> {
        match self {
            Self::ElectionTimeout => 50..=60_000,
            Self::ClockDrift => 0..=500,
            Self::LargestEntry => 16 * KIB..=LARGEST_ENTRY,
            Self::Sessions | Self::SessionAnswers => 1..=1_000_000,
            Self::SessionAnswerBytes | Self::SessionEventBytes | Self::KeyBytes => 64 * KIB..=GIB,
            Self::SessionEvents | Self::Keys => 1..=10_000_000,
            Self::IdempotencyWindow => 1000..=24 * 3_600_000,
        }
    }

    /// A value of it as people write it.
    #[must_use]
    pub fn text(self, value: u64) -> String {
        match value {
            ms if !self.is_time() => ms.to_string(),
            ms if ms >= 60_000 && ms.is_multiple_of(60_000) => format!("{}m", ms / 60_000),
            ms if ms >= 1000 && ms.is_multiple_of(1000) => format!("{}s", ms / 1000),
            ms => format!("{ms}ms"),
        }
    }
}

impl std::fmt::Display for Setting {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

/// Settings that somebody names; the others are left as they are. Times are in milliseconds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
pub struct NamedSettings(BTreeMap<Setting, u64>);

impl NamedSettings {
    /// Names one, instead of what was named before.
    pub fn set(&mut self, setting: Setting, value: u64) {
        self.0.insert(setting, value);
    }

    /// Names a time, in whole milliseconds.
    pub fn set_time(&mut self, setting: Setting, value: Duration) {
        self.set(setting, milliseconds(value));
    }

    /// What is named of one.
    #[must_use]
    pub fn get(&self, setting: Setting) -> Option<u64> {
        self.0.get(&setting).copied()
    }

    /// All that are named, in order.
    pub fn iter(&self) -> impl Iterator<Item = (Setting, u64)> + '_ {
        self.0.iter().map(|(&setting, &value)| (setting, value))
    }

    /// Whether none is.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The first that is out of its range.
    #[must_use]
    pub fn out_of_range(&self) -> Option<Setting> {
        self.iter().find(|(setting, value)| !setting.range().contains(value)).map(|(setting, _)| setting)
    }

    /// The first that is something else in `settings`, with its value here and its value there.
    #[must_use]
    pub fn differs_from(&self, settings: &Settings) -> Option<(Setting, u64, u64)> {
        self.iter()
            .map(|(setting, value)| (setting, value, settings.get(setting)))
            .find(|(_, here, there)| here != there)
    }
}

impl FromIterator<(Setting, u64)> for NamedSettings {
    fn from_iter<I: IntoIterator<Item = (Setting, u64)>>(items: I) -> Self {
        Self(items.into_iter().collect())
    }
}

/// What is the same on all members of a cluster. A new field is a new [`Setting`], and has a default that is what servers
/// did before it was there: what was written without it means that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// T, in whole milliseconds: a follower that hears no leader for a random time in \[T, 2T) asks for votes, and gives none
    /// within T after it heard one. Leases stand on that.
    pub election_timeout: Duration,
    /// The share of T, in thousandths, by which clocks of two members may drift apart within T: taken off every lease.
    pub clock_drift_permille: u32,
    /// The most bytes of data in an entry that a client may ask for. The segments of each member are large enough for it.
    pub largest_entry: u64,
    /// Most open sessions; then no new one is registered.
    pub sessions: u64,
    /// Most answers that a session may leave unacknowledged, those on their way included,
    pub session_answers: u64,
    /// and their bytes; then it gets no new command.
    pub session_answer_bytes: u64,
    /// Most events that a session may leave unacknowledged, and their bytes; then it is ended.
    pub session_limits: Limits,
    /// Most commands with an idempotency key whose answers are kept,
    pub keys: u64,
    /// and their bytes; then commands with new keys are refused.
    pub key_bytes: u64,
    /// For how long, in log time, the answer to a command with an idempotency key is kept; in whole milliseconds.
    pub idempotency_window: Duration,
}

impl Default for Settings {
    /// Those of version 0.1.0, which had them all built in or as flags.
    fn default() -> Self {
        Self {
            election_timeout: Duration::from_millis(500),
            clock_drift_permille: 100,
            largest_entry: 8 * MIB,
            sessions: 64 * KIB,
            session_answers: 1024,
            session_answer_bytes: 4 * MIB,
            session_limits: Limits { events: 16 * KIB, event_bytes: 8 * MIB },
            keys: 256 * KIB,
            key_bytes: 64 * MIB,
            idempotency_window: Duration::from_secs(600),
        }
    }
}

fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

impl Settings {
    /// The value of one; times in milliseconds.
    #[must_use]
    pub fn get(&self, setting: Setting) -> u64 {
        match setting {
            Setting::ElectionTimeout => milliseconds(self.election_timeout),
            Setting::ClockDrift => u64::from(self.clock_drift_permille),
            Setting::LargestEntry => self.largest_entry,
            Setting::Sessions => self.sessions,
            Setting::SessionAnswers => self.session_answers,
            Setting::SessionAnswerBytes => self.session_answer_bytes,
            Setting::SessionEvents => self.session_limits.events,
            Setting::SessionEventBytes => self.session_limits.event_bytes,
            Setting::Keys => self.keys,
            Setting::KeyBytes => self.key_bytes,
            Setting::IdempotencyWindow => milliseconds(self.idempotency_window),
        }
    }

    fn set(&mut self, setting: Setting, value: u64) {
        match setting {
            Setting::ElectionTimeout => self.election_timeout = Duration::from_millis(value),
            Setting::ClockDrift => self.clock_drift_permille = u32::try_from(value).unwrap_or(u32::MAX),
            Setting::LargestEntry => self.largest_entry = value,
            Setting::Sessions => self.sessions = value,
            Setting::SessionAnswers => self.session_answers = value,
            Setting::SessionAnswerBytes => self.session_answer_bytes = value,
            Setting::SessionEvents => self.session_limits.events = value,
            Setting::SessionEventBytes => self.session_limits.event_bytes = value,
            Setting::Keys => self.keys = value,
            Setting::KeyBytes => self.key_bytes = value,
            Setting::IdempotencyWindow => self.idempotency_window = Duration::from_millis(value),
        }
    }

    /// These, but for what is named.
    #[must_use]
    pub fn with(mut self, named: &NamedSettings) -> Self {
        named.iter().for_each(|(setting, value)| self.set(setting, value));
        self
    }

    /// All of them, by name.
    #[must_use]
    pub fn named(&self) -> NamedSettings {
        Setting::ALL.into_iter().map(|setting| (setting, self.get(setting))).collect()
    }

    /// How long a lease lasts, from when its round of heartbeats was sent.
    #[must_use]
    pub fn lease(&self) -> Duration {
        self.election_timeout - self.election_timeout * self.clock_drift_permille / 1000
    }

    /// Whether nothing that is computed with them overflows: they may come from outside.
    fn is_sound(&self) -> bool {
        let day = Duration::from_secs(24 * 3600);
        self.clock_drift_permille <= 1000
            && (Duration::from_millis(1)..=day).contains(&self.election_timeout)
            && self.idempotency_window <= day * 366
    }
}

impl Encode for Settings {
    fn encode<E: Encoder>(&self, encoder: &mut E) -> Result<(), EncodeError> {
        self.named().encode(encoder)
    }
}

impl<C> Decode<C> for Settings {
    fn decode<D: Decoder<Context = C>>(decoder: &mut D) -> Result<Self, DecodeError> {
        let settings = Self::default().with(&NamedSettings::decode(decoder)?);
        if settings.is_sound() { Ok(settings) } else { Err(DecodeError::Other("settings that cannot be")) }
    }
}

impl<'de, C> BorrowDecode<'de, C> for Settings {
    fn borrow_decode<D: BorrowDecoder<'de, Context = C>>(decoder: &mut D) -> Result<Self, DecodeError> {
        Self::decode(decoder)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::{decode, encode};

    #[test]
    fn settings_survive_encoding_and_what_was_not_written_has_its_default() {
        let mut settings = Settings::default();
        for (setting, value) in Setting::ALL.into_iter().zip(100..) {
            settings.set(setting, value);
            assert_eq!(settings.get(setting), value, "{setting}");
        }
        assert_eq!(decode(&encode(&settings)), Ok(settings));
        let some: NamedSettings = [(Setting::ElectionTimeout, 700)].into_iter().collect();
        let expected = Settings { election_timeout: Duration::from_millis(700), ..Settings::default() };
        assert_eq!(decode(&encode(&some)), Ok(expected), "written before there were others");
        assert_eq!(Settings::default().with(&Settings::default().named()), Settings::default());
    }

    #[test]
    fn what_would_overflow_is_refused() {
        for (setting, value) in [
            (Setting::ElectionTimeout, u64::MAX),
            (Setting::ElectionTimeout, 0),
            (Setting::ClockDrift, 1001),
            (Setting::ClockDrift, u64::MAX),
            (Setting::IdempotencyWindow, u64::MAX),
        ] {
            let named: NamedSettings = [(setting, value)].into_iter().collect();
            assert!(decode::<Settings>(&encode(&named)).is_err(), "{setting} {value}");
        }
        assert!(decode::<Settings>(&[1, 99, 1]).is_err(), "a setting of a later release");
    }

    #[test]
    fn ranges_hold_the_defaults_and_are_sound() {
        for setting in Setting::ALL {
            assert!(setting.range().contains(&Settings::default().get(setting)), "{setting}");
            for end in [*setting.range().start(), *setting.range().end()] {
                let named: NamedSettings = [(setting, end)].into_iter().collect();
                assert_eq!(named.out_of_range(), None);
                assert!(Settings::default().with(&named).is_sound(), "{setting} {end}");
            }
        }
        let off: NamedSettings = [(Setting::Sessions, 5), (Setting::Keys, 0)].into_iter().collect();
        assert_eq!(off.out_of_range(), Some(Setting::Keys));
        assert_eq!(off.differs_from(&Settings::default()), Some((Setting::Sessions, 5, 65_536)));
        assert_eq!(NamedSettings::default().differs_from(&Settings::default()), None);
    }

    #[test]
    fn values_are_written_as_people_do() {
        let texts = [500, 1000, 1500, 60_000, 90_000, 600_000, 0].map(|ms| Setting::ElectionTimeout.text(ms));
        assert_eq!(texts, ["500ms", "1s", "1500ms", "1m", "90s", "10m", "0ms"]);
        assert_eq!(Setting::LargestEntry.text(1000), "1000");
        assert_eq!(Setting::ElectionTimeout.flag(), "--election-timeout");
    }
}
