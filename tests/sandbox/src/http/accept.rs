//! In which form a client wants its answer.

use http::HeaderMap;
use http::header::ACCEPT;

use crate::status::Status;

/// The forms of an object, or of a list of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum View {
    Whole,
    /// `PartialObjectMetadata`.
    Metadata,
    /// `PartialObjectMetadataList`.
    MetadataList,
    Table,
}

/// The media ranges that a client accepts, in its order: type, and parameters in lower case.
fn ranges(headers: &HeaderMap) -> Vec<(String, Vec<(String, String)>)> {
    let text: Vec<&str> = headers
        .get_all(ACCEPT)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .collect();
    let text = text.join(",");
    text.split(',')
        .map(|range| {
            let mut parts = range.split(';').map(str::trim);
            let kind = parts.next().unwrap_or("").to_lowercase();
            let parameters = parts
                .filter_map(|part| part.split_once('='))
                .map(|(name, value)| (name.to_lowercase(), value.to_owned()));
            (kind, parameters.collect())
        })
        .filter(|(kind, _)| !kind.is_empty())
        .collect()
}

fn parameter<'a>(parameters: &'a [(String, String)], name: &str) -> &'a str {
    parameters
        .iter()
        .find(|(other, _)| other == name)
        .map_or("", |(_, value)| value)
}

fn is_json(kind: &str) -> bool {
    matches!(kind, "application/json" | "application/*" | "*/*")
}

/// The first range that the sandbox can serve.
pub(crate) fn view(headers: &HeaderMap) -> Result<View, Status> {
    let ranges = ranges(headers);
    if ranges.is_empty() {
        return Ok(View::Whole);
    }
    for (kind, parameters) in &ranges {
        if !is_json(kind) {
            continue;
        }
        let group = parameter(parameters, "g");
        match parameter(parameters, "as") {
            "" => return Ok(View::Whole),
            "Table" if group == "meta.k8s.io" && parameter(parameters, "v") == "v1" => {
                return Ok(View::Table);
            }
            "PartialObjectMetadataList"
                if group == "meta.k8s.io" && parameter(parameters, "v") == "v1" =>
            {
                return Ok(View::MetadataList);
            }
            "PartialObjectMetadata"
                if group == "meta.k8s.io" && parameter(parameters, "v") == "v1" =>
            {
                return Ok(View::Metadata);
            }
            _ => {}
        }
    }
    Err(Status::not_acceptable())
}

/// Does the client ask for aggregated discovery?
pub(crate) fn aggregated(headers: &HeaderMap) -> bool {
    ranges(headers).iter().any(|(kind, parameters)| {
        is_json(kind)
            && parameter(parameters, "g") == "apidiscovery.k8s.io"
            && parameter(parameters, "v") == "v2"
            && parameter(parameters, "as") == "APIGroupDiscoveryList"
    })
}

/// Does the client take JSON at all?
pub(crate) fn takes_json(headers: &HeaderMap) -> bool {
    let ranges = ranges(headers);
    ranges.is_empty() || ranges.iter().any(|(kind, _)| is_json(kind))
}
