//! Watches and pages.

use super::*;

/// A watch, line by line.
pub(crate) struct Watch {
    body: Body,
    buffer: Vec<u8>,
}

impl Watch {
    pub(crate) async fn start(client: &Client, path: &str, accept: &str) -> Result<Self> {
        let request = Request::get(path)
            .header("accept", accept)
            .body(Body::empty())?;
        let answer = client.send(request).await?;
        if answer.status() != StatusCode::OK {
            bail!(
                "{}: {}",
                answer.status(),
                String::from_utf8_lossy(&answer.into_body().collect().await?.to_bytes())
            );
        }
        Ok(Self {
            body: answer.into_body(),
            buffer: Vec::new(),
        })
    }

    /// The next event; nothing at the end.
    pub(crate) async fn next(&mut self) -> Result<Option<Value>> {
        loop {
            if let Some(end) = self.buffer.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.buffer.drain(..=end).collect();
                return Ok(Some(serde_json::from_slice(&line)?));
            }
            match timeout(LIMIT, self.body.frame())
                .await
                .context("no event")?
            {
                None => return Ok(None),
                Some(frame) => self
                    .buffer
                    .extend_from_slice(frame?.data_ref().context("data")?),
            }
        }
    }

    /// The next event as `TYPE name`.
    pub(crate) async fn words(&mut self) -> Result<String> {
        let event = self.next().await?.context("the watch ended")?;
        let name = event["object"]["metadata"]["name"].as_str().unwrap_or("-");
        Ok(format!("{} {name}", event["type"].as_str().unwrap_or("")))
    }
}

const PARTIAL: &str = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1";

#[tokio::test]
async fn a_watch_list_gives_what_is_there_and_says_when_that_was_all() -> Result<()> {
    let (_sandbox, client) = quick().await?;
    for name in ["a", "b"] {
        apply(
            &client,
            &format!("{MAPS}/{name}"),
            config_map(name, json!({"x": "1"})),
        )
        .await?;
    }
    apply(
        &client,
        &format!("{MAPS}/other"),
        config_map("other", json!({})),
    )
    .await?;
    let path = "/api/v1/configmaps?watch=true&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true&labelSelector=x";
    let mut watch = Watch::start(&client, path, PARTIAL).await?;
    assert_eq!(watch.words().await?, "ADDED a");
    assert_eq!(watch.words().await?, "ADDED b");
    let end = watch.next().await?.context("a bookmark")?;
    assert_eq!(end["type"], "BOOKMARK");
    assert_eq!(end["object"]["kind"], "PartialObjectMetadata");
    assert_eq!(
        end["object"]["metadata"]["annotations"]["k8s.io/initial-events-end"],
        "true"
    );

    apply(
        &client,
        &format!("{MAPS}/c"),
        config_map("c", json!({"x": "1"})),
    )
    .await?;
    let added = watch.next().await?.context("an event")?;
    assert_eq!(
        (added["type"].as_str(), added["object"].get("data")),
        (Some("ADDED"), None),
        "metadata alone"
    );
    Ok(())
}

#[tokio::test]
async fn objects_enter_and_leave_the_selection_of_a_watch() -> Result<()> {
    let (_sandbox, client) = quick().await?;
    let (_, list) = get(&client, MAPS).await?;
    let revision = list["metadata"]["resourceVersion"]
        .as_str()
        .context("a revision")?;
    let mut watch = Watch::start(
        &client,
        &format!("{MAPS}?watch=true&resourceVersion={revision}&labelSelector=x%3D1"),
        JSON,
    )
    .await?;
    let path = format!("{MAPS}/a");
    for labels in [
        json!({"x": "2"}),
        json!({"x": "1"}),
        json!({"x": "1", "y": "1"}),
        json!({"x": "2"}),
        json!({"x": "1"}),
    ] {
        apply(&client, &path, config_map("a", labels)).await?;
    }
    call(&client, "DELETE", &path, JSON, Value::Null).await?;
    for expected in ["ADDED a", "MODIFIED a", "DELETED a", "ADDED a", "DELETED a"] {
        assert_eq!(watch.words().await?, expected);
    }
    Ok(())
}

#[tokio::test]
async fn a_revision_that_was_forgotten_is_gone_for_new_watches_and_for_running_ones() -> Result<()>
{
    let (sandbox, client) = quick().await?;
    apply(&client, &format!("{MAPS}/a"), config_map("a", json!({}))).await?;
    let mut watch = Watch::start(&client, &format!("{MAPS}?watch=true"), JSON).await?;
    assert_eq!(watch.words().await?, "ADDED a");
    apply(
        &client,
        &format!("{MAPS}/a"),
        config_map("a", json!({"x": "1"})),
    )
    .await?;
    assert_eq!(watch.words().await?, "MODIFIED a");
    sandbox.expire_watches();
    let error = watch.next().await?.context("an error")?;
    assert_eq!(
        (error["type"].as_str(), error["object"]["code"].as_i64()),
        (Some("ERROR"), Some(410))
    );
    assert_eq!(watch.next().await?, None);
    let (status, answer) = get(&client, &format!("{MAPS}?watch=true&resourceVersion=3")).await?;
    assert_eq!(
        (status, answer["reason"].as_str()),
        (StatusCode::GONE, Some("Expired"))
    );
    Ok(())
}

#[tokio::test]
async fn a_watch_ends_at_its_timeout() -> Result<()> {
    let (_sandbox, client) = quick().await?;
    let mut watch = Watch::start(
        &client,
        &format!("{MAPS}?watch=true&timeoutSeconds=1"),
        JSON,
    )
    .await?;
    assert_eq!(watch.next().await?, None);
    Ok(())
}

#[tokio::test]
async fn pages_are_one_list_although_it_changes_meanwhile() -> Result<()> {
    let (sandbox, client) = quick().await?;
    for number in 0..25 {
        let name = format!("m{number:02}");
        apply(
            &client,
            &format!("{MAPS}/{name}"),
            config_map(&name, json!({})),
        )
        .await?;
    }
    let (_, first) = get(&client, &format!("{MAPS}?limit=10")).await?;
    assert_eq!(first["metadata"]["remainingItemCount"], 15);
    sandbox.delete("v1", "ConfigMap", "default", "m20");
    apply(
        &client,
        &format!("{MAPS}/m99"),
        config_map("m99", json!({})),
    )
    .await?;
    let mut names: Vec<String> = Vec::new();
    let mut page = first.clone();
    loop {
        assert_eq!(
            page["metadata"]["resourceVersion"],
            first["metadata"]["resourceVersion"]
        );
        let items = page["items"].as_array().context("items")?;
        names.extend(
            items
                .iter()
                .filter_map(|item| item["metadata"]["name"].as_str().map(str::to_owned)),
        );
        let Some(token) = page["metadata"]["continue"].as_str() else {
            break;
        };
        page = get(&client, &format!("{MAPS}?limit=10&continue={token}"))
            .await?
            .1;
    }
    assert_eq!(
        names,
        (0..25)
            .map(|number| format!("m{number:02}"))
            .collect::<Vec<_>>()
    );
    sandbox.expire_watches();
    let token = first["metadata"]["continue"].as_str().context("a token")?;
    assert_eq!(
        get(&client, &format!("{MAPS}?limit=10&continue={token}"))
            .await?
            .0,
        StatusCode::GONE
    );
    Ok(())
}
