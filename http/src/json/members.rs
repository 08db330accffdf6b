//! Changes of the cluster, in and out.

use crate::backend::MemberKind;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// What a member is to be.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewMemberType {
    /// What it is to be.
    #[serde(rename = "type")]
    pub(crate) kind: MemberKind,
    /// The `configuration_index` that this was decided on.
    pub(crate) configuration: u64,
    /// Even if the voters that are left can form no majority.
    #[serde(default)]
    pub(crate) force: bool,
}

/// Who is to lead.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewLeader {
    /// The member.
    pub(crate) member: u64,
}

/// Who leads.
#[derive(Serialize, ToSchema)]
pub(crate) struct Leading {
    /// The member.
    pub(crate) leader: u64,
    /// Its term.
    pub(crate) term: u64,
}
