use freshmaker::backend::{Error, Remedy, Result};
use freshmaker::time::Timestamp;
use freshmaker_net::{Secret, TlsFiles};
use serde::Deserialize;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;
use tokio_postgres::Config;
use tokio_postgres::config::{Host, SslMode, TargetSessionAttrs};

/// The origin that errors of the configuration name.
const PLACE: &str = "PostgreSQL";

/// How a connection is protected.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum PostgresTls {
    /// TLS; the certificate of the server must be valid for its name. Sockets of the file system
    /// have no TLS.
    #[default]
    VerifyFull,
    /// No TLS: everything, passwords too, can be read on the network.
    Disable,
}

/// How a [`PostgresStorage`](super::PostgresStorage) reaches its server.
///
/// ```
/// use freshmaker_sql::PostgresConfig;
///
/// let config: PostgresConfig = toml::from_str(
///     r#"
///     url = "postgresql://freshmaker@db.example.org/freshmaker"
///     password_file = "/etc/freshmaker/database-password"
///     ca = "/etc/pki/example-ca.pem"
///     connections = 20
///     "#,
/// )?;
/// assert_eq!(config.connections, 20);
/// assert_eq!(config.lock_timeout.as_secs(), 5, "the default");
///
/// let mistake = PostgresConfig::new("postgresql://db.example.org/freshmaker?sslmode=require");
/// let error = mistake.check().unwrap_err();
/// assert!(error.to_string().contains("does not verify the server"), "{error}");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct PostgresConfig {
    /// Address: `postgresql://user@host:port/database`, or `host=… user=…` with the names of
    /// libpq. Of several hosts the one that can be written is used. A file name as host is the
    /// directory of a socket.
    pub url: Secret,
    /// File with the password, whose last line break is left out. Default: the password of the
    /// address, if it has one.
    #[serde(default)]
    pub password_file: Option<PathBuf>,
    /// Name of an environment variable with the password. Default: none. With a
    /// [`password_file`](Self::password_file) as well, the file counts.
    #[serde(default)]
    pub password_env: Option<String>,
    /// How connections are protected. Default: [`PostgresTls::VerifyFull`].
    #[serde(default)]
    pub tls: PostgresTls,
    /// Certificates of the trusted authorities, in PEM. Default: those of the system.
    #[serde(default)]
    pub ca: Option<PathBuf>,
    /// Certificate that is shown to the server, in PEM. Default: none.
    #[serde(default)]
    pub client_cert: Option<PathBuf>,
    /// Private key of that certificate. Default: it is in the file of the certificate.
    #[serde(default)]
    pub client_key: Option<PathBuf>,
    /// Schema in which the tables are. It must exist. Default: `public`.
    #[serde(default = "schema")]
    pub schema: String,
    /// The most connections, at least 2, in addition to one that listens. Half of them are reserved
    /// for the engine, so that questions of clients never delay it. Default: 10.
    #[serde(default = "connections")]
    pub connections: usize,
    /// Longest time to connect, and to wait for a free connection. In seconds when read. Default:
    /// 10 s.
    #[serde(default = "ten_seconds", deserialize_with = "seconds")]
    pub connect_timeout: Duration,
    /// Longest time that a transaction waits for the lock of another one. In seconds when read.
    /// Default: 5 s.
    #[serde(default = "five_seconds", deserialize_with = "seconds")]
    pub lock_timeout: Duration,
    /// Longest time of one statement; a call that takes twice as long fails. In seconds when read.
    /// Default: 30 s.
    #[serde(default = "half_a_minute", deserialize_with = "seconds")]
    pub statement_timeout: Duration,
}

fn schema() -> String {
    "public".to_owned()
}

fn connections() -> usize {
    10
}

fn five_seconds() -> Duration {
    Duration::from_secs(5)
}

fn ten_seconds() -> Duration {
    Duration::from_secs(10)
}

fn half_a_minute() -> Duration {
    Duration::from_secs(30)
}

fn seconds<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    u32::deserialize(deserializer).map(|seconds| Duration::from_secs(seconds.into()))
}

impl std::fmt::Debug for PostgresConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut shown = f.debug_struct("PostgresConfig");
        shown.field("address", &self.place()).field("password_file", &self.password_file);
        shown.field("password_env", &self.password_env).field("tls", &self.tls);
        shown.field("ca", &self.ca).field("client_cert", &self.client_cert).field("client_key", &self.client_key);
        shown.field("schema", &self.schema).field("connections", &self.connections);
        shown.field("connect_timeout", &self.connect_timeout).field("lock_timeout", &self.lock_timeout);
        shown.field("statement_timeout", &self.statement_timeout).finish()
    }
}

