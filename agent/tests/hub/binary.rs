//! The binary itself: what a person sees, and what `kill -9` does to it.

use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};

use tokio::io::{AsyncBufReadExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStderr, Command};

use crate::fake::FakeHub;
use crate::within;

fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_lockstep-agent"));
    command
        .args(arguments)
        .env_clear()
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    command
}

async fn output(arguments: &[&str]) -> (Output, String) {
    let output = within("the agent ends", command(arguments).output())
        .await
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    (output, said)
}

/// Of a cluster that is away.
fn kubeconfig(dir: &Path) -> PathBuf {
    let path = dir.join("kubeconfig");
    let text = "\
apiVersion: v1
kind: Config
current-context: x
contexts: [{name: x, context: {cluster: x, user: x}}]
clusters: [{name: x, cluster: {server: 'http://127.0.0.1:1'}}]
users: [{name: x, user: {}}]
";
    std::fs::write(&path, text).unwrap();
    path
}

struct Running {
    child: Child,
    log: Lines<BufReader<ChildStderr>>,
}

impl Running {
    fn start(hub: &FakeHub, dir: &Path, more: &[&str]) -> Self {
        let kubeconfig = kubeconfig(dir);
        let data = dir.join("data");
        let mut child = command(&["run", "--log-format=json"])
            .arg(format!("--hub={}", hub.endpoint))
            .arg(format!("--data-dir={}", data.display()))
            .arg(format!("--kubeconfig={}", kubeconfig.display()))
            .args(more)
            .spawn()
            .unwrap();
        let log = BufReader::new(child.stderr.take().unwrap()).lines();
        Self { child, log }
    }

    /// The next line that says `message`.
    async fn says(&mut self, message: &str) -> serde_json::Value {
        within(message, async {
            loop {
                let line = self.log.next_line().await.unwrap();
                let line = line.unwrap_or_else(|| panic!("it ended before it said {message:?}"));
                let line: serde_json::Value = serde_json::from_str(&line).unwrap();
                if line["message"].as_str().unwrap().contains(message) {
                    return line;
                }
            }
        })
        .await
    }
}

#[tokio::test]
async fn wrong_usage_ends_with_2_and_does_not_repeat_secrets() {
    for arguments in [
        vec![],
        vec!["run"],
        vec!["run", "--hub=x", "--data-dir=/x"],
        vec!["run", "--hub=x:1", "--data-dir=/x", "--nonsense"],
        vec!["run", "--hub=x:1", "--data-dir=/x", "--join-token=s3cret"],
        vec![
            "run",
            "--hub=x:1",
            "--data-dir=/x",
            "--join-token=a",
            "--join-token-file=b",
        ],
        vec!["run", "--hub=x:1", "--data-dir=/x", "--context=y"],
    ] {
        let (output, said) = output(&arguments).await;
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {said}");
        assert!(output.stdout.is_empty());
        assert!(!said.is_empty() && !said.contains("s3cret"), "{said}");
    }
}

#[tokio::test]
async fn help_and_version_go_to_stdout() {
    for arguments in [["--version"].as_slice(), &["--help"], &["run", "--help"]] {
        let (output, said) = output(arguments).await;
        assert_eq!((output.status.code(), said.as_str()), (Some(0), ""));
        assert!(!output.stdout.is_empty());
    }
}

#[tokio::test]
async fn what_a_person_has_to_put_right_ends_with_1() {
    let dir = tempfile::tempdir().unwrap();
    let data = format!("--data-dir={}", dir.path().display());
    let kubeconfig = format!("--kubeconfig={}", kubeconfig(dir.path()).display());
    let base = ["run", "--hub=127.0.0.1:1", &data];
    for (more, said) in [
        ([kubeconfig.as_str(), "--http=127.0.0.1:0"], "no join token"),
        (
            [kubeconfig.as_str(), "--join-token-file=/nowhere"],
            "/nowhere",
        ),
        (["--kubeconfig=/nowhere", "--http=127.0.0.1:0"], "/nowhere"),
        ([kubeconfig.as_str(), "--context=absent"], "absent"),
        ([kubeconfig.as_str(), "--http=192.0.2.1:1"], "192.0.2.1:1"),
        (["--http=127.0.0.1:0", "--log-format=text"], "--kubeconfig"),
    ] {
        let (output, stderr) = output(&[base.as_slice(), &more].concat()).await;
        assert_eq!(output.status.code(), Some(1), "{stderr}");
        assert!(stderr.contains(said), "{stderr}");
    }
}

