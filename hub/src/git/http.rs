//! Smart HTTP: the requests of a fetch over hyper and rustls.
//!
//! Credentials go to the repository's own host and nowhere else; redirects are
//! followed for the first request of a look alone, a few times, and never from
//! https to http. Every wait ends, and what a server may send is bounded.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderValue, LOCATION, USER_AGENT};
use http::{Method, Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use tokio::time::{Instant, timeout};
use url::Url;

use super::cause::{self, RemoteError};
use super::intake::Intake;
use super::pktline::{Decoder, Packet};
use super::protocol::{Advertisement, Listing, PackStream, RemoteRefs, Server, Want, Wanted};
use super::{BasicAuth, Limits};

/// Some servers answer only to what calls itself git.
const AGENT: &str = concat!("git/2.0 (lockstep ", env!("CARGO_PKG_VERSION"), ")");
const MAX_REDIRECTS: usize = 3;
const CONNECT: Duration = Duration::from_secs(10);
/// Connections serve the few requests of one look, not the next poll: with
/// many repositories they would be more than a small hub holds.
const KEPT: Duration = Duration::from_secs(15);
/// What GitHub, GitLab and Gitea take as the name where the token is all.
const TOKEN_NAME: &str = "x-access-token";

pub(super) type HttpClient = Client<HttpsConnector<HttpConnector>, Full<Bytes>>;

/// The system's certificate authorities. Reads files: blocking.
pub(super) fn system_roots() -> Arc<RootCertStore> {
    let mut roots = RootCertStore::empty();
    let found = rustls_native_certs::load_native_certs();
    for error in found.errors {
        tracing::warn!(%error, "cannot read some of the system's certificate authorities");
    }
    roots.add_parsable_certificates(found.certs);
    Arc::new(roots)
}

/// A client that trusts `system` and the certificates of `ca_bundle`.
pub(super) fn client(system: &RootCertStore, ca_bundle: &str) -> Result<HttpClient, RemoteError> {
    let bad = |cause: String| RemoteError::Url(format!("spec.caBundle: {cause}"));
    let mut roots = system.clone();
    for certificate in CertificateDer::pem_slice_iter(ca_bundle.as_bytes()) {
        let certificate = certificate.map_err(|e| bad(format!("not PEM certificates: {e}")))?;
        roots
            .add(certificate)
            .map_err(|e| bad(format!("a certificate that cannot be used: {e}")))?;
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let tls = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|e| bad(e.to_string()))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    let mut tcp = HttpConnector::new();
    tcp.enforce_http(false);
    tcp.set_connect_timeout(Some(CONNECT));
    tcp.set_nodelay(true);
    let connector = hyper_rustls::HttpsConnectorBuilder::new()
        .with_tls_config(tls)
        .https_or_http()
        .enable_http1()
        .wrap_connector(tcp);
    Ok(Client::builder(TokioExecutor::new())
        .pool_timer(TokioTimer::new())
        .pool_idle_timeout(KEPT)
        .pool_max_idle_per_host(4)
        .build(connector))
}

/// A login and the name of the credential that it comes from.
pub(super) struct Login {
    pub name: String,
    pub auth: BasicAuth,
}

/// A remote over HTTP, for one look.
pub(super) struct Http<'a> {
    pub client: HttpClient,
    pub url: &'a Url,
    pub login: Option<&'a Login>,
    pub limits: &'a Limits,
    /// When this part of the look must be over.
    pub deadline: Instant,
    /// How long that was from its start.
    pub time: Duration,
}

/// What is remembered of a server from one look to the next: where it really
/// is, and that it speaks version 2, so that one request lists its refs.
#[derive(Debug, Clone)]
pub(super) struct Known {
    pub base: Url,
    pub server: Server,
}

