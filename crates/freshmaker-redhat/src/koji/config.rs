use freshmaker::backend::{Error, Remedy, Result};
use freshmaker_net::{HttpConfig, Secret};
use ini::Ini;
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How to log in to a hub.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Login {
    /// No login: everything can be read, and nothing can be built.
    #[default]
    Anonymous,
    /// A user name and a password.
    Password {
        /// The user name.
        user: String,
        /// The password.
        password: Secret,
    },
    /// The user that the [client certificate](HttpConfig::client_cert) names.
    Certificate,
    /// The user that the Kerberos ticket names. Needs the feature `gssapi`, or a
    /// [`Negotiate`](freshmaker_net::Negotiate) of your own.
    Kerberos,
}

/// How to reach and use a hub.
///
/// ```
/// use freshmaker_redhat::koji::{Config, Login};
///
/// let dir = tempfile::tempdir()?;
/// let file = dir.path().join("koji.conf");
/// std::fs::write(
///     &file,
///     "[koji]\nserver = https://koji.example.org/kojihub\n\
///      authtype = password\nuser = me\npassword = hidden\n",
/// )?;
///
/// let config = Config::profile(&file, "koji")?;
/// assert_eq!(config.http.url, "https://koji.example.org/kojihub");
/// assert!(matches!(config.login, Login::Password { .. }));
/// assert!(!format!("{config:?}").contains("hidden"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
#[doc(alias = "brew")]
pub struct Config {
    /// URL of the hub (`…/kojihub`), certificates and bounds.
    pub http: HttpConfig,
    /// How to log in. Default: [`Login::Anonymous`].
    pub login: Login,
    /// Base URL of the hub's files, without a slash at the end. Needed to read the metadata of
    /// content generators. Default: none.
    pub topurl: Option<String>,
    /// Base URL of Koji's web pages, without a slash at the end. Default: none.
    pub weburl: Option<String>,
    /// Text that is appended to the release of each rebuilt image. Default: empty.
    pub release_suffix: String,
    /// Number of sessions that submissions share, and largest number of idle sessions that are
    /// kept. Also the number of submissions that may run at once; 0 counts as 1 there. Default: 4.
    pub sessions: usize,
    /// How often the state of a running task is polled. Default: 60 s.
    pub poll: Duration,
    /// How long a submission may still take effect after its session was closed. Default: 30 s.
    pub settle: Duration,
}

impl Config {
    /// Creates a configuration for the hub at this URL, without a login and with the defaults: 4
    /// sessions, a poll every 60 s, 30 s to settle.
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

    /// Reads one profile of a configuration file of Koji's own client, such as `/etc/koji.conf`.
    ///
    /// The keys are `server`, `topurl`, `weburl`, `serverca` (or `ca`), `cert`, `timeout` (in
    /// seconds), `authtype`, `user` and `password`; all other keys are ignored. Without `authtype`
    /// the login is chosen in the order of Koji's client: the certificate if its file exists, else
    /// the password if there is a `user`, else none. A path may begin with `~/`.
    ///
    /// # Errors
    /// [`Unsupported`](Remedy::Unsupported), naming the file, the section and the key, if the file
    /// cannot be read, the section or a needed key is missing, or a value is invalid.
    pub fn profile(file: &Path, profile: &str) -> Result<Self> {
        let place = file.display().to_string();
        let wrong = |text: &dyn fmt::Display| Error::new(Remedy::Unsupported, &place, text);
        let text = std::fs::read_to_string(file).map_err(|error| wrong(&error))?;
        // Values are not unescaped, because a password may contain a backslash.
        let ini = Ini::load_from_str_noescape(&text).map_err(|error| wrong(&error))?;
        let section =
            ini.section(Some(profile)).ok_or_else(|| wrong(&format_args!("there is no section [{profile}]")))?;
        let at = |key: &str, text: &str| wrong(&format_args!("[{profile}] {key}: {text}"));
        let get = |key: &str| section.get(key).map(str::trim).filter(|value| !value.is_empty());

        let server = get("server").ok_or_else(|| at("server", "it is missing"))?;
        if !server.starts_with("http://") && !server.starts_with("https://") {
            return Err(at("server", "it is not an HTTP URL"));
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
            // The order in which Koji's own client chooses.
            "" if config.http.client_cert.as_deref().is_some_and(Path::is_file) => Login::Certificate,
            "" if get("user").is_some() => password()?,
            "" => Login::Anonymous,
            _ => return Err(at("authtype", "it must be one of ssl, kerberos, password, noauth")),
        };
        Ok(config)
    }
}

/// Returns a path with a leading `~/` replaced by the home directory.
fn path(text: &str) -> PathBuf {
    match (text.strip_prefix("~/"), std::env::home_dir()) {
        (Some(rest), Some(home)) => home.join(rest),
        (Some(_), None) | (None, _) => PathBuf::from(text),
    }
}
