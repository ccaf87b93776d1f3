//! What a process takes, as the kernel and the agent itself count it.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::time::Duration;

use lockstep_e2e::fixtures::Process;
use lockstep_e2e::{Context as _, Result, World, get};

/// Resident memory, in KiB.
#[derive(Debug, Clone, Copy)]
pub struct Memory {
    pub resident: u64,
    pub highest: u64,
}

pub fn memory(process: &Process) -> Result<Memory> {
    let path = format!("/proc/{}/status", process.pid());
    let status = std::fs::read_to_string(&path).with_context(|| format!("read {path}"))?;
    let field = |name: &str| -> Result<u64> {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        let number = line.and_then(|line| line.split_whitespace().next());
        number
            .and_then(|number| number.parse().ok())
            .with_context(|| format!("{name} in {path}"))
    };
    Ok(Memory {
        resident: field("VmRSS:")?,
        highest: field("VmHWM:")?,
    })
}

/// Processor time that all threads of the process have taken.
pub fn processor(process: &Process) -> Result<Duration> {
    let mut nanos = 0;
    let tasks = format!("/proc/{}/task", process.pid());
    for task in std::fs::read_dir(&tasks).with_context(|| format!("read {tasks}"))? {
        // Nanoseconds on a processor come first; a thread may have just ended.
        let stat = std::fs::read_to_string(task?.path().join("schedstat")).unwrap_or_default();
        let ran = stat.split_whitespace().next();
        nanos += ran.and_then(|ran| ran.parse::<u64>().ok()).unwrap_or(0);
    }
    Ok(Duration::from_nanos(nanos))
}

/// The agent's requests to the Kubernetes API so far, by verb.
pub async fn requests(world: &mut World, cluster: &str) -> Result<BTreeMap<String, u64>> {
    let url = format!("{}/metrics", world.agent(cluster).http());
    let (_, text) = get(&url).await?;
    let prefix = "lockstep_agent_kubernetes_requests_total{verb=\"";
    let lines = text.lines().filter_map(|line| {
        let (verb, count) = line.strip_prefix(prefix)?.split_once("\"} ")?;
        Some((verb.to_owned(), count.trim().parse().ok()?))
    });
    Ok(lines.collect())
}

/// What came between two counts, verbs without any left out.
pub fn since(
    before: &BTreeMap<String, u64>,
    after: &BTreeMap<String, u64>,
) -> BTreeMap<String, u64> {
    let more = |(verb, count): (&String, &u64)| {
        let more = count - before.get(verb).unwrap_or(&0);
        (more > 0).then(|| (verb.clone(), more))
    };
    after.iter().filter_map(more).collect()
}

/// "5 apply, 2 replace"
pub fn words(requests: &BTreeMap<String, u64>) -> String {
    let words: Vec<_> = requests
        .iter()
        .map(|(verb, count)| format!("{count} {verb}"))
        .collect();
    match words.as_slice() {
        [] => "none".to_owned(),
        words => words.join(", "),
    }
}

pub fn mib(kib: u64) -> String {
    format!("{:.1} MiB", kib as f64 / 1024.0)
}

pub fn ratio(ours: Duration, theirs: Duration) -> String {
    format!("{:.2}x", ours.as_secs_f64() / theirs.as_secs_f64())
}

/// `what` was measured, and where.
pub fn conditions(what: &str) -> Result<String> {
    let cpus = std::thread::available_parallelism().context("count the processors")?;
    let model = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = model
        .lines()
        .find_map(|line| line.strip_prefix("model name"));
    let model = model
        .unwrap_or(": unknown")
        .trim_start_matches([' ', '\t', ':']);
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let profile = if cfg!(debug_assertions) {
        "dev"
    } else {
        "release"
    };
    Ok(format!(
        "{what}, one cluster: kube-apiserver v1.36.3 and etcd without fsync;\n\
         {cpus} processors ({model}), Linux {}; {profile} build\n",
        kernel.trim(),
    ))
}

pub fn say(line: &str) {
    // stderr may be closed; the numbers go to stdout.
    drop(writeln!(std::io::stderr(), "{line}"));
}
