//! From a path to what it means.

use http::Method;

use super::query::{Query, decode};
use crate::discovery::Catalogue;
use crate::machinery::Target;

/// What a request's path leads to.
pub(crate) enum Route {
    Health,
    Version,
    Core,
    Groups,
    Group(String),
    Resources(String, String),
    OpenApiV2,
    OpenApiV3Index,
    OpenApiV3(String, String),
    Admin(Vec<String>),
    Object(Target),
    Unknown,
    /// A group or a version that nobody serves: plain text, as in the real server.
    UnknownGroup,
}

pub(crate) fn route(catalogue: &Catalogue, path: &str) -> Route {
    let parts: Vec<String> = path
        .split('/')
        .filter(|part| !part.is_empty())
        .map(|part| decode(part, false))
        .collect();
    let words: Vec<&str> = parts.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["healthz" | "readyz" | "livez", ..] => Route::Health,
        ["version"] => Route::Version,
        ["sandbox", ..] => Route::Admin(parts[1..].to_vec()),
        ["openapi", "v2"] => Route::OpenApiV2,
        ["openapi", "v3"] => Route::OpenApiV3Index,
        ["openapi", "v3", "api", version] => Route::OpenApiV3(String::new(), (*version).to_owned()),
        ["openapi", "v3", "apis", group, version] => {
            Route::OpenApiV3((*group).to_owned(), (*version).to_owned())
        }
        ["api"] => Route::Core,
        ["apis"] => Route::Groups,
        ["api", version] => Route::Resources(String::new(), (*version).to_owned()),
        ["apis", group] => Route::Group((*group).to_owned()),
        ["apis", group, version] => Route::Resources((*group).to_owned(), (*version).to_owned()),
        ["api", version, rest @ ..] => object(catalogue, "", version, rest),
        ["apis", group, version, rest @ ..] => object(catalogue, group, version, rest),
        _ => Route::UnknownGroup,
    }
}

fn object(catalogue: &Catalogue, group: &str, version: &str, rest: &[&str]) -> Route {
    // A namespace is itself a resource: two words are it, three and more lead into it.
    let (namespace, rest) = match rest {
        ["namespaces", name, sub @ ("status" | "finalize")] => {
            ("", ["namespaces", name, sub].to_vec())
        }
        ["namespaces", namespace, inner @ ..] if !inner.is_empty() => (*namespace, inner.to_vec()),
        other => ("", other.to_vec()),
    };
    let (plural, name, subresource) = match rest.as_slice() {
        [plural] => (*plural, "", ""),
        [plural, name] => (*plural, *name, ""),
        [plural, name, subresource] => (*plural, *name, *subresource),
        _ => return Route::Unknown,
    };
    let Some(resource) = catalogue.by_path(group, version, plural) else {
        return if catalogue.has_group(group) {
            Route::Unknown
        } else {
            Route::UnknownGroup
        };
    };
    // A namespaced object without a namespace, or the other way round, is nowhere.
    if resource.namespaced == namespace.is_empty() && !(resource.namespaced && name.is_empty()) {
        return Route::Unknown;
    }
    Route::Object(Target {
        resource,
        version: version.to_owned(),
        namespace: namespace.to_owned(),
        name: name.to_owned(),
        subresource: subresource.to_owned(),
    })
}

/// What a request does, in the words of the API.
pub(crate) fn verb(method: &Method, target: &Target, query: &Query) -> Option<&'static str> {
    let one = !target.name.is_empty();
    Some(match (method.as_str(), one) {
        ("GET", _) if query.flag("watch") => "watch",
        ("GET" | "HEAD", true) => "get",
        ("GET" | "HEAD", false) => "list",
        ("POST", _) => "create",
        ("PUT", true) => "update",
        ("PATCH", true) => "patch",
        ("DELETE", true) => "delete",
        ("DELETE", false) => "deletecollection",
        _ => return None,
    })
}
