//! What runs for each build, under the supervisor of the build system: build and push under another
//! tag, look at the result, test, sign, attest, and move the tag last.

mod command;
mod contents;
mod job;
mod recipe;
mod same;
mod tar;
mod zstd;

use crate::fix::FixAvailable;
use crate::records::{Record, Records};
use crate::site::Site;
use crate::sources::{self, Moment};
use crate::verify::{Platforms, at};
use crate::watch::SELF;
use command::{Command, Environment};
use freshmaker::artifact::{Digest, ImageReference};
use freshmaker::backend::{self, BuildRequest, Clock};
use freshmaker::engine::SystemClock;
use freshmaker::event::Event;
use freshmaker::handler::ImagePushed;
use freshmaker_oci::staleness::Role;
use freshmaker_oci::{OciClient, poll};
use recipe::Recipe;
use std::collections::BTreeSet;
use std::fmt;
use std::path::{Path, PathBuf};

/// Tells a build which service it belongs to.
pub(crate) const DIRECTORY: &str = "IMAGE_SERVICE_DIR";

/// The exit status of a failure that may not happen again (`EX_TEMPFAIL`).
const TEMPORARY: u8 = 75;
/// How many causes a program gets, and how many images of each: a variable has a bound.
const CAUSES_MAX: usize = 20;
/// The longest tag that registries allow.
const TAG_MAX: usize = 128;

/// Why a build failed.
#[derive(Debug)]
pub(crate) struct Failure {
    text: String,
    /// Whether it may go well the next time.
    pub(crate) is_temporary: bool,
}

type Result<T> = std::result::Result<T, Failure>;

impl Failure {
    fn lasting(text: impl fmt::Display) -> Self {
        Self { text: text.to_string(), is_temporary: false }
    }

    fn temporary(text: impl fmt::Display) -> Self {
        Self { text: text.to_string(), is_temporary: true }
    }

