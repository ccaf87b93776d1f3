//! Output formats: what `-o` takes, and resources written in each of them.

use std::str::FromStr;

use lockstep_proto::API_VERSION;
use lockstep_proto::v1::{Resource, kind, resource::Resource as Is};
use serde::Serialize;
use serde_json::{Value, json};

use crate::term;
use jsonpath::Template;

pub(crate) mod jsonpath;

#[derive(Debug, Clone)]
pub(crate) enum Format {
    Table,
    Wide,
    Json,
    Yaml,
    Name,
    JsonPath(Template),
}

impl Format {
    pub const HELP: &'static str = "table, wide, json, yaml, name or jsonpath=TEMPLATE";
    /// For what has no names.
    pub const UNNAMED: &'static str = "table, json, yaml or jsonpath=TEMPLATE";

    pub fn is_table(&self) -> bool {
        matches!(self, Self::Table | Self::Wide)
    }
}

impl FromStr for Format {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Ok(match text {
            "table" => Self::Table,
            "wide" => Self::Wide,
            "json" => Self::Json,
            "yaml" => Self::Yaml,
            "name" => Self::Name,
            _ => match text.strip_prefix("jsonpath=") {
                Some(template) => Self::JsonPath(template.parse()?),
                None => return Err(format!("expected {}", Self::HELP)),
            },
        })
    }
}

/// `cluster/eu-1`.
pub(crate) fn name_of(resource: &Resource) -> String {
    format!("{}/{}", kind_word(resource.kind()), resource.name())
}

/// A kind as it stands in names and messages: `clustergroup`.
pub(crate) fn kind_word(kind: kind::Name) -> String {
    kind.as_str_name().to_ascii_lowercase()
}

/// The resource as JSON, with `apiVersion` and `kind` in it.
pub(crate) fn to_json(resource: &Resource) -> anyhow::Result<Value> {
    fn value(message: &impl Serialize) -> serde_json::Result<Value> {
        serde_json::to_value(message)
    }
    let mut json = match &resource.resource {
        None => anyhow::bail!("the hub sent a resource of a kind that this lockstep does not know"),
        Some(Is::Cluster(m)) => value(m),
        Some(Is::ClusterGroup(m)) => value(m),
        Some(Is::Repository(m)) => value(m),
        Some(Is::Assignment(m)) => value(m),
        Some(Is::JoinToken(m)) => value(m),
        Some(Is::Credential(m)) => value(m),
    }?;
    if let Value::Object(fields) = &mut json {
        fields.insert("apiVersion".into(), API_VERSION.into());
        fields.insert("kind".into(), resource.kind().as_str_name().into());
    }
    end_times_in_z(&mut json);
    Ok(json)
}

