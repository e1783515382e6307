//! Logins from docker's configuration files, and from the programs that these name.

use crate::config::OciConfig;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use freshmaker::backend::{Error, Remedy, Result};
use freshmaker_net::Secret;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::io::Read;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// The largest file of credentials, in bytes.
const FILE_BYTES_MAX: u64 = 1 << 20;
/// The largest file with a password, and the largest answer of a helper, in bytes.
const ANSWER_BYTES_MAX: u64 = 64 << 10;
/// What helpers print if they have no login for a registry.
const NOT_FOUND: &str = "credentials not found";
/// The user name under which helpers keep an identity token.
const TOKEN_USER: &str = "<token>";

/// A login at a registry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Credentials {
    Password {
        user: String,
        password: Secret,
    },
    /// A token that is exchanged for tokens of access.
    Identity(Secret),
}

/// Docker's configuration, as far as it is about logins.
#[derive(Default, Deserialize)]
struct DockerConfig {
    #[serde(default)]
    auths: Option<BTreeMap<String, AuthEntry>>,
    #[serde(default, rename = "credHelpers")]
    cred_helpers: Option<BTreeMap<String, String>>,
    #[serde(default, rename = "credsStore")]
    creds_store: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct AuthEntry {
    auth: Option<String>,
    username: Option<String>,
    password: Option<String>,
    identitytoken: Option<String>,
}

#[derive(Deserialize)]
struct HelperAnswer {
    #[serde(rename = "Username")]
    username: String,
    #[serde(rename = "Secret")]
    secret: String,
}

/// Returns the login for a repository: that of the configuration, else that of the first file that
/// has one.
pub(crate) async fn find(config: &OciConfig, host: &str, repository: &str) -> Result<Option<Credentials>> {
    if let Some((user, special)) =
        config.registries.get(host).and_then(|special| Some((special.user.clone()?, special)))
    {
        let password = match (&special.password, &special.password_file) {
            (Some(password), _) => password.clone(),
            (None, Some(path)) => password_of(path)?,
            (None, None) => return Ok(None),
        };
        return Ok(Some(Credentials::Password { user, password }));
    }
    for path in &config.credentials_files {
        let Some(file) = read(path)? else { continue };
        if let Some(found) = file.find(path, host, repository, config.helper_timeout).await? {
            return Ok(Some(found));
        }
    }
    Ok(None)
}

fn failed(path: &Path, text: impl std::fmt::Display) -> Error {
    Error::new(Remedy::Unavailable, format!("oci: credentials {}", path.display()), text)
}

fn bytes(path: &Path, most: u64) -> Result<Option<Vec<u8>>> {
    let file = match std::fs::File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(path, error)),
    };
    let mut bytes = Vec::new();
    file.take(most + 1).read_to_end(&mut bytes).map_err(|error| failed(path, error))?;
    if bytes.len() as u64 > most {
        return Err(failed(path, format!("the file has more than {most} bytes")));
    }
    Ok(Some(bytes))
}

fn password_of(path: &Path) -> Result<Secret> {
    let bytes = bytes(path, ANSWER_BYTES_MAX)?.ok_or_else(|| failed(path, "there is no such file"))?;
    match std::str::from_utf8(&bytes).map(str::trim) {
        Ok("") | Err(_) => Err(failed(path, "there is no password in it")),
        Ok(password) => Ok(Secret::new(password)),
    }
}

fn read(path: &Path) -> Result<Option<DockerConfig>> {
    let Some(bytes) = bytes(path, FILE_BYTES_MAX)? else { return Ok(None) };
    // The text of the error could quote a password.
    let read = serde_json::from_slice(&bytes);
    read.map(Some).map_err(|error| {
        failed(path, format!("line {}, column {}: not in docker's format", error.line(), error.column()))
    })
}

impl DockerConfig {
    /// As docker and podman search: a helper of the registry, then entries from the most specific
    /// one, then the helper of all registries.
    async fn find(&self, path: &Path, host: &str, repository: &str, limit: Duration) -> Result<Option<Credentials>> {
        let helper = self.cred_helpers.iter().flatten().find(|(key, _)| hosts(host).contains(&normal(key)));
        if let Some((key, program)) = helper {
            return ask(program, key, limit).await;
        }
        let keys = keys(host, repository);
        let entries: Vec<_> = self.auths.iter().flatten().map(|(key, entry)| (normal(key), key, entry)).collect();
        for wanted in &keys {
            for (_, key, entry) in entries.iter().filter(|(key, _, _)| key == wanted) {
                if let Some(found) = entry.credentials(path, key)? {
                    return Ok(Some(found));
                }
            }
        }
        match &self.creds_store {
            Some(program) if !program.is_empty() => {
                let server = if host == "docker.io" { "https://index.docker.io/v1/" } else { host };
                ask(program, server, limit).await
            }
            _ => Ok(None),
        }
    }
}

