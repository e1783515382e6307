//! Certificates in PEM files, in every form in which OpenSSL reads them.

use freshmaker::backend::{Error, Remedy, Result};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use std::path::Path;

/// Labels that mean a certificate, besides `CERTIFICATE`. What `TRUSTED CERTIFICATE` holds is the
/// certificate, followed by what it is trusted for.
const LABELS: [&str; 2] = ["TRUSTED CERTIFICATE", "X509 CERTIFICATE"];

/// The purpose `serverAuth`, 1.3.6.1.5.5.7.3.1, in DER.
const SERVER_AUTH: &[u8] = &[0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x03, 0x01];
/// The purpose `anyExtendedKeyUsage`, 2.5.29.37.0, in DER.
const ANY_USAGE: &[u8] = &[0x55, 0x1d, 0x25, 0x00];

const OBJECT_IDENTIFIER: u8 = 0x06;
const SEQUENCE: u8 = 0x30;
/// The tag `[0]` of the purposes that a certificate is not trusted for.
const REJECTED: u8 = 0xa0;

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
