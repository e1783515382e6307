//! Profiles of Koji's client, in every form in which it reads them.

use freshmaker::backend::Remedy;
use freshmaker_net::Secret;
use freshmaker_redhat::koji::{KojiBuildSystem, KojiConfig, KojiLogin, KojiReader, Profile, ProfileFiles};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tempfile::TempDir;

/// A root directory and a home directory.
struct Machine(TempDir);

impl Machine {
    fn new() -> Self {
        Self(tempfile::tempdir().expect("a directory"))
    }

    fn home(&self) -> PathBuf {
        self.0.path().join("home")
    }

    fn write(&self, path: &str, text: &str) -> PathBuf {
        let path = self.0.path().join(path);
        std::fs::create_dir_all(path.parent().expect("a directory")).expect("made");
        std::fs::write(&path, text).expect("written");
        path
    }

    fn read(&self, profile: &str) -> Result<Profile, String> {
        let files = ProfileFiles::below(self.0.path(), Some(self.home()));
        let place = format!("{}/", self.0.path().display());
        files.read(profile).map_err(|error| error.to_string().replace(&place, ""))
    }
}

/// The profile `koji` of one file, at a home without anything.
fn read(text: &str) -> Result<Profile, String> {
    let machine = Machine::new();
    machine.write("etc/koji.conf", text);
    machine.read("koji")
}

fn config(text: &str) -> KojiConfig {
    read(text).expect(text).config
}

fn password(user: &str, password: &str) -> KojiLogin {
    KojiLogin::Password { user: user.to_owned(), password: Secret::new(password) }
}

#[test]
fn a_profile_says_how_a_hub_is_reached() {
    let profile = read(
        "# of the system\n[brew]\nserver = http://other\n[koji]\nserver = https://hub.example.org/kojihub/\n\
         topurl=https://hub.example.org/files/\nweburl = https://hub.example.org/koji\nauthtype = ssl\n\
         cert = /etc/pki/me.pem\nserverca = ~/ca.pem\nuse_old_ssl = no\nanon_retry = yes\nkrb_rdns = false\ntimeout = 3_0\n",
    )
    .expect("a profile");
    let config = profile.config;
    assert_eq!(config.http.url, "https://hub.example.org/kojihub");
    assert_eq!(config.topurl.as_deref(), Some("https://hub.example.org/files"));
    assert_eq!(config.weburl.as_deref(), Some("https://hub.example.org/koji"));
    assert_eq!(config.login, KojiLogin::Certificate);
    assert_eq!(config.http.tls.client_cert.as_deref(), Some(Path::new("/etc/pki/me.pem")));
    assert!(config.http.tls.ca.expect("authorities").ends_with("home/ca.pem"));
    assert_eq!(config.http.timeout, Duration::from_secs(30));
    assert_eq!(profile.unknown, ["krb_rdns", "use_old_ssl"]);
}

#[test]
fn values_refer_to_values() {
    let config = config(
        "[koji]\nhub = koji.example.org\nserver = https://%(hub)s/kojihub\ntopurl = https://%(HUB)s/kojifiles\n\
         authtype = password\nuser = bot\npassword = 50%%off\n",
    );
    assert_eq!(config.http.url, "https://koji.example.org/kojihub");
    assert_eq!(config.topurl.as_deref(), Some("https://koji.example.org/kojifiles"));
    assert_eq!(config.login, password("bot", "50%off"));
}

#[test]
fn logins_are_chosen_in_the_order_of_the_client() {
    const SERVER: &str = "[koji]\nserver = https://x\n";
    let login = |text: &str| config(&format!("{SERVER}{text}")).login;
    assert_eq!(login(""), KojiLogin::Kerberos);
    assert_eq!(login("authtype=noauth\nuser=me\npassword=p\ncert=/etc/hostname"), KojiLogin::Anonymous);
    assert_eq!(login("authtype=kerberos\nuser=me\npassword=p"), KojiLogin::Kerberos);
    assert_eq!(login("user=me\npassword=a\\b"), password("me", "a\\b"));
    assert_eq!(login("AuthType=password\nuser=me\npassword=p;q#r"), password("me", "p;q#r"));
    assert_eq!(login("cert=/no/such/file\nuser=me\npassword=p"), password("me", "p"));
    let machine = Machine::new();
    machine.write("home/.koji/client.crt", "");
    machine.write("etc/koji.conf", &format!("{SERVER}user=me\npassword=p"));
    let config = machine.read("koji").expect("a profile").config;
    assert_eq!(config.login, KojiLogin::Certificate);
    assert_eq!(config.http.tls.client_cert, Some(machine.home().join(".koji/client.crt")));
    machine.write("etc/koji.conf", &format!("{SERVER}cert =\n"));
    assert_eq!(machine.read("koji").expect("a profile").config.login, KojiLogin::Kerberos, "an empty path is none");
}

