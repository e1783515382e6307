//! The commented examples of what a site writes, as the program has them in itself.

use std::str::FromStr;

/// A file of which there is an example.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shipped {
    /// The configuration.
    Config,
    /// What the files know of artifacts, and the policy.
    Catalog,
}

impl FromStr for Shipped {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        match name {
            "catalog" => Ok(Self::Catalog),
            other => Err(format!("example-config takes nothing or `catalog`, not {other:?}")),
        }
    }
}

impl Shipped {
    pub(crate) fn text(self) -> &'static str {
        match self {
            Self::Config => include_str!("../container_rebuilds.toml"),
            Self::Catalog => include_str!("../catalog.toml"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use freshmaker::ArtifactGraph;
    use freshmaker_local::files::manifest::Manifest;

    /// Returns the text with what is commented out in the same way as the keys around it.
    fn all_in(text: &str) -> String {
        let is_key = |line: &str| {
            let name = line.split(" = ").next().unwrap_or_default();
            let is_name = name.chars().all(|c| c.is_alphanumeric() || "_-.\"".contains(c));
            line.contains(" = ") && is_name || line.starts_with('[') && line.ends_with(']')
        };
        let line = |line: &str| match line.strip_prefix("# ") {
            Some(rest) if is_key(rest.trim_start_matches("# ")) => rest.trim_start_matches("# ").to_owned(),
            _ => line.to_owned(),
        };
        text.lines().map(line).collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn the_examples_are_read_as_they_are_and_with_all_that_is_commented_out() {
        let text = Shipped::Config.text();
        toml::from_str::<Config>(text).unwrap();
        // What excludes each other is both there.
        let config: Config = toml::from_str(&all_in(text)).unwrap_or_else(|error| panic!("{error}"));
        assert!(
            config.advisories.is_some() && config.mbs.is_some() && config.web.is_some() && config.storage.is_some()
        );
        assert!(config.dry_run && config.retention.events_max.is_some());
        let mut graph = ArtifactGraph::new();
        Manifest::parse("catalog.toml", Shipped::Catalog.text()).unwrap().add_to(&mut graph).unwrap();
        assert!(graph.len() > 3);
        Manifest::parse("catalog.toml", &all_in(Shipped::Catalog.text())).unwrap();
    }
}
