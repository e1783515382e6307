//! The configuration file. Mistakes are told with file, line and key.

use crate::Result;
use serde::Deserialize;
use std::path::{Path, PathBuf};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Config {
    pub(crate) state: PathBuf,
    pub(crate) catalog: PathBuf,
    #[serde(default)]
    pub(crate) topic_prefixes: Vec<String>,
    pub(crate) freshmaker_messages: Option<String>,
    pub(crate) fedora_messaging: Option<FedoraMessaging>,
    pub(crate) koji: Koji,
    pub(crate) odcs: Option<OdcsComposer>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct FedoraMessaging {
    pub(crate) file: PathBuf,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Koji {
    /// Without it the files in which Koji's client looks are read.
    pub(crate) file: Option<PathBuf>,
    pub(crate) profile: String,
    pub(crate) instance: Option<String>,
    #[serde(default = "koji")]
    pub(crate) name: String,
    #[serde(default = "slots")]
    pub(crate) slots: u32,
    #[serde(default)]
    pub(crate) verify: bool,
    pub(crate) poll_s: Option<u64>,
    pub(crate) settle_s: Option<u64>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct OdcsComposer {
    pub(crate) url: String,
    #[serde(default = "odcs")]
    pub(crate) name: String,
    #[serde(default = "slots")]
    pub(crate) slots: u32,
    pub(crate) owner: Option<String>,
    pub(crate) token_file: Option<PathBuf>,
    pub(crate) ca: Option<PathBuf>,
}

fn koji() -> String {
    "koji".to_owned()
}

fn odcs() -> String {
    "odcs".to_owned()
}

fn slots() -> u32 {
    freshmaker::rebuild::ConcurrencyLimits::DEFAULT
}

impl Config {
    pub(crate) fn read(path: &Path) -> Result<Self> {
        let place = path.display();
        let text = std::fs::read_to_string(path).map_err(|error| format!("{place}: {error}"))?;
        let mut config: Self = toml::from_str(&text).map_err(|error| format!("{place}: {error}"))?;
        let directory = path.parent().unwrap_or(Path::new(""));
        let files = [Some(&mut config.state), Some(&mut config.catalog), config.koji.file.as_mut()];
        let bus = config.fedora_messaging.as_mut().map(|bus| &mut bus.file);
        let odcs = config.odcs.as_mut().map(|odcs| [odcs.token_file.as_mut(), odcs.ca.as_mut()]);
        let all = files.into_iter().chain([bus]).chain(odcs.into_iter().flatten());
        all.flatten().for_each(|file| *file = directory.join(&file));
        Ok(config)
    }
}
