//! The story from beginning to end: who starts when, what is shown, how it ends.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use lockstep_fixtures::{Binaries, Binary, Cli, Hub, HubOptions, Scratch};
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::args::Args;
use crate::clusters::{self, Running};
use crate::ground;
use crate::plan::Member;
use crate::repository::Source;
use crate::say::{print, say};
use crate::screen::Screen;
use crate::status::{Place, Row, Watch, missing};
use crate::story::{self, ASSIGNMENTS, SHOP, VERSIONS, WEB};

/// How often the processes are asked whether they are still there.
const CHECK: Duration = Duration::from_secs(1);
/// How long the person's own clusters may take to give back what they got.
const LEAVE: Duration = Duration::from_secs(60);

/// Ctrl-C, or a polite request to end.
struct Interrupt {
    interrupt: Signal,
    terminate: Signal,
}

impl Interrupt {
    fn new() -> Result<Self> {
        let on = |kind| signal(kind).context("listen to signals");
        Ok(Self {
            interrupt: on(SignalKind::interrupt())?,
            terminate: on(SignalKind::terminate())?,
        })
    }

    async fn come(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

/// Everything that runs.
struct World {
    hub: Hub,
    cli: Cli,
    repository: Source,
    /// The first commit.
    first: String,
    clusters: Vec<Running>,
    expected: Vec<Place>,
    dir: PathBuf,
    // The last to go: the others keep their files in it.
    _scratch: Scratch,
}

/// Runs the demo as the arguments say.
///
/// # Errors
///
/// When something does not start, does not converge in time or ends by itself. Logs are kept
/// then, and the message says where.
pub async fn run(args: &Args) -> Result<()> {
    let mut interrupt = Interrupt::new()?;
    tokio::task::block_in_place(ground::build)?;
    ground::files(usize::from(args.clusters))?;
    if let Some(dir) = &args.dir {
        std::fs::create_dir_all(dir).with_context(|| format!("make {}", dir.display()))?;
        Scratch::keep_under(&std::fs::canonicalize(dir)?);
    }
    // Logs stay until it is known that nobody needs them.
    Scratch::keep_all(true);
    let forget = || Scratch::keep_all(args.dir.is_some());
    let members = clusters::members(args);
    let mut starting = Box::pin(start(args, &members));
    let mut world = tokio::select! {
        started = &mut starting => started?,
        () = interrupt.come() => {
            say("\nStopping.");
            forget();
            return Ok(());
        }
    };
    let ended = world.run(args, &mut interrupt).await;
    if args.kubeconfig.is_some() {
        tokio::select! {
            () = world.leave() => {}
            () = interrupt.come() => say("Left as it is."),
        }
    }
    if ended.is_ok() {
        forget();
    }
    ended
}

async fn start(args: &Args, members: &[Member]) -> Result<World> {
    let scratch = Scratch::new("demo")?;
    let dir = scratch.path().to_owned();
    let hub = Hub::start_with(HubOptions {
        data_dir: Some(dir.join("hub")),
        ..HubOptions::default()
    })
    .await
    .context("start the hub")?;
    say(&format!(
        "Hub          {} (database, CA and admin.yaml in {})",
        hub.endpoint(),
        hub.data_dir().display()
    ));
    let repository = Source::start(SHOP, &dir)
        .await
        .context("start the repository")?;
    let files = story::files();
    let files: Vec<(&str, &str)> = files
        .iter()
        .map(|(path, text)| (*path, text.as_str()))
        .collect();
    let first = repository
        .commit(&format!("Ship {}", VERSIONS[0]), &files)
        .await?;
    say(&format!("Repository   {}", repository.url()));

    let kind = match (args.real, &args.kubeconfig) {
        (true, _) => "real",
        (_, Some(_)) => "your own",
        _ => "sandbox",
    };
    say(&format!(
        "Clusters     {} {kind}, each with an agent that joins by a token of its own:",
        members.len()
    ));
    let joined = std::sync::atomic::AtomicUsize::new(0);
    let running = clusters::start(args, members, &hub, &dir, |one| {
        let number = joined.fetch_add(1, std::sync::atomic::Ordering::Relaxed) + 1;
        if members.len() <= 20 {
            say(&format!("  {:<10} {}", one.member.name, one.member.group));
        } else if number.is_multiple_of(20) || number == members.len() {
            say(&format!("  {number} of {}", members.len()));
        }
    })
    .await?;
    let expected = members
        .iter()
        .flat_map(|member| {
            let mine = ASSIGNMENTS
                .iter()
                .filter(|(_, groups)| groups.contains(&member.group));
            mine.map(|(assignment, _)| (member.name.clone(), (*assignment).to_owned()))
        })
        .collect();
    Ok(World {
        cli: hub.cli()?,
        hub,
        repository,
        first,
        clusters: running,
        expected,
        dir,
        _scratch: scratch,
    })
}

/// Tells the hub of a push, as a forge's webhook does. Without it the hub finds out by itself
/// at its next poll.
async fn notify(hub: &Hub) {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let address = hub.http().trim_start_matches("http://").to_owned();
    let request = format!(
        "POST /hooks/generic/{SHOP} HTTP/1.1\r\nHost: {address}\r\nContent-Type: application/json\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{{}}"
    );
    let call = async {
        let mut stream = tokio::net::TcpStream::connect(&address).await?;
        stream.write_all(request.as_bytes()).await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        std::io::Result::Ok(answer)
    };
    if let Err(error) = call.await {
        say(&format!(
            "(the webhook was not delivered: {error}; the hub polls every 2 s)"
        ));
    }
}

impl World {
    /// The story, and what comes after it; an interruption is a good end, too.
    async fn run(&mut self, args: &Args, interrupt: &mut Interrupt) -> Result<()> {
        tokio::select! {
            told = self.tell(args) => told?,
            () = interrupt.come() => {
                say("\nStopping.");
                return Ok(());
            }
        }
        if args.once {
            self.finish().await
        } else {
            self.stay(interrupt).await
        }
    }

    /// From the first resources to the second commit.
    async fn tell(&mut self, args: &Args) -> Result<()> {
        say("\nApplying a repository, two groups and two assignments:");
        let resources = story::resources(self.repository.url());
        std::fs::write(self.dir.join("fleet.yaml"), &resources).context("write fleet.yaml")?;
        let applied = self.cli.apply(&resources).await?;
        for line in applied.lines() {
            say(&format!("  {line}"));
        }
        let first = self.first.clone();
        let count = self.clusters.len();
        let clusters = if count == 1 {
            "1 cluster".to_owned()
        } else {
            format!("{count} clusters")
        };
        say(&format!("\nCommit {} goes to {clusters}:\n", &first[..7]));
        let arrival = self.arrive(&first, args.timeout, Instant::now()).await?;
        say(&format!(
            "\nConverged after {:.1} s.",
            arrival.as_secs_f32()
        ));

        let web = story::web(VERSIONS[1]);
        let subject = format!("Ship {}", VERSIONS[1]);
        let second = self.repository.commit(&subject, &[(WEB, &web)]).await?;
        let pushed = Instant::now();
        notify(&self.hub).await;
        say(&format!("\nPushed commit {} ({subject}):\n", &second[..7]));
        let arrival = self.arrive(&second, args.timeout, pushed).await?;
        say(&format!(
            "\nFrom push to healthy on {clusters}: {:.2} s.",
            arrival.as_secs_f32()
        ));
        Ok(())
    }

    /// Shows the table until every place runs the revision; gives the time since `begin`.
    async fn arrive(
        &mut self,
        revision: &str,
        limit: Duration,
        begin: Instant,
    ) -> Result<Duration> {
        let deadline = tokio::time::Instant::now() + limit;
        let mut screen = Screen::new(revision);
        let mut watch = Watch::start(&self.cli)?;
        let mut rows: Vec<Row> = Vec::new();
        let mut check = tokio::time::interval(CHECK);
        loop {
            tokio::select! {
                update = watch.next() => match update {
                    Ok(new) => rows = new,
                    Err(error) => {
                        self.check()?;
                        return Err(error);
                    }
                },
                _ = check.tick() => self.check()?,
                () = tokio::time::sleep_until(deadline) => return Err(self.late(&rows, revision, limit)),
            }
            let left = missing(&rows, &self.expected, revision).len();
            screen.show(&rows, left, self.expected.len(), left == 0);
            if left == 0 {
                return Ok(begin.elapsed());
            }
        }
    }

    /// Is everybody still there?
    fn check(&mut self) -> Result<()> {
        let mut parts = vec![self.hub.process()?];
        for one in &mut self.clusters {
            parts.push(one.agent.process()?);
        }
        for part in parts {
            if let Err(error) = part.check() {
                // Whether to wait longer is for others to know; why it ended is for people.
                let words: Vec<String> = error.chain().skip(1).map(ToString::to_string).collect();
                bail!("{}", words.join(": "));
            }
        }
        Ok(())
    }

    fn late(&mut self, rows: &[Row], revision: &str, limit: Duration) -> anyhow::Error {
        let missing = missing(rows, &self.expected, revision);
        let mut text = format!(
            "{} of {} places do not run {} after {} s (--timeout):",
            missing.len(),
            self.expected.len(),
            &revision[..7],
            limit.as_secs()
        );
        for ((cluster, assignment), row) in missing.iter().take(10) {
            let words = match row {
                Some(row) => format!(
                    "{} {} {} {}",
                    row.connection, row.sync, row.health, row.message
                ),
                None => "the hub knows nothing of it".to_owned(),
            };
            text.push_str(&format!("\n  {cluster} {assignment}: {}", words.trim()));
        }
        if missing.len() > 10 {
            text.push_str(&format!("\n  … and {} more", missing.len() - 10));
        }
        anyhow::anyhow!(
            "{text}\n{}",
            self.logs(missing.first().map(|((cluster, _), _)| cluster.as_str()))
        )
    }

    /// Where the logs are, with that of one cluster's agent.
    fn logs(&mut self, cluster: Option<&str>) -> String {
        let mut text = String::from("Logs:");
        if let Ok(process) = self.hub.process() {
            text.push_str(&format!("\n  hub: {}", process.log().display()));
        }
        let one = self
            .clusters
            .iter_mut()
            .find(|one| cluster.is_none_or(|name| one.member.name == name));
        if let Some(one) = one
            && let Ok(process) = one.agent.process()
        {
            text.push_str(&format!(
                "\n  agent of {}: {}",
                one.member.name,
                process.log().display()
            ));
        }
        text
    }

    /// The final table on stdout.
    async fn finish(&mut self) -> Result<()> {
        let table = self
            .cli
            .run(&["status"])
            .await?
            .ok()
            .context("lockstep status")?;
        print(&table).context("write the table")
    }

    /// Says how to look closer, and shows what arrives until somebody ends it.
    async fn stay(&mut self, interrupt: &mut Interrupt) -> Result<()> {
        say(&self.hints()?);
        let mut watch = Watch::start(&self.cli)?;
        let mut check = tokio::time::interval(CHECK);
        let mut settled: Option<String> = None;
        let mut begun: Option<(String, Instant, Screen)> = None;
        let mut enter = if self.repository.takes_pushes() {
            None
        } else {
            Some(lines()?)
        };
        loop {
            let pressed = async {
                match &mut enter {
                    Some(lines) => lines.recv().await,
                    None => std::future::pending().await,
                }
            };
            let rows = tokio::select! {
                line = pressed => {
                    if line.is_none() {
                        enter = None;
                    } else {
                        let id = self.repository.commit("By hand", &[]).await?;
                        say(&format!("Committed {}.", &id[..7]));
                        notify(&self.hub).await;
                    }
                    continue;
                }
                () = interrupt.come() => {
                    say("\nStopping: agents, clusters, hub and repository.");
                    return Ok(());
                }
                _ = check.tick() => {
                    self.check()?;
                    continue;
                }
                update = watch.next() => update?,
            };
            let Some(newest) = newest(&rows, settled.as_deref()) else {
                continue;
            };
            let left = missing(&rows, &self.expected, &newest).len();
            if settled.is_none() && left == 0 {
                settled = Some(newest);
                continue;
            }
            if begun
                .as_ref()
                .is_none_or(|(revision, _, _)| *revision != newest)
            {
                say(&format!("Commit {}:\n", &newest[..7.min(newest.len())]));
                begun = Some((newest.clone(), Instant::now(), Screen::new(&newest)));
            }
            if let Some((_, at, screen)) = &mut begun {
                screen.show(&rows, left, self.expected.len(), left == 0);
                if left == 0 {
                    say(&format!(
                        "\nEverywhere {:.2} s after the hub saw it.\n",
                        at.elapsed().as_secs_f32()
                    ));
                    begun = None;
                    settled = Some(newest);
                }
            }
        }
    }

    fn hints(&self) -> Result<String> {
        let cli = short(&Binaries::path(Binary::Cli)?);
        let config = self.hub.admin_config();
        let Some(one) = self.clusters.first() else {
            bail!("a fleet without clusters")
        };
        let context = one
            .context
            .as_ref()
            .map_or_else(String::new, |context| format!(" --context {context}"));
        let kubeconfig = one.kubeconfig.display();
        let all = if self.clusters.len() > 1 && one.context.is_none() {
            format!(
                "     (the others' kubeconfigs are beside it, in {})\n",
                self.dir.display()
            )
        } else {
            String::new()
        };
        Ok(format!(
            "
To look closer, in another terminal:

  {cli} --config {config} status
  {cli} --config {config} get assignments -o wide
  {cli} --config {config} describe cluster {name}
  kubectl --kubeconfig {kubeconfig}{context} get deploy,pods -n {SHOP}
{all}
{ship}
To see drift put right: kubectl --kubeconfig {kubeconfig}{context} delete deploy web -n {SHOP}

What arrives is shown here. Ctrl-C ends the demo and everything that it started.
",
            cli = cli.display(),
            config = config.display(),
            name = one.member.name,
            ship = self.ship(),
        ))
    }

    /// How a person ships a change.
    fn ship(&self) -> String {
        let work = self.repository.work().display();
        if self.repository.takes_pushes() {
            let url = self.repository.url();
            format!(
                "To ship a change, commit and push in the working copy (or in a clone of {url}):

  cd {work}
  sed -i 's/replicas: 2/replicas: 3/' {WEB} && git commit -am 'Three of them' && git push origin main
"
            )
        } else {
            format!(
                "To ship a change, edit the files in {work}, come back here and press Enter: without git, the demo commits them for you.\n"
            )
        }
    }

    /// Gives the person's own clusters back what they had: the assignments end, and the agents
    /// remove what they applied.
    async fn leave(&mut self) {
        say("Removing what the demo applied to your clusters …");
        let leaving = async {
            for (assignment, _) in ASSIGNMENTS {
                self.cli
                    .run(&["delete", "assignment", assignment])
                    .await?
                    .ok()?;
            }
            let mut watch = Watch::start(&self.cli)?;
            loop {
                let rows = watch.next().await?;
                if rows.iter().all(|row| row.assignment.is_empty()) {
                    return anyhow::Ok(());
                }
            }
        };
        match tokio::time::timeout(LEAVE, leaving).await {
            Ok(Ok(())) => say(
                "Removed. The namespaces shop, preview and lockstep-system are left, empty; delete them as you like.",
            ),
            Ok(Err(error)) => say(&format!(
                "It could not be removed: {error:#}. Look into the namespaces shop and preview."
            )),
            Err(_) => say("It is not removed yet. Look into the namespaces shop and preview."),
        }
    }
}

/// What is typed, line by line. The thread that reads ends with the process.
fn lines() -> Result<tokio::sync::mpsc::Receiver<String>> {
    let (sender, receiver) = tokio::sync::mpsc::channel(1);
    std::thread::Builder::new()
        .name("keyboard".to_owned())
        .spawn(move || {
            for line in std::io::stdin().lines().map_while(Result::ok) {
                if sender.blocking_send(line).is_err() {
                    return;
                }
            }
        })
        .context("start the thread that reads the keyboard")?;
    Ok(receiver)
}

/// The revision that most places are to run now, if it is another than the settled one.
fn newest(rows: &[Row], settled: Option<&str>) -> Option<String> {
    let mut revisions = rows
        .iter()
        .map(|row| row.desired.as_str())
        .filter(|revision| !revision.is_empty());
    match settled {
        None => revisions.next().map(str::to_owned),
        Some(settled) => revisions
            .find(|revision| *revision != settled)
            .map(str::to_owned),
    }
}

/// A path as a person would type it here.
fn short(path: &Path) -> PathBuf {
    std::env::current_dir()
        .ok()
        .and_then(|here| path.strip_prefix(here).ok().map(Path::to_owned))
        .unwrap_or_else(|| path.to_owned())
}
