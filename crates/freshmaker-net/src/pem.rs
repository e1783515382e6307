//! Certificates in PEM files, in every form in which OpenSSL reads them.

use freshmaker::backend::{Error, Remedy, Result};
use freshmaker::time::Timestamp;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use std::path::Path;

/// Labels that mean a certificate, besides `CERTIFICATE`. What `TRUSTED CERTIFICATE` holds is the
/// certificate, followed by what it is trusted for.
const LABELS: [&str; 2] = ["TRUSTED CERTIFICATE", "X509 CERTIFICATE"];

/// The purpose `serverAuth`, 1.3.6.1.5.5.7.3.1, in DER.
const SERVER_AUTH: &[u8] = &[0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x03, 0x01];
/// The purpose `anyExtendedKeyUsage`, 2.5.29.37.0, in DER.
const ANY_USAGE: &[u8] = &[0x55, 0x1d, 0x25, 0x00];

/// The label of an encrypted key, and the line that says so in the older form.
const ENCRYPTED: [&str; 2] = ["-----BEGIN ENCRYPTED PRIVATE KEY-----", "Proc-Type: 4,ENCRYPTED"];

const OBJECT_IDENTIFIER: u8 = 0x06;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
const SEQUENCE: u8 = 0x30;
/// The tag `[0]` of the purposes that a certificate is not trusted for.
const REJECTED: u8 = 0xa0;
/// The tag `[0]` of the version of a certificate.
const VERSION: u8 = 0xa0;

/// Returns the certificates of a file that may vouch for servers: all, except for those that the
/// file itself trusts for other purposes only.
pub(crate) fn authorities(path: &Path) -> Result<Vec<CertificateDer<'static>>> {
    let found = read(path)?;
    let vouches = |(_, trust): &(CertificateDer<'static>, Vec<u8>)| vouches_for_servers(trust);
    let trusted: Vec<_> = found.into_iter().filter(vouches).map(|(certificate, _)| certificate).collect();
    if trusted.is_empty() {
        return Err(unreadable(path, &"no certificate in it is trusted for servers"));
    }
    Ok(trusted)
}

/// Returns the certificates of a file, whatever they are trusted for.
pub(crate) fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>> {
    Ok(read(path)?.into_iter().map(|(certificate, _)| certificate).collect())
}

/// Returns the first private key of a file.
pub(crate) fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>> {
    let text = std::fs::read(path).map_err(|error| unreadable(path, &error))?;
    PrivateKeyDer::from_pem_slice(&text).map_err(|error| no_key(path, &text, &error))
}

/// Says why there is no private key in a text that was read.
pub(crate) fn no_key(path: &Path, text: &[u8], error: &dyn std::fmt::Display) -> Error {
    let text = String::from_utf8_lossy(text);
    if ENCRYPTED.iter().any(|mark| text.contains(mark)) {
        return unreadable(path, &"the private key in it is encrypted, and nobody is there to enter its password");
    }
    if !text.contains("PRIVATE KEY-----") {
        return unreadable(path, &"there is no private key in it");
    }
    unreadable(path, error)
}

/// Checks that the first certificate of a file is valid at a moment. What its dates say is left to
/// the server if they cannot be read.
pub(crate) fn check_validity(path: &Path, at: Timestamp) -> Result<()> {
    let found = read(path)?;
    match found.first().and_then(|(certificate, _)| validity(certificate)) {
        Some((from, _)) if at < from => {
            Err(unreadable(path, &format_args!("the certificate is not valid before {}", from.format(SECONDS))))
        }
        Some((_, until)) if at > until => {
            Err(unreadable(path, &format_args!("the certificate expired at {}", until.format(SECONDS))))
        }
        _ => Ok(()),
    }
}

const SECONDS: &str = "%Y-%m-%dT%H:%M:%SZ";

/// Returns from when to when a certificate is valid (RFC 5280, section 4.1).
fn validity(certificate: &[u8]) -> Option<(Timestamp, Timestamp)> {
    let (_, certificate, _) = element(certificate)?;
    let (_, mut fields, _) = element(certificate)?;
    if let Some((VERSION, _, rest)) = element(fields) {
        fields = rest;
    }
    // The serial number, the algorithm of the signature, and the issuer.
    for _ in 0..3 {
        (_, _, fields) = element(fields)?;
    }
    let (_, times, _) = element(fields)?;
    let (tag, from, times) = element(times)?;
    let (until_tag, until, _) = element(times)?;
    Some((moment(tag, from)?, moment(until_tag, until)?))
}

