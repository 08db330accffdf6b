//! `GET /v1/dashboard`: all that a page about this server and its cluster shows, and then what changes.
//!
//! What it costs is bounded by time, not by what the server does: a look at what is known anyway, twice a second, and once
//! for each event.

use super::sse::{self, Said};
use super::{Shared, TERM, accept};
use crate::backend::{Failure, Feed};
use crate::json::{self, Dashboard, DashboardDelta, DashboardState, FeedEvent};
use crate::params::Params;
use crate::problem::Problem;
use axum::extract::{Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;
use serde_json::{Map, Value};
use std::time::Duration;

/// How often the state is looked at while nothing happens.
const LOOK: Duration = Duration::from_millis(500);

/// Seconds in a message.
const POINTS: usize = 60;

/// What the client has been told.
struct Told {
    state: Value,
    event: u64,
    point: u64,
}

pub(super) async fn dashboard(State(app): State<Shared>, request: Request) -> Result<Response, Problem> {
    Params::parse(request.uri().query(), &[])?;
    // Taken before the state: what happens in between is told twice rather than never.
    let (last_event, _) = events(&app, None, Duration::ZERO).await.map_err(Problem::of_query)?;
    let snapshot = Dashboard { state: state(&app), last_event, last_point: app.history.last() };
    let mut response = if accept::names(request.headers(), sse::KIND) {
        let state = serde_json::to_value(&snapshot.state).unwrap_or_default();
        let told = Told { state, event: last_event, point: snapshot.last_point };
        let first = sse::message(last_event, "snapshot", &snapshot);
        let place = request.extensions().get().cloned();
        sse::response((first, Some(told)), place, move |told| next(app.clone(), told))
    } else {
        json::response(StatusCode::OK, &snapshot)
    };
    response.headers_mut().insert(TERM, snapshot.state.cluster.term.into());
    response.headers_mut().insert(header::VARY, HeaderValue::from_static("Accept"));
    Ok(response)
}

fn state(app: &Shared) -> DashboardState {
    let checks = app.backend.checks().told();
    DashboardState { server: app.backend.server(), cluster: app.backend.cluster(), checks }
}

/// The number of the last event, and what came behind `after`; `None`: not all of that is kept.
async fn events(
    app: &Shared,
    after: Option<u64>,
    wait: Duration,
) -> Result<(u64, Option<Vec<crate::backend::ClusterEvent>>), Failure> {
    Ok(match app.backend.feed(after, wait).await? {
        Feed::Events { events, last } => (last, Some(events)),
        Feed::Trimmed { resume } => (resume, None),
    })
}

/// Waits until there is something to tell.
async fn next(app: Shared, mut told: Told) -> Said<Told> {
    loop {
        let (last, found) = match events(&app, Some(told.event), LOOK).await {
            Ok(found) => found,
            Err(failure) => return (sse::ending(&Problem::of_query(failure)), None),
        };
        told.event = found.as_ref().map_or(last, |events| events.last().map_or(told.event, |event| event.id));
        let now = serde_json::to_value(state(&app)).unwrap_or_default();
        let (points, _) = app.history.behind(told.point, POINTS);
        told.point = points.last().map_or(told.point, |point| point.time_ms);
        let delta = DashboardDelta {
            patch: patch(&told.state, &now),
            gap: found.is_none(),
            events: found.iter().flatten().map(FeedEvent::from).collect(),
            points,
        };
        told.state = now;
        if delta.patch.is_some() || delta.gap || !delta.events.is_empty() || !delta.points.is_empty() {
            return (sse::message(told.event, "delta", &delta), Some(told));
        }
    }
}

/// The JSON merge patch (RFC 7396) from one to the other; `None`: they are equal.
fn patch(old: &Value, new: &Value) -> Option<Value> {
    let (Value::Object(before), Value::Object(after)) = (old, new) else {
        return (old != new).then(|| new.clone());
    };
    let mut changed = Map::new();
    for name in before.keys().filter(|name| !after.contains_key(*name)) {
        changed.insert(name.clone(), Value::Null);
    }
    for (name, value) in after {
        let change = before.get(name).map_or_else(|| Some(value.clone()), |old| patch(old, value));
        changed.extend(change.map(|change| (name.clone(), change)));
    }
    (!changed.is_empty()).then(|| changed.into())
}

#[cfg(test)]
mod tests {
    use super::patch;
    use serde_json::{Value, json};

    /// RFC 7396, 2.
    fn apply(target: &mut Value, patch: &Value) {
        let Value::Object(patch) = patch else { return *target = patch.clone() };
        if !target.is_object() {
            *target = json!({});
        }
        let Value::Object(target) = target else { return };
        for (name, value) in patch {
            match value {
                Value::Null => drop(target.remove(name)),
                _ => apply(target.entry(name).or_insert(Value::Null), value),
            }
        }
    }

    #[test]
    fn a_patch_says_what_changed_and_no_more() {
        let old = json!({"a": 1, "b": {"c": [1, 2], "d": "x"}, "gone": 5, "e": {}});
        let new = json!({"a": 1, "b": {"c": [1, 3], "d": "x"}, "e": {"f": true}});
        let found = patch(&old, &new).expect("they differ");
        assert_eq!(found, json!({"b": {"c": [1, 3]}, "gone": null, "e": {"f": true}}));
        let mut patched = old.clone();
        apply(&mut patched, &found);
        assert_eq!(patched, new);
        assert_eq!(patch(&new, &new), None);
    }
}