    /// Returns the exit status.
    pub(crate) fn status(&self) -> u8 {
        if self.is_temporary { TEMPORARY } else { 1 }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl From<backend::Error> for Failure {
    fn from(error: backend::Error) -> Self {
        Self { is_temporary: error.is_transient(), text: error.to_string() }
    }
}

/// Makes one image.
pub(crate) async fn run() -> Result<()> {
    let site = Site::open(Path::new(&variable(DIRECTORY)?)).map_err(Failure::lasting)?;
    let request = PathBuf::from(variable("FRESHMAKER_REQUEST")?);
    let bytes = std::fs::read(&request).map_err(|error| Failure::temporary(format!("the request: {error}")))?;
    let attempt = request.parent().unwrap_or(Path::new(".")).to_owned();
    let request: BuildRequest =
        serde_json::from_slice(&bytes).map_err(|error| Failure::lasting(format!("the request: {error}")))?;
    let image: ImageReference = request
        .artifact
        .as_str()
        .parse()
        .map_err(|error| Failure::lasting(format!("{}: {error}", request.artifact)))?;
    let registries = site.registries().map_err(Failure::lasting)?;
    let (site, commits) = site.hold().map_err(Failure::temporary)?;
    let held = request.source.as_ref().and_then(|source| commits.of(Path::new(&source.location)));
    if let Some(held) = held {
        say(format_args!("commit {}", held.commit));
    }
    let recipe = Recipe::of(&request, &site, held, &registries, &attempt).await?;
    let records = site.records().await.map_err(Failure::temporary)?;
    let commit = held.map(|held| held.commit.clone());
    let causes = Causes::of(&records, &request).await?;
    for advisory in &causes.advisories {
        say(format_args!("{advisory} is to be fixed: nothing may come from a cache"));
    }
    let step = Step { causes, site, registries, records, request, image, recipe, commit, attempt };
    let digest = step.make().await?;
    step.report(&digest)
}

/// Returns a variable that the build system sets.
fn variable(name: &str) -> Result<String> {
    std::env::var(name).map_err(|error| Failure::lasting(format!("{name}: {error}; only the engine runs this command")))
}

/// Why an image is built.
struct Causes {
    /// The events that want it, and what of each of them, as JSON. Those that demand a fix are the
    /// first.
    text: String,
    /// The advisories whose fixes are demanded.
    advisories: BTreeSet<String>,
    /// Whether bases have changed, or were found to have changed, and nothing else is a cause.
    are_bases: bool,
}

impl Causes {
    async fn of(records: &Records, request: &BuildRequest) -> Result<Self> {
        let client = records.client();
        let (mut fixes, mut others, mut advisories) = (Vec::new(), Vec::new(), BTreeSet::new());
        let mut are_bases = true;
        let links = client.links(vec![request.build]).await?;
        for cause in links.causes.into_iter().filter(|cause| cause.live) {
            let event = match client.event(cause.event).await {
                Err(error) if error.remedy == backend::Remedy::NotFound => continue,
                event => event?,
            };
            let because: Vec<_> = cause.because.iter().take(CAUSES_MAX).collect();
            let (kind, about) = (&event.envelope.kind, &event.envelope.search_key);
            let told = serde_json::json!({ "event": event.id, "kind": kind, "about": about, "because": because });
            are_bases &= kind == ImagePushed::KIND || event.envelope.requester.as_deref() == Some(SELF);
            if kind == FixAvailable::KIND {
                advisories.insert(about.to_string());
                fixes.push(told);
            } else {
                others.push(told);
            }
        }
        fixes.append(&mut others);
        fixes.truncate(CAUSES_MAX);
        Ok(Self { text: serde_json::Value::Array(fixes).to_string(), advisories, are_bases })
    }
}

struct Step {
    causes: Causes,
    site: Site,
    registries: OciClient,
    records: Records,
    request: BuildRequest,
    image: ImageReference,
    recipe: Recipe,
    /// What is built of the repository that has the tree.
    commit: Option<String>,
    /// The directory of the attempt.
    attempt: PathBuf,
}

impl Step {
    /// Builds, and publishes what was built; returns what the tag names at the end.
    async fn make(&self) -> Result<Digest> {
        self.allowed().await?;
        let before_build = self.moment()?;
        let digest = self.built().await?;
        if let (Some(before), Some(after)) = (&before_build, self.moment()?)
            && let Some(file) = before.changed(&after)
        {
            let text = format!("{} was changed while the image was built", file.display());
            return Err(Failure::temporary(text));
        }
        let planned = self.request.source.as_ref().and_then(|source| source.revision.clone());
        let base = self.recipe.parents.iter().find(|parent| parent.role == Role::Base);
        let base = base.map(|base| (&base.image, &base.digest));
        let platforms = self.site.platforms()?;
        platforms.built_on(&self.image, &digest, base).await?;
        let content = platforms.content(&at(&self.image, &digest)?).await?;
        say(format_args!("built {digest}"));
        let before = match self.registries.head(&self.image).await {
            Ok(before) => Some(before),
            Err(error) if error.remedy == backend::Remedy::NotFound => None,
            Err(error) => return Err(error.into()),
        };
        let mut record = Record {
            digest: digest.clone(),
            content: content.clone(),
            parents: self.recipe.used(),
            revision: before_build.map(|moment| moment.revision.to_string()).or(planned),
            commit: self.commit.clone(),
            attempt: self.request.attempt.to_string(),
            same: None,
            same_by: None,
            earlier: before.iter().cloned().collect(),
            rejected: Vec::new(),
        };
        if let Some(before) = before.as_ref().filter(|before| **before != digest)
            && let Some((there, same_by)) = self.unchanged(&platforms, before, &content, &digest).await?
        {
            let by = same_by.as_deref().unwrap_or("the same configuration and layers");
            say(format_args!("unchanged: {before} has {by}, so the tag stays"));
            for advisory in &self.causes.advisories {
                say(format_args!(
                    "so the fix of {advisory} is not in what is fetched during the build, or was there before"
                ));
            }
            record = Record { digest: before.clone(), content: there, same: Some(digest), same_by, ..record };
            self.records.publish(&self.request.artifact, &record).await?;
            return Ok(record.digest);
        }
        let build = &self.site.config.build;
        for (what, command) in [("test", &build.test), ("sign", &build.sign), ("attest", &build.attest)] {
            self.check(what, command, &digest).await?;
        }
        self.publish(&record).await?;
        Ok(digest)
    }

    /// Returns the content of what the tag names if that is as good as what was built, and by what,
    /// if not by the whole content.
    async fn unchanged(
        &self,
        platforms: &Platforms,
        before: &Digest,
        content: &Digest,
        digest: &Digest,
    ) -> Result<Option<(Digest, Option<String>)>> {
        let Ok(there) = platforms.content(&at(&self.image, before)?).await else { return Ok(None) };
        if there == *content {
            // Whatever else the manifests say, a container gets the same from both.
            return Ok(Some((there, None)));
        }
        let alike = self.alike(platforms, before, digest).await?;
        Ok(alike.map(|by| (there, Some(by))))
    }

    /// Looks whether the image is held or frozen. A plan may have waited until it is, and the
    /// configuration may be another one than when the build began.
    async fn allowed(&self) -> Result<()> {
        let image = &self.request.artifact;
        if let Some(hold) = self.records.held(image).await? {
            return Err(Failure::lasting(format!("{} holds the image: {}", hold.by, hold.reason)));
        }
        let now = SystemClock.now();
        let site = Site::open(&self.site.directory);
        let config = site.as_ref().map_or(&self.site.config, |site| &site.config);
        match config.freeze.iter().find(|freeze| freeze.holds(image, now)) {
            Some(freeze) => Err(Failure::lasting(format!("the image is frozen: {}", freeze.because))),
            None => Ok(()),
        }
    }

    /// Looks at the build context; `None` for that of a commit, which does not change.
    fn moment(&self) -> Result<Option<Moment>> {
        if self.commit.is_some() {
            return Ok(None);
        }
        let catalog = self.site.catalog().map_err(Failure::temporary)?;
        let artifact = catalog.graph().get(&self.request.artifact);
        Ok(artifact.and_then(|artifact| sources::moment(artifact, &self.site.config.state)))
    }

    /// Whether nothing may come from a cache: a fix is demanded, or what was built before was not
    /// what it should be.
    fn is_without_cache(&self) -> bool {
        self.request.no_cache || !self.causes.advisories.is_empty()
    }

    /// Has the image built, and returns the digest of what was pushed.
    async fn built(&self) -> Result<Digest> {
        let staging = staging(&self.image).map_err(Failure::lasting)?;
        if let Some(elsewhere) = &self.site.config.build.elsewhere {
            let system = elsewhere.system()?;
            return match job::Job::new(&*system, &self.site, self.asked(&staging)).run().await? {
                Some(digest) => Ok(digest),
                None => Ok(self.registries.head(&staging).await?),
            };
        }
        let file = self.attempt.join("digest");
        let _ = std::fs::remove_file(&file);
        let is_plain = self.site.config.plain_http().any(|registry| registry == staging.registry());
        let environment = self.environment()?;
        let environment = environment.with("FRESHMAKER_PUSH_TO", &staging.to_string());
        let environment = environment.with("FRESHMAKER_PLAIN_HTTP", if is_plain { "1" } else { "" });
        Command::builder(&self.site.config.build.program).run("build", &environment).await?;
        let text = std::fs::read_to_string(&file).map_err(|error| {
            Failure::lasting(format!("the builder has left no digest in {}: {error}", file.display()))
        })?;
        text.trim()
            .parse()
            .map_err(|error| Failure::lasting(format!("the builder left {:.100?}: {error}", text.trim())))
    }

    /// Returns the request for a service elsewhere: with the contents that are used, and with the
    /// name to push to.
    fn asked(&self, push_to: &ImageReference) -> BuildRequest {
        let mut request = self.request.clone();
        request.parameters.insert("push_to", push_to.to_string());
        if let Some(commit) = &self.commit {
            request.parameters.insert("commit", commit.clone());
        }
        if let Some(platforms) = self.site.config.build.platforms_as_text() {
            request.parameters.insert("platforms", platforms);
        }
        request.no_cache = self.is_without_cache();
        let used = self.recipe.used();
        for parent in &mut request.parents {
            if let Some(digest) = used.get(parent.id.as_str()) {
                parent.digest = Some(digest.clone());
            }
        }
        request
    }

    async fn check(&self, what: &str, command: &[String], digest: &Digest) -> Result<()> {
        let Some(command) = Command::of(command) else { return Ok(()) };
        let image = at(&self.image, digest)?;
        let environment = self.environment()?.with("FRESHMAKER_IMAGE", &image.to_string());
        command.run(what, &environment).await
    }

    fn environment(&self) -> Result<Environment> {
        let environment = Environment::of(&self.site.config, &self.recipe, &self.attempt)?;
        let environment = environment.with("FRESHMAKER_CAUSES", &self.causes.text);
        let environment = environment.with("FRESHMAKER_NO_CACHE", if self.is_without_cache() { "1" } else { "" });
        Ok(match &self.commit {
            Some(commit) => environment.with("FRESHMAKER_COMMIT", commit),
            None => environment,
        })
    }

    /// Moves the tag.
    async fn publish(&self, record: &Record) -> Result<()> {
        self.allowed().await?;
        // Before the tag moves: a handler that gets the event of the move then knows who has made
        // it.
        self.records.publish(&self.request.artifact, record).await?;
        let tag = self.image.tag().unwrap_or("latest");
        self.registries.tag(&at(&self.image, &record.digest)?, tag).await?;
        let told = match self.registries.head(&self.image).await {
            Ok(told) if told == record.digest => told,
            Err(error) if error.remedy != backend::Remedy::NotFound => return Err(error.into()),
            told => {
                let told = told.map_or_else(|_| "nothing".to_owned(), |told| told.to_string());
                return Err(Failure::temporary(format!(
                    "the tag names {told} after it was moved to {}",
                    record.digest
                )));
            }
        };
        if let Err(error) = poll::remember(self.records.client(), &self.image, told).await {
            // The poller finds it out by itself.
            say(format_args!("the poller does not know of the move: {error}"));
        }
        say(format_args!("published {} as {}", record.digest, self.image.familiar()));
        Ok(())
    }

    /// Tells the build system what was made.
    fn report(&self, digest: &Digest) -> Result<()> {
        let result = PathBuf::from(variable("FRESHMAKER_RESULT")?);
        let text = serde_json::json!({ "digest": digest, "name": at(&self.image, digest)? }).to_string();
        let temporary = result.with_extension("tmp");
        std::fs::write(&temporary, text)
            .and_then(|()| std::fs::rename(&temporary, &result))
            .map_err(|error| Failure::temporary(format!("{}: {error}", result.display())))
    }
}

/// Returns the name under which an image is pushed before it is published. There is one for each
/// tag, so that a registry does not fill up with names; what counts is the digest.
fn staging(image: &ImageReference) -> std::result::Result<ImageReference, String> {
    let tag = image.tag().unwrap_or("latest");
    let mut staging = format!("unpublished-{tag}");
    if staging.len() > TAG_MAX {
        staging = format!("unpublished-{}", Digest::of(tag.as_bytes()).short());
    }
    let text = format!("{}/{}:{staging}", image.registry(), image.repository());
    text.parse().map_err(|error| format!("{text}: {error}"))
}

/// Writes to the log of the build.
fn say(text: fmt::Arguments<'_>) {
    println!("image_service: {text}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_unpublished_name_is_valid_for_every_tag() {
        for tag in ["1", "latest", &"x".repeat(TAG_MAX)] {
            let image: ImageReference = format!("r.example.org/a/b:{tag}").parse().unwrap();
            let staging = staging(&image).unwrap();
            assert!(staging != image && staging.repository() == image.repository(), "{staging}");
        }
    }
}
