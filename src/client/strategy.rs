//! Which server a client talks to, how often it tries, and what it does when its session is lost.

use crate::wire::Cluster;
use std::time::Duration;

/// How a client that reaches no server goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ConnectionStrategy {
    /// It tries each server once; then it ends.
    Once,
    /// It tries them all again after a pause, which doubles each time.
    ExponentialBackoff {
        /// The first pause.
        first: Duration,
        /// The longest one.
        most: Duration,
    },
    /// It tries them all again after a pause; each is as long as the two before it together.
    FibonacciBackoff {
        /// The first pause, and the second.
        first: Duration,
        /// The longest one.
        most: Duration,
    },
}

impl Default for ConnectionStrategy {
    /// Exponential, from 50 ms to 5 s.
    fn default() -> Self {
        Self::ExponentialBackoff { first: Duration::from_millis(50), most: Duration::from_secs(5) }
    }
}

impl ConnectionStrategy {
    /// The pauses between rounds over all servers; where they end, the client does.
    pub fn pauses(self) -> impl Iterator<Item = Duration> + Send {
        let (mut pause, mut next, most, fibonacci) = match self {
            Self::Once => (None, Duration::ZERO, Duration::ZERO, false),
            Self::ExponentialBackoff { first, most } => (Some(first), first * 2, most, false),
            Self::FibonacciBackoff { first, most } => (Some(first), first, most, true),
        };
        std::iter::from_fn(move || {
            let now = pause?.min(most);
            // Sums and doubles of what is cut cannot overflow.
            let after = if fibonacci { now + next } else { next * 2 };
            (pause, next) = (Some(next.min(most)), after.min(most));
            Some(now)
        })
    }
}

/// What a client does when its session is lost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum RecoveryStrategy {
    /// It is closed, until [`recover`](super::Client::recover) is called.
    Close,
    /// It registers a new session. Watches and locks are gone with the old one.
    #[default]
    Recover,
}

/// Which servers a client prefers. It takes any other rather than none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum ServerSelection {
    /// Any.
    #[default]
    Any,
    /// The leader: the shortest way for commands and linearizable queries.
    Leader,
    /// Any but the leader: it has enough to do.
    Followers,
}

impl ServerSelection {
    /// The addresses to try, best first. `seeds`: those that the program gave; `random` decides between equals.
    pub(super) fn order(self, seeds: &[String], cluster: &Cluster, random: u64) -> Vec<String> {
        let mut members: Vec<_> = cluster.members.iter().collect();
        let mut seeds: Vec<_> = seeds.iter().collect();
        let at = |length: usize| usize::try_from(random % length.max(1) as u64).unwrap_or(0);
        let (first_member, first_seed) = (at(members.len()), at(seeds.len()));
        members.rotate_left(first_member);
        seeds.rotate_left(first_seed);
        members.sort_by_key(|(id, _)| !self.prefers(*id, cluster.leader));
        let mut addresses: Vec<String> = Vec::new();
        for address in members.into_iter().map(|(_, address)| address).chain(seeds) {
            if !addresses.contains(address) {
                addresses.push(address.clone());
            }
        }
        addresses
    }

    fn prefers(self, server: u64, leader: Option<u64>) -> bool {
        match self {
            Self::Any => true,
            Self::Leader => leader == Some(server),
            Self::Followers => leader != Some(server),
        }
    }

    /// A better server than this one, if there is one.
    pub(super) fn better(self, server: u64, cluster: &Cluster) -> Option<String> {
        if self.prefers(server, cluster.leader) {
            return None;
        }
        let better = cluster.members.iter().find(|(id, _)| *id != server && self.prefers(*id, cluster.leader));
        better.map(|(_, address)| address.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pauses(strategy: ConnectionStrategy) -> Vec<u64> {
        strategy.pauses().take(8).map(|pause| u64::try_from(pause.as_millis()).expect("short")).collect()
    }

    #[test]
    fn pauses_grow_as_their_name_says_and_stay_below_their_bound() {
        let (first, most) = (Duration::from_millis(10), Duration::from_millis(150));
        assert_eq!(pauses(ConnectionStrategy::Once), [0; 0]);
        let exponential = ConnectionStrategy::ExponentialBackoff { first, most };
        assert_eq!(pauses(exponential), [10, 20, 40, 80, 150, 150, 150, 150]);
        let fibonacci = ConnectionStrategy::FibonacciBackoff { first, most };
        assert_eq!(pauses(fibonacci), [10, 10, 20, 30, 50, 80, 130, 150]);
    }

    #[test]
    fn the_preferred_come_first_and_nobody_is_left_out() {
        let members = vec![(1, "a".to_string()), (2, "b".to_string()), (3, "c".to_string())];
        let cluster = Cluster { id: 7, leader: Some(2), members };
        let seeds = ["b".to_string(), "x".to_string()];
        for random in 0..12 {
            let leader = ServerSelection::Leader.order(&seeds, &cluster, random);
            assert_eq!((leader[0].as_str(), leader.len()), ("b", 4));
            let followers = ServerSelection::Followers.order(&seeds, &cluster, random);
            assert_eq!((followers[2].as_str(), followers.len()), ("b", 4));
        }
        let firsts: std::collections::BTreeSet<String> =
            (0..12).map(|random| ServerSelection::Any.order(&seeds, &cluster, random)[0].clone()).collect();
        assert_eq!(firsts.len(), 3, "clients spread");
        assert_eq!(ServerSelection::Leader.better(1, &cluster), Some("b".into()));
        assert_eq!(ServerSelection::Leader.better(2, &cluster), None);
        assert_eq!(ServerSelection::Followers.better(2, &cluster), Some("a".into()));
        let unknown = Cluster { leader: None, ..cluster };
        assert_eq!(ServerSelection::Leader.better(1, &unknown), None);
    }
}
