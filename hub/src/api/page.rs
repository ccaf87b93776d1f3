//! Requests for pages, and where the next one begins. A page token is opaque
//! to callers: it holds the last key of the page before, so that it stays good
//! whatever changes in between.

use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD as BASE64;
use lockstep_proto::v1;
use tonic::Status;

use super::error::invalid;
use crate::status::{StatusPage, StatusQuery};
use crate::store::HistoryAt;

const DEFAULT_SIZE: u32 = 500;
const MAX_SIZE: u32 = 5_000;
const DEFAULT_INTERVAL: u32 = 500;
/// A table of the whole fleet is not made more often than this for one reader.
const MIN_INTERVAL: u32 = 100;
const MAX_INTERVAL: u32 = 60_000;

pub(super) fn size(asked: u32) -> usize {
    let size = match asked {
        0 => DEFAULT_SIZE,
        asked => asked.min(MAX_SIZE),
    };
    size as usize
}

pub(super) fn interval(millis: u32) -> Duration {
    let millis = match millis {
        0 => DEFAULT_INTERVAL,
        millis => millis.clamp(MIN_INTERVAL, MAX_INTERVAL),
    };
    Duration::from_millis(millis.into())
}

/// The token of the page that begins after `name`.
pub(super) fn name(name: &str) -> String {
    BASE64.encode(name)
}

/// The name in a token; none for the first page.
pub(super) fn read_name(token: &str) -> Result<Option<String>, Status> {
    if token.is_empty() {
        return Ok(None);
    }
    let name = BASE64.decode(token).ok();
    let name = name.and_then(|bytes| String::from_utf8(bytes).ok());
    name.map(Some)
        .ok_or_else(|| invalid("page_token: is none that this hub gave: begin without one"))
}

/// The token of the page of a history that begins after `at`.
pub(super) fn history(at: &HistoryAt) -> String {
    let source = if at.is_event { "e" } else { "r" };
    name(&format!("{}/{}/{source}/{}", at.at, at.cluster, at.number))
}

/// Where a page of a history begins; none for the first.
pub(super) fn read_history(token: &str) -> Result<Option<HistoryAt>, Status> {
    let Some(text) = read_name(token)? else {
        return Ok(None);
    };
    let read = || {
        let [at, cluster, source, number] = text.split('/').collect::<Vec<_>>()[..] else {
            return None;
        };
        Some(HistoryAt {
            at: at.parse().ok()?,
            cluster: cluster.to_owned(),
            is_event: source == "e",
            number: number.parse().ok()?,
        })
    };
    read()
        .map(Some)
        .ok_or_else(|| invalid("page_token: is none that this hub gave: begin without one"))
}

pub(super) fn status_query(request: v1::StatusRequest) -> Result<StatusQuery, Status> {
    let some = |text: String| (!text.is_empty()).then_some(text);
    let after = match read_name(&request.page_token)? {
        None => None,
        Some(token) => Some(
            token
                .split_once('/')
                .map(|(cluster, assignment)| (cluster.to_owned(), assignment.to_owned()))
                .ok_or_else(|| {
                    invalid("page_token: is none that this hub gave: begin without one")
                })?,
        ),
    };
    Ok(StatusQuery {
        assignment: some(request.assignment),
        group: some(request.group),
        selector: super::parse(&request.label_selector)?,
        only_problems: request.only_problems,
        after,
        limit: size(request.page_size),
    })
}

pub(super) fn status_response(page: StatusPage) -> v1::StatusResponse {
    v1::StatusResponse {
        rows: page.rows,
        next_page_token: page
            .next
            .map(|(cluster, assignment)| name(&format!("{cluster}/{assignment}")))
            .unwrap_or_default(),
        summary: Some(page.summary),
    }
}
