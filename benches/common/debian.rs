//! The sources of Debian 12 and what they depend on; see `benches/data/README.md`.

#![allow(dead_code, reason = "each user looks at another part")]

use ruzstd::decoding::StreamingDecoder;
use std::error::Error;
use std::io::Read;
use std::path::Path;

/// One letter's edges: `(source, what it depends on)`, as numbers.
pub(crate) type Edges = Vec<(u32, u32)>;

/// A source package.
#[derive(Debug)]
pub(crate) struct Source<'t> {
    pub(crate) name: &'t str,
    pub(crate) version: &'t str,
    /// Size of its source files in bytes.
    pub(crate) bytes: u64,
}

/// The file in `benches/data`, unpacked.
pub(crate) fn text() -> Result<String, Box<dyn Error>> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/data/bookworm-sources.tsv.zst");
    let packed = std::fs::read(&path).map_err(|error| format!("{}: {error}", path.display()))?;
    let mut text = String::new();
    StreamingDecoder::new(packed.as_slice()).map_err(|error| error.to_string())?.read_to_string(&mut text)?;
    Ok(text)
}

/// The whole archive. Edges are in the order of the file: by source, without repetition, without
/// loops.
#[derive(Debug, Default)]
pub(crate) struct Debian<'t> {
    pub(crate) sources: Vec<Source<'t>>,
    /// A source build-depends on a binary that another one builds.
    pub(crate) build: Edges,
    /// A binary of a source depends on a binary that another one builds.
    pub(crate) runtime: Edges,
    /// What every build has without asking for it.
    pub(crate) essential: Vec<u32>,
}

impl<'t> Debian<'t> {
    /// Reads the text of the file.
    pub(crate) fn parse(text: &'t str) -> Result<Self, Box<dyn Error>> {
        let mut debian = Self::default();
        for (line, number) in text.lines().zip(1..) {
            debian.line(line).ok_or_else(|| format!("line {number} makes no sense: {line:.40}"))?;
        }
        let count = u32::try_from(debian.sources.len())?;
        let ends = debian.build.iter().chain(&debian.runtime).flat_map(|(a, b)| [a, b]).chain(&debian.essential);
        match ends.max() {
            Some(last) if *last >= count => Err(format!("there is no source {last}").into()),
            _ => Ok(debian),
        }
    }

    fn line(&mut self, line: &'t str) -> Option<()> {
        let mut fields = line.split('\t');
        match fields.next()? {
            "N" => {
                let (name, version, bytes) = (fields.next()?, fields.next()?, fields.next()?);
                self.sources.push(Source { name, version, bytes: bytes.parse().ok()? });
            }
            letter @ ("B" | "R") => {
                let from = fields.next()?.parse().ok()?;
                let edges = if letter == "B" { &mut self.build } else { &mut self.runtime };
                numbers(fields.next()?, |to| edges.push((from, to)))?;
            }
            "E" => {
                numbers(fields.next()?, |source| self.essential.push(source))?;
            }
            // What depends on itself says nothing about an order; the rest are comments.
            "L" => {}
            other if other.starts_with('#') => {}
            _ => return None,
        }
        Some(())
    }

    /// The source of this name.
    pub(crate) fn number(&self, name: &str) -> Option<u32> {
        (0..).zip(&self.sources).find(|(_, source)| source.name == name).map(|(number, _)| number)
    }
}

/// Numbers with a blank between them, half a million in all.
fn numbers(text: &str, mut each: impl FnMut(u32)) -> Option<()> {
    let mut number = None;
    for byte in text.bytes() {
        match byte {
            b' ' => each(number.take()?),
            b'0'..=b'9' => number = Some(number.unwrap_or(0_u32).checked_mul(10)?.checked_add(u32::from(byte - b'0'))?),
            _ => return None,
        }
    }
    each(number?);
    Some(())
}
