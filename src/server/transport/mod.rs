//! Connections between servers, over whatever [`Transport`](crate::transport::Transport) they are given.
//!
//! Each server dials each other one and sends its own frames on the connection that it dialed; so each direction fails
//! and reconnects by itself. A queue to a peer is bounded and never waited for: what does not fit is dropped (the engine
//! repeats itself; a forwarded request is refused before it is sent). One slow peer therefore delays nobody else.

mod finding;
pub(crate) mod frame;
mod inbound;
mod join;
mod links;
mod outbound;
mod places;

use crate::engine::{Configuration, Identity, ServerId};
use frame::{Hello, Me, Purpose, Rejection, WIRE_VERSION, Welcome};
pub(crate) use inbound::{Hall, listen};
pub(crate) use join::{has_leader, join};
pub(crate) use links::Links;
use outbound::Peer;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

/// What greetings are judged by: who we are, and the configuration as the driver last saw it.
#[derive(Clone, Debug)]
pub(crate) struct Door {
    pub(crate) me: Me,
    known: Arc<Mutex<Known>>,
    /// Rises when `known` changes: who was let in before is looked at again.
    generation: Arc<AtomicU64>,
    /// Who leads; 0: nobody is known to.
    leader: Arc<AtomicU64>,
}

#[derive(Clone, Debug)]
struct Known {
    cluster: u128,
    configuration: Arc<Configuration>,
    committed: Arc<Configuration>,
    /// The directories that are known to be removed: by a committed configuration.
    removed: Vec<Identity>,
}

impl Door {
    pub(crate) fn new(me: Me, cluster: u128, configuration: Configuration) -> Self {
        let configuration = Arc::new(configuration);
        let known = Known { cluster, committed: configuration.clone(), configuration, removed: Vec::new() };
        Self { me, known: Arc::new(Mutex::new(known)), generation: Arc::default(), leader: Arc::default() }
    }

    /// The driver tells what is in force now, and what is committed. Returns whether that is news.
    pub(crate) fn update(&self, cluster: u128, configuration: &Configuration, committed: &Configuration) -> bool {
        let mut known = self.lock();
        if *known.committed != *committed {
            known.committed = Arc::new(committed.clone());
        }
        if known.cluster == cluster && *known.configuration == *configuration && known.removed == committed.removed {
            return false;
        }
        (known.cluster, known.configuration) = (cluster, Arc::new(configuration.clone()));
        known.removed.clone_from(&committed.removed);
        self.generation.fetch_add(1, Ordering::Release);
        true
    }

    /// The driver tells who leads now.
    pub(crate) fn follow(&self, leader: Option<ServerId>) {
        self.leader.store(leader.unwrap_or(0), Ordering::Relaxed);
    }

    fn leader(&self) -> Option<ServerId> {
        Some(self.leader.load(Ordering::Relaxed)).filter(|&leader| leader != 0)
    }

    /// Changes when a greeting may be judged otherwise than before.
    fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn hello(&self, purpose: Purpose) -> Hello {
        let known = self.lock();
        Hello::new(&self.me, known.cluster, known.configuration.settings, purpose)
    }

    fn welcome(&self) -> Welcome {
        let Me { identity, ref http, .. } = self.me;
        Welcome::Accepted { cluster: self.lock().cluster, identity, http: http.clone() }
    }

    /// The members as they are committed, and where they are.
    fn members(&self) -> Welcome {
        let configuration = self.lock().committed.as_ref().clone();
        Welcome::Joined { index: configuration.index, configuration }
    }

    /// Whether this is a member of the configuration, as far as can be told.
    fn admits(&self, peer: ServerId, identity: Identity) -> bool {
        self.lock().configuration.admits(peer, identity)
    }

    /// Whether the one that was dialed is the member that was meant, or one of this cluster that the own configuration,
    /// being old, does not know.
    fn knows(&self, peer: ServerId, cluster: u128, identity: Identity) -> bool {
        let known = self.lock();
        let same = known.cluster == 0 || cluster == 0 || known.cluster == cluster;
        same && (known.configuration.admits(peer, identity) || known.shares(cluster))
    }

