//! Changes of the configuration as pure functions: what is asked for, what comes of it, what is refused.
//!
//! Invariant: a change adds or takes away at most one vote, so that majorities before and after it overlap (Raft
//! dissertation, 4.1); and none is left without a voter.

use super::configuration::{Configuration, MEMBERS, Member, MemberStatus, MemberType};
use super::quorum::majority;
use crate::engine::settings::{NamedSettings, Setting};
use crate::engine::types::{Identity, Index, ServerId};
use bincode::{Decode, Encode};

/// What an operator, or a server that wants to join, asks for.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum Change {
    /// A server comes in. It enters as passive (or reserve), is caught up, and then becomes what it wants to be.
    Join {
        /// Its number,
        id: ServerId,
        /// and data directory.
        identity: Identity,
        /// Where its peers reach it,
        peer: String,
        /// and HTTP clients.
        http: String,
        /// What it wants to be.
        member_type: MemberType,
    },
    /// A member becomes something else.
    Type {
        /// Which.
        id: ServerId,
        /// What it is to be.
        member_type: MemberType,
        /// The index of the configuration that this was decided on.
        configuration: Index,
        /// Even if that loses the quorum.
        force: bool,
    },
    /// A member goes.
    Remove {
        /// Which.
        id: ServerId,
        /// The index of the configuration that this was decided on.
        configuration: Index,
        /// Even if that loses the quorum.
        force: bool,
    },
    /// What all members have alike becomes something else.
    Settings {
        /// What; the rest is left as it is.
        named: NamedSettings,
        /// The index of the configuration that this was decided on.
        configuration: Index,
    },
}

/// Why the configuration was not changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub enum ConfigurationError {
    /// There is no member with this number.
    NotMember(ServerId),
    /// It was decided on an older configuration.
    Stale {
        /// The index of the current one.
        current: Index,
    },
    /// Too many changes wait already.
    Busy,
    /// Too few voters would be left that can be heard.
    LosesQuorum {
        /// Voters after it,
        voters: u32,
        /// and how many of them are heard.
        available: u32,
    },
    /// No voter would be left.
    LastVoter,
    /// A member has this number, with another data directory.
    NumberTaken,
    /// Another member has this peer address.
    AddressTaken(ServerId),
    /// The directory was removed from this cluster.
    Removed,
    /// There are as many members as there may be.
    Full,
    /// The member does not vote, so it cannot lead.
    NotVoter(ServerId),
    /// The member is not heard, so it cannot lead.
    Unreachable(ServerId),
    /// The member did not take the office over in time.
    NotTransferred,
    /// What is asked of this setting is out of its range.
    OutOfRange(Setting),
}

impl std::fmt::Display for ConfigurationError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::NotMember(id) => write!(f, "server {id} is no member"),
            Self::Stale { current } => {
                write!(f, "the configuration has changed meanwhile: look again, and decide on configuration {current}")
            }
            Self::Busy => f.write_str("other changes are under way: try again"),
            Self::LosesQuorum { voters, available } => write!(
                f,
                "of the {voters} voters that would be left only {available} can be heard, which is no majority: bring \
                 servers back first, or say force if the others are gone for good"
            ),
            Self::LastVoter => f.write_str("the last voter cannot go: nothing would be left of the cluster"),
            Self::NumberTaken => f.write_str(
                "a member with this number has another data directory: remove it first, or join under another number",
            ),
            Self::AddressTaken(id) => {
                write!(f, "server {id} has this peer address: remove it first, or use another address")
            }
            Self::Removed => f.write_str("this data directory was removed from the cluster: start with an empty one"),
            Self::Full => write!(f, "the cluster has {MEMBERS} members, more it does not take"),
            Self::NotVoter(id) => write!(f, "server {id} does not vote, so it cannot lead"),
            Self::Unreachable(id) => write!(f, "server {id} is not heard, so it cannot lead"),
            Self::NotTransferred => f.write_str("the member did not take over in time: the leader stays"),
            Self::OutOfRange(setting) => {
                let range = setting.range();
                let (least, most) = (setting.text(*range.start()), setting.text(*range.end()));
                write!(f, "{setting} is out of its range: give {least} to {most}")
            }
        }
    }
}

