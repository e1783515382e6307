//! Reads layers: archives in the formats of POSIX (ustar, pax) and of GNU tar. Times are not read.

use std::collections::BTreeMap;
use std::io::{self, Read};

const BLOCK: usize = 512;
/// The longest name or record beside a member that is read. Real ones have some hundred bytes.
const EXTRA_MAX: u64 = 1 << 20;

/// What an archive says about one of its members, but for the times.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) path: Vec<u8>,
    pub(super) link: Vec<u8>,
    /// The type, as a letter: `0` a file, `1` a hard link, `2` a symbolic link, `5` a directory.
    pub(super) kind: u8,
    pub(super) mode: u64,
    pub(super) owner: u64,
    pub(super) group: u64,
    pub(super) device: (u64, u64),
    pub(super) size: u64,
    /// Extended attributes.
    pub(super) attributes: BTreeMap<Vec<u8>, Vec<u8>>,
}

/// Calls a function with each member of an archive, and with its content.
///
/// # Errors
/// Those of the reader and of the function; `InvalidData` if it is no archive, or if a part of it
/// is not understood.
pub(super) fn each(
    archive: &mut impl Read,
    mut visit: impl FnMut(Header, &mut dyn Read) -> io::Result<()>,
) -> io::Result<()> {
    let (mut long, mut records) = ([None, None], Records::default());
    loop {
        let mut block = [0; BLOCK];
        archive.read_exact(&mut block)?;
        if block.iter().all(|byte| *byte == 0) {
            // What follows pads the archive.
            return io::copy(archive, &mut io::sink()).map(drop);
        }
        let mut header = header(&block)?;
        match header.kind {
            b'L' | b'K' => {
                let mut name = extra(archive, header.size)?;
                name.truncate(name.iter().position(|byte| *byte == 0).unwrap_or(name.len()));
                long[usize::from(header.kind == b'K')] = Some(name);
                continue;
            }
            b'x' => {
                records = Records::read(&extra(archive, header.size)?)?;
                continue;
            }
            b'g' => {
                // It is about all members that follow: git writes a comment there.
                let global = Records::read(&extra(archive, header.size)?)?;
                if global != Records::default() {
                    return Err(broken("global records are not understood"));
                }
                continue;
            }
            b'0' | 0 | b'7' => header.kind = b'0',
            b'1'..=b'6' => {}
            other => return Err(broken(&format!("members of type {:?} are not understood", char::from(other)))),
        }
        let [path, link] = std::mem::take(&mut long);
        header.path = path.unwrap_or(header.path);
        header.link = link.unwrap_or(header.link);
        std::mem::take(&mut records).apply(&mut header);
        if header.kind != b'0' {
            header.size = 0;
        }
        let size = header.size;
        let mut content = archive.take(size);
        visit(header, &mut content)?;
        io::copy(&mut content, &mut io::sink())?;
        if content.limit() != 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        skip(archive, padding(size))?;
    }
}

/// What records of pax say of the member that follows them.
#[derive(Debug, Default, PartialEq, Eq)]
struct Records {
    path: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
    size: Option<u64>,
    owner: Option<u64>,
    group: Option<u64>,
    attributes: BTreeMap<Vec<u8>, Vec<u8>>,
}

