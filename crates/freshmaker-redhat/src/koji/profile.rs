use super::config::{KojiConfig, KojiLogin};
use super::ini::{BadLine, Ini, is_space};
use freshmaker::backend::{Error, Remedy, Result};
use freshmaker_net::{HttpConfig, Secret};
use std::collections::BTreeMap;
use std::fmt;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Keys that Koji's client takes from a profile and that mean nothing here: what they are about is
/// done in another way, or not at all.
const OF_THE_CLIENT: [&str; 16] = [
    "anon_retry",
    "auth_timeout",
    "debug",
    "debug_xmlrpc",
    "force_auth",
    "max_retries",
    "offline_retry",
    "offline_retry_interval",
    "pkgurl",
    "plugin_paths",
    "poll_interval",
    "pyver",
    "retry_interval",
    "topdir",
    "upload_blocksize",
    "use_fast_upload",
];

/// Keys that are read here.
const OURS: [&str; 12] = [
    "authtype",
    "cert",
    "keytab",
    "no_ssl_verify",
    "password",
    "principal",
    "server",
    "serverca",
    "timeout",
    "topurl",
    "user",
    "weburl",
];

/// Keys whose values have to be whole numbers.
const NUMBERS: [&str; 8] = [
    "auth_timeout",
    "max_retries",
    "offline_retry_interval",
    "poll_interval",
    "pyver",
    "retry_interval",
    "timeout",
    "upload_blocksize",
];

/// Keys whose values have to be yes or no.
const FLAGS: [&str; 6] = ["anon_retry", "debug", "debug_xmlrpc", "force_auth", "offline_retry", "use_fast_upload"];

/// The words for yes and no, in any case.
const FLAG_WORDS: [&str; 8] = ["1", "yes", "true", "on", "0", "no", "false", "off"];

/// The files that a profile of Koji's client is read from.
///
/// The files are read in their order, and a later one replaces values of an earlier one. They are
/// read as Koji's client reads them, by the rules of Python's `ConfigParser`: `%(key)s` stands for
/// another value, `%%` for a percent sign; `[DEFAULT]` has the keys that all profiles have; keys
/// have no case; comments begin with `#` or `;` on a line of their own; indented lines continue a
/// value; what is twice in one file is an error.
///
/// These keys are read:
///
/// * `server`, which is required, `topurl`, `weburl`, and `timeout` in seconds.
/// * `serverca`; if the key is missing, `~/.koji/serverca.crt` if that exists.
/// * `authtype`: `noauth`, `ssl`, `password` or `kerberos`. If the key is missing, the order is
///   that of the client: the certificate if its file exists, else the password if there is a
///   `user`, else Kerberos.
/// * `cert`, for a login by certificate and for nothing else; if the key is missing,
///   `~/.koji/client.crt`.
/// * `principal` and, with it, `keytab`, for a login by Kerberos.
/// * `user` and `password`. Koji's command line has options for these.
///
/// The certificate and Kerberos are used over `https` only, even if the URL begins with `http`.
/// Other keys have no effect, but a number or a truth value that Koji's client could not read is an
/// error; [`Profile::unknown`] has the keys that Koji's client does not know either. Not supported,
/// and errors, are `no_ssl_verify` without a `serverca`, a `timeout` of 0, and paths that begin
/// with `~user`.
///
/// ```
/// use freshmaker_redhat::koji::{KojiLogin, ProfileFiles};
///
/// let dir = tempfile::tempdir()?;
/// let file = dir.path().join("koji.conf");
/// std::fs::write(
///     &file,
///     "[DEFAULT]\nhub = koji.example.org\n\
///      [koji]\nserver = https://%(hub)s/kojihub\nauthtype = kerberos\nauthtipe = ssl\n",
/// )?;
///
/// let profile = ProfileFiles::one(&file).read("koji")?;
/// assert_eq!(profile.config.http.url, "https://koji.example.org/kojihub");
/// assert_eq!(profile.config.login, KojiLogin::Kerberos);
/// assert_eq!(profile.unknown, ["authtipe", "hub"]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProfileFiles {
    /// What is read if it exists.
    paths: Vec<PathBuf>,
    /// What has to exist, and is read last.
    required: Option<PathBuf>,
    home: Option<PathBuf>,
}

