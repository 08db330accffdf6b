//! The settings that a server's flags name, against those in force in its cluster.
//!
//! Flags name settings for a cluster's first start only. A server whose flag says something else than what is in force would
//! not do what its operator believes, and refuses to start; one that learns it only while it runs stops, if it has not served
//! yet. What was changed by request while it ran is no fault of its flags until it is started again.

use crate::engine::{Configuration, NamedSettings, Setting, Settings};

/// Why a flag is refused: one line.
pub(super) fn refused(setting: Setting, given: u64, in_force: u64) -> String {
    let (flag, given, in_force) = (setting.flag(), setting.text(given), setting.text(in_force));
    format!(
        "{flag} {given} is not what is in force in this cluster, which is {in_force}: leave the flag out, or change it for \
         all servers by `copycat cluster settings {flag} {given}`"
    )
}

/// What a server was started with, if that is not what is in force: by the configuration that it knows to be committed, and
/// by the one in its log, which may be about to be.
pub(super) fn differing(given: &NamedSettings, committed: &Configuration, current: &Configuration) -> Option<String> {
    given.differs_from(current.settings.as_ref()?)?;
    let (setting, given, in_force) = given.differs_from(committed.settings.as_ref()?)?;
    Some(refused(setting, given, in_force))
}

/// What a server's flags are held against while it runs.
#[derive(Debug)]
pub(super) struct Flags {
    given: NamedSettings,
    /// The settings that it knows to be committed.
    known: Option<Settings>,
    /// It has served in this cluster before it had settings: then it goes on with what it learns.
    upgraded: bool,
}

/// What a change of the settings means for a server.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Learned {
    /// It was told all it needs.
    Nothing,
    /// Its operator should know.
    Warning(String),
    /// It must not go on.
    Stop(String),
}

impl Flags {
    pub(super) fn new(given: NamedSettings, known: Option<Settings>, upgraded: bool) -> Self {
        Self { given, known, upgraded }
    }

    /// These are known to be committed now.
    pub(super) fn learn(&mut self, committed: Option<Settings>) -> Learned {
        let Some(now) = committed.filter(|now| self.known != Some(*now)) else { return Learned::Nothing };
        let first = self.known.replace(now).is_none();
        let Some((setting, given, in_force)) = self.given.differs_from(&now) else { return Learned::Nothing };
        let line = refused(setting, given, in_force);
        if first && !self.upgraded {
            return Learned::Stop(line);
        }
        Learned::Warning(format!("the next start of this server will be refused: {line}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(ms: u64) -> NamedSettings {
        [(Setting::ElectionTimeout, ms)].into_iter().collect()
    }

    fn with(ms: u64) -> Option<Settings> {
        Some(Settings::default().with(&named(ms)))
    }

    #[test]
    fn a_flag_is_refused_when_it_is_first_held_against_what_is_in_force() {
        let mut fits = Flags::new(named(700), None, false);
        assert_eq!(fits.learn(None), Learned::Nothing);
        assert_eq!(fits.learn(with(700)), Learned::Nothing);
        let Learned::Warning(line) = fits.learn(with(900)) else { panic!("changed by request") };
        assert!(line.contains("--election-timeout 700ms") && line.contains("900ms"), "{line}");
        assert_eq!(fits.learn(with(900)), Learned::Nothing, "said once");
        let Learned::Stop(line) = Flags::new(named(700), None, false).learn(with(500)) else { panic!("it differs") };
        assert!(line.contains("`copycat cluster settings --election-timeout 700ms`"), "{line}");
        assert!(matches!(Flags::new(named(700), None, true).learn(with(500)), Learned::Warning(_)));
        assert_eq!(Flags::new(NamedSettings::default(), None, false).learn(with(9000)), Learned::Nothing);
    }

    #[test]
    fn a_flag_may_name_what_is_about_to_be_committed() {
        let configuration = |ms: Option<u64>| Configuration { settings: ms.and_then(with), ..Configuration::default() };
        let differs = |committed, current| differing(&named(700), &configuration(committed), &configuration(current));
        assert_eq!(differs(Some(500), Some(700)), None);
        assert_eq!(differs(Some(700), Some(700)), None);
        assert_eq!(differs(None, None), None);
        assert!(differs(Some(500), Some(500)).is_some() && differs(Some(500), Some(600)).is_some());
    }
}