/// Reads a time, which has two digits for years from 1950 to 2049, and else four.
fn moment(tag: u8, text: &[u8]) -> Option<Timestamp> {
    let text = std::str::from_utf8(text).ok()?;
    let century = match (tag, text.as_bytes().first()?) {
        (GENERALIZED_TIME, _) => "",
        (UTC_TIME, b'0'..=b'4') => "20",
        (UTC_TIME, _) => "19",
        _ => return None,
    };
    let time = chrono::NaiveDateTime::parse_from_str(&format!("{century}{text}"), "%Y%m%d%H%M%SZ").ok()?;
    Some(time.and_utc())
}

/// Reads at least one certificate, each with what follows it inside of its section.
fn read(path: &Path) -> Result<Vec<(CertificateDer<'static>, Vec<u8>)>> {
    let text = std::fs::read(path).map_err(|error| unreadable(path, &error))?;
    let text = LABELS.iter().fold(text, |text, label| relabel(&text, label));
    let mut found = Vec::new();
    for section in CertificateDer::pem_slice_iter(&text) {
        let section = section.map_err(|error| unreadable(path, &error))?;
        let Some((certificate, trust)) =
            element(&section).map(|(_, _, rest)| section.split_at(section.len() - rest.len()))
        else {
            return Err(unreadable(path, &"one of its certificates is cut off"));
        };
        found.push((CertificateDer::from(certificate.to_vec()), trust.to_vec()));
    }
    if found.is_empty() {
        return Err(unreadable(path, &"there is no certificate in it"));
    }
    Ok(found)
}

/// Replaces a label by `CERTIFICATE`, at the beginnings and ends of sections.
fn relabel(text: &[u8], label: &str) -> Vec<u8> {
    let mut relabelled = Vec::with_capacity(text.len());
    for line in text.split_inclusive(|&byte| byte == b'\n') {
        let renamed = ["BEGIN", "END"].into_iter().find(|edge| {
            line.strip_prefix(format!("-----{edge} {label}-----").as_bytes())
                .is_some_and(|rest| rest.iter().all(u8::is_ascii_whitespace))
        });
        match renamed {
            Some(edge) => relabelled.extend_from_slice(format!("-----{edge} CERTIFICATE-----\n").as_bytes()),
            None => relabelled.extend_from_slice(line),
        }
    }
    relabelled
}

/// Returns whether these trust settings let a certificate vouch for servers, by the rules of
/// OpenSSL: a rejected purpose never counts; if purposes are trusted, no others are. Without
/// settings every purpose counts.
fn vouches_for_servers(settings: &[u8]) -> bool {
    if settings.is_empty() {
        return true;
    }
    let Some((SEQUENCE, mut fields, _)) = element(settings) else { return false };
    let (mut trusted, mut rejected) = (None, false);
    while let Some((tag, purposes, rest)) = element(fields) {
        match tag {
            SEQUENCE => trusted = Some(names_servers(purposes)),
            REJECTED => rejected = names_servers(purposes),
            // A name for people, or the number of a key.
            _ => {}
        }
        fields = rest;
    }
    !rejected && trusted.unwrap_or(true)
}

fn names_servers(mut purposes: &[u8]) -> bool {
    let mut found = false;
    while let Some((tag, name, rest)) = element(purposes) {
        found |= tag == OBJECT_IDENTIFIER && (name == SERVER_AUTH || name == ANY_USAGE);
        purposes = rest;
    }
    found
}

/// Splits the first element off DER: its tag, its contents, and what follows it.
fn element(der: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&tag, rest) = der.split_first()?;
    let (&first, rest) = rest.split_first()?;
    let (length, rest) = match first {
        0..=0x7f => (usize::from(first), rest),
        // No certificate has a length of more than four bytes.
        0x81..=0x84 => {
            let (digits, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
            (digits.iter().fold(0, |length, &digit| (length << 8) | usize::from(digit)), rest)
        }
        _ => return None,
    };
    let (contents, rest) = rest.split_at_checked(length)?;
    Some((tag, contents, rest))
}

