//! Profiles as Koji's own client reads them, beside ours: generated files with all that its parser
//! knows, in all places where it looks.

use fastrand::Rng;
use freshmaker_redhat::koji::{KojiLogin, Profile, ProfileFiles};
use serde_json::{Value, json};
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use test_support::python;

const MACHINES: usize = 600;

/// Where files may be.
const PLACES: [&str; 7] = [
    "own.conf",
    "etc/koji.conf",
    "etc/koji.conf.d/one.conf",
    "etc/koji.conf.d/two.conf",
    "home/.koji/config",
    "home/.koji/config.d/x.conf",
    "etc/koji.conf.d/ignored.txt",
];

const BEGINNINGS: [&str; 8] =
    ["[koji]", "[koji]", "[koji]", "[koji]", "[DEFAULT]", "[koji] # rest", "  [koji]", "[other]"];

const LINES: [&str; 60] = [
    "server = https://koji.example.org/kojihub",
    "server = https://%(hub)s/kojihub/",
    "SERVER: http://other.example.org/kojihub",
    "Server=https://koji.example.org:8443/hub",
    "server = https://koji.example.org:44e3/kojihub",
    "server =",
    "hub = koji.example.org",
    "HUB = %(name)s.example.org",
    "name : koji2",
    "topurl = https://%(HUB)s/kojifiles",
    "topurl=https://files.example.org//",
    "topurl = %(weburl)s/files",
    "weburl = https://koji.example.org/koji ",
    "weburl =",
    "authtype = kerberos",
    "authtype = ssl",
    "authtype = noauth",
    "AuthType = password",
    "authtype = magic",
    "authtype =",
    "user = bot",
    "user = %(name)s",
    "password = 50%%off",
    "password = a=b:c ; d # e",
    "password = p%",
    "password = %(user)",
    "password = %(user)s-%(user)s",
    "cert = ~/me.pem",
    "cert = ~/missing.pem",
    "cert =",
    "serverca = ~/ca.pem",
    "serverca = /etc/pki/ca.pem",
    "serverca =",
    "principal = bot/%(hub)s@EXAMPLE.ORG",
    "keytab = /etc/bot.keytab",
    "timeout = 30",
    "timeout = +1_000",
    "timeout = 3.5",
    "timeout = 0",
    "max_retries = 5",
    "max_retries = many",
    "anon_retry = YES",
    "debug = perhaps",
    "no_ssl_verify = no",
    "loop = %(loop)s",
    "missing = %(nowhere)s",
    "unknown = anything",
    "  continued",
    "\t# no continuation",
    "# a comment",
    "; another",
    "   ; indented",
    "",
    "   ",
    "[koji]",
    "[DEFAULT]",
    "[other]",
    "no value",
    "= no key",
    "\u{a0}note\u{a0}=\u{a0}narrow",
];

fn file(rng: &mut Rng) -> String {
    let end = ["\n", "\n", "\n", "\r\n", "\r"][rng.usize(..5)];
    let mut lines = vec![BEGINNINGS[rng.usize(..BEGINNINGS.len())]];
    // Mostly the lines without which there is no profile, and few that no file may have.
    if rng.u8(..4) > 0 {
        lines.extend(["server = https://%(hub)s/kojihub", "hub = h.example.org"]);
    }
    for _ in 0..rng.usize(..6) {
        let line = LINES[rng.usize(..LINES.len())];
        let key = |line: &str| line.split(['=', ':']).next().unwrap_or_default().trim().to_lowercase();
        let again = line.contains(['=', ':']) && lines.iter().any(|other| key(other) == key(line));
        if !again || rng.u8(..10) == 0 {
            lines.push(line);
        }
    }
    lines.join(end) + end
}

/// One machine: files, some of them certificates.
fn machine(root: &Path, seed: u64) {
    let mut rng = Rng::with_seed(seed);
    let write = |path: &str, text: &str| {
        let path = root.join(path);
        std::fs::create_dir_all(path.parent().expect("a directory")).expect("made");
        std::fs::write(path, text).expect("written");
    };
    write("home/ca.pem", "");
    for (certificate, often) in [("home/me.pem", 2), ("home/.koji/client.crt", 4), ("home/.koji/serverca.crt", 3)] {
        if rng.u8(..often) == 0 {
            write(certificate, "");
        }
    }
    if rng.u8(..8) > 0 {
        write("own.conf", &file(&mut rng));
    }
    for _ in 0..=rng.usize(..3) {
        let place = PLACES[rng.usize(..PLACES.len())];
        write(place, &file(&mut rng));
    }
}