/// Canonical proto JSON ends times in `Z`; the library behind our messages
/// writes `+00:00`.
pub(crate) fn end_times_in_z(json: &mut Value) {
    const TIMES: [&str; 12] = [
        "at",
        "createdAt",
        "lastSeen",
        "observedAt",
        "lastFetched",
        "lastAttempt",
        "time",
        "expiresAt",
        "usedAt",
        "revokedAt",
        "syncedAt",
        "endedAt",
    ];
    match json {
        Value::Object(fields) => {
            for (key, value) in fields {
                match value {
                    Value::String(text) if TIMES.contains(&key.as_str()) => {
                        if let Some(utc) = text.strip_suffix("+00:00") {
                            *text = format!("{utc}Z");
                        }
                    }
                    inner => end_times_in_z(inner),
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(end_times_in_z),
        _ => {}
    }
}

/// `{"kind": "ClusterList", "items": […]}`.
pub(crate) fn list_json(kind: kind::Name, resources: &[Resource]) -> anyhow::Result<Value> {
    let items = resources
        .iter()
        .map(to_json)
        .collect::<anyhow::Result<Vec<_>>>()?;
    Ok(json!({
        "apiVersion": API_VERSION,
        "kind": format!("{}List", kind.as_str_name()),
        "items": items,
    }))
}

/// Writes a value in a format for machines, ending in a newline.
pub(crate) fn write_value(value: &Value, format: &Format) -> anyhow::Result<String> {
    Ok(match format {
        Format::Yaml => serde_saphyr::to_string(&ordered(value))?,
        Format::JsonPath(template) => {
            let text = template.render(value)?;
            if term::is_terminal() {
                term::lines(&text).into_owned()
            } else {
                text
            }
        }
        _ => format!("{}\n", serde_json::to_string_pretty(&ordered(value))?),
    })
}

/// A resource's fields in the order that people know them in.
fn ordered(value: &Value) -> Ordered<'_> {
    Ordered(value)
}

struct Ordered<'a>(&'a Value);

impl Serialize for Ordered<'_> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        const FIRST: [&str; 8] = [
            "apiVersion",
            "kind",
            "name",
            "metadata",
            "spec",
            "status",
            "items",
            "summary",
        ];
        match self.0 {
            Value::Object(map) => {
                let rank = |key: &str| FIRST.iter().position(|&f| f == key).unwrap_or(FIRST.len());
                let mut fields: Vec<_> = map.iter().collect();
                fields.sort_by_key(|(key, _)| rank(key));
                serializer.collect_map(fields.into_iter().map(|(k, v)| (k, Ordered(v))))
            }
            Value::Array(items) => serializer.collect_seq(items.iter().map(Ordered)),
            scalar => scalar.serialize(serializer),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lockstep_proto::v1;

    #[test]
    fn times_end_in_z() {
        let mut resource = cluster();
        if let Some(Is::Cluster(c)) = &mut resource.resource {
            c.status.get_or_insert_default().last_seen = Some(pbjson_types::Timestamp {
                seconds: 1_700_000_000,
                nanos: 146_000_000,
            });
        }
        let json = to_json(&resource).unwrap();
        assert_eq!(json["status"]["lastSeen"], "2023-11-14T22:13:20.146Z");
    }

    fn cluster() -> Resource {
        Resource {
            resource: Some(Is::Cluster(v1::Cluster {
                metadata: Some(v1::ObjectMeta {
                    name: "eu-1".into(),
                    ..Default::default()
                }),
                status: Some(v1::ClusterStatus {
                    connection: v1::connection::Status::Online.into(),
                    sync: v1::sync::Status::OutOfSync.into(),
                    assignments: vec![v1::AssignmentState::default()],
                    ..Default::default()
                }),
                ..Default::default()
            })),
        }
    }

    #[test]
    fn json_says_every_field_of_a_status_in_the_designs_words() {
        let json = to_json(&cluster()).unwrap();
        assert_eq!(json["kind"], "Cluster");
        assert_eq!(json["metadata"]["labels"], json!({}));
        assert_eq!(json["status"]["connection"], "Online");
        assert_eq!(json["status"]["sync"], "OutOfSync");
        assert_eq!(json["status"]["assignments"][0]["drifted"], 0);
        assert_eq!(json["status"]["assignments"][0]["stale"], false);
        assert_eq!(json["status"]["assignments"][0]["problems"], json!([]));
    }

    #[test]
    fn yaml_keeps_the_usual_order() {
        let list = list_json(kind::Name::Cluster, &[cluster()]).unwrap();
        let yaml = write_value(&list, &Format::Yaml).unwrap();
        let order = [
            "apiVersion:",
            "kind: ClusterList",
            "items:",
            "metadata:",
            "status:",
        ];
        let places: Vec<_> = order.iter().map(|k| yaml.find(k).unwrap()).collect();
        assert!(places.is_sorted(), "{yaml}");
    }

    #[test]
    fn formats_are_read() {
        assert!(
            "jsonpath={.items[*].metadata.name}"
                .parse::<Format>()
                .is_ok()
        );
        assert!("jsonpath={.items[".parse::<Format>().is_err());
        assert!("xml".parse::<Format>().is_err());
    }
}
