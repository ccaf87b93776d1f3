//! What stands in a cell.

use jiff::Timestamp;
use serde_json::Value;

use crate::discovery::Column;
use crate::machinery::pick;

const NONE: &str = "<none>";
const UNKNOWN: &str = "<unknown>";

/// A cell of a custom resource: what the column's path leads to.
pub(super) fn custom(object: &Value, column: &Column) -> Value {
    let value = condition(object, &column.path).unwrap_or_else(|| pick(object, &column.path));
    match (column.kind.as_str(), value) {
        ("date", Value::String(time)) => age(time).into(),
        (_, Value::Null) => Value::Null,
        ("string", Value::String(text)) => text.clone().into(),
        ("string", other) => other.to_string().into(),
        (_, other) => other.clone(),
    }
}

/// The one filter that definitions commonly use: `.list[?(@.type=="Ready")].status`.
fn condition<'a>(object: &'a Value, path: &str) -> Option<&'a Value> {
    let (list, rest) = path.split_once("[?(@.")?;
    let (test, rest) = rest.split_once(")]")?;
    let (field, wanted) = test.split_once("==")?;
    let wanted = wanted.trim().trim_matches(['"', '\'']);
    let found = pick(object, list)
        .as_array()?
        .iter()
        .find(|item| item[field.trim()] == wanted);
    Some(found.map_or(&Value::Null, |item| {
        if rest.is_empty() {
            item
        } else {
            pick(item, rest)
        }
    }))
}

/// A cell of a built-in kind.
pub(super) fn builtin(group: &str, kind: &str, column: &str, object: &Value) -> Value {
    let (spec, status) = (&object["spec"], &object["status"]);
    let number = |value: &Value| value.as_i64().unwrap_or(0);
    match (kind, column) {
        ("Event", _) => return event(column, object),
        (_, "Name") => return object["metadata"]["name"].clone(),
        (_, "Age") => {
            return object["metadata"]["creationTimestamp"]
                .as_str()
                .map_or_else(|| UNKNOWN.to_owned(), age)
                .into();
        }
        (_, "Created At") => return object["metadata"]["creationTimestamp"].clone(),
        _ => {}
    }
    let template = if kind == "CronJob" {
        &spec["jobTemplate"]["spec"]["template"]["spec"]
    } else {
        &spec["template"]["spec"]
    };
    match (group, kind, column) {
        (_, _, "Containers") => join(&template["containers"], "name").into(),
        (_, _, "Images") => join(&template["containers"], "image").into(),
        ("", "Service", "Selector") => labels(spec["selector"].as_object()).into(),
        (_, _, "Selector") => labels(spec["selector"]["matchLabels"].as_object()).into(),
        ("apps", "Deployment" | "StatefulSet", "Ready") => format!(
            "{}/{}",
            number(&status["readyReplicas"]),
            number(&spec["replicas"])
        )
        .into(),
        ("apps", "Deployment", "Up-to-date") => number(&status["updatedReplicas"]).into(),
        ("apps", "Deployment", "Available") => number(&status["availableReplicas"]).into(),
        ("apps", "DaemonSet", "Desired") => number(&status["desiredNumberScheduled"]).into(),
        ("apps", "DaemonSet", "Current") => number(&status["currentNumberScheduled"]).into(),
        ("apps", "DaemonSet", "Ready") => number(&status["numberReady"]).into(),
        ("apps", "DaemonSet", "Up-to-date") => number(&status["updatedNumberScheduled"]).into(),
        ("apps", "DaemonSet", "Available") => number(&status["numberAvailable"]).into(),
        ("apps", "DaemonSet", "Node Selector") => {
            labels(template["nodeSelector"].as_object()).into()
        }
        (_, "ReplicaSet" | "ReplicationController", "Desired") => number(&spec["replicas"]).into(),
        (_, "ReplicaSet" | "ReplicationController", "Current") => {
            number(&status["replicas"]).into()
        }
        (_, "ReplicaSet" | "ReplicationController", "Ready") => {
            number(&status["readyReplicas"]).into()
        }
        ("batch", _, _) => batch(kind, column, object),
        ("", "Pod", _) => pod(column, object),
        ("", "ConfigMap", "Data") => (count(&object["data"]) + count(&object["binaryData"])).into(),
        ("", "Secret", "Data") => count(&object["data"]).into(),
        ("", "Secret", "Type") => object["type"].clone(),
        ("", "Namespace", "Status") => status["phase"].clone(),
        ("", "Service", _) => service(column, spec, status),
        ("", "PersistentVolumeClaim", _) => claim(column, spec, status),
        ("networking.k8s.io", "Ingress", _) => ingress(column, spec, status),
        _ => Value::Null,
    }
}

fn join(list: &Value, field: &str) -> String {
    let words: Vec<&str> = list
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|item| item[field].as_str())
        .collect();
    words.join(",")
}

