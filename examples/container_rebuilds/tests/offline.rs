//! What `check-config` finds in files, and what it does not show.
// Helpers of tests are not tests to the lint.
#![allow(clippy::unwrap_used)]

use std::path::Path;
use std::process::Command;

/// A certificate of the year 2020.
const EXPIRED: &str = "-----BEGIN CERTIFICATE-----\n\
    MIIBOjCB4qADAgECAgEBMAoGCCqGSM49BAMCMA8xDTALBgNVBAMMBHRlc3QwHhcN\n\
    MjAwMTAxMDAwMDAwWhcNMjAxMjMxMjM1OTU5WjAPMQ0wCwYDVQQDDAR0ZXN0MFkw\n\
    EwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEqYAhF+QRlhVgKFUuytXhkpHJMPDnMtAi\n\
    11SKxRetIvwYMXZPuDHCkMmy3b3x+MRNYZ+D6SxN1fFzRf06/+VwUaMvMC0wDAYD\n\
    VR0TAQH/BAIwADAdBgNVHQ4EFgQU0idgMbsXghjHgyUIqH0exqWtbXMwCgYIKoZI\n\
    zj0EAwIDRwAwRAIgRp8ntVdrA/1qon+rW00eMKThMDom9sZokMbYIAh3+XUCICho\n\
    b8VVk7bPCH+qGBS7qpK3NokvpnJ2qidGZAU1H3OR\n\
    -----END CERTIFICATE-----\n";
/// Its key.
const KEY: &str = "-----BEGIN PRIVATE KEY-----\n\
    MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgLsY+2+JB4ZSvKM6s\n\
    dEsvAkx/vBH6KxD32KaDTdIPIvuhRANCAASpgCEX5BGWFWAoVS7K1eGSkckw8Ocy\n\
    0CLXVIrFF60i/Bgxdk+4McKQybLdvfH4xE1hn4PpLE3V8XNF/Tr/5XBR\n\
    -----END PRIVATE KEY-----\n";
const HUB: &str = "[koji]\nserver = https://koji.example.org/kojihub\n";

/// Writes a profile of Koji and a configuration, and returns whether they are good, and what is
/// said.
fn check(directory: &Path, koji: &str, before: &str, more: &str) -> (bool, String) {
    let write = |name: &str, text: &str| std::fs::write(directory.join(name), text).unwrap();
    write("catalog.toml", "");
    write("koji.conf", koji);
    let koji = "[koji]\nfile = \"koji.conf\"\nprofile = \"koji\"\n";
    write("c.toml", &format!("state = \"s.sqlite\"\ncatalog = \"catalog.toml\"\n{before}{koji}{more}"));
    let mut command = Command::new(env!("CARGO_BIN_EXE_container_rebuilds"));
    command.current_dir(directory).env("HOME", directory).args(["--config", "c.toml", "check-config"]);
    let output = command.output().unwrap();
    let said = [output.stdout, output.stderr].map(|said| String::from_utf8(said).unwrap()).concat();
    (output.status.success(), said)
}

#[test]
fn a_password_in_an_address_is_refused_and_not_shown() {
    let directory = tempfile::tempdir().unwrap();
    let anonymous = format!("{HUB}authtype = noauth\n");
    let url = "\"https://me:hush@x.example.org\"";
    let (messages, misspelt) = (format!("freshmaker_messages = {url}\n"), format!("freshmaker_message = {url}\n"));
    let odcs = format!("[odcs]\nurl = {url}\n");
    let mbs = "[mbs]\nurl = \"https://mbs.example.org\"\n[mbs.commits]\nname = \"f\"\nemail = \"f@example.org\"\n\
               [mbs.commits.push]\n\"https://src.example.org/\" = \"https://me:hush@x.example.org/\"\n";
    let (server, topurl) = (HUB.replace("https://", "https://me:hush@"), "topurl = https://me:hush@x.example.org/");
    for (koji, before, more, fault) in [
        (format!("{server}authtype = noauth\n"), "", "", "koji: koji.conf: [koji] server: a user or a password"),
        (format!("{server}authtype = kerberos\n"), "", "", "koji: koji.conf: [koji] server: a user or a password"),
        (format!("{anonymous}{topurl}\n"), "", "", "koji: koji.conf: [koji] topurl: a user or a password"),
        (
            anonymous.clone(),
            messages.as_str(),
            "",
            "freshmaker_messages: https://…@x.example.org: a user or a password",
        ),
        (anonymous.clone(), misspelt.as_str(), "", "configuration: c.toml:3: unknown field `freshmaker_message`"),
        (anonymous.clone(), "", odcs.as_str(), "odcs: https://…@x.example.org: a user or a password"),
        (anonymous.clone(), "", mbs, "mbs: commits: an address to push to has a user and a password"),
    ] {
        let (good, said) = check(directory.path(), &koji, before, more);
        assert!(!good && said.contains(&format!("FAILED  {fault}")) && !said.contains("hush"), "{fault}: {said}");
    }
}

