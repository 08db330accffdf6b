//! A small random generator: the same seed gives the same numbers, on every machine, for ever.

/// xoshiro256**, seeded through SplitMix64.
#[derive(Clone, Debug)]
pub struct Rng {
    state: [u64; 4],
}

fn split_mix(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

impl Rng {
    /// A generator whose whole future is this seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        let mut s = seed;
        Self { state: std::array::from_fn(|_| split_mix(&mut s)) }
    }

    /// 64 random bits.
    pub fn next_u64(&mut self) -> u64 {
        let s = &mut self.state;
        let result = s[1].wrapping_mul(5).rotate_left(7).wrapping_mul(9);
        let t = s[1] << 17;
        s[2] ^= s[0];
        s[3] ^= s[1];
        s[1] ^= s[2];
        s[0] ^= s[3];
        s[2] ^= t;
        s[3] = s[3].rotate_left(45);
        result
    }

    /// A number from 0 to `n - 1`; 0 if `n` is 0.
    pub fn below(&mut self, n: u64) -> u64 {
        // The high half of a 128-bit product: the bias is below n / 2^64.
        let product = u128::from(self.next_u64()) * u128::from(n);
        u64::try_from(product >> 64).unwrap_or_default()
    }

    /// A number from `from` to `to - 1`; `from` if the range is empty.
    pub fn range(&mut self, from: u64, to: u64) -> u64 {
        from + self.below(to.saturating_sub(from))
    }

    /// True in `numerator` of `denominator` cases.
    pub fn chance(&mut self, numerator: u64, denominator: u64) -> bool {
        self.below(denominator) < numerator
    }

    /// A generator of its own: what is drawn from it changes nothing here, but for one number.
    #[must_use]
    pub fn fork(&mut self) -> Self {
        Self::new(self.next_u64())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_is_its_numbers() {
        let draw = |seed| {
            let mut rng = Rng::new(seed);
            (0..100).map(|_| rng.next_u64()).collect::<Vec<_>>()
        };
        assert_eq!(draw(7), draw(7));
        assert_ne!(draw(7), draw(8));
        // Pinned: a recorded seed must mean the same run after a change here.
        assert_eq!(draw(0)[0], 11_091_344_671_253_066_420);
    }

    #[test]
    fn bounds_hold_and_are_reached() {
        let mut rng = Rng::new(1);
        let mut seen = [0_u32; 10];
        for _ in 0..10_000 {
            let n = rng.below(10);
            seen[usize::try_from(n).expect("small")] += 1;
            assert!((5..8).contains(&rng.range(5, 8)));
        }
        assert!(seen.iter().all(|&n| (800..1200).contains(&n)), "{seen:?}");
        assert_eq!((rng.below(0), rng.below(1), rng.range(4, 4)), (0, 0, 4));
        let yes = (0..10_000).filter(|_| rng.chance(1, 4)).count();
        assert!((2200..2800).contains(&yes), "{yes}");
    }

    #[test]
    fn a_fork_goes_its_own_way() {
        let mut a = Rng::new(3);
        let mut b = a.clone();
        let mut fork = a.fork();
        let _ = b.fork();
        fork.next_u64();
        assert_eq!(a.next_u64(), b.next_u64());
    }
}
