//! Where the hub listens, what it is called, and what others dial.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use anyhow::Context as _;
use tokio::net::TcpListener;

use crate::config::{HostPort, Settings};

/// Binds `to`; with port 0 to the port of `last` time if that is free, so that
/// a restart does not lose those who know it.
pub(super) async fn bind(
    to: &HostPort,
    last: Option<SocketAddr>,
    flag: &str,
) -> anyhow::Result<TcpListener> {
    if to.port == 0
        && let Some(last) = last
        && let Ok(listener) = TcpListener::bind((to.host.as_str(), last.port())).await
    {
        return Ok(listener);
    }
    TcpListener::bind((to.host.as_str(), to.port))
        .await
        .with_context(|| {
            format!(
                "cannot listen on {to} ({flag}): choose an address of this machine and a port \
                 that is free, or port 0 for any"
            )
        })
}

/// What the server certificate is for.
pub(super) fn names(settings: &Settings) -> BTreeSet<String> {
    let advertised = settings.advertise.iter().map(|at| at.host.clone());
    ["localhost", "127.0.0.1", "::1"]
        .map(str::to_owned)
        .into_iter()
        .chain([settings.listen.host.clone()])
        .chain(advertised)
        .collect()
}

/// What people and agents dial, where the hub listens on `port`.
pub(super) fn endpoint(settings: &Settings, port: u16) -> HostPort {
    let on_port = |host: &str| HostPort {
        host: host.to_owned(),
        port,
    };
    match &settings.advertise {
        // A name for a port that nobody knew before.
        Some(at) if at.port == 0 => on_port(&at.host),
        Some(at) => at.clone(),
        None if settings.listen.is_unspecified() => on_port("127.0.0.1"),
        None => on_port(&settings.listen.host),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::LogFormat;

    fn settings(listen: &str, advertise: Option<&str>) -> Settings {
        Settings {
            data_dir: "x".into(),
            listen: listen.parse().unwrap(),
            http: "127.0.0.1:0".parse().unwrap(),
            advertise: advertise.map(|at| at.parse().unwrap()),
            allow_file_repositories: false,
            log: "info".to_owned(),
            log_format: LogFormat::Text,
            notes: Vec::new(),
        }
    }

    #[test]
    fn the_endpoint_is_what_is_advertised_else_where_the_hub_listens() {
        for (listen, advertise, expected) in [
            ("127.0.0.1:0", None, "127.0.0.1:5"),
            ("localhost:0", None, "localhost:5"),
            ("[::1]:0", None, "[::1]:5"),
            ("0.0.0.0:0", None, "127.0.0.1:5"),
            (
                "0.0.0.0:0",
                Some("hub.example.com:443"),
                "hub.example.com:443",
            ),
            ("0.0.0.0:0", Some("hub.example.com:0"), "hub.example.com:5"),
        ] {
            let settings = settings(listen, advertise);
            assert_eq!(endpoint(&settings, 5).to_string(), expected);
            let host = endpoint(&settings, 5).host;
            assert!(
                names(&settings).contains(&host),
                "{host} in the certificate"
            );
        }
    }

    #[tokio::test]
    async fn a_restart_with_port_0_finds_its_port_again_if_it_can() {
        let any = "127.0.0.1:0".parse().unwrap();
        let first = bind(&any, None, "--http").await.unwrap();
        let last = first.local_addr().unwrap();
        let other = bind(&any, Some(last), "--http").await.unwrap();
        assert_ne!(other.local_addr().unwrap(), last, "taken");
        drop(first);
        let again = bind(&any, Some(last), "--http").await.unwrap();
        assert_eq!(again.local_addr().unwrap(), last);
    }

    #[tokio::test]
    async fn a_port_that_is_taken_is_named_with_its_flag() {
        let any = "127.0.0.1:0".parse().unwrap();
        let first = bind(&any, None, "--http").await.unwrap();
        let taken = first.local_addr().unwrap().to_string();
        let error = bind(&taken.parse().unwrap(), None, "--http")
            .await
            .unwrap_err();
        let error = format!("{error:#}");
        assert!(
            error.contains(&taken) && error.contains("--http"),
            "{error}"
        );
    }
}