impl Http<'_> {
    /// The refs of the remote that `wanted` picks.
    pub(super) async fn list(
        &self,
        known: Option<&Known>,
        wanted: &Wanted,
    ) -> Result<(Known, RemoteRefs), RemoteError> {
        if let Some(known) = known {
            let refs = self.list_v2(&known.base, wanted).await?;
            return Ok((known.clone(), refs));
        }
        let (base, mut answer) = self.advertisement().await?;
        let mut advertisement = Advertisement::new(wanted.clone());
        while !advertisement.done() {
            advertisement.packet(&answer.packet().await?)?;
        }
        let server = advertisement.server;
        let refs = if server.v2 {
            drop(answer);
            self.list_v2(&base, wanted).await?
        } else {
            advertisement.refs
        };
        Ok((Known { base, server }, refs))
    }

    async fn list_v2(&self, base: &Url, wanted: &Wanted) -> Result<RemoteRefs, RemoteError> {
        let mut listing = Listing::new(wanted.clone());
        let mut answer = self
            .upload_pack(base, true, Listing::request(wanted))
            .await?;
        while !listing.done {
            listing.packet(&answer.packet().await?)?;
        }
        Ok(listing.refs)
    }

    /// Fetches what `want` asks for. Returns early without an error when
    /// `intake` gave up: it knows why.
    pub(super) async fn fetch(
        &self,
        known: &Known,
        want: &Want,
        intake: &Intake,
    ) -> Result<(), RemoteError> {
        let request = want.request(&known.server)?;
        let mut answer = self
            .upload_pack(&known.base, known.server.v2, request)
            .await?;
        let mut stream = PackStream::new(&known.server);
        while !stream.done() {
            if let Some(piece) = stream.packet(answer.packet().await?)?
                && !intake.put(piece).await
            {
                break;
            }
        }
        Ok(())
    }

    /// The answer to the first request, and where it came from after redirects.
    async fn advertisement(&self) -> Result<(Url, Answer), RemoteError> {
        const SUFFIX: &str = "/info/refs";
        let mut url = self.url.clone();
        url.set_path(&format!(
            "{}{SUFFIX}",
            self.url.path().trim_end_matches('/')
        ));
        url.set_query(Some("service=git-upload-pack"));
        for _ in 0..=MAX_REDIRECTS {
            let request = self.request(Method::GET, &url, true, Bytes::new());
            let response = self.send(&url, request).await?;
            if response.status().is_redirection() {
                url = redirected(&url, &response)?;
                continue;
            }
            let answer = self.answer(
                &url,
                response,
                "application/x-git-upload-pack-advertisement",
            )?;
            let Some(path) = url.path().strip_suffix(SUFFIX).map(str::to_owned) else {
                return Err(RemoteError::Redirect {
                    host: host(self.url),
                    cause: "to a page that is not a repository: check spec.url".into(),
                });
            };
            url.set_path(&path);
            url.set_query(None);
            return Ok((url, answer));
        }
        Err(RemoteError::Redirect {
            host: host(self.url),
            cause: format!("more than {MAX_REDIRECTS} times"),
        })
    }

    async fn upload_pack(&self, base: &Url, v2: bool, body: Bytes) -> Result<Answer, RemoteError> {
        let mut url = base.clone();
        url.set_path(&format!(
            "{}/git-upload-pack",
            base.path().trim_end_matches('/')
        ));
        let mut request = self.request(Method::POST, &url, v2, body);
        let headers = request.headers_mut();
        headers.insert(
            CONTENT_TYPE,
            HeaderValue::from_static("application/x-git-upload-pack-request"),
        );
        let kind = "application/x-git-upload-pack-result";
        headers.insert(ACCEPT, HeaderValue::from_static(kind));
        let response = self.send(&url, request).await?;
        self.answer(&url, response, kind)
    }

    fn request(&self, method: Method, url: &Url, v2: bool, body: Bytes) -> Request<Full<Bytes>> {
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = method;
        *request.uri_mut() = url
            .as_str()
            .parse()
            .expect("what the url crate writes is a URI");
        let headers = request.headers_mut();
        headers.insert(USER_AGENT, HeaderValue::from_static(AGENT));
        if v2 {
            headers.insert("git-protocol", HeaderValue::from_static("version=2"));
        }
        if let Some(login) = self.login
            && is_own_host(self.url, url)
        {
            headers.insert(AUTHORIZATION, basic(&login.auth));
        }
        request
    }

    async fn send(
        &self,
        url: &Url,
        request: Request<Full<Bytes>>,
    ) -> Result<Response<Incoming>, RemoteError> {
        let left = self.deadline.saturating_duration_since(Instant::now());
        let after = self.limits.answer;
        match timeout(after.min(left), self.client.request(request)).await {
            Ok(Ok(response)) => Ok(response),
            Ok(Err(error)) => Err(cause::of_request(&host(url), &error)),
            Err(_) if left < after => Err(RemoteError::Deadline(self.time)),
            Err(_) => Err(RemoteError::Stalled {
                host: host(url),
                what: "did not answer",
                after,
            }),
        }
    }

    fn answer(
        &self,
        url: &Url,
        response: Response<Incoming>,
        kind: &str,
    ) -> Result<Answer, RemoteError> {
        let status = response.status();
        if !status.is_success() {
            let sent = is_own_host(self.url, url);
            let login = self.login.map(|login| login.name.as_str());
            let withheld = login.is_some() && !sent;
            return Err(cause::of_status(&host(url), status, login, withheld));
        }
        let found = response
            .headers()
            .get(CONTENT_TYPE)
            .and_then(|value| value.to_str().ok())
            .unwrap_or("something without a type");
        let found = found.split(';').next().unwrap_or_default().trim();
        if found != kind {
            return Err(RemoteError::NotGit {
                host: host(url),
                found: found.chars().take(80).collect(),
            });
        }
        Ok(Answer {
            host: host(url),
            body: response.into_body(),
            decoder: Decoder::default(),
            left: self.limits.fetch_bytes,
            deadline: self.deadline,
            limits: self.limits.clone(),
            time: self.time,
        })
    }
}

/// The packets of one answer.
struct Answer {
    host: String,
    body: Incoming,
    decoder: Decoder,
    left: u64,
    deadline: Instant,
    limits: Limits,
    time: Duration,
}