/// What a leader knows that a configuration does not tell.
pub(super) struct Known<'a> {
    /// The leader itself.
    pub(super) me: ServerId,
    /// Whether a member is heard now.
    pub(super) heard: &'a dyn Fn(ServerId) -> bool,
    /// Whether a member's log is so close to the leader's that it may vote without holding up commits.
    pub(super) caught_up: &'a dyn Fn(ServerId) -> bool,
}

impl Change {
    /// The configuration after this change; `None`: it is so already. The caller sets its index and appends it.
    pub(super) fn apply(
        &self,
        current: &Configuration,
        known: &Known<'_>,
    ) -> Result<Option<Configuration>, ConfigurationError> {
        let stale = |configuration: Index| {
            let current = current.index;
            if configuration == current { Ok(()) } else { Err(ConfigurationError::Stale { current }) }
        };
        let mut next = current.clone();
        match self {
            Self::Join { id, identity, peer, http, member_type } => {
                if !next.join(*id, *identity, peer, http, *member_type)? {
                    return Ok(None);
                }
                next.reason = format!("server {id} asked to join");
                next.want_as_changed(current, *id);
            }
            Self::Type { id, member_type, configuration, force } => {
                let member = next.members.get_mut(id).ok_or(ConfigurationError::NotMember(*id))?;
                stale(*configuration)?;
                if member.becoming.unwrap_or(member.member_type) == *member_type {
                    return Ok(None);
                }
                member.turn_to(*member_type, || (known.heard)(*id) && (known.caught_up)(*id));
                next.reason = format!("server {id} was made {member_type} by request");
                next.want_as_changed(current, *id);
                next.check_quorum(current, known, *force)?;
            }
            Self::Remove { id, configuration, force } => {
                if !next.members.contains_key(id) {
                    return Err(ConfigurationError::NotMember(*id));
                }
                stale(*configuration)?;
                next.remove(*id);
                next.reason = format!("server {id} was removed by request");
                next.want_as_changed(current, *id);
                next.check_quorum(current, known, *force)?;
            }
            Self::Settings { named, configuration } => {
                if let Some(setting) = named.out_of_range() {
                    return Err(ConfigurationError::OutOfRange(setting));
                }
                stale(*configuration)?;
                // A leader is about to say what they are.
                let now = current.settings.ok_or(ConfigurationError::Busy)?;
                let Some((first, value, before)) = named.differs_from(&now) else { return Ok(None) };
                next.settings = Some(now.with(named));
                let (value, before) = (first.text(value), first.text(before));
                let others = if named.iter().count() > 1 { ", and others" } else { "" };
                next.reason = format!("{first} was changed from {before} to {value} by request{others}");
                return Ok(Some(next));
            }
        }
        Ok(Some(next))
    }
}

impl Member {
    /// Becomes this at once, or as far as it can, and notes the rest: who is to vote must have caught up before.
    fn turn_to(&mut self, goal: MemberType, is_ready: impl Fn() -> bool) {
        let far = goal == MemberType::Active
            && (self.member_type == MemberType::Reserve || self.member_type == MemberType::Passive && !is_ready());
        (self.member_type, self.becoming) = if far { (MemberType::Passive, Some(goal)) } else { (goal, None) };
    }
}

