//! The schemas of the JSON shapes.

use super::errors;
use crate::json;
use crate::status::{ClusterView, ServerView, SettingsView};
use serde_json::{Map, Value};
use utoipa::ToSchema;
use utoipa::openapi::RefOr;
use utoipa::openapi::schema::Schema;

/// By name, those that others refer to too.
pub(super) fn all() -> Value {
    let mut schemas = Vec::new();
    add::<json::Written<'_>>(&mut schemas);
    add::<json::Deleted>(&mut schemas);
    add::<json::DeletedMany>(&mut schemas);
    add::<json::Key<'_>>(&mut schemas);
    add::<json::Page<'_>>(&mut schemas);
    add::<json::Transaction>(&mut schemas);
    add::<json::TransactionAnswer<'_>>(&mut schemas);
    add::<json::CommandRequest>(&mut schemas);
    add::<json::CommandAnswer<'_>>(&mut schemas);
    add::<json::QueryRequest>(&mut schemas);
    add::<json::QueryAnswer<'_>>(&mut schemas);
    add::<json::Log>(&mut schemas);
    add::<json::Entries>(&mut schemas);
    add::<json::NewSession>(&mut schemas);
    add::<json::Begun>(&mut schemas);
    add::<json::Session<'_>>(&mut schemas);
    add::<json::Sessions<'_>>(&mut schemas);
    add::<json::Acknowledged>(&mut schemas);
    add::<json::Alive>(&mut schemas);
    add::<json::Ended>(&mut schemas);
    add::<json::Watch>(&mut schemas);
    add::<json::Watching>(&mut schemas);
    add::<json::Unwatched>(&mut schemas);
    add::<json::Events<'_>>(&mut schemas);
    add::<json::FeedPage<'_>>(&mut schemas);
    add::<json::HistoryPage>(&mut schemas);
    add::<json::Dashboard>(&mut schemas);
    add::<json::DashboardDelta<'_>>(&mut schemas);
    add::<json::Held<'_>>(&mut schemas);
    add::<json::Queued<'_>>(&mut schemas);
    add::<json::Lock<'_>>(&mut schemas);
    add::<json::Locks<'_>>(&mut schemas);
    add::<json::Released>(&mut schemas);
    add::<json::Revoked>(&mut schemas);
    add::<ClusterView>(&mut schemas);
    add::<ServerView>(&mut schemas);
    add::<SettingsView>(&mut schemas);
    add::<json::NewSettings>(&mut schemas);
    add::<json::NewMemberType>(&mut schemas);
    add::<json::NewLeader>(&mut schemas);
    add::<json::Leading>(&mut schemas);
    add::<json::NewCompaction>(&mut schemas);
    add::<json::Compaction>(&mut schemas);
    add::<json::Snapshot>(&mut schemas);
    schemas.sort_by(|(a, _), (b, _)| a.cmp(b));
    let named = |(name, schema)| (name, serde_json::to_value(schema).unwrap_or_default());
    let mut all: Map<String, Value> = schemas.into_iter().map(named).collect();
    all.values_mut().for_each(unsigned);
    all.insert("Problem".into(), errors::schema());
    all.into()
}

/// What is derived takes every number for a signed one; ours have no sign and one bit more.
fn unsigned(schema: &mut Value) {
    match schema {
        Value::Object(map) => {
            if map.get("format").is_some_and(|format| format == "int64") {
                map.insert("format".into(), "uint64".into());
                map.entry("maximum").or_insert_with(|| u64::MAX.into());
            }
            map.values_mut().for_each(unsigned);
        }
        Value::Array(list) => list.iter_mut().for_each(unsigned),
        _ => {}
    }
}

fn add<T: ToSchema>(schemas: &mut Vec<(String, RefOr<Schema>)>) {
    schemas.push((T::name().into(), T::schema()));
    T::schemas(schemas);
}
