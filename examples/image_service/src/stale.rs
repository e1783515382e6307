//! The command `stale`.

use crate::args::stale::{FailOn, Format, Stale};
use crate::config::FILE;
use crate::entry::{Entry, plain};
use crate::site::Site;
use crate::tree::Recipes;
use crate::{Outcome, Result, complain, report, sarif};
use freshmaker::artifact::ImageReference;
use freshmaker_oci::staleness::Freshness;
use freshmaker_oci::{Examined, OciClient, OciConfig, Recipe, RegistryConfig, Snapshot};
use futures_util::{StreamExt, stream};
use indicatif::{ProgressBar, ProgressStyle};
use std::io::IsTerminal;
use std::path::{Path, PathBuf};

/// How many images are looked at side by side.
const PARALLEL: usize = 8;

/// Looks at all images, and returns the report and how it ends.
pub(crate) async fn run(options: &Stale) -> Result<(String, Outcome)> {
    // The directory of a service says how images are named and registries are reached.
    let site = options.tree.as_deref().filter(|tree| tree.join(FILE).is_file()).map(Site::open).transpose()?;
    let recipes = match &site {
        Some(site) => Some(Recipes::of_trees(&site.trees()?)?),
        None => options.tree.as_deref().map(Recipes::read).transpose()?,
    };
    for problem in recipes.iter().flat_map(|recipes| &recipes.problems) {
        complain(format_args!("problem: {}", plain(problem)));
    }
    let mut images = options.images.clone();
    if images.is_empty() {
        images = recipes.as_ref().map(Recipes::images).unwrap_or_default();
    }
    let client = OciClient::new(config(options, site.as_ref()))?;
    let snapshot = client.snapshot();
    let bar = progress(images.len());
    let looking = images.into_iter().map(|image| {
        let (recipes, snapshot, bar) = (recipes.as_ref(), &snapshot, bar.as_ref());
        let service = site.as_ref().and(options.tree.as_deref());
        async move {
            let entry = look(image, recipes, snapshot, service).await;
            if let Some(bar) = bar {
                bar.inc(1);
            }
            entry
        }
    });
    let entries: Vec<Entry> = stream::iter(looking).buffered(PARALLEL).collect().await;
    if let Some(bar) = &bar {
        bar.finish_and_clear();
    }
    let text = match options.format {
        Format::Text => report::text(&entries),
        Format::Json => report::json(&entries),
        Format::Sarif => sarif::sarif(&entries, &roots(options)),
        Format::Markdown => report::markdown(&entries),
    };
    Ok((text, outcome(&entries, options)))
}

/// Returns the directories that paths in a report are relative to, the first that a path is in: the
/// present one, which is the repository of a scan, and the tree.
fn roots(options: &Stale) -> Vec<PathBuf> {
    let tree = options.tree.as_deref().and_then(|tree| tree.canonicalize().ok());
    std::env::current_dir().ok().into_iter().chain(options.tree.clone()).chain(tree).collect()
}

fn config(options: &Stale, site: Option<&Site>) -> OciConfig {
    let mut config = site.map_or_else(OciConfig::of_user, |site| site.config.oci());
    if let Some(platform) = &options.platform {
        config.platform = platform.clone();
    }
    for host in &options.plain_http {
        let mut special = RegistryConfig::default();
        special.plain_http = true;
        config.registries.insert(host.clone(), special);
    }
    config
}

async fn look(image: ImageReference, recipes: Option<&Recipes>, snapshot: &Snapshot, service: Option<&Path>) -> Entry {
    let recipe = recipes.and_then(|recipes| recipes.of(&image)).cloned();
    let found = match recipe.as_ref() {
        // The name that an image of a tree gets from its directory.
        Some(_) if image.registry() == "localhost" => Err(format!(
            "{image} is in no registry: say in freshmaker.toml, under [tree], how images are named, such as \
             image = \"registry.example.org/{{name}}\""
        )),
        Some(recipe) => {
            let found = snapshot.examine(&image, Recipe::Known(&recipe.parents)).await;
            found.map(|found| with_problems(found, &recipe.problems)).map_err(|error| error.to_string())
        }
        None => {
            let found = snapshot.examine(&image, Recipe::Unknown).await;
            let is_missing = recipes.is_some();
            let remark = || "the tree has no Containerfile of it, so the image itself tells of its parents";
            found
                .map(|mut found| {
                    found.remarks.extend(is_missing.then(|| remark().to_owned()));
                    found
                })
                .map_err(|error| error.to_string())
        }
    };
    Entry { image, recipe, service: service.map(Path::to_owned), found }
}

/// A reference that cannot be resolved may be a parent that has changed.
fn with_problems(mut found: Examined, problems: &[String]) -> Examined {
    if !problems.is_empty() {
        found.freshness = found.freshness.max(Freshness::Unknown);
        found.remarks.extend(problems.iter().cloned());
    }
    found
}

/// A bar on a terminal, nothing elsewhere.
fn progress(images: usize) -> Option<ProgressBar> {
    if !std::io::stderr().is_terminal() {
        return None;
    }
    let bar = ProgressBar::new(images as u64);
    if let Ok(style) = ProgressStyle::with_template("[{elapsed}] {bar:40} {pos}/{len} images") {
        bar.set_style(style);
    }
    Some(bar)
}

fn outcome(entries: &[Entry], options: &Stale) -> Outcome {
    let has = |state: &str| entries.iter().any(|entry| entry.state() == state);
    if has("error") {
        Outcome::Failed
    } else if has("stale") && options.fail_on.contains(&FailOn::Stale) {
        Outcome::Stale
    } else if has("unknown") && options.fail_on.contains(&FailOn::Unknown) {
        Outcome::Unknown
    } else {
        Outcome::Good
    }
}