impl AuthEntry {
    /// Returns the login; `None` for the empty entries that docker writes beside a helper.
    fn credentials(&self, path: &Path, key: &str) -> Result<Option<Credentials>> {
        let filled = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
        if let Some(token) = filled(&self.identitytoken) {
            return Ok(Some(Credentials::Identity(Secret::new(token))));
        }
        if let (Some(user), Some(password)) = (filled(&self.username), filled(&self.password)) {
            return Ok(Some(Credentials::Password { user, password: Secret::new(password) }));
        }
        let Some(auth) = filled(&self.auth) else { return Ok(None) };
        let decoded = STANDARD.decode(auth.trim()).ok().and_then(|bytes| String::from_utf8(bytes).ok());
        let pair = decoded.as_deref().and_then(|text| text.trim_end_matches('\0').split_once(':'));
        match pair {
            Some((user, password)) => {
                Ok(Some(Credentials::Password { user: user.to_owned(), password: Secret::new(password) }))
            }
            None => Err(failed(path, format!("`auths.{key}.auth` is not user:password in base64"))),
        }
    }
}

/// Removes what keys may have besides host and path.
fn normal(key: &str) -> String {
    let key = key.strip_prefix("https://").or_else(|| key.strip_prefix("http://")).unwrap_or(key);
    let key = key.trim_end_matches('/');
    key.strip_suffix("/v1").or_else(|| key.strip_suffix("/v2")).unwrap_or(key).to_owned()
}

/// The names of a registry as a key.
fn hosts(host: &str) -> Vec<String> {
    match host {
        "docker.io" => ["index.docker.io", "docker.io", "registry-1.docker.io"].map(str::to_owned).to_vec(),
        other => vec![other.to_owned()],
    }
}

/// The keys for a repository, the most specific first. A registry without a path comes last.
fn keys(host: &str, repository: &str) -> Vec<String> {
    let mut keys = Vec::new();
    let mut path = repository;
    loop {
        keys.push(format!("{host}/{path}"));
        match path.rsplit_once('/') {
            Some((shorter, _)) => path = shorter,
            None => break,
        }
    }
    keys.extend(hosts(host));
    keys
}

/// Asks a program `docker-credential-NAME` for the login of a server. The program is killed if it
/// takes too long.
async fn ask(name: &str, server: &str, limit: Duration) -> Result<Option<Credentials>> {
    let place = format!("oci: docker-credential-{name:.80} get");
    if name.is_empty() || !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte)) {
        return Err(Error::new(Remedy::Unsupported, place, "this is not the name of a helper"));
    }
    run_helper(&format!("docker-credential-{name}"), &place, server, limit).await
}

