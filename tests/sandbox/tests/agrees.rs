//! The sandbox against a real API server: the same requests, the same answers. Each file in
//! `steps/` is one story, a request a line. `$NS` stands for a namespace of its own, uids,
//! times, revisions and addresses are masked, and where an answer may differ the step says
//! in which field and why.

use std::collections::BTreeSet;

use anyhow::{Context, Result, bail};
use http::{Method, Request};
use http_body_util::BodyExt;
use kube::client::Body;
use lockstep_fixtures::{Cluster, ClusterOptions, Patience, until};
use lockstep_sandbox::{Sandbox, SandboxOptions};
use serde::Deserialize;
use serde_json::{Map, Value};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Step {
    step: String,
    request: String,
    #[serde(rename = "type")]
    media_type: Option<String>,
    accept: Option<String>,
    #[serde(default)]
    body: Option<Value>,
    /// A body that is no JSON.
    text: Option<String>,
    /// How long the text is that `$FILL` stands for.
    #[serde(default)]
    fill: usize,
    /// Ask again until the object has this condition, or is `gone`.
    until: Option<String>,
    /// Fields that may differ, as dotted paths.
    #[serde(default)]
    differs: Vec<String>,
    /// Why they may.
    #[serde(default)]
    because: String,
}

#[derive(Debug, PartialEq)]
struct Answer {
    code: u16,
    warnings: Vec<String>,
    body: Value,
}

async fn ask(
    client: &kube::Client,
    step: &Step,
    namespace: &str,
    last: Option<&Value>,
) -> Result<Answer> {
    let (method, path) = step.request.split_once(' ').context("METHOD PATH")?;
    let mut text = match (&step.body, &step.text) {
        (Some(body), _) => body.to_string(),
        (None, Some(text)) => text.clone(),
        (None, None) => String::new(),
    };
    text = text
        .replace("$NS", namespace)
        .replace("$FILL", &"x".repeat(step.fill));
    if let Some(last) = last {
        text = text.replace(
            "$RV",
            last["metadata"]["resourceVersion"].as_str().unwrap_or(""),
        );
    }
    let mut request = Request::builder()
        .method(Method::from_bytes(method.as_bytes())?)
        .uri(path.replace("$NS", namespace))
        .header("user-agent", "tester/1")
        .header(
            "accept",
            step.accept.as_deref().unwrap_or("application/json"),
        );
    if step.body.is_some() || step.text.is_some() {
        request = request.header(
            "content-type",
            step.media_type.as_deref().unwrap_or("application/json"),
        );
    }
    let answer = client
        .send(request.body(Body::from(text.into_bytes()))?)
        .await?;
    let code = answer.status().as_u16();
    let warnings = answer
        .headers()
        .get_all("warning")
        .iter()
        .filter_map(|value| value.to_str().ok())
        .map(str::to_owned)
        .collect();
    let bytes = answer.into_body().collect().await?.to_bytes();
    let text = String::from_utf8_lossy(&bytes);
    let lines: Result<Vec<Value>, _> = text.lines().map(serde_json::from_str).collect();
    let body = match (serde_json::from_slice(&bytes), lines) {
        (Ok(body), _) => body,
        // A watch: an event a line.
        (Err(_), Ok(events)) => Value::Array(events),
        (Err(_), Err(_)) => Value::String(text.trim().to_owned()),
    };
    Ok(Answer {
        code,
        warnings,
        body,
    })
}

async fn settled(
    client: &kube::Client,
    step: &Step,
    namespace: &str,
    last: Option<&Value>,
) -> Result<Answer> {
    let Some(condition) = &step.until else {
        return ask(client, step, namespace, last).await;
    };
    until(&step.step, Patience::seconds(20), async || {
        let answer = ask(client, step, namespace, last).await?;
        let conditions = answer.body["status"]["conditions"]
            .as_array()
            .cloned()
            .unwrap_or_default();
        let there = conditions
            .iter()
            .any(|row| row["type"] == *condition && row["status"] == "True");
        if there || (condition == "gone" && answer.code == 404) {
            Ok(answer)
        } else {
            bail!("{}", answer.body)
        }
    })
    .await
}