/// What the client made of the machines.
async fn theirs(python: &Path, machines: &[Value]) -> Vec<Value> {
    let mut command = Command::new(python);
    command.arg(test_support::peer("koji_profiles.py")).stdin(Stdio::piped()).stdout(Stdio::piped());
    let input = serde_json::to_vec(machines).expect("JSON");
    let output = tokio::task::spawn_blocking(move || {
        let mut child = command.spawn().expect("Python");
        child.stdin.take().expect("a pipe").write_all(&input).expect("written");
        child.wait_with_output().expect("an output")
    });
    let output = output.await.expect("no panic");
    assert!(output.status.success());
    serde_json::from_slice(&output.stdout).expect("JSON")
}

/// What we do not support, and so refuse although the client does not.
const REFUSED: [&str; 7] = [
    "is not supported",
    "server: it is missing",
    "this is not a URL",
    "a URL has no blanks",
    "this is not an HTTP URL",
    "no server has the port 0",
    "it is no number of seconds that is possible",
];

fn same(profile: &Profile, theirs: &Value) -> Vec<(&'static str, Value, Value)> {
    let config = &profile.config;
    let url = |name: &str| theirs[name].as_str().map(|url| url.trim_end_matches('/')).filter(|url| !url.is_empty());
    let path = |name: &str| theirs[name].as_str().filter(|path| !path.is_empty());
    let mut pairs = vec![
        ("server", json!(config.http.url), json!(url("server"))),
        ("topurl", json!(config.topurl), json!(url("topurl"))),
        ("serverca", json!(config.http.tls.ca), json!(path("serverca"))),
        ("cert", json!(config.http.tls.client_cert), json!(path("cert"))),
        ("principal", json!(config.kerberos.principal), json!(path("principal"))),
        ("keytab", json!(config.kerberos.keytab), json!(path("keytab"))),
    ];
    // The client has defaults of its own for these.
    let weburl = url("weburl").filter(|url| *url != "http://localhost/koji");
    pairs.push(("weburl", json!(config.weburl), json!(weburl)));
    if theirs["timeout"] != 12 * 3600 {
        pairs.push(("timeout", json!(config.http.timeout.as_secs()), theirs["timeout"].clone()));
    }
    let login = match &config.login {
        KojiLogin::Anonymous => json!(["noauth", null, null]),
        KojiLogin::Certificate => json!(["ssl", null, null]),
        KojiLogin::Kerberos => json!(["kerberos", null, null]),
        KojiLogin::Password { user, password } => json!(["password", user, password.expose()]),
        other => panic!("{other:?}"),
    };
    pairs.push(("login", login, json!([theirs["login"], theirs["user"], theirs["password"]])));
    pairs.retain(|(_, ours, theirs)| ours != theirs);
    pairs
}

#[tokio::test(flavor = "multi_thread")]
async fn profiles_are_read_as_the_client_reads_them() {
    let Some(python) = python().await else { return };
    let directory = tempfile::tempdir().expect("a directory");
    let roots: Vec<_> = (0..MACHINES).map(|seed| directory.path().join(seed.to_string())).collect();
    for (seed, root) in (0..).zip(&roots) {
        machine(root, seed);
    }
    // Half of them are asked with a file of the user's own, which not all have.
    let config = |number: usize, root: &Path| number.is_multiple_of(2).then(|| root.join("own.conf"));
    let asked = roots.iter().enumerate().map(|(number, root)| {
        json!({ "root": root, "home": root.join("home"), "profile": "koji", "config": config(number, root) })
    });
    let answers = theirs(&python, &asked.collect::<Vec<_>>()).await;
    assert_eq!(answers.len(), MACHINES);
    let (mut read, mut refused, mut bad) = (0, 0, 0);
    for (number, (root, theirs)) in roots.iter().zip(&answers).enumerate() {
        let files = ProfileFiles::below(root, Some(root.join("home")));
        let files = match config(number, root) {
            Some(file) => files.with_config(&file),
            None => files,
        };
        let ours = files.read("koji");
        match (&ours, theirs.get("error")) {
            (Ok(profile), None) => {
                assert_eq!(same(profile, theirs), [], "{}: {theirs}", shown(root));
                read += 1;
            }
            (Err(error), None) => {
                assert!(REFUSED.iter().any(|text| error.text.contains(text)), "{}: {error}: {theirs}", shown(root));
                refused += 1;
            }
            (Err(_), Some(_)) => bad += 1,
            (Ok(profile), Some(error)) => panic!("{}: {profile:?}: {error}", shown(root)),
        }
    }
    assert!(read > MACHINES / 6 && bad > MACHINES / 6 && refused > 0, "{read} read, {refused} refused, {bad} bad");
}

/// All files of a machine.
fn shown(root: &Path) -> String {
    let file = |place: &&str| Some(format!("{place}:\n{:?}", std::fs::read_to_string(root.join(place)).ok()?));
    PLACES.iter().filter_map(file).collect::<Vec<_>>().join("\n")
}
