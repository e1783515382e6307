//! What the command line means.

use std::net::SocketAddr;
use std::time::Duration;

pub(crate) const HELP: &str = "\
Shows the pages of freshmaker over a world that rebuilds itself.

usage: demonstration [--listen ADDRESS] [--slots N] [--slower N] [--for SECONDS] [--no-browser]

`debian:bookworm` is pushed, and 194 of the Docker Official Images are rebuilt because of it, by a build system that only pretends.
One build fails, and one message cannot be read, so that there is something to repair. Nothing is stored; the network is not used.
It ends with Ctrl-C.
  --listen ADDRESS  a loopback address; 127.0.0.1:8750 if not given, and any free port if its port is 0
  --slots N         how many builds run at once; 8 if not given
  --slower N        how much longer builds take than in the quickstart, 1 to 1000; 25 if not given
  --for SECONDS     end by itself
  --no-browser      only print the address
  -h, --help        this text

exit status: 0 good, 1 something failed, 2 the command line makes no sense
";

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Options {
    pub(crate) listen: SocketAddr,
    pub(crate) slots: u32,
    pub(crate) slower: u32,
    pub(crate) ends_after: Option<Duration>,
    pub(crate) opens_browser: bool,
}

impl Default for Options {
    fn default() -> Self {
        let listen = SocketAddr::from(([127, 0, 0, 1], 8750));
        Self { listen, slots: 8, slower: 25, ends_after: None, opens_browser: true }
    }
}

/// What is wanted; `None` for the help.
pub(crate) fn parse(mut words: impl Iterator<Item = String>) -> Result<Option<Options>, String> {
    let mut options = Options::default();
    while let Some(word) = words.next() {
        let mut value = || words.next().ok_or_else(|| format!("{word} needs a value"));
        match word.as_str() {
            "-h" | "--help" => return Ok(None),
            "--no-browser" => options.opens_browser = false,
            "--listen" => {
                let text = value()?;
                let address: SocketAddr = text.parse().map_err(|_| format!("{text:?} is no address with a port"))?;
                options.listen = address;
            }
            "--slots" => options.slots = number(&word, &value()?, 256)?,
            "--slower" => options.slower = number(&word, &value()?, 1000)?,
            "--for" => options.ends_after = Some(Duration::from_secs(number(&word, &value()?, 86_400)?.into())),
            _ => return Err(format!("{word:?} is no option")),
        }
    }
    Ok(Some(options))
}

fn number(option: &str, text: &str, most: u32) -> Result<u32, String> {
    let number = text.parse().ok().filter(|number| (1..=most).contains(number));
    number.ok_or_else(|| format!("{option} needs a number from 1 to {most}, not {text:?}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(words: &[&str]) -> Result<Option<Options>, String> {
        parse(words.iter().map(|word| (*word).to_owned()))
    }

    #[test]
    fn options_are_read_and_mistakes_are_named() {
        assert_eq!(parsed(&[]).unwrap(), Some(Options::default()));
        let some = parsed(&["--listen", "[::1]:0", "--for", "5", "--no-browser"]).unwrap().unwrap();
        assert_eq!((some.listen.port(), some.ends_after, some.opens_browser), (0, Some(Duration::from_secs(5)), false));
        assert_eq!(parsed(&["--help", "nonsense"]).unwrap(), None);
        for (words, named) in [
            (&["--slots"][..], "--slots"),
            (&["--slots", "0"], "--slots"),
            (&["--slower", "fast"], "--slower"),
            (&["--listen", "localhost"], "localhost"),
            (&["now"], "now"),
        ] {
            assert!(parsed(words).unwrap_err().contains(named), "{words:?}");
        }
    }
}