/// The answer without what is different in every cluster.
fn masked(value: &Value, namespace: &str, step: &Step) -> Value {
    const PER_CLUSTER: &[&str] = &[
        "uid",
        "resourceVersion",
        "creationTimestamp",
        "time",
        "lastTransitionTime",
        "deletionTimestamp",
        "lastUpdateTime",
        "lastPhaseTransitionTime",
        "nodePort",
        "continue",
    ];
    // Prose, and the name of a storage format: neither is of use here.
    const LEFT_OUT: &[&str] = &["description", "storageVersionHash"];
    fn walk(value: &Value, namespace: &str) -> Value {
        match value {
            Value::Object(fields) => Value::Object(
                fields
                    .iter()
                    .filter(|(name, _)| !LEFT_OUT.contains(&name.as_str()))
                    .map(|(name, value)| {
                        let address = (name == "clusterIP" && value != "None")
                            || (name == "clusterIPs" && value[0] != "None");
                        let mask =
                            PER_CLUSTER.contains(&name.as_str()) && !value.is_null() || address;
                        (
                            name.clone(),
                            if mask {
                                Value::from("*")
                            } else {
                                walk(value, namespace)
                            },
                        )
                    })
                    .collect::<Map<_, _>>(),
            ),
            Value::Array(items) => {
                Value::Array(items.iter().map(|item| walk(item, namespace)).collect())
            }
            Value::String(text) => {
                // Ages, and addresses of services in a table.
                if is_age(text) || text.starts_with("10.96.") {
                    return "*".into();
                }
                let text = text.replace(namespace, "$NS");
                mask_uids(&text).into()
            }
            other => other.clone(),
        }
    }
    let mut out = walk(value, namespace);
    // The real server lists the problems of a custom resource in no order.
    if let Some(causes) = out
        .pointer_mut("/details/causes")
        .and_then(Value::as_array_mut)
    {
        causes.sort_by_key(ToString::to_string);
        if causes.len() > 1 {
            let words: BTreeSet<char> = out["message"].as_str().unwrap_or("").chars().collect();
            out["message"] = words.into_iter().collect::<String>().into();
        }
    }
    // Their order goes by times, and two may be within one second.
    if let Some(managers) = out
        .pointer_mut("/metadata/managedFields")
        .and_then(Value::as_array_mut)
    {
        managers.sort_by_key(|entry| {
            format!(
                "{} {} {}",
                entry["manager"], entry["operation"], entry["subresource"]
            )
        });
    }
    for path in &step.differs {
        let mut at = &mut out;
        let mut names = path.split('.').peekable();
        while let Some(name) = names.next() {
            match (at, names.peek()) {
                (Value::Object(fields), None) => {
                    fields.remove(name);
                    break;
                }
                (Value::Object(fields), Some(_)) => match fields.get_mut(name) {
                    Some(value) => at = value,
                    None => break,
                },
                _ => break,
            }
        }
    }
    out
}

/// `16s`: how old something is in a table.
fn is_age(text: &str) -> bool {
    text.strip_suffix('s')
        .is_some_and(|number| number.parse::<u32>().is_ok())
}

fn mask_uids(text: &str) -> String {
    let is_uid = |word: &str| {
        let lengths: Vec<usize> = word.split('-').map(str::len).collect();
        lengths == [8, 4, 4, 4, 12] && word.chars().all(|c| c.is_ascii_hexdigit() || c == '-')
    };
    let mut out = String::new();
    let mut word = String::new();
    for c in text.chars().chain(std::iter::once('\0')) {
        if c.is_ascii_hexdigit() || c == '-' {
            word.push(c);
            continue;
        }
        out.push_str(if is_uid(&word) { "*" } else { &word });
        word.clear();
        if c != '\0' {
            out.push(c);
        }
    }
    out
}

