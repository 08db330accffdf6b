//! Quorum arithmetic: pure functions over the voters' numbers.

/// How many of `voters` are a majority.
pub(super) fn majority(voters: usize) -> usize {
    voters / 2 + 1
}

/// The highest value that a majority has reached: the commit index if the values are match indexes. The values are put
/// in order. Zero (the type's default) for no voters.
pub(super) fn reached_by_majority<T: Ord + Copy + Default>(values: &mut [T]) -> T {
    if values.is_empty() {
        return T::default();
    }
    values.sort_unstable_by(|a, b| b.cmp(a));
    values[majority(values.len()) - 1]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_majority_is_more_than_half() {
        assert_eq!((1..=6).map(majority).collect::<Vec<_>>(), [1, 2, 2, 3, 3, 4]);
    }

    #[test]
    fn a_value_is_reached_when_a_majority_has_it() {
        assert_eq!(reached_by_majority::<u64>(&mut []), 0);
        assert_eq!(reached_by_majority(&mut [7]), 7);
        assert_eq!(reached_by_majority(&mut [7, 3]), 3);
        assert_eq!(reached_by_majority(&mut [9, 3, 5]), 5);
        assert_eq!(reached_by_majority(&mut [9, 9, 3, 5]), 5);
        assert_eq!(reached_by_majority(&mut [0, 0, 9, 9, 9]), 9);
    }
}