impl Configuration {
    /// Returns whether that changes anything.
    fn join(
        &mut self,
        id: ServerId,
        identity: Identity,
        peer: &str,
        http: &str,
        goal: MemberType,
    ) -> Result<bool, ConfigurationError> {
        if self.has_removed(identity) {
            return Err(ConfigurationError::Removed);
        }
        if let Some((&other, _)) = self.members.iter().find(|&(&other, m)| other != id && m.peer == peer) {
            return Err(ConfigurationError::AddressTaken(other));
        }
        if let Some(member) = self.members.get_mut(&id) {
            if member.identity != Some(identity) {
                return Err(ConfigurationError::NumberTaken);
            }
            let moved = member.peer != peer;
            member.peer = peer.to_string();
            return Ok(moved);
        }
        if self.members.len() >= MEMBERS {
            return Err(ConfigurationError::Full);
        }
        let becoming = Some(goal).filter(|&g| g == MemberType::Active);
        let member_type = if becoming.is_some() { MemberType::Passive } else { goal };
        let (peer, http, identity, status) =
            (peer.to_string(), http.to_string(), Some(identity), MemberStatus::Available);
        self.members.insert(id, Member { member_type, status, peer, http, identity, becoming });
        Ok(true)
    }

    /// Whether enough of the voters can be heard, if they are other ones than before.
    fn check_quorum(&self, before: &Self, known: &Known<'_>, force: bool) -> Result<(), ConfigurationError> {
        let voters: Vec<ServerId> = self.voters().collect();
        if voters.is_empty() {
            return Err(ConfigurationError::LastVoter);
        }
        let available = voters.iter().filter(|&&v| (known.heard)(v)).count();
        if !force && !before.voters().eq(voters.iter().copied()) && available < majority(voters.len()) {
            let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
            return Err(ConfigurationError::LosesQuorum { voters: count(voters.len()), available: count(available) });
        }
        Ok(())
    }

    /// An operator has changed this member: so many more or fewer of its type are wanted. What is there now may be on its way:
    /// replacement promotes first, and demotes afterwards.
    fn want_as_changed(&mut self, before: &Self, id: ServerId) {
        use MemberType::{Active, Passive};
        let (was, is) = (before.goal(id), self.goal(id));
        if was == is {
            return;
        }
        let was = before.settled_goal(id);
        let count = |wanted: u32, of| match (was == Some(of), is == Some(of)) {
            (true, false) => wanted.saturating_sub(1),
            (false, true) => wanted.saturating_add(1),
            _ => wanted,
        };
        self.wanted = (count(self.wanted.0, Active), count(self.wanted.1, Passive));
    }

    /// What a member is to be.
    fn goal(&self, id: ServerId) -> Option<MemberType> {
        self.members.get(&id).map(|m| m.becoming.unwrap_or(m.member_type))
    }

    /// What a member is to be once all that was replaced is demoted.
    fn settled_goal(&self, id: ServerId) -> Option<MemberType> {
        use MemberType::{Active, Passive, Reserve};
        let goal = self.goal(id)?;
        let (wanted, demoted) = match goal {
            Active => (self.wanted.0, Passive),
            Passive => (self.wanted.1, Reserve),
            Reserve => return Some(goal),
        };
        let all = || self.members.keys().copied().filter(|&m| self.goal(m) == Some(goal));
        let surplus = all().count().saturating_sub(wanted as usize);
        // The dead ones go first. A living passive member is not demoted.
        let dead = all().filter(|&m| !self.is_available(m));
        let goes = match dead.clone().position(|m| m == id) {
            Some(place) => place < surplus,
            None => goal == Active && surplus > dead.count(),
        };
        Some(if goes { demoted } else { goal })
    }

    /// The next step of what was begun: one member that is to become something else, and can now.
    pub(super) fn go_on(&self, known: &Known<'_>) -> Option<Self> {
        let ready = |id: ServerId| (known.heard)(id) && (known.caught_up)(id);
        let (&id, goal) = self.members.iter().find_map(|(id, m)| Some((id, m.becoming.filter(|_| ready(*id))?)))?;
        let mut next = self.clone();
        let member = next.members.get_mut(&id)?;
        (member.member_type, member.becoming) = (goal, None);
        next.reason = format!("server {id} has caught up");
        next.check_quorum(self, known, false).ok()?;
        Some(next)
    }