pub(crate) fn unreadable(path: &Path, error: &dyn std::fmt::Display) -> Error {
    Error::new(Remedy::Unsupported, path.display().to_string(), error)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A certificate of the year 2026.
    const OF_2026: &str = "-----BEGIN CERTIFICATE-----\n\
        MIIBBTCBrAIBATAKBggqhkjOPQQDAjAPMQ0wCwYDVQQDDAR0ZXN0MB4XDTI2MDEw\n\
        MTAwMDAwMFoXDTI2MTIzMTIzNTk1OVowDzENMAsGA1UEAwwEdGVzdDBZMBMGByqG\n\
        SM49AgEGCCqGSM49AwEHA0IABNCbUFIyJpYQ8lcQh/fnN3/rO2jaP9XIf8uE7Z/9\n\
        wFakGyvdOm2DJA0R9zKT9MSEe9m6kDbnaXtw/Yw+RxcghNowCgYIKoZIzj0EAwID\n\
        SAAwRQIgKkzQ8jivHFPVpA9ZTe3KMaNeZsOpfSpaK8G/VHk7nzwCIQD/A0258MDW\n\
        Gczv74TnmMwnkMVugxy+70Doe9VzMGHlcQ==\n\
        -----END CERTIFICATE-----\n";

    fn purposes(tag: u8, oids: &[&[u8]]) -> Vec<u8> {
        let oids = oids.iter().flat_map(|oid| [&[OBJECT_IDENTIFIER, oid.len() as u8], *oid].concat());
        let oids: Vec<u8> = oids.collect();
        [&[tag, oids.len() as u8], &oids[..]].concat()
    }

    fn settings(fields: &[Vec<u8>]) -> Vec<u8> {
        let fields = fields.concat();
        [&[SEQUENCE, fields.len() as u8], &fields[..]].concat()
    }

    #[test]
    fn trust_settings_mean_what_they_mean_to_openssl() {
        const EMAIL: &[u8] = &[0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x03, 0x04];
        let trust = |oids: &[&[u8]]| purposes(SEQUENCE, oids);
        let reject = |oids: &[&[u8]]| purposes(REJECTED, oids);
        let name = vec![0x0c, 2, b'c', b'a'];
        for (fields, vouches) in [
            (vec![], true),
            (vec![name.clone()], true),
            (vec![trust(&[SERVER_AUTH])], true),
            (vec![trust(&[EMAIL, ANY_USAGE]), name.clone()], true),
            (vec![trust(&[EMAIL])], false),
            (vec![reject(&[EMAIL])], true),
            (vec![reject(&[SERVER_AUTH])], false),
            (vec![trust(&[SERVER_AUTH]), reject(&[ANY_USAGE]), name], false),
        ] {
            assert_eq!(vouches_for_servers(&settings(&fields)), vouches, "{fields:02x?}");
        }
        assert!(vouches_for_servers(&[]));
        assert!(!vouches_for_servers(&[0x02, 1, 0]), "settings that cannot be read");
    }

    #[test]
    fn times_of_certificates_are_read() {
        for (tag, text, expected) in [
            (UTC_TIME, "260102030405Z", Some("2026-01-02T03:04:05Z")),
            (UTC_TIME, "500102030405Z", Some("1950-01-02T03:04:05Z")),
            (GENERALIZED_TIME, "99991231235959Z", Some("9999-12-31T23:59:59Z")),
            (GENERALIZED_TIME, "20261331235959Z", None),
            (UTC_TIME, "", None),
            (SEQUENCE, "260102030405Z", None),
        ] {
            let found = moment(tag, text.as_bytes()).map(|at| at.format(SECONDS).to_string());
            assert_eq!(found.as_deref(), expected, "{text}");
        }
    }

    #[test]
    fn certificates_are_valid_from_one_moment_to_another() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("c.pem");
        std::fs::write(&path, OF_2026).unwrap();
        let checked = |at: &str| check_validity(&path, at.parse().unwrap()).map_err(|error| error.text);
        assert_eq!(checked("2026-01-01T00:00:00Z"), Ok(()));
        assert_eq!(checked("2026-12-31T23:59:59Z"), Ok(()));
        let early = "the certificate is not valid before 2026-01-01T00:00:00Z".to_owned();
        assert_eq!(checked("2025-12-31T23:59:59Z"), Err(early));
        let late = "the certificate expired at 2026-12-31T23:59:59Z".to_owned();
        assert_eq!(checked("2027-01-01T00:00:00Z"), Err(late));
    }

    #[test]
    fn a_missing_key_is_told_from_an_encrypted_one() {
        let path = Path::new("/etc/me.pem");
        for (text, expected) in [
            (OF_2026, "there is no private key in it"),
            (ENCRYPTED[0], "the private key in it is encrypted, and nobody is there to enter its password"),
            (
                "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\n",
                "the private key in it is encrypted, and nobody is there to enter its password",
            ),
            ("-----BEGIN PRIVATE KEY-----\n", "cut off"),
        ] {
            let error = no_key(path, text.as_bytes(), &"cut off");
            assert_eq!((error.place.as_str(), error.text.as_str()), ("/etc/me.pem", expected), "{text}");
        }
    }

    #[test]
    fn elements_are_cut_where_they_end() {
        assert_eq!(element(&[0x30, 1, 7, 9, 9]), Some((0x30, &[7][..], &[9, 9][..])));
        assert_eq!(element(&[0x30, 0x82, 0, 2, 7, 8, 9]), Some((0x30, &[7, 8][..], &[9][..])));
        for cut in
            [&[][..], &[0x30], &[0x30, 2, 1], &[0x30, 0x82, 0], &[0x30, 0x80, 1], &[0x30, 0x85, 0, 0, 0, 0, 1, 1]]
        {
            assert_eq!(element(cut), None, "{cut:02x?}");
        }
    }
}
