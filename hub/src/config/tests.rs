use std::path::Path;

use clap::Parser as _;

use super::*;

fn settle(line: &[&str]) -> Result<Settings, String> {
    let line = ["lockstep-hub", "serve"].iter().chain(line);
    let line = CommandLine::try_parse_from(line).map_err(|error| error.to_string())?;
    let Command::Serve(args) = line.command;
    args.settle(false).map_err(|error| error.to_string())
}

fn file(dir: &Path, text: &str) -> String {
    let path = dir.join("hub.yaml");
    std::fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_owned()
}

#[test]
fn defaults_need_only_a_folder() {
    let settings = settle(&["--data-dir", "x"]).unwrap();
    assert_eq!(settings.listen.to_string(), "127.0.0.1:7443");
    assert_eq!(settings.http.to_string(), "127.0.0.1:7080");
    assert_eq!(settings.advertise, None);
    assert!(!settings.allow_file_repositories);
    let error = settle(&[]).unwrap_err();
    assert!(error.contains("--data-dir"), "{error}");
}

#[test]
fn a_flag_wins_over_the_file() {
    let dir = tempfile::tempdir().unwrap();
    let config = file(
        dir.path(),
        "# the hub\ndataDir: /var/lib/lockstep\nlisten: 0.0.0.0:1\nhttp: '[::1]:2'\n\
         advertise: Hub.example.com:3\nallowFileRepositories: true\nlogFormat: json\nlog: warn\n",
    );
    let settings = settle(&["--config", &config, "--listen", "127.0.0.1:9"]).unwrap();
    assert_eq!(settings.data_dir, Path::new("/var/lib/lockstep"));
    assert_eq!(settings.listen.to_string(), "127.0.0.1:9");
    assert_eq!(settings.http.to_string(), "[::1]:2");
    assert_eq!(settings.advertise.unwrap().to_string(), "hub.example.com:3");
    assert!(settings.allow_file_repositories);
    assert_eq!(settings.log, "warn");
    assert_eq!(settings.log_format, LogFormat::Json);
    let settings = settle(&["--config", &config, "--allow-file-repositories=false"]).unwrap();
    assert!(!settings.allow_file_repositories);
}

#[test]
fn an_empty_file_sets_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let config = file(dir.path(), "# nothing yet\n");
    settle(&["--config", &config, "--data-dir", "x"]).unwrap();
}

#[test]
fn every_mistake_is_named_with_what_to_do() {
    let dir = tempfile::tempdir().unwrap();
    let unknown = file(dir.path(), "dataDir: x\nlisen: 127.0.0.1:1\n");
    let error = settle(&["--config", &unknown]).unwrap_err();
    assert!(
        error.contains("lisen") && error.contains("hub.yaml"),
        "{error}"
    );
    let bad = file(dir.path(), "listen: nowhere\n");
    let error = settle(&["--config", &bad]).unwrap_err();
    assert!(error.contains("\"nowhere\" is not HOST:PORT"), "{error}");
    let error = settle(&["--config", "/no/such/file"]).unwrap_err();
    assert!(error.contains("/no/such/file"), "{error}");
    let error = settle(&["--data-dir", "x", "--listen", "7443"]).unwrap_err();
    assert!(error.contains("HOST:PORT"), "{error}");
    let error = settle(&["--data-dir", "x", "--log", "a=b=c"]).unwrap_err();
    assert!(error.contains("log filter"), "{error}");
    let error = settle(&["--data-dir", "x", "--log-format", "xml"]).unwrap_err();
    assert!(error.contains("text, json"), "{error}");
}

#[test]
fn a_context_of_the_command_line_is_told_from_a_configuration() {
    let dir = tempfile::tempdir().unwrap();
    let context = file(dir.path(), "currentContext: a\ncontexts:\n- name: a\n");
    let args = |path: &str| ServeArgs {
        data_dir: Some("x".into()),
        config: Some(path.into()),
        ..ServeArgs::default()
    };
    let error = args(&context).settle(false).unwrap_err();
    assert!(matches!(error, ConfigError::Context { .. }));
    let settings = args(&context).settle(true).unwrap();
    assert_eq!(settings.notes.len(), 1, "exported for the CLI: not for us");
}

#[test]
fn host_port_reads_what_it_writes_and_takes_no_nonsense() {
    for good in [
        "127.0.0.1:0",
        "[::1]:7443",
        "localhost:1",
        "hub.example.com:65535",
    ] {
        assert_eq!(good.parse::<HostPort>().unwrap().to_string(), good);
    }
    for bad in [
        "",
        ":1",
        "a",
        "a:",
        "a:b",
        "a:65536",
        "::1:5",
        "[::1:5",
        "a b:1",
        "-a:1",
        "http://a:1",
    ] {
        assert!(bad.parse::<HostPort>().is_err(), "{bad}");
    }
    assert!("0.0.0.0:1".parse::<HostPort>().unwrap().is_unspecified());
    assert!("[::]:1".parse::<HostPort>().unwrap().is_unspecified());
}