impl Answer {
    /// The next packet; the end of the answer is an error, because whoever
    /// asks still expects one.
    async fn packet(&mut self) -> Result<Packet, RemoteError> {
        loop {
            if let Some(packet) = self.decoder.next()? {
                return Ok(packet);
            }
            let piece = self.piece().await?;
            self.decoder.push(&piece);
        }
    }

    async fn piece(&mut self) -> Result<Bytes, RemoteError> {
        loop {
            let left = self.deadline.saturating_duration_since(Instant::now());
            let idle = self.limits.idle;
            let frame = match timeout(idle.min(left), self.body.frame()).await {
                Ok(Some(Ok(frame))) => frame,
                Ok(Some(Err(error))) => return Err(cause::of_body(&self.host, &error)),
                Ok(None) => {
                    return Err(RemoteError::BrokenOff {
                        host: self.host.clone(),
                        cause: "it ended too early".into(),
                    });
                }
                Err(_) if left < idle => {
                    return Err(RemoteError::Deadline(self.time));
                }
                Err(_) => {
                    return Err(RemoteError::Stalled {
                        host: self.host.clone(),
                        what: "sent nothing",
                        after: idle,
                    });
                }
            };
            let Ok(piece) = frame.into_data() else {
                continue;
            };
            self.left = self
                .left
                .checked_sub(piece.len() as u64)
                .ok_or(RemoteError::TooBig(self.limits.fetch_bytes))?;
            return Ok(piece);
        }
    }
}

fn basic(auth: &BasicAuth) -> HeaderValue {
    let name = if auth.username.is_empty() {
        TOKEN_NAME
    } else {
        &auth.username
    };
    let pair = zeroize::Zeroizing::new(format!("{name}:{}", auth.password.expose()));
    let text = base64::engine::general_purpose::STANDARD.encode(pair.as_bytes());
    let mut value =
        HeaderValue::from_str(&format!("Basic {text}")).expect("base64 is fit for a header");
    value.set_sensitive(true);
    value
}

/// Host and port, for messages.
pub(super) fn host(url: &Url) -> String {
    let name = url.host_str().unwrap_or_default();
    url.port()
        .map_or_else(|| name.to_owned(), |port| format!("{name}:{port}"))
}

/// Whether `to` is the very server that `own` names, or its https where `own` says http.
fn is_own_host(own: &Url, to: &Url) -> bool {
    let upgraded = own.scheme() == "http"
        && to.scheme() == "https"
        && own.port().is_none()
        && to.port().is_none();
    own.host_str() == to.host_str() && (own.origin() == to.origin() || upgraded)
}

fn redirected(from: &Url, response: &Response<Incoming>) -> Result<Url, RemoteError> {
    let refused = |cause: &str| RemoteError::Redirect {
        host: host(from),
        cause: cause.to_owned(),
    };
    let to = response
        .headers()
        .get(LOCATION)
        .and_then(|value| value.to_str().ok())
        .and_then(|to| from.join(to).ok())
        .ok_or_else(|| refused("to nowhere"))?;
    match (from.scheme(), to.scheme()) {
        ("http" | "https", "https") | ("http", "http") => {}
        ("https", "http") => return Err(refused("from https to http, which is not followed")),
        _ => return Err(refused("to what is not a web address")),
    }
    if !to.username().is_empty() || to.password().is_some() {
        return Err(refused(
            "to an address with a login in it, which is not followed",
        ));
    }
    Ok(to)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secret::Secret;

    fn url(text: &str) -> Url {
        Url::parse(text).unwrap()
    }

    #[test]
    fn credentials_go_to_the_own_host_alone() {
        for (own, to, sent) in [
            (
                "https://git.example.com/a",
                "https://git.example.com/b",
                true,
            ),
            (
                "https://git.example.com:8443/a",
                "https://git.example.com:8443/b",
                true,
            ),
            (
                "http://git.example.com/a",
                "https://git.example.com/a",
                true,
            ),
            (
                "https://git.example.com/a",
                "https://git.example.com:8443/a",
                false,
            ),
            (
                "https://git.example.com/a",
                "http://git.example.com/a",
                false,
            ),
            (
                "https://git.example.com/a",
                "https://evil.example.com/a",
                false,
            ),
            (
                "https://git.example.com/a",
                "https://git.example.com.evil.com/a",
                false,
            ),
            ("http://127.0.0.1:80/a", "https://127.0.0.1:444/a", false),
        ] {
            assert_eq!(is_own_host(&url(own), &url(to)), sent, "{own} {to}");
        }
    }

    #[test]
    fn a_login_does_not_print() {
        let auth = |username: &str| BasicAuth {
            username: username.into(),
            password: Secret::new("hunter2"),
        };
        let value = basic(&auth("me"));
        assert_eq!(value, "Basic bWU6aHVudGVyMg==");
        assert!(!format!("{value:?}").contains("bWU6"));
        assert_eq!(basic(&auth("")), basic(&auth(TOKEN_NAME)));
    }
}