fn labels(map: Option<&serde_json::Map<String, Value>>) -> String {
    let words: Vec<String> = map
        .into_iter()
        .flatten()
        .map(|(key, value)| format!("{key}={}", value.as_str().unwrap_or("")))
        .collect();
    if words.is_empty() {
        NONE.to_owned()
    } else {
        words.join(",")
    }
}

fn count(map: &Value) -> usize {
    map.as_object().map_or(0, serde_json::Map::len)
}

fn batch(kind: &str, column: &str, object: &Value) -> Value {
    let (spec, status) = (&object["spec"], &object["status"]);
    let holds = |name: &str| {
        status["conditions"]
            .as_array()
            .into_iter()
            .flatten()
            .any(|condition| condition["type"] == name && condition["status"] == "True")
    };
    match (kind, column) {
        ("Job", "Status") => match () {
            () if holds("Complete") => "Complete".into(),
            () if holds("Failed") => "Failed".into(),
            () if object["metadata"]["deletionTimestamp"].is_string() => "Terminating".into(),
            () if holds("Suspended") => "Suspended".into(),
            () => "Running".into(),
        },
        ("Job", "Completions") => {
            let wanted = spec["completions"]
                .as_i64()
                .or(spec["parallelism"].as_i64())
                .unwrap_or(1);
            format!("{}/{wanted}", status["succeeded"].as_i64().unwrap_or(0)).into()
        }
        ("Job", "Duration") => match (
            status["startTime"].as_str(),
            status["completionTime"].as_str(),
        ) {
            (Some(start), Some(end)) => between(start, end).into(),
            (Some(start), None) => age(start).into(),
            _ => "".into(),
        },
        ("CronJob", "Schedule") => spec["schedule"].clone(),
        ("CronJob", "Timezone") => spec["timeZone"].as_str().unwrap_or(NONE).into(),
        ("CronJob", "Suspend") => if spec["suspend"] == true {
            "True"
        } else {
            "False"
        }
        .into(),
        ("CronJob", "Active") => status["active"].as_array().map_or(0, Vec::len).into(),
        ("CronJob", "Last Schedule") => status["lastScheduleTime"]
            .as_str()
            .map_or_else(|| NONE.to_owned(), age)
            .into(),
        _ => Value::Null,
    }
}

fn pod(column: &str, object: &Value) -> Value {
    let (spec, status) = (&object["spec"], &object["status"]);
    let statuses = status["containerStatuses"]
        .as_array()
        .map_or(&[][..], Vec::as_slice);
    match column {
        "Ready" => {
            let ready = statuses
                .iter()
                .filter(|container| container["ready"] == true)
                .count();
            format!(
                "{ready}/{}",
                spec["containers"].as_array().map_or(0, Vec::len)
            )
            .into()
        }
        "Status" if object["metadata"]["deletionTimestamp"].is_string() => "Terminating".into(),
        "Status" => {
            let waiting = statuses
                .iter()
                .find_map(|container| container["state"]["waiting"]["reason"].as_str());
            waiting
                .or(status["reason"].as_str())
                .or(status["phase"].as_str())
                .unwrap_or("")
                .into()
        }
        "Restarts" => statuses
            .iter()
            .map(|container| container["restartCount"].as_i64().unwrap_or(0))
            .sum::<i64>()
            .to_string()
            .into(),
        "IP" => status["podIP"].as_str().unwrap_or(NONE).into(),
        "Node" => spec["nodeName"].as_str().unwrap_or(NONE).into(),
        _ => NONE.into(),
    }
}

fn service(column: &str, spec: &Value, status: &Value) -> Value {
    match column {
        "Type" => spec["type"].clone(),
        "Cluster-IP" => spec["clusterIP"].as_str().unwrap_or(NONE).into(),
        "External-IP" => {
            let addresses = &status["loadBalancer"]["ingress"];
            let words: Vec<&str> = addresses
                .as_array()
                .into_iter()
                .flatten()
                .filter_map(|at| at["ip"].as_str().or(at["hostname"].as_str()))
                .collect();
            match (spec["type"].as_str(), words.as_slice()) {
                (Some("LoadBalancer"), []) => "<pending>".into(),
                (Some("ExternalName"), _) => spec["externalName"].clone(),
                (_, []) => NONE.into(),
                _ => words.join(",").into(),
            }
        }
        "Port(s)" => {
            let words: Vec<String> = spec["ports"]
                .as_array()
                .into_iter()
                .flatten()
                .map(|port| {
                    let protocol = port["protocol"].as_str().unwrap_or("TCP");
                    match port["nodePort"].as_i64().unwrap_or(0) {
                        0 => format!("{}/{protocol}", port["port"]),
                        node => format!("{}:{node}/{protocol}", port["port"]),
                    }
                })
                .collect();
            if words.is_empty() {
                NONE.into()
            } else {
                words.join(",").into()
            }
        }
        _ => Value::Null,
    }
}