#[test]
fn a_certificate_is_looked_at_only_if_it_is_used() {
    for login in ["authtype = kerberos", "authtype = noauth", "authtype = password\nuser = u\npassword = p", ""] {
        let config = config(&format!("[koji]\nserver = https://x\n{login}\ncert = ~/.no-such-file.pem\n"));
        assert_eq!(config.http.tls.client_cert, None, "{login}");
        KojiReader::new(&config).expect("a reader");
        KojiBuildSystem::new(config).expect("a builder");
    }
    let config = config("[koji]\nserver = https://x\nauthtype = ssl\ncert = ~/.no-such-file.pem\n");
    let error = KojiReader::new(&config).expect_err("no certificate");
    assert!(error.place.ends_with("home/.no-such-file.pem"), "{error}");
}

#[test]
fn kerberos_has_a_principal_and_a_keytab() {
    let kerberos = |text: &str| config(&format!("[koji]\nserver = http://x/kojihub\n{text}"));
    let capital = config("[koji]\nserver = HTTP://x/kojihub\nauthtype = kerberos\n");
    assert_eq!(capital.http.url, "https://x/kojihub", "a scheme has no case");
    let config = kerberos("principal = bot/host@EXAMPLE.ORG\nkeytab = FILE:/etc/bot.keytab");
    assert_eq!(config.kerberos.principal.as_deref(), Some("bot/host@EXAMPLE.ORG"));
    assert_eq!(config.kerberos.keytab.as_deref(), Some(Path::new("/etc/bot.keytab")));
    assert_eq!(config.http.url, "https://x/kojihub", "a ticket is shown over TLS only");
    assert_eq!(kerberos("keytab = /etc/bot.keytab").kerberos, Default::default(), "the client does not use it alone");
    assert_eq!(kerberos("principal = p\nauthtype = noauth").kerberos, Default::default());
    assert_eq!(kerberos("authtype = noauth").http.url, "http://x/kojihub");
}

#[test]
fn all_profiles_have_the_defaults() {
    let config = config("[DEFAULT]\nauthtype = noauth\ntopurl = https://x/files\n[koji]\nserver = https://x/hub\n");
    assert_eq!((config.login, config.topurl.as_deref()), (KojiLogin::Anonymous, Some("https://x/files")));
}

#[test]
fn files_are_those_of_the_client_in_its_order() {
    let machine = Machine::new();
    assert_eq!(
        machine.read("koji").expect_err("no files"),
        "etc/koji.conf.d, etc/koji.conf, home/.koji/config.d, home/.koji/config: there is no section [koji]"
    );
    let steps = [
        ("etc/koji.conf.d/10.conf", "https://1"),
        ("etc/koji.conf.d/20.conf", "https://2"),
        ("etc/koji.conf", "https://3"),
        ("home/.koji/config.d/a.conf", "https://4"),
        ("home/.koji/config", "https://5"),
    ];
    for (path, url) in steps {
        machine.write(path, &format!("[koji]\nserver = {url}\n"));
        assert_eq!(machine.read("koji").expect("a profile").config.http.url, url);
    }
    machine.write("home/.koji/config.d/readme", "no configuration");
    let directory = machine.0.path().join("etc/koji.conf.d");
    assert_eq!(KojiConfig::profile(&directory, "koji").expect("a directory").http.url, "https://2");
    let other = machine.write("other.conf", "[koji]\nserver = https://6");
    assert_eq!(KojiConfig::profile(&other, "koji").expect("a file").http.url, "https://6");
    let files = ProfileFiles::below(machine.0.path(), Some(machine.home())).with_config(&other);
    assert_eq!(files.read("koji").expect("a profile").config.http.url, "https://6");
    machine.write("other.conf", "[koji]\nauthtype = noauth");
    assert_eq!(files.read("koji").expect("a profile").config.http.url, "https://3", "not that of the user");
    let empty = machine.0.path().join("empty");
    std::fs::create_dir(&empty).expect("made");
    assert!(KojiConfig::profile(&empty, "koji").expect_err("nothing").to_string().ends_with("no file `*.conf` in it"));
}

