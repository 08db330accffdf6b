//! What `/v1/cluster` says, in words.

use super::status::cell;
use serde_json::Value;
use std::fmt;

/// A member's type, and what it is to become.
pub(super) fn type_of(member: &Value) -> String {
    match member["becoming"].as_str() {
        Some(becoming) => format!("{} → {becoming}", cell(&member["type"])),
        None => cell(&member["type"]),
    }
}

/// How many servers may fail before writes stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Tolerance {
    voters: usize,
    available: usize,
}

impl Tolerance {
    pub(super) fn of(cluster: &Value) -> Self {
        let voters = || cluster["members"].as_array().into_iter().flatten().filter(|m| m["type"] == "active");
        Self { voters: voters().count(), available: voters().filter(|m| m["status"] == "available").count() }
    }

    /// How many more may be lost; `None`: there are too few already.
    fn spare(self) -> Option<usize> {
        self.available.checked_sub(self.voters / 2 + 1)
    }
}

impl fmt::Display for Tolerance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {} voters available, ", self.available, self.voters)?;
        match self.spare() {
            Some(spare) => write!(f, "can lose {spare}"),
            None => f.write_str("which is no majority: nothing is written"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn cluster(voters: &[&str]) -> Value {
        let member = |status: &&str| json!({ "type": "active", "status": status });
        let mut members: Vec<Value> = voters.iter().map(member).collect();
        members.push(json!({ "type": "passive", "status": "available", "becoming": "active" }));
        json!({ "members": members })
    }

    #[test]
    fn what_may_be_lost_is_told() {
        let (up, down) = ("available", "unavailable");
        let told = |voters: &[&str]| Tolerance::of(&cluster(voters)).to_string();
        assert_eq!(told(&[up]), "1 of 1 voters available, can lose 0");
        assert_eq!(told(&[up, up, up]), "3 of 3 voters available, can lose 1");
        assert_eq!(told(&[up, up, down]), "2 of 3 voters available, can lose 0");
        assert_eq!(told(&[up, down]), "1 of 2 voters available, which is no majority: nothing is written");
        assert_eq!(type_of(&cluster(&[])["members"][0]), "passive → active");
    }
}