async fn run_helper(program: &str, place: &str, server: &str, limit: Duration) -> Result<Option<Credentials>> {
    let failed = |text: String| Error::new(Remedy::Unavailable, place, text);
    let run = async {
        let mut child = tokio::process::Command::new(program)
            .arg("get")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()?;
        if let Some(mut input) = child.stdin.take() {
            // A helper that answers without reading is no error.
            drop(input.write_all(format!("{server}\n").as_bytes()).await);
        }
        let mut text = Vec::new();
        if let Some(output) = child.stdout.take() {
            output.take(ANSWER_BYTES_MAX + 1).read_to_end(&mut text).await?;
        }
        // With a full pipe the helper would not end.
        let is_whole = text.len() as u64 <= ANSWER_BYTES_MAX;
        let status = if is_whole { Some(child.wait().await?) } else { None };
        std::io::Result::Ok((status, text))
    };
    let (status, text) = match tokio::time::timeout(limit, run).await {
        Ok(Ok(ended)) => ended,
        Ok(Err(error)) => return Err(failed(error.to_string())),
        Err(_) => return Err(failed(format!("no answer within {} s", limit.as_secs_f64()))),
    };
    let Some(status) = status else {
        return Err(failed(format!("the answer has more than {ANSWER_BYTES_MAX} bytes")));
    };
    if !status.success() {
        // The answer of a failed helper is a message, but who knows what is in it.
        return match String::from_utf8_lossy(&text).contains(NOT_FOUND) {
            true => Ok(None),
            false => Err(failed(format!("it failed: {status}"))),
        };
    }
    let answer: HelperAnswer =
        serde_json::from_slice(&text).map_err(|_| failed("the answer is not in the format of helpers".to_owned()))?;
    Ok(Some(match answer.username.as_str() {
        TOKEN_USER => Credentials::Identity(Secret::new(answer.secret)),
        _ => Credentials::Password { user: answer.username, password: Secret::new(answer.secret) },
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    async fn found(text: &str, host: &str, repository: &str) -> Result<Option<Credentials>> {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("config.json");
        std::fs::write(&path, text).unwrap();
        let missing = directory.path().join("missing.json");
        let config = OciConfig { credentials_files: vec![missing, path], ..OciConfig::default() };
        find(&config, host, repository).await
    }

    fn user(found: Result<Option<Credentials>>) -> Option<String> {
        match found.unwrap()? {
            Credentials::Password { user, password } => Some(format!("{user}:{}", password.expose())),
            Credentials::Identity(token) => Some(format!("<token>:{}", token.expose())),
        }
    }

    #[tokio::test]
    async fn the_most_specific_entry_counts() {
        // "u:p", "v:q" and "w:r:s" in base64.
        let text = r#"{"auths": {"https://index.docker.io/v1/": {"auth": "dTpw"}, "r.example": {"auth": "dTpw"},
            "r.example/team": {"auth": "dzpyOnM="}, "empty.example": {},
            "t.example": {"auth": "dTpw", "identitytoken": "t"}}, "HttpHeaders": {}}"#;
        for (host, repository, wanted) in [
            ("docker.io", "library/debian", Some("u:p")),
            ("r.example", "app", Some("u:p")),
            ("r.example", "team/app", Some("w:r:s")),
            ("r.example", "teams/app", Some("u:p")),
            ("empty.example", "app", None),
            ("t.example", "app", Some("<token>:t")),
            ("other.example", "app", None),
        ] {
            assert_eq!(user(found(text, host, repository).await).as_deref(), wanted, "{host}/{repository}");
        }
    }

    #[tokio::test]
    async fn errors_name_the_place_and_no_secret() {
        for (text, wanted) in [
            (r#"{"auths": "geheim"}"#, "line 1, column"),
            (r#"{"auths": {"r.example": {"auth": "geheim!"}}}"#, "`auths.r.example.auth` is not"),
            (r#"{"credHelpers": {"r.example": "../geheim"}}"#, "not the name of a helper"),
        ] {
            let error = found(text, "r.example", "app").await.unwrap_err().to_string();
            assert!(error.contains(wanted), "{error}");
            assert!(!error.contains("geheim!") && !error.contains("\"geheim\""), "{error}");
        }
    }

    /// Asks a helper with this script, by its path: a test cannot change `PATH` for itself alone.
    async fn ask_script(script: &str, limit: Duration) -> Result<Option<Credentials>> {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("docker-credential-fake");
        std::fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        let program = path.to_str().unwrap();
        run_helper(program, "oci: helper", "r.example", limit).await
    }

    #[tokio::test]
    async fn helpers_answer_in_time_or_not() {
        let limit = Duration::from_secs(20);
        let missing = found(r#"{"credsStore": "no-such-helper-here"}"#, "r.example", "app").await;
        assert!(missing.unwrap_err().to_string().contains("docker-credential-no-such-helper-here get"));
        let good = ask_script(r#"read server; echo "{\"Username\": \"u\", \"Secret\": \"$server\"}""#, limit).await;
        assert_eq!(user(good).as_deref(), Some("u:r.example"));
        let token = ask_script(r#"echo '{"Username": "<token>", "Secret": "t"}'"#, limit).await;
        assert_eq!(user(token).as_deref(), Some("<token>:t"));
        let none = ask_script("echo credentials not found in native keychain; exit 1", limit).await;
        assert_eq!(none.unwrap(), None);
        for (script, limit, wanted) in [
            ("echo geheim; exit 3", limit, "it failed"),
            ("echo geheim", limit, "not in the format"),
            ("yes geheim", limit, "more than 65536 bytes"),
            ("exec sleep 1000", Duration::from_millis(50), "no answer within 0.05 s"),
        ] {
            let error = ask_script(script, limit).await.unwrap_err().to_string();
            assert!(error.contains(wanted) && !error.contains("geheim"), "{error}");
        }
    }
}