    /// Whether to let this one in.
    fn judge(&self, hello: &Hello) -> Result<(), Rejection> {
        let known = self.lock();
        if hello.version != WIRE_VERSION {
            return Err(Rejection::Version(WIRE_VERSION));
        }
        if known.cluster != 0 && hello.cluster != 0 {
            if known.cluster != hello.cluster {
                return Err(Rejection::Cluster);
            }
        } else if hello.digest != self.me.digest && matches!(hello.purpose, Purpose::Peer { .. }) {
            return Err(Rejection::InitialList);
        }
        if hello.purpose != Purpose::Look {
            self.judge_settings(&known, hello)?;
        }
        match hello.purpose {
            Purpose::Peer { to } if to != self.me.id => return Err(Rejection::WrongServer(self.me.id)),
            Purpose::Peer { .. } => {}
            // Whether it may is for the leader to say.
            Purpose::Join { .. } | Purpose::Look => return Ok(()),
            Purpose::Members if known.shares(hello.cluster) => return Ok(()),
            Purpose::Members => return Err(Rejection::Cluster),
        }
        if known.removed.contains(&hello.identity) {
            return Err(Rejection::Removed);
        }
        if !known.configuration.admits(hello.from, hello.identity) && !known.shares(hello.cluster) {
            return Err(Rejection::NotAdmitted);
        }
        Ok(())
    }

    /// Whether this one would go by other settings. One that knows the cluster has held its own flags against them.
    fn judge_settings(&self, known: &Known, hello: &Hello) -> Result<(), Rejection> {
        match (known.cluster, hello.cluster) {
            (0, 0) if matches!(hello.purpose, Purpose::Peer { .. }) => {
                let differing = hello.settings.named().differs_from(&self.me.settings());
                differing.map_or(Ok(()), |(setting, given, here)| Err(Rejection::Setting { setting, given, here }))
            }
            (0, 0) => Ok(()),
            // It is this server that is new: it is told so where it dials.
            (0, _) => match self.me.given.differs_from(&hello.settings) {
                Some((setting, here, given)) => Err(Rejection::Setting { setting, given, here }),
                None => Ok(()),
            },
            (_, 0) => match known.configuration.settings.and_then(|s| hello.given.differs_from(&s)) {
                Some((setting, given, in_force)) => Err(Rejection::Flag { setting, given, in_force }),
                None => Ok(()),
            },
            _ => Ok(()),
        }
    }
}

impl Known {
    fn shares(&self, cluster: u128) -> bool {
        cluster != 0 && cluster == self.cluster
    }
}

#[cfg(test)]
mod tests {
    use super::frame::Refused;
    use super::*;
    use crate::engine::{NamedSettings, Setting};

    fn door(id: ServerId, cluster: u128) -> Door {
        let configuration = Configuration::bootstrap([(1, "a".into()), (2, "b".into())]);
        let (http, peer) = (String::new(), String::new());
        let given = NamedSettings::default();
        let me = Me { id, identity: id * 10, digest: configuration.digest(), http, peer, given };
        Door::new(me, cluster, configuration)
    }

    /// With an election timeout of so many milliseconds.
    fn flagged(id: ServerId, cluster: u128, ms: u64) -> Door {
        let mut door = door(id, cluster);
        door.me.given.set(Setting::ElectionTimeout, ms);
        door
    }

    #[test]
    fn who_would_begin_a_cluster_with_other_settings_is_told_both_values() {
        let ours = door(1, 0);
        assert_eq!(ours.judge(&flagged(2, 0, 500).hello(to(1))), Ok(()), "it names the default");
        let other = Rejection::Setting { setting: Setting::ElectionTimeout, given: 10_000, here: 500 };
        assert_eq!(ours.judge(&flagged(2, 0, 10_000).hello(to(1))), Err(other));
        let line = Refused::ByPeer(other).to_string();
        assert!(line.contains("--election-timeout 500ms, this server with 10s"), "{line}");
        let back = Rejection::Setting { setting: Setting::ElectionTimeout, given: 500, here: 10_000 };
        assert_eq!(flagged(2, 0, 10_000).judge(&ours.hello(to(2))), Err(back), "a flag left out means the default");
    }

