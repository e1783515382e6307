use super::client::Client;
use super::profile::ProfileFiles;
use crate::messages::koji::PRIMARY;
use freshmaker::backend::{Error, Remedy, Result};
use freshmaker_net::{HttpConfig, Kerberos, Secret, check_kerberos};
use std::path::Path;
use std::time::Duration;

/// How to log in to a hub.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum KojiLogin {
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
    /// The user that the [client certificate](freshmaker_net::TlsFiles::client_cert) names.
    Certificate,
    /// The user of a Kerberos ticket, see [`KojiConfig::kerberos`]. Needs the feature `gssapi`, or
    /// a [`Negotiate`](freshmaker_net::Negotiate) of your own.
    Kerberos,
}

/// How to reach and use a hub.
///
/// ```
/// use freshmaker_redhat::koji::{KojiConfig, KojiLogin};
///
/// let dir = tempfile::tempdir()?;
/// let file = dir.path().join("koji.conf");
/// std::fs::write(
///     &file,
///     "[koji]\nserver = https://koji.example.org/kojihub\n\
///      authtype = password\nuser = me\npassword = hidden\n",
/// )?;
///
/// let config = KojiConfig::profile(&file, "koji")?;
/// assert_eq!(config.http.url, "https://koji.example.org/kojihub");
/// assert!(matches!(config.login, KojiLogin::Password { .. }));
/// assert!(!format!("{config:?}").contains("hidden"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
#[doc(alias = "brew")]
pub struct KojiConfig {
    /// URL of the hub (`…/kojihub`), certificates and bounds.
    pub http: HttpConfig,
    /// How to log in. Default: [`KojiLogin::Anonymous`].
    pub login: KojiLogin,
    /// The identity for [`KojiLogin::Kerberos`]. Default: that of the default ticket.
    pub kerberos: Kerberos,
    /// Name of this Koji in the messages of Fedora, which several Kojis may send: see
    /// [`task_hint_of`](crate::messages::koji::task_hint_of). Default: `primary`.
    pub instance: String,
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

impl KojiConfig {
    /// Creates a configuration for the hub at this URL, without a login and with the defaults: 4
    /// sessions, a poll every 60 s, 30 s to settle.
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            http: HttpConfig::new(url),
            login: KojiLogin::Anonymous,
            kerberos: Kerberos::default(),
            instance: PRIMARY.to_owned(),
            topurl: None,
            weburl: None,
            release_suffix: String::new(),
            sessions: 4,
            poll: Duration::from_secs(60),
            settle: Duration::from_secs(30),
        }
    }

    /// Checks what can be checked without the network: URLs, certificates, and whether the login
    /// has all that it needs.
    ///
    /// # Errors
    /// [`Unsupported`](Remedy::Unsupported), naming the file or the option.
    pub fn check_offline(&self) -> Result<()> {
        let wrong = |text: &str| Err(Error::new(Remedy::Unsupported, self.http.url.as_str(), text));
        Client::new(self)?;
        if self.poll.is_zero() || self.instance.is_empty() {
            return wrong("`poll` must be greater than 0, and `instance` must not be empty");
        }
        match &self.login {
            KojiLogin::Password { user, password } if user.is_empty() || password.expose().is_empty() => {
                wrong("a login by password needs a user and a password")
            }
            KojiLogin::Certificate if self.http.tls.client_cert.is_none() => {
                wrong("a login by certificate needs a client certificate")
            }
            KojiLogin::Kerberos => check_kerberos(&self.kerberos),
            KojiLogin::Anonymous | KojiLogin::Password { .. } | KojiLogin::Certificate => Ok(()),
        }
    }

    /// Reads one profile from one configuration file of Koji's own client, such as
    /// `/etc/koji.conf`, or from the files `*.conf` of a directory. [`ProfileFiles`] says what is
    /// read and how.
    ///
    /// # Errors
    /// As for [`ProfileFiles::read`].
    pub fn profile(file: &Path, profile: &str) -> Result<Self> {
        Ok(ProfileFiles::one(file).read(profile)?.config)
    }

    /// Reads one profile from the files in which Koji's own client looks:
    /// [`ProfileFiles::standard`].
    ///
    /// # Errors
    /// As for [`ProfileFiles::read`].
    pub fn standard_profile(profile: &str) -> Result<Self> {
        Ok(ProfileFiles::standard().read(profile)?.config)
    }
}
