//! How an agent or the command line dials the hub: one HTTP/2 connection over
//! rustls, with the verifier and client certificate that the caller gives.

use std::sync::Arc;
use std::time::Duration;

use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tonic::transport::{Channel, Endpoint, Uri};
use tower::service_fn;

/// Long enough for a far hub on a bad line, short enough to try again soon.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// A dead line is noticed within the sum of both: the hub calls a cluster
/// Offline after less than a minute, and so should the cluster notice.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(20);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(10);

/// Why the hub could not be dialled.
#[derive(Debug, thiserror::Error)]
pub enum DialError {
    #[error("{0:?} is not an endpoint: expected HOST:PORT")]
    Endpoint(String),
    #[error("cannot connect to the hub at {endpoint}: {cause}")]
    Connect { endpoint: String, cause: String },
}

/// Connects to the hub at `endpoint` (`HOST:PORT`). `tls` decides whom to
/// trust and who we are; ALPN is set here.
///
/// # Errors
/// [`DialError`], with the innermost cause in words.
pub async fn connect(endpoint: &str, mut tls: rustls::ClientConfig) -> Result<Channel, DialError> {
    let bad = || DialError::Endpoint(endpoint.to_owned());
    let (host, port) = endpoint.rsplit_once(':').ok_or_else(bad)?;
    let host = host
        .trim_start_matches('[')
        .trim_end_matches(']')
        .to_owned();
    let port: u16 = port.parse().map_err(|_| bad())?;
    let name = ServerName::try_from(host.clone()).map_err(|_| bad())?;
    let uri: Uri = format!("https://{endpoint}").parse().map_err(|_| bad())?;
    tls.alpn_protocols = vec![b"h2".to_vec()];
    let tls = tokio_rustls::TlsConnector::from(Arc::new(tls));

    let connector = service_fn(move |_: Uri| {
        let (host, name, tls) = (host.clone(), name.clone(), tls.clone());
        async move {
            let tcp = TcpStream::connect((host, port)).await?;
            tcp.set_nodelay(true)?;
            Ok::<_, std::io::Error>(TokioIo::new(tls.connect(name, tcp).await?))
        }
    });
    Endpoint::from(uri)
        .connect_timeout(CONNECT_TIMEOUT)
        .http2_keep_alive_interval(KEEPALIVE_INTERVAL)
        .keep_alive_timeout(KEEPALIVE_TIMEOUT)
        .keep_alive_while_idle(true)
        .connect_with_connector(connector)
        .await
        .map_err(|error| DialError::Connect {
            endpoint: endpoint.to_owned(),
            cause: innermost(&error),
        })
}

/// The message at the bottom of a chain of errors: tonic and hyper say
/// "transport error" and keep the reason further down.
pub fn innermost(error: &dyn std::error::Error) -> String {
    let mut deepest = error;
    while let Some(source) = deepest.source() {
        deepest = source;
    }
    deepest.to_string()
}
