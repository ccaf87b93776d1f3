//! `/sandbox/…`: faults and counters for people and for tests in other processes.

use std::sync::Arc;

use http::Method;
use serde_json::json;

use super::answer::{Answer, json as answer_json, refused};
use super::body;
use crate::faults::Fault;
use crate::sandbox::Inner;
use crate::status::Status;

/// `GET|POST|DELETE /sandbox/faults[/ID]`, `POST /sandbox/expire-watches`,
/// `GET|DELETE /sandbox/requests`.
pub(super) fn admin(inner: &Arc<Inner>, method: &Method, path: &[String], bytes: &[u8]) -> Answer {
    let words: Vec<&str> = path.iter().map(String::as_str).collect();
    match (method.as_str(), words.as_slice()) {
        ("GET", ["faults"]) => {
            let rows: Vec<_> = inner
                .faults
                .list()
                .into_iter()
                .map(|(id, fault)| json!({"id": id, "fault": fault}))
                .collect();
            answer_json(200, &json!({"faults": rows}))
        }
        ("POST", ["faults"]) => match body::yaml(bytes).and_then(read_fault) {
            Ok(fault) => answer_json(201, &json!({"id": inner.faults.add(fault)})),
            Err(status) => refused(&status, None),
        },
        ("DELETE", ["faults"]) => {
            inner.faults.clear();
            answer_json(200, &json!({}))
        }
        ("DELETE", ["faults", id]) => match id.parse().is_ok_and(|id| inner.faults.remove(id)) {
            true => answer_json(200, &json!({})),
            false => refused(
                &Status::new(404, "NotFound", format!("no fault {id}")),
                None,
            ),
        },
        ("POST", ["expire-watches"]) => {
            inner.expire_watches();
            answer_json(200, &json!({}))
        }
        ("GET", ["requests"]) => {
            let rows: Vec<_> = inner
                .requests
                .snapshot()
                .into_iter()
                .map(|((verb, resource), count)| json!({"verb": verb, "resource": resource, "count": count}))
                .collect();
            answer_json(200, &json!({"requests": rows}))
        }
        ("DELETE", ["requests"]) => {
            inner.requests.reset();
            answer_json(200, &json!({}))
        }
        _ => refused(&Status::no_such_path(), None),
    }
}

fn read_fault(value: serde_json::Value) -> Result<Fault, Status> {
    serde_json::from_value(value).map_err(|error| {
        let example = r#"{"effect": {"type": "status", "code": 429, "retryAfterSeconds": 1}, "verbs": ["patch"], "times": 3}"#;
        Status::bad_request(format!("this is no fault: {error}; an example: {example}"))
    })
}
