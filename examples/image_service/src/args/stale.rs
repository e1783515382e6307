//! The options of the command `stale`.

use freshmaker::artifact::ImageReference;
use freshmaker_oci::manifest::Platform;
use std::collections::BTreeSet;
use std::path::PathBuf;

pub(crate) const HELP: &str = "\
usage: image_service stale [options] [--tree DIR] IMAGE…

Asks the registries whether images are built on what their parents are today. Nothing is configured, stored or changed; the
logins are those of docker and podman. Evidence is, in this order: provenance of the build (SLSA, in the index or as referrers), the
annotations or labels org.opencontainers.image.base.name and .digest, and layers. Without evidence an image is unknown, not fresh.
  --tree DIR           the parents are those that the Containerfiles in DIR name; images are named as its freshmaker.toml says.
                       Without IMAGE: all images of the tree. Without --tree: what the image itself tells of its parents
  --json               JSON
  --sarif              SARIF 2.1.0, for code scanning
  --markdown           a table, for summaries of CI jobs
  --fail-on LIST       which findings make the exit status: stale, unknown, or both with a comma (if not given), or none
  --platform OS/ARCH   which image of an index; that of this machine if not given
  --plain-http HOST    reach this registry without TLS (may be repeated)
  -h, --help           this text

exit status: 0 all fresh, or pinned by digest; 3 an image is stale; 4 none is stale, but of one it is unknown; 1 an image or a
registry could not be read (whatever the others are), 2 the command line makes no sense
";

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Format {
    #[default]
    Text,
    Json,
    Sarif,
    Markdown,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum FailOn {
    Stale,
    Unknown,
}

#[derive(Debug)]
pub(crate) struct Stale {
    pub(crate) images: Vec<ImageReference>,
    pub(crate) tree: Option<PathBuf>,
    pub(crate) format: Format,
    pub(crate) fail_on: BTreeSet<FailOn>,
    pub(crate) platform: Option<Platform>,
    pub(crate) plain_http: BTreeSet<String>,
}

/// Reads what follows the word `stale`; `None` if it asks for the help.
pub(crate) fn parse(mut arguments: impl Iterator<Item = String>) -> Result<Option<Stale>, String> {
    let (mut images, mut tree, mut format) = (Vec::new(), None, None);
    let (mut fail_on, mut platform, mut plain_http) = (None, None, BTreeSet::new());
    while let Some(argument) = arguments.next() {
        let mut value =
            || arguments.next().filter(|value| !value.is_empty()).ok_or_else(|| format!("{argument} needs a value"));
        let twice = match argument.as_str() {
            "-h" | "--help" => return Ok(None),
            "--tree" => tree.replace(PathBuf::from(value()?)).is_some(),
            "--json" => format.replace(Format::Json).is_some(),
            "--sarif" => format.replace(Format::Sarif).is_some(),
            "--markdown" => format.replace(Format::Markdown).is_some(),
            "--fail-on" => fail_on.replace(findings(&value()?)?).is_some(),
            "--platform" => platform.replace(value()?.parse()?).is_some(),
            "--plain-http" => !plain_http.insert(value()?),
            option if option.starts_with('-') => return Err(format!("there is no option {option}")),
            image => {
                images.push(image.parse::<ImageReference>().map_err(|error| error.to_string())?);
                false
            }
        };
        if twice {
            return Err(format!("{argument} is given twice, or with another one that says the opposite"));
        }
    }
    if images.is_empty() && tree.is_none() {
        return Err("which images? Name them, or a tree of Containerfiles by --tree".to_owned());
    }
    let fail_on = fail_on.unwrap_or_else(|| [FailOn::Stale, FailOn::Unknown].into());
    let format = format.unwrap_or_default();
    Ok(Some(Stale { images, tree, format, fail_on, platform, plain_http }))
}

fn findings(list: &str) -> Result<BTreeSet<FailOn>, String> {
    if list == "none" {
        return Ok(BTreeSet::new());
    }
    let read = |word| match word {
        "stale" => Ok(FailOn::Stale),
        "unknown" => Ok(FailOn::Unknown),
        other => Err(format!("--fail-on: {other:?} is not stale, unknown or none")),
    };
    list.split(',').map(read).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stale(arguments: &[&str]) -> Result<Stale, String> {
        parse(arguments.iter().map(|&argument| argument.to_owned()))?.ok_or_else(|| "help".to_owned())
    }

    #[test]
    fn options_are_read() {
        let read = stale(&["--json", "--fail-on", "stale", "app", "--plain-http", "localhost:5000"]).unwrap();
        assert_eq!((read.format, read.fail_on), (Format::Json, [FailOn::Stale].into()));
        assert_eq!(read.images[0].familiar(), "app:latest");
        let read = stale(&["--tree", "x"]).unwrap();
        assert_eq!(read.fail_on, [FailOn::Stale, FailOn::Unknown].into());
        assert!(stale(&["app", "--fail-on", "none"]).unwrap().fail_on.is_empty());
        for (arguments, wanted) in [
            (&[][..], "which images?"),
            (&["--json", "--sarif", "app"], "--sarif is given twice"),
            (&["--fail-on", "old", "app"], "\"old\" is not"),
            (&["--fail-on"], "--fail-on needs a value"),
            (&["--platform", "arm", "app"], "not a platform"),
            (&["App"], "lower case"),
            (&["--old", "app"], "no option --old"),
        ] {
            let error = stale(arguments).unwrap_err();
            assert!(error.contains(wanted), "{error}");
        }
    }
}
