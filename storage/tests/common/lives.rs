//! What the tests with power cuts share: lives that end at any moment, and what has really happened in them.
#![allow(unreachable_pub)]

use copycat_storage::MemDisk;

use super::common::Rng;

/// Counters by name, which are added up over all lives.
macro_rules! stats {
    ($($field:ident)*) => {
        /// What really happened: a run in which something never did has tested nothing of it.
        #[derive(Clone, Copy, Debug, Default)]
        pub(crate) struct Stats { $(pub(crate) $field: u64,)* }

        impl $crate::lives::Count for Stats {
            fn images(&self) -> u64 {
                self.images
            }

            fn add(&mut self, other: Stats) {
                $(self.$field += other.$field;)*
            }

            fn all(&self) -> Vec<(&'static str, u64)> {
                vec![$((stringify!($field), self.$field)),*]
            }
        }
    };
}
pub(crate) use stats;

pub trait Count: Clone + Copy + std::fmt::Debug + Default + Send {
    fn images(&self) -> u64;
    fn add(&mut self, other: Self);
    fn all(&self) -> Vec<(&'static str, u64)>;
}

/// The power goes, now.
pub fn power_cut(disk: &MemDisk, rng: &mut Rng) {
    disk.crash(&mut || rng.next());
}

/// A flush was reported that was taken at this length of the first of these branches. Of each later one, that many of its
/// entries must be found as it has from the branch before. Each is given as where it was cut, and its floor.
pub fn raise_floors<'a>(branches: impl Iterator<Item = (usize, &'a mut usize)>, len: usize) {
    let mut known = len;
    for (i, (cut, floor)) in branches.enumerate() {
        if i > 0 {
            known = known.min(cut);
        }
        *floor = known.max(*floor);
    }
}

/// Lives of other and other seeds, on two threads, until there were so many images; each kind of event must have come about
/// a hundred times.
pub fn live<S: Count>(images: u64, life: impl Fn(u64) -> S + Sync + std::panic::RefUnwindSafe) {
    let lives = |parity: u64| {
        let (mut stats, mut seed) = (S::default(), parity);
        while stats.images() < images / 2 {
            match std::panic::catch_unwind(|| life(seed)) {
                Ok(more) => stats.add(more),
                Err(_) => panic!("seed {seed}"),
            }
            seed += 2;
        }
        stats
    };
    let stats = std::thread::scope(|scope| {
        let other = scope.spawn(|| lives(1));
        let mut stats = lives(0);
        stats.add(other.join().unwrap());
        stats
    });
    println!("{stats:#?}");
    for (name, count) in stats.all() {
        assert!(count >= 100, "{name}: only {count}");
    }
}