impl Records {
    /// Reads lines `LENGTH KEY=VALUE`, where a value may contain anything.
    fn read(mut bytes: &[u8]) -> io::Result<Self> {
        let mut records = Self::default();
        while !bytes.is_empty() {
            let read = || {
                let space = bytes.iter().position(|byte| *byte == b' ')?;
                let length: usize = std::str::from_utf8(&bytes[..space]).ok()?.parse().ok()?;
                let record = bytes.get(space + 1..length)?.strip_suffix(b"\n")?;
                let equals = record.iter().position(|byte| *byte == b'=')?;
                Some((length, &record[..equals], &record[equals + 1..]))
            };
            let (length, key, value) = read().ok_or_else(|| broken("a record is broken"))?;
            let number = || {
                let number = std::str::from_utf8(value).ok().and_then(|text| text.parse().ok());
                number.ok_or_else(|| broken("a number in a record is broken")).map(Some)
            };
            match key {
                b"path" => records.path = Some(value.to_vec()),
                b"linkpath" => records.link = Some(value.to_vec()),
                b"size" => records.size = number()?,
                b"uid" => records.owner = number()?,
                b"gid" => records.group = number()?,
                _ if key.starts_with(b"GNU.sparse.") => return Err(broken("files with holes are not understood")),
                _ => {
                    if let Some(name) = key.strip_prefix(b"SCHILY.xattr.") {
                        records.attributes.insert(name.to_vec(), value.to_vec());
                    }
                }
            }
            bytes = &bytes[length..];
        }
        Ok(records)
    }

    fn apply(self, header: &mut Header) {
        header.path = self.path.unwrap_or(std::mem::take(&mut header.path));
        header.link = self.link.unwrap_or(std::mem::take(&mut header.link));
        header.size = self.size.unwrap_or(header.size);
        header.owner = self.owner.unwrap_or(header.owner);
        header.group = self.group.unwrap_or(header.group);
        header.attributes = self.attributes;
    }
}

fn header(block: &[u8; BLOCK]) -> io::Result<Header> {
    let sum = |at: usize, byte: &u8| if (148..156).contains(&at) { 32 } else { u64::from(*byte) };
    let sum: u64 = block.iter().enumerate().map(|(at, byte)| sum(at, byte)).sum();
    if number(&block[148..156])? != sum {
        return Err(broken("the checksum of a header is wrong"));
    }
    let text = |from: usize, to: usize| {
        let field = &block[from..to];
        field[..field.iter().position(|byte| *byte == 0).unwrap_or(field.len())].to_vec()
    };
    let mut path = text(0, 100);
    // Only POSIX has a prefix here, and GNU's format has other things there.
    if &block[257..263] == b"ustar\0" && block[345] != 0 {
        path = [text(345, 500), path].join(&b'/');
    }
    Ok(Header {
        path,
        link: text(157, 257),
        kind: block[156],
        mode: number(&block[100..108])?,
        owner: number(&block[108..116])?,
        group: number(&block[116..124])?,
        device: (number(&block[329..337])?, number(&block[337..345])?),
        size: number(&block[124..136])?,
        attributes: BTreeMap::new(),
    })
}

/// Reads a number: octal digits, or GNU's binary form for large ones.
fn number(field: &[u8]) -> io::Result<u64> {
    if field[0] & 0x80 != 0 {
        let (high, low) = field.split_at(field.len() - 8);
        let is_small = high.iter().skip(1).all(|byte| *byte == 0) && high.first().is_none_or(|byte| *byte == 0x80);
        let low = low.try_into().map(u64::from_be_bytes).unwrap_or(u64::MAX);
        // In a field of eight bytes the mark is a part of the number.
        let low = if high.is_empty() { low & !(0x80 << 56) } else { low };
        return if is_small { Ok(low) } else { Err(broken("a number is too large")) };
    }
    let is_end = |byte: &u8| *byte == 0 || *byte == b' ';
    let start = field.iter().position(|byte| *byte != b' ').unwrap_or(field.len());
    let digits = &field[start..];
    let digits = &digits[..digits.iter().position(is_end).unwrap_or(digits.len())];
    digits.iter().try_fold(0_u64, |number, digit| match digit {
        b'0'..=b'7' if number < 1 << 60 => Ok(number * 8 + u64::from(digit - b'0')),
        _ => Err(broken("a number is broken")),
    })
}

