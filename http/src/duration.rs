//! Durations as the API writes them.

use std::time::Duration;

/// `1500ms`, `30s`, `5m`, `2h`: a whole number and its unit. `None` for anything else.
#[must_use]
pub fn parse_duration(text: &str) -> Option<Duration> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().ok()?;
    let ms = match unit {
        "ms" => 1,
        "s" => 1000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return None,
    };
    number.checked_mul(ms).map(Duration::from_millis)
}

/// The longest life of a key, in hours: a leap year.
const LONGEST_TTL: Duration = Duration::from_secs(366 * 24 * 3600);

/// A key's life, in milliseconds, or what is wrong with it.
pub(crate) fn parse_ttl(text: &str) -> Result<u64, String> {
    let ttl = parse_duration(text).ok_or_else(|| format!("{text:?} is no duration: write 1500ms, 30s or 24h"))?;
    if !(Duration::from_millis(1)..=LONGEST_TTL).contains(&ttl) {
        return Err("give 1ms to 8784h".into());
    }
    u64::try_from(ttl.as_millis()).map_err(|e| e.to_string())
}

/// Milliseconds as [`parse_duration`] reads them.
pub(crate) fn text(ms: u64) -> String {
    if ms.is_multiple_of(1000) { format!("{}s", ms / 1000) } else { format!("{ms}ms") }
}

/// The same, in minutes where that is a whole number of them.
pub(crate) fn long_text(ms: u64) -> String {
    if ms >= 60_000 && ms.is_multiple_of(60_000) { format!("{}m", ms / 60_000) } else { text(ms) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_and_a_unit_and_nothing_else() {
        assert_eq!(parse_duration("1500ms"), Some(Duration::from_millis(1500)));
        assert_eq!(parse_duration("30s"), Some(Duration::from_secs(30)));
        assert_eq!(parse_duration("5m"), Some(Duration::from_secs(300)));
        assert_eq!(parse_duration("0s"), Some(Duration::ZERO));
        for bad in
            ["", "5", "s", "-1s", "1.5s", "1 s", " 1s", "1S", "1d", "99999999999999999999s", "18446744073709551615h"]
        {
            assert_eq!(parse_duration(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_life_is_no_shorter_than_a_millisecond_and_no_longer_than_a_year() {
        assert_eq!((parse_ttl("1ms"), parse_ttl("90s"), parse_ttl("8784h")), (Ok(1), Ok(90_000), Ok(31_622_400_000)));
        assert!(["0s", "8785h", "1", "", "-1s"].iter().all(|bad| parse_ttl(bad).is_err()));
        for ms in [1, 999, 1000, 1500, 60_000] {
            assert_eq!(parse_ttl(&text(ms)), Ok(ms));
        }
    }
}
