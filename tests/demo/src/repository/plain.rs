//! A repository made and served without git: libgit2 writes it, and we answer its clients.

use std::convert::Infallible;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result};
use bytes::Bytes;
use git2::{Index, IndexEntry, IndexTime, Repository, RepositoryInitOptions, Signature};
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::upload_pack::{advertisement, answer};

const BRANCH: &str = "refs/heads/main";
/// What a client may send: object ids, a few thousand at most.
const MOST_REQUEST_BYTES: usize = 1 << 20;

/// The repository, its folder of files, and its server; dropping it ends the server.
pub struct Plain {
    bare: PathBuf,
    work: PathBuf,
    url: String,
    _stop: DropGuard,
}

impl Plain {
    pub(super) async fn start(name: &str, dir: &Path) -> Result<Self> {
        let (bare, work) = (dir.join(format!("{name}.git")), dir.join(name));
        let mut options = RepositoryInitOptions::new();
        options.bare(true).initial_head("main");
        Repository::init_opts(&bare, &options).context("make the repository")?;
        std::fs::create_dir_all(&work).context("make the folder of files")?;
        let listener = TcpListener::bind("127.0.0.1:0")
            .await
            .context("listen for Git clients")?;
        let url = format!("http://{}/{name}.git", listener.local_addr()?);
        let stop = CancellationToken::new();
        let serving = serve(listener, Arc::new(bare.clone()), format!("/{name}.git"));
        let stopped = stop.clone();
        tokio::spawn(async move { stopped.run_until_cancelled(serving).await });
        Ok(Self {
            bare,
            work,
            url,
            _stop: stop.drop_guard(),
        })
    }

    pub(super) fn url(&self) -> &str {
        &self.url
    }

    pub(super) fn work(&self) -> &Path {
        &self.work
    }

    pub(super) fn commit(&self, subject: &str, files: &[(&str, &str)]) -> Result<String> {
        for (path, content) in files {
            let path = self.work.join(path);
            std::fs::create_dir_all(path.parent().context("a file is in a folder")?)?;
            std::fs::write(&path, content).with_context(|| format!("write {}", path.display()))?;
        }
        let repository = Repository::open(&self.bare).context("open the repository")?;
        let mut index = Index::new().context("an index")?;
        add(&repository, &mut index, &self.work, &self.work)?;
        let tree =
            repository.find_tree(index.write_tree_to(&repository).context("write the tree")?)?;
        let who = Signature::now("Lockstep Demo", "demo@lockstep.dev")?;
        let parent = repository
            .find_reference(BRANCH)
            .ok()
            .and_then(|head| head.peel_to_commit().ok());
        let parents: Vec<&git2::Commit<'_>> = parent.iter().collect();
        let id = repository
            .commit(Some(BRANCH), &who, &who, subject, &tree, &parents)
            .context("commit")?;
        Ok(id.to_string())
    }
}

/// Adds every file below a folder.
fn add(repository: &Repository, index: &mut Index, root: &Path, folder: &Path) -> Result<()> {
    for entry in std::fs::read_dir(folder).with_context(|| format!("read {}", folder.display()))? {
        let path = entry?.path();
        if path.is_dir() {
            add(repository, index, root, &path)?;
            continue;
        }
        let id = repository
            .blob_path(&path)
            .with_context(|| format!("store {}", path.display()))?;
        let name = path
            .strip_prefix(root)
            .context("a file is below its root")?;
        let name = name
            .to_str()
            .with_context(|| format!("{} is no UTF-8", name.display()))?;
        let time = IndexTime::new(0, 0);
        let entry = IndexEntry {
            ctime: time,
            mtime: time,
            dev: 0,
            ino: 0,
            mode: 0o100_644,
            uid: 0,
            gid: 0,
            file_size: 0,
            id,
            flags: 0,
            flags_extended: 0,
            path: name.as_bytes().to_vec(),
        };
        index.add(&entry).with_context(|| format!("add {name}"))?;
    }
    Ok(())
}

async fn serve(listener: TcpListener, bare: Arc<PathBuf>, root: String) {
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            // Out of file descriptors: they come back as connections end.
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
            continue;
        };
        let (bare, root) = (bare.clone(), root.clone());
        tokio::spawn(async move {
            let service = service_fn(move |request| {
                let (bare, root) = (bare.clone(), root.clone());
                async move { Ok::<_, Infallible>(handle(&bare, &root, request).await) }
            });
            // A client that goes away early is no news.
            let _ = hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service)
                .await;
        });
    }
}

async fn handle(bare: &Path, root: &str, request: Request<Incoming>) -> Response<Full<Bytes>> {
    let path = request
        .uri()
        .path()
        .strip_prefix(root)
        .unwrap_or("")
        .to_owned();
    let service = request.uri().query().unwrap_or("") == "service=git-upload-pack";
    let (kind, made) = match (request.method(), path.as_str()) {
        (&Method::GET, "/info/refs") if service => {
            let bare = bare.to_owned();
            (
                "advertisement",
                tokio::task::spawn_blocking(move || advertisement(&bare)).await,
            )
        }
        (&Method::POST, "/git-upload-pack") => {
            let Ok(body) = Limited::new(request.into_body(), MOST_REQUEST_BYTES)
                .collect()
                .await
            else {
                return text(StatusCode::PAYLOAD_TOO_LARGE, "the request is too large");
            };
            let (bare, body) = (bare.to_owned(), body.to_bytes());
            (
                "result",
                tokio::task::spawn_blocking(move || answer(&bare, &body)).await,
            )
        }
        _ => {
            return text(
                StatusCode::FORBIDDEN,
                "this repository can be read, and no more: git is not installed beside it",
            );
        }
    };
    match made {
        Ok(Ok(bytes)) => {
            let mut response = Response::new(Full::new(Bytes::from(bytes)));
            let kind = format!("application/x-git-upload-pack-{kind}");
            if let Ok(kind) = kind.parse() {
                response
                    .headers_mut()
                    .insert(http::header::CONTENT_TYPE, kind);
            }
            response.headers_mut().insert(
                http::header::CACHE_CONTROL,
                http::HeaderValue::from_static("no-cache"),
            );
            response
        }
        Ok(Err(error)) => text(StatusCode::INTERNAL_SERVER_ERROR, &format!("{error:#}")),
        Err(_) => text(
            StatusCode::INTERNAL_SERVER_ERROR,
            "the answer was not finished",
        ),
    }
}

fn text(status: StatusCode, words: &str) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(words.to_owned())));
    *response.status_mut() = status;
    response
}
