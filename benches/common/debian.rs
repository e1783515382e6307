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
pub(crate) struct Source {
    pub(crate) name: String,
    pub(crate) version: String,
    /// Size of its source files in bytes.
    pub(crate) bytes: u64,
}

/// The whole archive. Edges are in the order of the file: by source, without repetition, without loops.
#[derive(Debug, Default)]
pub(crate) struct Debian {
    pub(crate) sources: Vec<Source>,
    /// A source build-depends on a binary that another one builds.
    pub(crate) build: Edges,
    /// A binary of a source depends on a binary that another one builds.
    pub(crate) runtime: Edges,
    /// What every build has without asking for it.
    pub(crate) essential: Vec<u32>,
}

impl Debian {
    /// Unpacks and reads the file in `benches/data`.
    pub(crate) fn load() -> Result<Self, Box<dyn Error>> {
        Self::parse(&Self::text()?)
    }

    /// The unpacked file.
    pub(crate) fn text() -> Result<String, Box<dyn Error>> {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/data/bookworm-sources.tsv.zst");
        let packed = std::fs::read(&path).map_err(|error| format!("{}: {error}", path.display()))?;
        let mut text = String::new();
        StreamingDecoder::new(packed.as_slice()).map_err(|error| error.to_string())?.read_to_string(&mut text)?;
        Ok(text)
    }

    /// Reads the text.
    pub(crate) fn parse(text: &str) -> Result<Self, Box<dyn Error>> {
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

    fn line(&mut self, line: &str) -> Option<()> {
        let mut fields = line.split('\t');
        match fields.next()? {
            "N" => {
                let (name, version, bytes) = (fields.next()?, fields.next()?, fields.next()?);
                self.sources.push(Source { name: name.into(), version: version.into(), bytes: bytes.parse().ok()? });
            }
            letter @ ("B" | "R") => {
                let from = fields.next()?.parse().ok()?;
                let edges = if letter == "B" { &mut self.build } else { &mut self.runtime };
                for to in fields.next()?.split(' ') {
                    edges.push((from, to.parse().ok()?));
                }
            }
            "E" => {
                for source in fields.next()?.split(' ') {
                    self.essential.push(source.parse().ok()?);
                }
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