/// A profile that was read.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Profile {
    /// The configuration that it describes.
    pub config: KojiConfig,
    /// Keys that neither this crate nor Koji's client knows, in the order of their names: likely
    /// mistakes, or keys that other values refer to.
    pub unknown: Vec<String>,
}

impl ProfileFiles {
    /// Returns the files in which Koji's client looks: `/etc/koji.conf.d/*.conf`, `/etc/koji.conf`,
    /// `~/.koji/config.d/*.conf`, `~/.koji/config`. Files that do not exist are left out.
    #[must_use]
    pub fn standard() -> Self {
        Self::below(Path::new("/"), std::env::home_dir())
    }

    /// Like [`standard`](Self::standard), with another root directory, and another home directory
    /// of the user.
    #[must_use]
    pub fn below(root: &Path, home: Option<PathBuf>) -> Self {
        let mut paths: Vec<_> = ["etc/koji.conf.d", "etc/koji.conf"].map(|path| root.join(path)).into();
        paths.extend(home.iter().flat_map(|home| [".koji/config.d", ".koji/config"].map(|path| home.join(path))));
        Self { paths, required: None, home }
    }

    /// One file, or the files `*.conf` of one directory.
    #[must_use]
    pub fn one(path: &Path) -> Self {
        Self { paths: Vec::new(), required: Some(path.to_owned()), home: std::env::home_dir() }
    }

    /// With this file instead of those of the user, as `koji --config FILE` reads them: those in
    /// `/etc` first.
    ///
    /// ```
    /// # use freshmaker_redhat::koji::ProfileFiles;
    /// let machine = tempfile::tempdir()?;
    /// std::fs::create_dir(machine.path().join("etc"))?;
    /// let server = "server = https://koji.example.org/kojihub";
    /// std::fs::write(machine.path().join("etc/koji.conf"), format!("[koji]\n{server}\n"))?;
    /// let own = machine.path().join("own.conf");
    /// std::fs::write(&own, "[koji]\nauthtype = noauth\n")?;
    ///
    /// let profile = ProfileFiles::below(machine.path(), None).with_config(&own).read("koji")?;
    /// assert_eq!(profile.config.http.url, "https://koji.example.org/kojihub");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn with_config(mut self, file: &Path) -> Self {
        if let Some(home) = &self.home {
            let own = home.join(".koji");
            self.paths.retain(|path| !path.starts_with(&own));
        }
        self.required = Some(file.to_owned());
        self
    }

    /// Reads a profile.
    ///
    /// # Errors
    /// [`Unsupported`](Remedy::Unsupported), naming the file and the line, or the files, the
    /// section and the key, if a file cannot be read, there is no such section, a needed key is
    /// missing, or a value is invalid or not supported.
    pub fn read(&self, profile: &str) -> Result<Profile> {
        let mut ini = Ini::default();
        let files = self.files()?;
        for file in &files {
            let place = file.display().to_string();
            let wrong = |text: &dyn fmt::Display| Error::new(Remedy::Unsupported, place.as_str(), text);
            let bytes = std::fs::read(file).map_err(|error| wrong(&error))?;
            let text = String::from_utf8(bytes).map_err(|error| wrong(&error))?;
            ini.read(&text).map_err(|BadLine { line, text }| wrong(&format_args!("line {line}: {text}")))?;
        }
        let shown = if files.is_empty() { &self.paths } else { &files };
        let place: Vec<_> = shown.iter().map(|path| path.display().to_string()).collect();
        let wrong = |text: String| Error::new(Remedy::Unsupported, place.join(", "), text);
        let values = ini.section(profile).ok_or_else(|| wrong(format!("there is no section [{profile}]")))?;
        let values = values.map_err(|error| wrong(format!("[{profile}] {error}")))?;
        let home = self.home.as_deref();
        Values { values, home }.profile().map_err(|(key, text)| wrong(format!("[{profile}] {key}: {text}")))
    }

    /// Returns the files that exist, in the order in which they are read.
    fn files(&self) -> Result<Vec<PathBuf>> {
        let mut files = Vec::new();
        let read = self.paths.iter().map(|path| (path, false)).chain(self.required.iter().map(|path| (path, true)));
        for (path, required) in read {
            let failed = |error: &dyn fmt::Display| Error::new(Remedy::Unsupported, path.display().to_string(), error);
            match std::fs::metadata(path) {
                Ok(found) if found.is_dir() => {
                    let listed = listed(path).map_err(|error| failed(&error))?;
                    if listed.is_empty() && required {
                        return Err(failed(&"there is no file `*.conf` in it"));
                    }
                    files.extend(listed);
                }
                Ok(_) => files.push(path.clone()),
                Err(error) if error.kind() == ErrorKind::NotFound && !required => {}
                Err(error) => return Err(failed(&error)),
            }
        }
        Ok(files)
    }
}

