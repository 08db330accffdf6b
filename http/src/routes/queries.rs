//! `POST /v1/queries`: a question as JSON.

use super::list::Listing;
use super::{Shared, machine, stamped};
use crate::backend::{Answer, Query, QueryOutput};
use crate::cursor;
use crate::json::decode::{self, short};
use crate::json::{self, Object, QueryAnswer, QueryRequest};
use crate::params::Params;
use crate::problem::Problem;
use crate::value::read_json;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::Response;

pub(crate) const PATH: &str = "/v1/queries";
pub(crate) const PARAMS: &[&str] = &["timeout"];

pub(super) async fn queries(State(app): State<Shared>, request: Request) -> Result<Response, Problem> {
    if app.backend.keys().is_none() {
        return machine::query(&app, request).await;
    }
    let (parts, body) = request.into_parts();
    let params = Params::parse(parts.uri.query(), PARAMS)?;
    let body = read_json(&app.config, &parts.headers, body).await?;
    let Object(QueryRequest { query, consistency, index }) = json::parse(&body, app.config.json_depth)?;
    let read = params.read_as(consistency.as_deref(), index, &parts.headers)?;
    match query {
        json::Query::Get(name) => {
            let key = decode::key_of(name).map_err(|fault| fault.within("query.get"))?;
            let answer = app.keys()?.query(Query::Get { key: key.clone() }, read).await.map_err(Problem::of_query)?;
            let QueryOutput::Value(item) = &answer.output else { return Err(Problem::internal()) };
            let body = QueryAnswer::got(&key, item.as_ref(), answer.index);
            Ok(stamped(json::response(StatusCode::OK, &body), &answer))
        }
        json::Query::List(list) => {
            let prefix = short("prefix", list.prefix, list.prefix_encoding).map_err(|f| f.within("query.list"))?;
            let start = list.cursor.map(|cursor| cursor::decode(cursor.as_bytes(), &prefix)).transpose();
            let listing = Listing {
                start: start.map_err(|problem| problem.within("query.list"))?,
                prefix,
                limit: list.limit,
                max_bytes: list.max_bytes,
                separator: list.separator.map(String::into_bytes),
                no_values: list.values.is_some(),
            };
            let listing = listing.checked().map_err(|problem| problem.within("query.list"))?;
            let found = listing.read(&app, read).await?;
            let body = QueryAnswer::listed(listing.items(&found.items), found.cursor(), found.from.index);
            let from: &Answer<()> = &found.from;
            Ok(stamped(json::response(StatusCode::OK, &body), from))
        }
    }
}