fn differences(real: &Value, sandbox: &Value, path: &str, out: &mut Vec<String>) {
    match (real, sandbox) {
        (Value::Object(left), Value::Object(right)) => {
            for name in left
                .keys()
                .chain(right.keys().filter(|name| !left.contains_key(*name)))
            {
                let none = Value::from("nothing");
                differences(
                    left.get(name).unwrap_or(&none),
                    right.get(name).unwrap_or(&none),
                    &format!("{path}.{name}"),
                    out,
                );
            }
        }
        (Value::Array(left), Value::Array(right)) if left.len() == right.len() => {
            for (at, (left, right)) in left.iter().zip(right).enumerate() {
                differences(left, right, &format!("{path}[{at}]"), out);
            }
        }
        (left, right) if left != right => out.push(format!(
            "  {path}\n      real:    {left}\n      sandbox: {right}"
        )),
        _ => {}
    }
}

async fn story(name: &str, text: &str) -> Result<()> {
    let cluster = Cluster::start(ClusterOptions::new(name)).await?;
    let real = cluster.client().await?;
    let sandbox = Sandbox::start(SandboxOptions {
        workloads: false,
        ..SandboxOptions::default()
    })
    .await?;
    let ours = kube::Client::try_from(kube::Config::new(sandbox.url().parse()?))?;
    let namespace = format!("{name}-story");
    let (mut last_real, mut last_ours) = (None, None);
    let mut report = Vec::new();
    for line in text.lines() {
        let step: Step = serde_json::from_str(line).with_context(|| line.to_owned())?;
        let answer = settled(&real, &step, &namespace, last_real.as_ref())
            .await
            .with_context(|| step.step.clone())?;
        let other = settled(&ours, &step, &namespace, last_ours.as_ref())
            .await
            .with_context(|| step.step.clone())?;
        let mut found = Vec::new();
        differences(&answer.code.into(), &other.code.into(), "code", &mut found);
        if answer.warnings != other.warnings
            && !step.differs.iter().any(|field| field == "warnings")
        {
            found.push(format!(
                "  warnings: {:?} and {:?}",
                answer.warnings, other.warnings
            ));
        }
        differences(
            &masked(&answer.body, &namespace, &step),
            &masked(&other.body, &namespace, &step),
            "",
            &mut found,
        );
        // Both see the write, or both see that there was nothing to write.
        let still = |last: &Option<Value>, now: &Value| {
            last.as_ref().is_some_and(|last| {
                last["metadata"]["uid"] == now["metadata"]["uid"]
                    && last["metadata"]["resourceVersion"] == now["metadata"]["resourceVersion"]
            })
        };
        let may = step.differs.iter().any(|field| field == "write");
        if !may && still(&last_real, &answer.body) != still(&last_ours, &other.body) {
            found.push(format!(
                "  a write: {} and {}",
                !still(&last_real, &answer.body),
                !still(&last_ours, &other.body)
            ));
        }
        if answer.body["metadata"]["uid"].is_string() {
            (last_real, last_ours) = (Some(answer.body), Some(other.body));
        }
        assert!(
            step.differs.is_empty() || !step.because.is_empty(),
            "{}: say why",
            step.step
        );
        if !found.is_empty() {
            report.push(format!(
                "{} ({})\n{}",
                step.step,
                step.request,
                found.join("\n")
            ));
        }
    }
    assert!(
        report.is_empty(),
        "the sandbox answers otherwise than the real server:\n\n{}\n",
        report.join("\n\n")
    );
    Ok(())
}

#[tokio::test]
async fn lists_watches_tables_and_documents_as_in_the_real_server() -> Result<()> {
    story("reads", include_str!("steps/reads.jsonl")).await
}

#[tokio::test]
async fn config_maps_and_the_rules_of_all_objects_as_in_the_real_server() -> Result<()> {
    story("configmaps", include_str!("steps/configmaps.jsonl")).await
}

#[tokio::test]
async fn workloads_defaults_and_strategic_patches_as_in_the_real_server() -> Result<()> {
    story("workloads", include_str!("steps/workloads.jsonl")).await
}

#[tokio::test]
async fn definitions_and_custom_resources_as_in_the_real_server() -> Result<()> {
    story("definitions", include_str!("steps/definitions.jsonl")).await
}