#[test]
fn authorities_may_be_in_the_form_of_openssl() {
    let trusted = include_str!("../data/koji/ca-bundle.trust.crt");
    let machine = Machine::new();
    let ca = machine.write("ca.crt", trusted);
    let text = format!("[koji]\nserver = https://x\nauthtype = noauth\nserverca = {}\n", ca.display());
    machine.write("etc/koji.conf", &text);
    let config = machine.read("koji").expect("a profile").config;
    assert_eq!(config.http.tls.ca, Some(ca));
    KojiReader::new(&config).expect("one authority");
    machine.write("ca.crt", &trusted[..trusted.len() / 2]);
    KojiReader::new(&config).expect_err("it is cut off");
}

#[test]
fn a_bad_profile_is_an_error_at_its_place() {
    for (text, error) in [
        ("[brew]\nserver=https://x", "there is no section [koji]"),
        ("[DEFAULT]\nserver=https://x", "there is no section [koji]"),
        ("[koji]\nuser=x", "[koji] server: it is missing"),
        ("[koji]\nserver=hub", "[koji] server: this is not a URL: relative URL without a base"),
        ("[koji]\nserver=ftp://hub", "[koji] server: this is not an HTTP URL"),
        ("[koji]\nserver=https://hub:44e3/kojihub", "[koji] server: this is not a URL: invalid port number"),
        ("[koji]\nserver=https://hub:0/kojihub", "[koji] server: no server has the port 0"),
        ("[koji]\nserver=https://x\ntopurl=files", "[koji] topurl: this is not a URL: relative URL without a base"),
        (
            "[koji]\nserver=https://x\nauthtype=magic",
            "[koji] authtype: it must be one of ssl, kerberos, password, noauth",
        ),
        ("[koji]\nserver=https://x\nauthtype=", "[koji] authtype: it must be one of ssl, kerberos, password, noauth"),
        ("[koji]\nserver=https://x\nauthtype=ssl", "[koji] cert: it is missing"),
        (
            "[koji]\nserver=https://x\nauthtype=ssl\ncert=~me/x",
            "[koji] cert: \"~me/x\": the home directory of another user is not supported",
        ),
        ("[koji]\nserver=https://x\nauthtype=password\nuser=me", "[koji] password: it is missing"),
        ("[koji]\nserver=https://x\ntimeout=soon", "[koji] timeout: it is no whole number"),
        ("[koji]\nserver=https://x\ntimeout=0", "[koji] timeout: 0, which is no bound, is not supported"),
        ("[koji]\nserver=https://x\ntimeout=-1", "[koji] timeout: it is no number of seconds that is possible"),
        ("[koji]\nserver=https://x\nmax_retries=", "[koji] max_retries: it is no whole number"),
        ("[koji]\nserver=https://x\ndebug=maybe", "[koji] debug: it is neither yes nor no"),
        (
            "[koji]\nserver=https://x\nno_ssl_verify=no",
            "[koji] no_ssl_verify: talking to a server whose certificate is not verified is not supported; \
             name its authorities in `serverca`",
        ),
        (
            "[koji]\nserver=https://x\npassword=50%off",
            "[koji] password: a `%` must be written `%%`, or begin a reference `%(key)s`",
        ),
        ("[koji]\nserver=https://x\nserver=https://y", "line 3: [koji] server is there twice"),
        ("[koji\nserver", "line 1: no section begins before this line"),
    ] {
        assert_eq!(read(text).expect_err(text), format!("etc/koji.conf: {error}"));
    }
    let error = KojiConfig::profile(Path::new("/nowhere/koji.conf"), "koji").expect_err("no file");
    assert_eq!((error.remedy, error.place.as_str()), (Remedy::Unsupported, "/nowhere/koji.conf"));
}
