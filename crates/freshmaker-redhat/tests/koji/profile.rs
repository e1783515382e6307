use freshmaker_redhat::koji::{Config, Login};
use std::path::Path;

fn profile(text: &str) -> Result<Config, String> {
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("koji.conf");
    std::fs::write(&file, text).expect("written");
    Config::profile(&file, "brew").map_err(|error| error.to_string().replace(&file.display().to_string(), "koji.conf"))
}

#[test]
fn a_profile_says_how_a_hub_is_reached() {
    let config = profile(
        "# of the system\n[koji]\nserver = http://other\n[brew]\nserver = https://hub.example.org/kojihub/\ntopurl=https://hub.example.org/files/\n\
         weburl = https://hub.example.org/koji\nauthtype = ssl\ncert = /etc/pki/me.pem\nserverca = /etc/pki/ca.pem\nuse_old_ssl = no\n\
         anon_retry = yes\nkrb_rdns = false\ntimeout = 30\n",
    )
    .expect("a profile");
    assert_eq!(config.http.url, "https://hub.example.org/kojihub");
    assert_eq!(config.topurl.as_deref(), Some("https://hub.example.org/files"));
    assert_eq!(config.login, Login::Certificate);
    assert_eq!(config.http.client_cert.as_deref(), Some(Path::new("/etc/pki/me.pem")));
    assert_eq!(config.http.ca.as_deref(), Some(Path::new("/etc/pki/ca.pem")));
    assert_eq!(config.http.timeout.as_secs(), 30);
    let login = |text: &str| profile(&format!("[brew]\nserver=https://x\n{text}")).map(|config| config.login);
    assert_eq!(login("authtype=noauth\nuser=me\npassword=p"), Ok(Login::Anonymous));
    assert_eq!(login("authtype=kerberos"), Ok(Login::Kerberos));
    assert_eq!(login(""), Ok(Login::Anonymous));
    let Ok(Login::Password { user, password }) = login("user=me\npassword=a\\b%c") else { panic!("a password") };
    assert_eq!((user.as_str(), password.expose()), ("me", "a\\b%c"));
}

#[test]
fn a_bad_profile_is_an_error_at_its_place() {
    for (text, error) in [
        ("[koji]\nserver=https://x", "koji.conf: there is no section [brew]"),
        ("[brew]\nuser=x", "koji.conf: [brew] server: it is missing"),
        ("[brew]\nserver=hub", "koji.conf: [brew] server: it is not an HTTP URL"),
        (
            "[brew]\nserver=https://x\nauthtype=magic",
            "koji.conf: [brew] authtype: it must be one of ssl, kerberos, password, noauth",
        ),
        ("[brew]\nserver=https://x\nauthtype=ssl", "koji.conf: [brew] cert: it is missing"),
        ("[brew]\nserver=https://x\nauthtype=password\nuser=me", "koji.conf: [brew] password: it is missing"),
        ("[brew]\nserver=https://x\ntimeout=soon", "koji.conf: [brew] timeout: it is no number of seconds"),
    ] {
        assert_eq!(profile(text).expect_err(text), error);
    }
    let error = Config::profile(Path::new("/nowhere/koji.conf"), "brew").expect_err("no file");
    assert!(error.to_string().starts_with("/nowhere/koji.conf: "), "{error}");
    assert!(profile("[brew\nserver").expect_err("no INI").starts_with("koji.conf: "));
}
