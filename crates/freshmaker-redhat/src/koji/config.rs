use freshmaker::backend::{Error, Remedy, Result};
use freshmaker_net::{HttpConfig, Secret};
use ini::Ini;
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Who we are at the hub.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Login {
    /// Nobody: everything can be read, nothing can be built.
    #[default]
    Anonymous,
    /// A user with a password.
    Password {
        /// The user.
        user: String,
        /// The password.
        password: Secret,
    },
    /// Whom the [client certificate](HttpConfig::client_cert) names.
    Certificate,
    /// Whom the Kerberos ticket names.
    Kerberos,
}

/// How a hub is reached and used.
///
/// ```
/// use freshmaker_redhat::koji::{Config, Login};
///
/// let dir = tempfile::tempdir()?;
/// let file = dir.path().join("koji.conf");
/// std::fs::write(&file, "[koji]\nserver = https://koji.example.org/kojihub\nauthtype = password\nuser = me\npassword = hidden\n")?;
///
/// let config = Config::profile(&file, "koji")?;
/// assert_eq!(config.http.url, "https://koji.example.org/kojihub");
/// assert!(matches!(config.login, Login::Password { .. }));
/// assert!(!format!("{config:?}").contains("hidden"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Config {
    /// The hub, and how long it may take.
    pub http: HttpConfig,
    /// Who we are there.
    pub login: Login,
    /// Where its files lie, without a slash at the end.
    pub topurl: Option<String>,
    /// Where people look at it, without a slash at the end.
    pub weburl: Option<String>,
    /// What is appended to the release of a rebuilt image.
    pub release_suffix: String,
    /// In how many sessions submissions are made, and how many that are not in use are kept for whatever comes.
    pub sessions: usize,
    /// How often a task that runs is asked about.
    pub poll: Duration,
    /// How long a submission may still take effect after its session was closed.
    pub settle: Duration,
}

impl Config {
    /// A hub, used anonymously, with the defaults: four sessions, a question a minute, half a minute to settle.
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            http: HttpConfig::new(url),
            login: Login::Anonymous,
            topurl: None,
            weburl: None,
            release_suffix: String::new(),
            sessions: 4,
            poll: Duration::from_secs(60),
            settle: Duration::from_secs(30),
        }
    }

    /// One profile of a file such as `/etc/koji.conf`. What Koji's own client would not use here is left alone, as that does.
    ///
    /// # Errors
    /// [`Unsupported`](Remedy::Unsupported), naming file, section and key.
    pub fn profile(file: &Path, profile: &str) -> Result<Self> {
        let place = file.display().to_string();
        let wrong = |text: &dyn fmt::Display| Error::new(Remedy::Unsupported, &place, text);
        let text = std::fs::read_to_string(file).map_err(|error| wrong(&error))?;
        // Values are taken as they stand: a password may hold a backslash.
        let ini = Ini::load_from_str_noescape(&text).map_err(|error| wrong(&error))?;
        let section =
            ini.section(Some(profile)).ok_or_else(|| wrong(&format_args!("there is no section [{profile}]")))?;
        let at = |key: &str, text: &str| wrong(&format_args!("[{profile}] {key}: {text}"));
        let get = |key: &str| section.get(key).map(str::trim).filter(|value| !value.is_empty());

        let server = get("server").ok_or_else(|| at("server", "it is missing"))?;
        if !server.starts_with("http://") && !server.starts_with("https://") {
            return Err(at("server", "it is no URL of HTTP"));
        }
        let mut config = Self::new(server);
        config.topurl = get("topurl").map(|url| url.trim_end_matches('/').to_owned());
        config.weburl = get("weburl").map(|url| url.trim_end_matches('/').to_owned());
        config.http.ca = get("serverca").or_else(|| get("ca")).map(path);
        config.http.client_cert = get("cert").map(path);
        if let Some(seconds) = get("timeout") {
            let seconds = seconds.parse().map_err(|_| at("timeout", "it is no number of seconds"))?;
            config.http.timeout = Duration::from_secs(seconds);
        }
        let password = || -> Result<Login> {
            let user = get("user").ok_or_else(|| at("user", "it is missing"))?.to_owned();
            let password = Secret::new(get("password").ok_or_else(|| at("password", "it is missing"))?);
            Ok(Login::Password { user, password })
        };
        config.login = match get("authtype").unwrap_or_default() {
            "noauth" => Login::Anonymous,
            "password" => password()?,
            "ssl" if config.http.client_cert.is_none() => return Err(at("cert", "it is missing")),
            "ssl" => Login::Certificate,
            "kerberos" | "gssapi" => Login::Kerberos,
            // The order of Koji's own client.
            "" if config.http.client_cert.as_deref().is_some_and(Path::is_file) => Login::Certificate,
            "" if get("user").is_some() => password()?,
            "" => Login::Anonymous,
            _ => return Err(at("authtype", "it is none of ssl, kerberos, password, noauth")),
        };
        Ok(config)
    }
}

/// A path in which `~` is the home directory.
fn path(text: &str) -> PathBuf {
    match (text.strip_prefix("~/"), std::env::home_dir()) {
        (Some(rest), Some(home)) => home.join(rest),
        (Some(_), None) | (None, _) => PathBuf::from(text),
    }
}