#[tokio::test]
async fn an_agent_joins_serves_http_and_stops_in_order() {
    let mut hub = FakeHub::start().await;
    let dir = tempfile::tempdir().unwrap();
    let mut agent = Running::start(&hub, dir.path(), &["--join-token", &hub.token()]);
    let listening = agent.says("listening").await;
    let mut session = hub.session().await;
    session.open().await;
    agent.says("session with the hub").await;
    let address = std::fs::read_to_string(dir.path().join("data/http.addr")).unwrap();
    assert_eq!(listening["http"], address);
    for (path, status, text) in [
        ("/livez", "200", "ok"),
        ("/readyz", "503", "waiting for the Kubernetes API server"),
        ("/metrics", "200", "lockstep_agent_sessions_total 1"),
    ] {
        let answer = get(&address, path).await;
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status}")),
            "{answer}"
        );
        assert!(answer.contains(text), "{answer}");
    }
    agent
        .says("the Kubernetes API server cannot be reached")
        .await;
    let pid = agent.child.id().unwrap().to_string();
    let killed = Command::new("kill").args(["-TERM", &pid]).status().await;
    assert!(killed.unwrap().success());
    let status = within("the agent stops", agent.child.wait()).await.unwrap();
    assert_eq!(status.code(), Some(0));
}

async fn get(address: &str, path: &str) -> String {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let mut tcp = tokio::net::TcpStream::connect(address).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    tcp.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    tcp.read_to_string(&mut answer).await.unwrap();
    answer
}

#[tokio::test]
async fn two_agents_do_not_share_a_data_directory() {
    let mut hub = FakeHub::start().await;
    let dir = tempfile::tempdir().unwrap();
    let _first = Running::start(&hub, dir.path(), &["--join-token", &hub.token()]);
    hub.session().await.open().await;
    let mut second = Running::start(&hub, dir.path(), &[]);
    second.says("another agent runs with").await;
    let status = within("the second ends", second.child.wait()).await;
    assert_eq!(status.unwrap().code(), Some(1));
}

#[tokio::test]
async fn killed_at_any_moment_the_token_is_not_burnt_without_an_identity() {
    let mut hub = FakeHub::start().await;
    for round in 0..12 {
        let dir = tempfile::tempdir().unwrap();
        let token = hub.authority.token(&format!("t{round}"));
        let arguments = ["--join-token", &token];
        let mut agent = Running::start(&hub, dir.path(), &arguments);
        tokio::time::sleep(std::time::Duration::from_millis(round * 12)).await;
        agent.child.kill().await.unwrap();
        let burnt = hub.state.lock().used.contains(&token);
        let identity = dir.path().join("data/identity/identity.json").exists();
        let mut agent = Running::start(&hub, dir.path(), &arguments);
        if identity || !burnt {
            within("the agent is there", async {
                loop {
                    let mut session = hub.session().await;
                    // That of the one that was killed may be first.
                    if session.try_hello().await {
                        break;
                    }
                }
            })
            .await;
        } else {
            // The one gap that the agent cannot close alone: it says so.
            let line = agent.says("the hub refused join token").await;
            assert!(
                line["message"]
                    .as_str()
                    .unwrap()
                    .contains("answer was lost")
            );
        }
    }
}

#[tokio::test]
async fn without_the_owners_file_that_was_named_nothing_is_begun() {
    let folder = tempfile::tempdir().unwrap();
    let data = format!("--data-dir={}", folder.path().join("data").display());
    let file = folder.path().join("agent.yaml");
    let named = format!("--agent-config={}", file.display());
    let run = ["run", "--hub=h:1", &data, &named];
    let (ended, said) = output(&run).await;
    assert_eq!(ended.status.code(), Some(1), "{said}");
    assert!(said.contains("agent.yaml"), "{said}");
    std::fs::write(&file, "deniedKinds: [Secret]\nallowedNamespace: [shop]\n").unwrap();
    let (ended, said) = output(&run).await;
    assert_eq!(ended.status.code(), Some(1), "{said}");
    let words = "agent.yaml line 2: allowedNamespace: unknown field";
    assert!(said.contains(words), "{said}");
}