    /// The next step of replacing what is not heard, if there is one: an available passive member becomes active, then the
    /// dead one passive; an available reserve member becomes passive, then the dead one reserve. Each step leaves a
    /// quorum. A dead member is never promoted, so two dead ones cannot take turns.
    pub(super) fn replace_dead(&self, known: &Known<'_>) -> Option<Self> {
        use MemberType::{Active, Passive, Reserve};
        let alive = |id: &ServerId| self.is_available(*id) && (known.heard)(*id);
        // One that has not answered this leader yet may just have joined: it is missing when it is marked so.
        let count = |of: MemberType| self.of_type(of).filter(|&id| self.is_available(id)).count();
        let total = |of: MemberType| self.of_type(of).count();
        let (actives, passives) = (self.wanted.0 as usize, self.wanted.1 as usize);
        let dead = |of: MemberType| self.of_type(of).find(|&id| !self.is_available(id));
        let ready = |id: &ServerId| alive(id) && (known.caught_up)(*id);
        // One that came back after it was replaced is one too many.
        let surplus = || self.of_type(Active).filter(|&id| id != known.me).last();
        let (id, to, reason) = if total(Active) > actives
            && let Some(id) = dead(Active).or_else(surplus)
        {
            (id, Passive, "it was replaced".to_string())
        } else if count(Active) < actives
            && let Some(gone) = dead(Active)
            && let Some(id) = self.of_type(Passive).find(ready)
        {
            (id, Active, format!("in place of server {gone}, which is not heard"))
        } else if count(Passive) < passives
            && let Some(id) = self.of_type(Reserve).find(alive)
        {
            (id, Passive, "a passive member was wanting".to_string())
        } else if count(Passive) >= passives
            && total(Passive) > passives
            && let Some(id) = dead(Passive)
        {
            (id, Reserve, "it was replaced".to_string())
        } else {
            return None;
        };
        let mut next = self.clone();
        let member = next.members.get_mut(&id)?;
        (member.member_type, member.becoming) = (to, None);
        next.reason = format!("server {id}: {reason}");
        next.check_quorum(self, known, false).ok()?;
        Some(next)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use MemberType::{Active, Passive, Reserve};

    fn of(types: &[MemberType]) -> Configuration {
        let ids = 1..=types.len() as u64;
        let mut c = Configuration::bootstrap(ids.clone().map(|id| (id, format!("s{id}"))));
        for (id, &member_type) in ids.zip(types) {
            let m = c.members.get_mut(&id).expect("a member");
            (m.member_type, m.identity) = (member_type, Some(id * 10));
        }
        c.index = 7;
        c.count_wanted();
        c
    }

    fn lose(c: &mut Configuration, id: ServerId) {
        c.members.get_mut(&id).expect("a member").status = MemberStatus::Unavailable;
    }

    fn types(c: &Configuration) -> Vec<MemberType> {
        c.members.values().map(|m| m.member_type).collect()
    }

    /// Everything that is marked as available is heard and caught up.
    fn with_known<T>(c: &Configuration, run: impl FnOnce(&Known<'_>) -> T) -> T {
        let heard = |id| c.is_available(id);
        run(&Known { me: 1, heard: &heard, caught_up: &|_| true })
    }

    fn change(c: &Configuration, change: &Change) -> Result<Option<Configuration>, ConfigurationError> {
        with_known(c, |known| change.apply(c, known))
    }

    fn turn(id: ServerId, member_type: MemberType) -> Change {
        Change::Type { id, member_type, configuration: 7, force: false }
    }

    #[test]
    fn a_stale_change_is_refused() {
        let c = of(&[Active, Active, Active]);
        let stale = Change::Remove { id: 3, configuration: 6, force: true };
        assert_eq!(change(&c, &stale), Err(ConfigurationError::Stale { current: 7 }));
        let nobody = Change::Remove { id: 9, configuration: 7, force: true };
        assert_eq!(change(&c, &nobody), Err(ConfigurationError::NotMember(9)));
    }

    #[test]
    fn settings_are_changed_as_members_are() {
        use crate::engine::settings::Settings;
        let mut c = of(&[Active, Active, Active]);
        let to = |setting, value, configuration| {
            let named = [(setting, value)].into_iter().collect();
            Change::Settings { named, configuration }
        };
        let longer = to(Setting::ElectionTimeout, 1000, 7);
        assert_eq!(change(&c, &longer), Err(ConfigurationError::Busy), "there are none yet");
        c.settings = Some(Settings::default());
        let next = change(&c, &longer).expect("fine").expect("new");
        let named = [(Setting::ElectionTimeout, 1000)].into_iter().collect();
        assert_eq!(next.settings, Some(Settings::default().with(&named)));
        assert_eq!(next.members, c.members);
        assert_eq!(next.reason, "election_timeout was changed from 500ms to 1s by request");
        assert_eq!(change(&next, &longer), Ok(None), "it is so already");
        let stale = to(Setting::ElectionTimeout, 1000, 6);
        assert_eq!(change(&c, &stale), Err(ConfigurationError::Stale { current: 7 }));
        let error = change(&c, &to(Setting::ElectionTimeout, 49, 7)).expect_err("out of range");
        assert_eq!(error, ConfigurationError::OutOfRange(Setting::ElectionTimeout));
        assert_eq!(error.to_string(), "election_timeout is out of its range: give 50ms to 1m");
    }

    #[test]
    fn who_joins_enters_as_passive_and_its_number_and_address_are_its_own() {
        let c = of(&[Active, Active, Active]);
        let join = |id, identity, peer: &str, member_type| Change::Join {
            id,
            identity,
            peer: peer.into(),
            http: String::new(),
            member_type,
        };
        let next = change(&c, &join(4, 44, "s4", Active)).expect("fine").expect("new");
        assert_eq!((next.members[&4].member_type, next.members[&4].becoming), (Passive, Some(Active)));
        assert_eq!(next.wanted, (4, 0));
        assert_eq!(change(&next, &join(4, 44, "s4", Active)), Ok(None), "asked again");
        assert_eq!(change(&next, &join(4, 45, "s4", Active)), Err(ConfigurationError::NumberTaken));
        assert_eq!(change(&next, &join(5, 55, "s4", Active)), Err(ConfigurationError::AddressTaken(4)));
        let removed = change(&next, &Change::Remove { id: 4, configuration: 7, force: false });
        let removed = removed.expect("fine").expect("new");
        assert_eq!(change(&removed, &join(4, 44, "s4", Active)), Err(ConfigurationError::Removed));
        assert!(change(&removed, &join(4, 46, "s4", Reserve)).is_ok_and(|c| c.is_some()), "a fresh directory");
    }

    #[test]
    fn what_would_lose_the_quorum_is_refused() {
        let mut c = of(&[Active, Active, Active]);
        lose(&mut c, 3);
        let error = ConfigurationError::LosesQuorum { voters: 2, available: 1 };
        assert_eq!(change(&c, &turn(2, Passive)), Err(error));
        let forced = Change::Type { id: 2, member_type: Passive, configuration: 7, force: true };
        assert!(change(&c, &forced).is_ok());
        assert!(change(&c, &turn(3, Passive)).is_ok(), "the dead one may go");
        let alone = of(&[Active, Passive]);
        let force = Change::Remove { id: 1, configuration: 7, force: true };
        assert_eq!(change(&alone, &force), Err(ConfigurationError::LastVoter));
    }

    #[test]
    fn who_is_to_vote_catches_up_first() {
        let c = of(&[Active, Passive, Reserve]);
        let behind = Known { me: 1, heard: &|_| true, caught_up: &|_| false };
        for id in [2, 3] {
            let next = turn(id, Active).apply(&c, &behind).expect("fine").expect("new");
            assert_eq!((next.members[&id].member_type, next.members[&id].becoming), (Passive, Some(Active)));
            assert_eq!(next.go_on(&behind), None);
            let done = with_known(&next, |known| next.go_on(known)).expect("it has caught up");
            assert_eq!((done.members[&id].member_type, done.members[&id].becoming), (Active, None));
        }
    }

    #[test]
    fn a_dead_member_is_replaced_step_by_step_and_dead_ones_never_take_turns() {
        let step = |c: &Configuration| with_known(c, |known| c.replace_dead(known));
        let mut c = of(&[Active, Active, Active, Passive, Passive, Reserve]);
        assert_eq!(step(&c), None);
        lose(&mut c, 2);
        let mut seen = vec![types(&c)];
        while let Some(next) = step(&c) {
            assert!(seen.len() < 10, "{seen:?}");
            c = next;
            seen.push(types(&c));
        }
        let expected = [
            [Active, Active, Active, Passive, Passive, Reserve],
            [Active, Active, Active, Active, Passive, Reserve],
            [Active, Passive, Active, Active, Passive, Reserve],
            [Active, Passive, Active, Active, Passive, Passive],
            [Active, Reserve, Active, Active, Passive, Passive],
        ];
        assert_eq!(seen, expected);
        lose(&mut c, 5);
        lose(&mut c, 6);
        lose(&mut c, 4);
        assert_eq!(step(&c), None, "nobody is left to promote");
    }

    #[test]
    fn what_is_wanted_is_counted_without_what_replacement_has_under_way() {
        let mut c = of(&[Active, Active, Active, Passive]);
        lose(&mut c, 3);
        let half = with_known(&c, |known| c.replace_dead(known)).expect("4 is promoted");
        assert_eq!((types(&half), half.wanted), (vec![Active, Active, Active, Active], (3, 1)));
        let wanted = |c: &Configuration, then: &Change| change(c, then).expect("fine").expect("new").wanted;
        let remove = |id| Change::Remove { id, configuration: 7, force: false };
        let peer = "s5".to_string();
        let join = Change::Join { id: 5, identity: 55, peer, http: String::new(), member_type: Passive };
        assert_eq!(wanted(&half, &join), (3, 2));
        assert_eq!(wanted(&half, &turn(3, Passive)), (3, 1), "as replacement would");
        assert_eq!(wanted(&half, &remove(3)), (3, 0));
        assert_eq!(wanted(&half, &turn(2, Passive)), (2, 2));
        assert_eq!(wanted(&half, &remove(2)), (2, 1));
        assert_eq!(wanted(&c, &remove(3)), (2, 1), "before anything was replaced");
    }

    #[test]
    fn who_has_joined_a_moment_ago_is_not_missing() {
        let mut c = of(&[Active, Active, Active, Passive, Passive, Reserve]);
        // The leader has not yet heard the fifth, and does not say of it that it is unavailable.
        let silent = Known { me: 1, heard: &|id| id != 5, caught_up: &|_| true };
        assert_eq!(c.replace_dead(&silent), None);
        // Nor does it promote whom it has not heard.
        lose(&mut c, 3);
        let promoted = c.replace_dead(&Known { me: 1, heard: &|id| id != 3 && id != 4, caught_up: &|_| true });
        assert_eq!(promoted.map(|c| types(&c)), Some(vec![Active, Active, Active, Passive, Active, Reserve]));
        let nobody = Known { me: 1, heard: &|id| id < 3, caught_up: &|_| true };
        assert_eq!(c.replace_dead(&nobody), None);
        lose(&mut c, 5);
        assert_eq!(c.replace_dead(&nobody), None, "the reserve has not answered either");
    }

    #[test]
    fn replacement_never_goes_below_the_quorum() {
        let mut c = of(&[Active, Active, Active, Passive]);
        lose(&mut c, 2);
        lose(&mut c, 3);
        assert_eq!(with_known(&c, |known| c.replace_dead(known)), None, "2 of 4 would be heard");
    }
}