fn extra(archive: &mut impl Read, size: u64) -> io::Result<Vec<u8>> {
    if size > EXTRA_MAX {
        return Err(broken("a name or record is too long"));
    }
    let mut bytes = Vec::new();
    archive.take(size).read_to_end(&mut bytes)?;
    if bytes.len() as u64 != size {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    skip(archive, padding(size))?;
    Ok(bytes)
}

/// Returns how many bytes fill the last block of so many bytes.
fn padding(size: u64) -> u64 {
    size.next_multiple_of(BLOCK as u64) - size
}

fn skip(archive: &mut impl Read, bytes: u64) -> io::Result<()> {
    match io::copy(&mut archive.take(bytes), &mut io::sink())? {
        skipped if skipped == bytes => Ok(()),
        _ => Err(io::ErrorKind::UnexpectedEof.into()),
    }
}

fn broken(text: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::{Command, Stdio};

    fn members(archive: &[u8]) -> io::Result<Vec<(Header, Vec<u8>)>> {
        let mut found = Vec::new();
        each(&mut &*archive, |header, content| {
            let mut bytes = Vec::new();
            content.read_to_end(&mut bytes)?;
            found.push((header, bytes));
            Ok(())
        })?;
        Ok(found)
    }

    /// Packs a directory with the program `tar`.
    fn packed(directory: &std::path::Path, format: &str) -> Vec<u8> {
        let tar = Command::new("tar")
            .args(["--create", "--format", format, "--sort=name", "--owner=1000", "--group=2000", "--numeric-owner"])
            .arg("--directory")
            .arg(directory)
            .arg(".")
            .stdout(Stdio::piped())
            .output()
            .unwrap();
        assert!(tar.status.success());
        tar.stdout
    }

    #[test]
    fn all_formats_of_tar_say_the_same() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path();
        let deep = root.join("d".repeat(90)).join("e".repeat(120));
        std::fs::create_dir_all(&deep).unwrap();
        std::fs::write(deep.join("file"), "x".repeat(1000)).unwrap();
        std::fs::hard_link(deep.join("file"), root.join("hard")).unwrap();
        std::os::unix::fs::symlink("f".repeat(150), root.join("soft")).unwrap();
        let gnu = members(&packed(root, "gnu")).unwrap();
        assert_eq!(members(&packed(root, "pax")).unwrap(), gnu);
        let kinds: Vec<_> = gnu.iter().map(|(header, _)| header.kind).collect();
        assert_eq!(kinds, b"555012");
        let (file, content) = &gnu[3];
        assert!(file.path.ends_with(b"e/file") && content.len() == 1000, "{file:?}");
        assert_eq!((file.owner, file.group, file.mode & 0o777), (1000, 2000, 0o644));
        assert!(gnu[4].0.link.ends_with(b"e/file"));
        assert_eq!(gnu[5].0.link, "f".repeat(150).as_bytes());
    }

    #[test]
    fn what_is_broken_is_an_error() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("file"), "content").unwrap();
        let whole = packed(directory.path(), "ustar");
        assert_eq!(members(&whole).unwrap().len(), 2);
        for length in [0, 100, 512, 700, 1030, 1100] {
            assert!(members(&whole[..length]).is_err(), "{length} bytes");
        }
        for at in [0, 100, 125, 150, 156] {
            let mut broken = whole.clone();
            broken[at] ^= 0x41;
            assert!(members(&broken).is_err(), "byte {at}");
        }
    }

    #[test]
    fn numbers_have_two_forms() {
        for (field, wanted) in [
            (&b"0000644\0"[..], 0o644),
            (b"   12 \0\0", 0o12),
            (b"\0\0\0\0\0\0\0\0", 0),
            (b"\x80\0\0\0\0\0\x01\0", 256),
            (b"\x80\0\0\0\0\0\0\x02\0\0\0\0", 1 << 33),
        ] {
            assert_eq!(number(field).unwrap(), wanted, "{field:?}");
        }
        assert!(number(b"0000649\0").is_err() && number(b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff").is_err());
    }
}