/// Returns the files `*.conf` of a directory, by name.
fn listed(directory: &Path) -> std::io::Result<Vec<PathBuf>> {
    let entries = std::fs::read_dir(directory)?.collect::<std::io::Result<Vec<_>>>()?;
    let paths = entries.iter().filter(|entry| entry.file_name().as_encoded_bytes().ends_with(b".conf"));
    let mut files: Vec<_> = paths.map(std::fs::DirEntry::path).filter(|path| path.is_file()).collect();
    files.sort();
    Ok(files)
}

/// What is wrong with the value of a key.
type Wrong = (&'static str, String);

/// The values of one profile.
struct Values<'a> {
    values: BTreeMap<String, String>,
    home: Option<&'a Path>,
}

impl Values<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        self.values.get(key).map(String::as_str)
    }

    /// Returns a value that is not empty.
    fn some(&self, key: &str) -> Option<&str> {
        self.get(key).filter(|value| !value.is_empty())
    }

    fn profile(&self) -> Result<Profile, Wrong> {
        self.check_unused()?;
        let server = self.some("server").ok_or(("server", "it is missing".to_owned()))?;
        let mut config = KojiConfig::new(server);
        (config.topurl, config.weburl) = (self.url("topurl")?, self.url("weburl")?);
        config.http.tls.ca = self.file("serverca", ".koji/serverca.crt")?;
        if config.http.tls.ca.is_none() && self.some("no_ssl_verify").is_some() {
            let text = "talking to a server whose certificate is not verified is not supported; name its authorities in `serverca`";
            return Err(("no_ssl_verify", text.to_owned()));
        }
        if let Some(seconds) = self.get("timeout") {
            config.http.timeout = timeout(seconds).map_err(|text| ("timeout", text))?;
        }
        self.log_in(&mut config)?;
        HttpConfig::check_url(&config.http.url).map_err(|error| ("server", error.text))?;
        let known = |key: &&String| [&OURS[..], &OF_THE_CLIENT].concat().contains(&key.as_str());
        let unknown = self.values.keys().filter(|key| !known(key)).cloned().collect();
        Ok(Profile { config, unknown })
    }

    /// Chooses the login, in the order of Koji's client.
    fn log_in(&self, config: &mut KojiConfig) -> Result<(), Wrong> {
        let certificate = || self.file("cert", ".koji/client.crt");
        let by_certificate = match self.get("authtype") {
            Some("ssl") => Some(certificate()?.ok_or(("cert", "it is missing".to_owned()))?),
            // A path that is not supported matters only if the certificate is used.
            None => certificate().ok().flatten().filter(|path| path.is_file()),
            Some(_) => None,
        };
        config.login = match self.get("authtype") {
            _ if by_certificate.is_some() => KojiLogin::Certificate,
            Some("noauth") => KojiLogin::Anonymous,
            Some("password") => self.password()?,
            None if self.some("user").is_some() => self.password()?,
            Some("kerberos") | None => KojiLogin::Kerberos,
            Some(_) => return Err(("authtype", "it must be one of ssl, kerberos, password, noauth".to_owned())),
        };
        config.http.tls.client_cert = by_certificate;
        if matches!(config.login, KojiLogin::Certificate | KojiLogin::Kerberos)
            && let Some((scheme, rest)) = config.http.url.split_once("://")
            && scheme.eq_ignore_ascii_case("http")
        {
            config.http.url = format!("https://{rest}");
        }
        if config.login == KojiLogin::Kerberos {
            config.kerberos.principal = self.some("principal").map(str::to_owned);
            let keytab = config.kerberos.principal.as_ref().and_then(|_| self.some("keytab"));
            // Kerberos reads a name with a prefix of its own in the same way.
            config.kerberos.keytab = keytab.map(|path| PathBuf::from(path.strip_prefix("FILE:").unwrap_or(path)));
        }
        Ok(())
    }

    fn password(&self) -> Result<KojiLogin, Wrong> {
        let user = self.some("user").ok_or(("user", "it is missing".to_owned()))?.to_owned();
        let password = self.some("password").ok_or(("password", "it is missing".to_owned()))?;
        Ok(KojiLogin::Password { user, password: Secret::new(password) })
    }

    /// Returns a URL without slashes at its end.
    fn url(&self, key: &'static str) -> Result<Option<String>, Wrong> {
        let Some(url) = self.some(key).map(|url| url.trim_end_matches('/')) else { return Ok(None) };
        HttpConfig::check_url(url).map_err(|error| (key, error.text))?;
        Ok(Some(url.to_owned()))
    }

    /// Returns the path of a certificate: that of the key, which may be empty; without the key that
    /// in the home directory, if it exists.
    fn file(&self, key: &'static str, at_home: &str) -> Result<Option<PathBuf>, Wrong> {
        match self.get(key) {
            Some("") => Ok(None),
            Some(path) => self.path(path).map(Some).map_err(|text| (key, text)),
            None => Ok(self.home.map(|home| home.join(at_home)).filter(|path| path.exists())),
        }
    }

    /// Returns a path, in which a leading `~` is the home directory.
    fn path(&self, text: &str) -> Result<PathBuf, String> {
        let Some(rest) = text.strip_prefix('~') else { return Ok(PathBuf::from(text)) };
        match (self.home, rest.strip_prefix('/')) {
            (Some(home), _) if rest.is_empty() => Ok(home.to_owned()),
            (Some(home), Some(rest)) => Ok(home.join(rest.trim_start_matches('/'))),
            (None, _) => Err(format!("{text:?}: the home directory is not known")),
            (Some(_), None) => Err(format!("{text:?}: the home directory of another user is not supported")),
        }
    }

    /// Checks values that have no effect here, because Koji's client refuses a profile for them.
    fn check_unused(&self) -> Result<(), Wrong> {
        for key in NUMBERS {
            if self.get(key).is_some_and(|value| number(value).is_none()) {
                return Err((key, "it is no whole number".to_owned()));
            }
        }
        for key in FLAGS {
            if self.get(key).is_some_and(|value| !FLAG_WORDS.contains(&value.to_lowercase().as_str())) {
                return Err((key, "it is neither yes nor no".to_owned()));
            }
        }
        Ok(())
    }
}

fn timeout(text: &str) -> Result<Duration, String> {
    match number(text).map(u64::try_from) {
        Some(Ok(0)) => Err("0, which is no bound, is not supported".to_owned()),
        Some(Ok(seconds)) => Ok(Duration::from_secs(seconds)),
        Some(Err(_)) | None => Err("it is no number of seconds that is possible".to_owned()),
    }
}

/// Returns a whole number as Python reads it: with a sign, and single underscores between digits.
fn number(text: &str) -> Option<i128> {
    let text = text.trim_matches(is_space);
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    let groups = digits.split('_').all(|group| !group.is_empty() && group.bytes().all(|byte| byte.is_ascii_digit()));
    groups.then(|| text.replace('_', "").parse().ok()).flatten()
}