impl PostgresConfig {
    /// Makes a configuration for the server at this address, with the defaults.
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: Secret::new(url),
            password_file: None,
            password_env: None,
            tls: PostgresTls::default(),
            ca: None,
            client_cert: None,
            client_key: None,
            schema: schema(),
            connections: connections(),
            connect_timeout: ten_seconds(),
            lock_timeout: five_seconds(),
            statement_timeout: half_a_minute(),
        }
    }

    /// Checks what can be checked without the network: the address, the bounds, and whether the
    /// files can be read.
    ///
    /// # Errors
    /// [`Unsupported`](Remedy::Unsupported), naming the field.
    pub fn check(&self) -> Result<()> {
        self.target()?;
        freshmaker_net::client_config(PLACE, &self.files()).map(drop)
    }

    /// Checks that the client's certificate, if it is used, is valid at a moment.
    ///
    /// # Errors
    /// As for [`TlsFiles::check_validity`].
    pub fn check_certificate(&self, at: Timestamp) -> Result<()> {
        if self.tls == PostgresTls::Disable { Ok(()) } else { self.files().check_validity(at) }
    }

    pub(super) fn files(&self) -> TlsFiles {
        TlsFiles { ca: self.ca.clone(), client_cert: self.client_cert.clone(), client_key: self.client_key.clone() }
    }

    /// Where the server is, without user and password: the place that errors name.
    pub(super) fn place(&self) -> String {
        match self.parsed() {
            Ok(config) => place(&config),
            Err(_) => PLACE.to_owned(),
        }
    }

    fn parsed(&self) -> Result<Config> {
        // What the parser says may have a part of the password, if that has unusual characters.
        let text = "`url` is not an address like postgresql://user@host:5432/database";
        Config::from_str(self.url.expose()).map_err(|_| unsupported(text))
    }

    /// What the driver needs, with what every session has to have.
    pub(super) fn target(&self) -> Result<Config> {
        let mut config = self.parsed()?;
        self.must_be_possible(&config)?;
        if let Some(path) = &self.password_file {
            let text = std::fs::read_to_string(path)
                .map_err(|error| unsupported(format!("`password_file` {}: {error}", path.display())))?;
            let text = text.strip_suffix('\n').unwrap_or(&text);
            config.password(text.strip_suffix('\r').unwrap_or(text));
        } else if let Some(name) = &self.password_env {
            let password = std::env::var(name)
                .map_err(|_| unsupported(format!("`password_env`: there is no environment variable {name}")))?;
            config.password(password);
        }
        let is_local = config.get_hosts().iter().all(|host| matches!(host, Host::Unix(_)));
        config.ssl_mode(match self.tls {
            PostgresTls::VerifyFull if !is_local => SslMode::Require,
            _ => SslMode::Disable,
        });
        let micros = |timeout: Duration| timeout.as_millis();
        let (lock, statement) = (micros(self.lock_timeout), micros(self.statement_timeout));
        // An identifier in quotes; a space ends an option unless a backslash is before it.
        let schema = self.schema.replace('"', "\"\"").replace('\\', "\\\\").replace(' ', "\\ ");
        config.options(format!(
            "-c search_path=\"{schema}\" -c lock_timeout={lock} -c statement_timeout={statement} \
             -c idle_in_transaction_session_timeout={statement} -c synchronous_commit=on"
        ));
        config.target_session_attrs(TargetSessionAttrs::ReadWrite);
        config.connect_timeout(self.connect_timeout);
        config.keepalives_idle(self.connect_timeout).tcp_user_timeout(self.statement_timeout);
        if config.get_application_name().is_none() {
            config.application_name("freshmaker");
        }
        Ok(config)
    }

    fn must_be_possible(&self, config: &Config) -> Result<()> {
        let url = self.url.expose();
        let mode = url.split_once("sslmode").map(|(_, rest)| rest.trim_start_matches([' ', '=', '\'']));
        if let Some(mode) = mode {
            let mode: String = mode.chars().take_while(|c| c.is_ascii_alphabetic() || *c == '-').collect();
            return Err(unsupported(match mode.as_str() {
                "disable" => "`url` has sslmode=disable: write `tls = \"disable\"` instead".to_owned(),
                _ => format!(
                    "`url` has sslmode={mode}, which does not verify the server: leave it out, and the server is \
                     verified"
                ),
            }));
        }
        if config.get_hosts().is_empty() {
            return Err(unsupported("`url` names no host"));
        }
        if config.get_user().is_none() {
            return Err(unsupported("`url` names no user"));
        }
        if config.get_options().is_some() {
            return Err(unsupported("`url` has options, which this storage sets itself"));
        }
        if self.schema.is_empty() || self.schema.len() > 63 {
            return Err(unsupported("`schema` must be a name of 1 to 63 bytes"));
        }
        if !(2..=1000).contains(&self.connections) {
            return Err(unsupported("`connections` must be 2 to 1000"));
        }
        let timeouts = [
            ("connect_timeout", self.connect_timeout),
            ("lock_timeout", self.lock_timeout),
            ("statement_timeout", self.statement_timeout),
        ];
        match timeouts.iter().find(|(_, timeout)| timeout.as_millis() == 0 || timeout.as_secs() > 86_400) {
            Some((name, _)) => Err(unsupported(format!("`{name}` must be longer than 0, and at most a day"))),
            None => Ok(()),
        }
    }
}

fn unsupported(text: impl std::fmt::Display) -> Error {
    Error::new(Remedy::Unsupported, PLACE, text)
}

fn place(config: &Config) -> String {
    let hosts = config.get_hosts().iter().map(|host| match host {
        Host::Tcp(name) => name.clone(),
        Host::Unix(path) => path.display().to_string(),
    });
    let hosts = hosts.collect::<Vec<_>>().join(",");
    format!("{PLACE} {hosts}/{}", config.get_dbname().unwrap_or_default())
}