#[test]
fn files_of_logins_that_cannot_work_are_found() {
    let directory = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &[u8]| std::fs::write(directory.path().join(name), text).unwrap();
    write("expired.pem", format!("{EXPIRED}{KEY}").as_bytes());
    write("alone.pem", EXPIRED.as_bytes());
    let encrypted = "-----BEGIN ENCRYPTED PRIVATE KEY-----\nMIIB\n-----END ENCRYPTED PRIVATE KEY-----\n";
    write("encrypted.pem", format!("{EXPIRED}{encrypted}").as_bytes());
    write("text", b"no keytab");
    let keytab = "authtype = kerberos\nprincipal = p@EXAMPLE.ORG\nkeytab = ";
    for (login, fault) in [
        (
            "authtype = ssl\ncert = expired.pem\n".to_owned(),
            "expired.pem: the certificate expired at 2020-12-31T23:59:59Z",
        ),
        ("authtype = ssl\ncert = alone.pem\n".to_owned(), "alone.pem: there is no private key in it"),
        ("authtype = ssl\ncert = encrypted.pem\n".to_owned(), "encrypted.pem: the private key in it is encrypted"),
        (format!("{keytab}text\n"), "text: this is no keytab"),
        (format!("{keytab}.\n"), ".: Is a directory"),
    ] {
        let (good, said) = check(directory.path(), &format!("{HUB}{login}"), "", "");
        assert!(!good && said.contains(&format!("FAILED  koji: {fault}")), "{fault}: {said}");
    }
    let odcs = "[odcs]\nurl = \"https://odcs.example.org\"\n";
    let (good, said) = check(directory.path(), &format!("{HUB}authtype = noauth\n"), "", odcs);
    assert!(good && said.contains("warning odcs: anonymous: it cannot make repositories"), "{said}");
}

/// What a new site begins with is in the program, which says what is missing.
#[test]
fn a_new_site_begins_with_the_examples() {
    let directory = tempfile::tempdir().unwrap();
    let run = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_container_rebuilds"));
        let output = command.args(arguments).current_dir(&directory).env("HOME", directory.path()).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    for (word, name) in [(None, "container_rebuilds.toml"), (Some("catalog"), "catalog.toml")] {
        let arguments: Vec<_> = ["example-config"].into_iter().chain(word).collect();
        std::fs::write(directory.path().join(name), run(&arguments)).unwrap();
    }
    let said = run(&["check-config"]);
    assert!(said.contains("ok      configuration: ") && said.contains("ok      catalog: 5 artifacts"), "{said}");
    assert!(said.contains("FAILED  fedora_messaging: fedora_messaging.toml: No such file"), "{said}");
    assert!(run(&["--help"]).contains("  example-config [catalog] "));
}

#[test]
fn who_verifies_must_be_there() {
    let directory = tempfile::tempdir().unwrap();
    let anonymous = format!("{HUB}authtype = noauth\n");
    for (keys, fault) in [
        ("verify = true\nverify_by = \"catalog\"\n", "koji.verify_by: a catalog is only known with [advisories]"),
        ("verify_by = \"catalog\"\n", "koji.verify_by: it needs `verify = true`"),
        ("verify = true\nverify_by = \"me\"\n", "unknown variant `me`"),
        ("[retention]\nevents_days = 0\n", "invalid value: integer `0`"),
    ] {
        let (good, said) = check(directory.path(), &anonymous, "", keys);
        assert!(!good && said.contains(fault), "{fault}: {said}");
    }
    let (good, said) = check(directory.path(), &anonymous, "dry_run = true\n", "verify = true\nverify_by = \"koji\"\n");
    assert!(good && said.contains("warning dry_run: nothing is built"), "{said}");
}

#[test]
fn where_traces_are_sent_is_checked() {
    let directory = tempfile::tempdir().unwrap();
    let koji = format!("{HUB}authtype = noauth\n");
    let url = "endpoint = \"https://collector.example.org:4318\"\n";
    std::fs::write(directory.path().join("good"), "authorization: Bearer hush\n").unwrap();
    std::fs::write(directory.path().join("bad"), "Bearer hush\n").unwrap();
    for (section, good, wanted) in [
        (format!("{url}headers_file = \"good\"\n"), true, "ok      otel: "),
        (format!("{url}headers_file = \"bad\"\n"), false, "FAILED  otel: bad: line 1 is not of the form"),
        (format!("{url}headers_env = \"NO_SUCH_VARIABLE\"\n"), false, "FAILED  otel: variable NO_SUCH_VARIABLE: "),
        ("endpoint = \"https://me:hush@x.example.org\"\n".to_owned(), false, "FAILED  otel: https://…@x.example.org"),
        (format!("{url}headers = \"hush\"\n"), false, "unknown field `headers`"),
    ] {
        let (is_good, said) = check(directory.path(), &koji, "", &format!("[otel]\n{section}"));
        assert!(is_good == good && said.contains(wanted) && !said.contains("hush"), "{section}: {said}");
    }
}

/// As with `| head`.
#[test]
fn a_reader_that_has_seen_enough_is_no_failure() {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let mut command = Command::new(env!("CARGO_BIN_EXE_container_rebuilds"));
    let output = command.arg("--help").stdout(writer).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    assert_eq!(String::from_utf8(output.stderr).unwrap(), "");
}