    #[test]
    fn a_flag_is_held_against_what_is_in_force() {
        let ours = door(1, 7);
        let mut configuration = ours.lock().configuration.as_ref().clone();
        let join = Purpose::Join { member_type: crate::engine::MemberType::Active };
        assert_eq!(ours.judge(&flagged(2, 0, 900).hello(to(1))), Ok(()), "nothing is in force yet");
        configuration.settings = Some(flagged(1, 7, 700).me.settings());
        ours.update(7, &configuration, &configuration);
        assert_eq!(ours.judge(&flagged(2, 0, 700).hello(to(1))), Ok(()));
        assert_eq!(ours.judge(&door(2, 0).hello(to(1))), Ok(()), "a flag left out takes what is in force");
        assert_eq!(ours.judge(&flagged(2, 7, 900).hello(to(1))), Ok(()), "changed while it runs");
        let differs = Rejection::Flag { setting: Setting::ElectionTimeout, given: 900, in_force: 700 };
        for purpose in [to(1), join] {
            assert_eq!(ours.judge(&flagged(2, 0, 900).hello(purpose)), Err(differs));
        }
        assert_eq!(ours.judge(&flagged(2, 0, 900).hello(Purpose::Look)), Ok(()));
        // The new one lets no member of that cluster in, either.
        let refusing = Rejection::Setting { setting: Setting::ElectionTimeout, given: 700, here: 900 };
        assert_eq!(flagged(2, 0, 900).judge(&ours.hello(to(2))), Err(refusing));
        assert_eq!(door(2, 0).judge(&ours.hello(to(2))), Ok(()));
    }

    fn to(to: ServerId) -> Purpose {
        Purpose::Peer { to }
    }

    #[test]
    fn strangers_are_told_why() {
        let ours = door(1, 7);
        assert_eq!(ours.judge(&door(2, 7).hello(to(1))), Ok(()));
        assert_eq!(ours.judge(&door(2, 0).hello(to(1))), Ok(()), "a fresh directory, same list");
        assert_eq!(ours.judge(&door(2, 8).hello(to(1))), Err(Rejection::Cluster));
        assert_eq!(ours.judge(&door(2, 7).hello(to(3))), Err(Rejection::WrongServer(1)));
        assert_eq!(ours.judge(&door(3, 0).hello(to(1))), Err(Rejection::NotAdmitted));
        assert_eq!(ours.judge(&door(3, 7).hello(to(1))), Ok(()), "of this cluster, and newer than what is known here");
        let mut hello = door(2, 0).hello(to(1));
        hello.digest += 1;
        assert_eq!(ours.judge(&hello), Err(Rejection::InitialList));
        hello.version += 1;
        assert_eq!(ours.judge(&hello), Err(Rejection::Version(WIRE_VERSION)));
    }

    #[test]
    fn a_wiped_disk_is_another_server() {
        let ours = door(1, 7);
        let mut configuration = Configuration::bootstrap([(1, "a".into()), (2, "b".into())]);
        configuration.members.get_mut(&2).expect("member").identity = Some(20);
        ours.update(7, &configuration, &configuration);
        let mut hello = door(2, 0).hello(to(1));
        assert_eq!(ours.judge(&hello), Ok(()));
        hello.identity = 21;
        assert_eq!(ours.judge(&hello), Err(Rejection::NotAdmitted));
        let mut hello = door(2, 7).hello(to(1));
        hello.identity = 20;
        let mut committed = configuration.clone();
        committed.removed.push(20);
        ours.update(7, &configuration, &committed);
        assert_eq!(ours.judge(&hello), Err(Rejection::Removed));
    }

    #[test]
    fn what_was_let_in_is_judged_again_when_the_cluster_is_known() {
        let ours = door(1, 0);
        let hello = door(2, 8).hello(to(1));
        assert_eq!(ours.judge(&hello), Ok(()), "it may be the cluster that this fresh server joins");
        assert!(ours.knows(2, 8, 20));
        let before = ours.generation();
        let configuration = ours.lock().configuration.as_ref().clone();
        ours.update(0, &configuration, &configuration);
        assert_eq!(ours.generation(), before, "nothing is new");
        ours.update(7, &configuration, &configuration);
        assert_ne!(ours.generation(), before);
        assert_eq!(ours.judge(&hello), Err(Rejection::Cluster));
        assert!(!ours.knows(2, 8, 20) && ours.knows(2, 0, 20) && ours.knows(2, 7, 20) && !ours.knows(3, 0, 30));
        assert!(ours.knows(3, 7, 30), "of this cluster, and newer than what is known here");
    }
}
