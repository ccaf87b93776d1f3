//! Faults on demand, stops and numbers.

use super::watches::Watch;
use super::*;

#[tokio::test]
async fn faults_meet_whom_they_are_for_and_end_when_they_are_used_up() -> Result<()> {
    let (sandbox, client) = quick().await?;
    let path = format!("{MAPS}/a");
    let faults = sandbox.faults();
    faults.add(
        Fault::new(Effect::Status {
            code: 429,
            retry_after_seconds: Some(1),
        })
        .verbs(&["patch"])
        .times(1),
    );
    faults.add(
        Fault::new(Effect::Status {
            code: 500,
            retry_after_seconds: None,
        })
        .resource("secrets"),
    );
    let (status, answer) = apply(&client, &path, config_map("a", json!({}))).await?;
    assert_eq!(
        (status, answer["details"]["retryAfterSeconds"].as_i64()),
        (StatusCode::TOO_MANY_REQUESTS, Some(1))
    );
    assert_eq!(
        apply(&client, &path, config_map("a", json!({}))).await?.0,
        StatusCode::CREATED
    );
    assert_eq!(
        get(&client, "/api/v1/secrets").await?.0,
        StatusCode::INTERNAL_SERVER_ERROR
    );
    faults.clear();
    assert_eq!(get(&client, "/api/v1/secrets").await?.0, StatusCode::OK);

    faults.add(Fault::new(Effect::Conflict).verbs(&["patch"]).times(1));
    assert_eq!(
        apply(&client, &path, config_map("a", json!({"x": "1"})))
            .await?
            .0,
        StatusCode::CONFLICT
    );
    faults.add(
        Fault::new(Effect::Deny)
            .verbs(&["delete"])
            .namespace("default"),
    );
    let (status, answer) = call(&client, "DELETE", &path, JSON, Value::Null).await?;
    assert_eq!(
        (status, answer["reason"].as_str()),
        (StatusCode::FORBIDDEN, Some("Forbidden"))
    );
    let mut refuse = Fault::new(Effect::Refuse {
        message: "not on a Friday".to_owned(),
    });
    refuse.selector = Some("risky".to_owned());
    faults.add(refuse);
    let (status, answer) = apply(&client, &path, config_map("a", json!({"risky": "yes"}))).await?;
    assert_eq!(status, StatusCode::FORBIDDEN);
    assert!(
        answer["message"]
            .as_str()
            .unwrap_or("")
            .contains("denied the request: not on a Friday"),
        "{answer}"
    );
    assert_eq!(
        apply(&client, &path, config_map("a", json!({"x": "2"})))
            .await?
            .0,
        StatusCode::OK
    );
    faults.add(Fault::new(Effect::Reset).verbs(&["get"]).times(1));
    get(&client, &path).await.unwrap_err();
    assert_eq!(get(&client, &path).await?.0, StatusCode::OK);
    faults.add(
        Fault::new(Effect::Latency { millis: 200 })
            .verbs(&["get"])
            .times(1),
    );
    let begin = std::time::Instant::now();
    get(&client, &path).await?;
    assert!(begin.elapsed() >= Duration::from_millis(200));
    Ok(())
}

#[tokio::test]
async fn faults_and_counters_over_http() -> Result<()> {
    let (sandbox, client) = quick().await?;
    let fault = json!({"effect": {"type": "status", "code": 503}, "verbs": ["list"], "times": 1});
    let (status, made) = call(&client, "POST", "/sandbox/faults", JSON, fault).await?;
    assert_eq!(status, StatusCode::CREATED, "{made}");
    assert_eq!(
        get(&client, "/sandbox/faults").await?.1["faults"][0]["fault"]["effect"]["code"],
        503
    );
    assert_eq!(get(&client, MAPS).await?.0, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(get(&client, MAPS).await?.0, StatusCode::OK);
    let (status, error) = call(
        &client,
        "POST",
        "/sandbox/faults",
        JSON,
        json!({"effect": {"type": "magic"}}),
    )
    .await?;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    assert!(
        error["message"]
            .as_str()
            .unwrap_or("")
            .contains("unknown variant `magic`"),
        "{error}"
    );
    let lists = sandbox
        .requests()
        .get(&("list".to_owned(), "configmaps".to_owned()))
        .copied();
    assert_eq!(lists, Some(2));
    Ok(())
}

#[tokio::test]
async fn objects_survive_a_stop_and_clients_find_the_same_address() -> Result<()> {
    let (sandbox, client) = quick().await?;
    let made = apply(&client, &format!("{MAPS}/a"), config_map("a", json!({})))
        .await?
        .1;
    let mut watch = Watch::start(&client, &format!("{MAPS}?watch=true"), JSON).await?;
    assert_eq!(watch.words().await?, "ADDED a");
    sandbox.stop().await;
    assert!(
        watch.next().await.map_or(true, |event| event.is_none()),
        "the watch is cut"
    );
    get(&client, MAPS).await.unwrap_err();
    sandbox.restart().await?;
    let (_, found) = get(&client, &format!("{MAPS}/a")).await?;
    assert_eq!(found, made);
    let revision = made["metadata"]["resourceVersion"]
        .as_str()
        .context("a revision")?;
    let mut watch = Watch::start(
        &client,
        &format!("{MAPS}?watch=true&resourceVersion={revision}"),
        JSON,
    )
    .await?;
    sandbox.delete("v1", "ConfigMap", "default", "a");
    assert_eq!(watch.words().await?, "DELETED a");
    Ok(())
}

#[tokio::test]
async fn two_hundred_sandboxes_fit_one_process() -> Result<()> {
    let mut all = Vec::new();
    for number in 0..200 {
        all.push(
            Sandbox::start(SandboxOptions {
                name: format!("c-{number}"),
                ..SandboxOptions::default()
            })
            .await?,
        );
    }
    let addresses: std::collections::BTreeSet<String> = all.iter().map(Sandbox::url).collect();
    assert_eq!(addresses.len(), 200);
    let object = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a", "namespace": "default"}, "data": {"a": "b"}});
    for sandbox in &all {
        sandbox.apply("test", &object)?;
        assert!(sandbox.get("v1", "ConfigMap", "default", "a").is_some());
    }
    Ok(())
}