fn claim(column: &str, spec: &Value, status: &Value) -> Value {
    match column {
        "Status" => status["phase"].clone(),
        "Volume" => spec["volumeName"].as_str().unwrap_or("").into(),
        "Capacity" => status["capacity"]["storage"].as_str().unwrap_or("").into(),
        "Access Modes" => {
            let short = |mode: &Value| match mode.as_str() {
                Some("ReadWriteOnce") => "RWO",
                Some("ReadOnlyMany") => "ROX",
                Some("ReadWriteMany") => "RWX",
                Some("ReadWriteOncePod") => "RWOP",
                _ => "",
            };
            let words: Vec<&str> = status["accessModes"]
                .as_array()
                .into_iter()
                .flatten()
                .map(short)
                .collect();
            words.join(",").into()
        }
        "StorageClass" => spec["storageClassName"].as_str().unwrap_or("").into(),
        "VolumeAttributesClass" => spec["volumeAttributesClassName"]
            .as_str()
            .unwrap_or("<unset>")
            .into(),
        "VolumeMode" => spec["volumeMode"].clone(),
        _ => Value::Null,
    }
}

fn ingress(column: &str, spec: &Value, status: &Value) -> Value {
    match column {
        "Class" => spec["ingressClassName"].as_str().unwrap_or(NONE).into(),
        "Hosts" => {
            let hosts: Vec<&str> = spec["rules"]
                .as_array()
                .into_iter()
                .flatten()
                .filter_map(|rule| rule["host"].as_str())
                .collect();
            if hosts.is_empty() {
                "*".into()
            } else {
                hosts.join(",").into()
            }
        }
        "Address" => join(&status["loadBalancer"]["ingress"], "ip").into(),
        "Ports" => if spec["tls"].as_array().is_some_and(|list| !list.is_empty()) {
            "80, 443"
        } else {
            "80"
        }
        .into(),
        _ => Value::Null,
    }
}

fn event(column: &str, object: &Value) -> Value {
    let about = &object["involvedObject"];
    let word = |value: &Value| value.as_str().unwrap_or("").to_owned();
    let time = |names: &[&str]| {
        names
            .iter()
            .find_map(|name| object[*name].as_str())
            .or(object["metadata"]["creationTimestamp"].as_str())
            .map_or_else(|| UNKNOWN.to_owned(), age)
    };
    match column {
        "Last Seen" => time(&["lastTimestamp", "eventTime"]).into(),
        "First Seen" => time(&["firstTimestamp", "eventTime"]).into(),
        "Type" => object["type"].clone(),
        "Reason" => object["reason"].clone(),
        "Object" => format!(
            "{}/{}",
            word(&about["kind"]).to_lowercase(),
            word(&about["name"])
        )
        .into(),
        "Subobject" => word(&about["fieldPath"]).into(),
        "Source" => word(&object["source"]["component"]).into(),
        "Message" => word(&object["message"]).trim().into(),
        "Count" => object["count"].as_i64().unwrap_or(1).into(),
        "Name" => object["metadata"]["name"].clone(),
        _ => Value::Null,
    }
}

/// The time since, as `kubectl` shows it: `5s`, `3m10s`, `2d`.
pub(super) fn age(since: &str) -> String {
    match since.parse::<Timestamp>() {
        Ok(then) => duration(Timestamp::now().as_second() - then.as_second()),
        Err(_) => UNKNOWN.to_owned(),
    }
}

fn between(start: &str, end: &str) -> String {
    match (start.parse::<Timestamp>(), end.parse::<Timestamp>()) {
        (Ok(start), Ok(end)) => duration(end.as_second() - start.as_second()),
        _ => UNKNOWN.to_owned(),
    }
}

/// A duration to the precision that matters at its length.
pub(super) fn duration(seconds: i64) -> String {
    let seconds = seconds.max(0);
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86400);
    let pair = |big: i64, big_unit: &str, small: i64, small_unit: &str| {
        if small == 0 {
            format!("{big}{big_unit}")
        } else {
            format!("{big}{big_unit}{small}{small_unit}")
        }
    };
    match () {
        () if seconds < 120 => format!("{seconds}s"),
        () if minutes < 10 => pair(minutes, "m", seconds % 60, "s"),
        () if minutes < 180 => format!("{minutes}m"),
        () if hours < 8 => pair(hours, "h", minutes % 60, "m"),
        () if hours < 48 => format!("{hours}h"),
        () if days < 8 => pair(days, "d", hours % 24, "h"),
        () if days < 730 => format!("{days}d"),
        () if days < 2920 => pair(days / 365, "y", days % 365, "d"),
        () => format!("{}y", days / 365),
    }
}
