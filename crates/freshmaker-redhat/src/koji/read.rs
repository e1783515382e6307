use super::client::Client;
use super::config::KojiConfig;
use super::fault::CallError;
use super::packages::{Metadata, Package};
use super::xmlrpc::{Mismatch, Request, Value};
use crate::image::Contents;
use freshmaker::artifact::{Digest, Source};
use freshmaker::backend::{Error, Remedy, Result};
use freshmaker_net::Call;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::fmt;

/// Media types of image indexes, in order of preference: the older type comes first where a build
/// has both.
const INDEX_TYPES: [&str; 2] =
    ["application/vnd.docker.distribution.manifest.list.v2+json", "application/vnd.oci.image.index.v1+json"];

/// What a build says about its image, if that is nothing.
static NOTHING: Value = Value::Struct(BTreeMap::new());

/// A build that the hub knows.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Build {
    /// Id of the build.
    pub id: i64,
    /// Name, version and release, joined by `-`.
    pub nvr: String,
    /// Name, version and release as separate parts; they form the path of the build's files.
    pub parts: [String; 3],
    /// Whether the build is complete, that is neither running nor failed, cancelled or deleted.
    pub complete: bool,
    /// Id of the task that made the build.
    pub task: Option<i64>,
    /// Source of the build, as it was recorded.
    pub source: Option<String>,
    /// Name of the content generator that imported the build.
    pub generator: Option<String>,
    /// Digest of the image index; only for images.
    pub digest: Option<Digest>,
    /// What the image was built from; only for images.
    pub image: Option<ImageOrigin>,
    /// Metadata of the module as YAML; only for modules.
    pub module: Option<String>,
}

/// What an image was built from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ImageOrigin {
    /// Ids of the composes that its packages came from.
    pub composes: Vec<i64>,
    /// The signing intent: how packages had to be signed.
    pub signing_intent: Option<String>,
    /// Id of the build of its base image.
    pub parent_build: Option<i64>,
    /// The builds of all images that its stages were built from, by pull specification.
    pub parents: BTreeMap<String, ParentBuild>,
    /// Whether the image is a Flatpak.
    pub flatpak: bool,
    /// Id of the task that made the file system of a base image, which has no parent image.
    pub filesystem_task: Option<i64>,
}

/// The build of an image that another image was built from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParentBuild {
    /// Id of the build.
    pub id: i64,
    /// Name, version and release, joined by `-`.
    pub nvr: String,
}

/// A file of a build.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Archive {
    /// Id of the archive.
    pub id: i64,
    /// Name of the file.
    pub filename: String,
    /// Architecture of the image; only for images.
    pub arch: Option<String>,
    /// Pull specifications of the image.
    pub repositories: Vec<String>,
    /// Digests of the image's manifests, by media type.
    pub digests: BTreeMap<String, String>,
    /// Labels of the image. A label without a value is an empty text.
    pub labels: BTreeMap<String, String>,
}

/// What a task was asked to build.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TaskRequest {
    /// Id of the task.
    pub task: i64,
    /// The recipe: repository and commit.
    pub source: Source,
    /// Koji's build target; empty if the request names none.
    pub target: String,
    /// The branch that the commit was taken from; only for images.
    pub branch: Option<String>,
}

/// A log file of a build.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Log {
    /// Name of the file.
    pub name: String,
    /// Path of the file below the hub's files.
    pub path: String,
}

impl Build {
    /// Reads an answer of `getBuild`, or a row of a list of builds, which has fewer members.
    pub(crate) fn of(value: &Value) -> Result<Self, Mismatch> {
        let text = |path: &[&str]| value.get::<Option<&str>>(path).map(|text| text.map(str::to_owned));
        let part = |name: &str| value.get::<&str>(&[name]).map(str::to_owned);
        let parts = [part("name")?, part("version")?, part("release")?];
        let image = image(value)?;
        // The build of a base image may say nothing else about it.
        let base = value.get::<Option<&Value>>(&["extra", "filesystem_koji_task_id"])?.map(|_| &NOTHING);
        let task = value.get::<Option<i64>>(&["task_id"])?;
        let task = task.or(value.get(&["extra", "container_koji_task_id"])?);
        Ok(Self {
            id: value.get::<Option<i64>>(&["build_id"])?.map_or_else(|| value.get(&["id"]), Ok)?,
            nvr: text(&["nvr"])?.unwrap_or_else(|| parts.join("-")),
            parts,
            complete: value.get::<i64>(&["state"])? == 1,
            task,
            source: text(&["source"])?,
            generator: text(&["cg_name"])?,
            digest: image.map(digest).transpose()?.flatten(),
            image: image.or(base).map(|image| origin(value, image)).transpose()?,
            module: text(&["extra", "typeinfo", "module", "modulemd_str"])?,
        })
    }

    /// Returns the URL of the content generator's metadata, which list the contents of the build
    /// file by file.
    pub(crate) fn metadata_url(&self, topurl: &str) -> Option<String> {
        self.generator.as_ref()?;
        let [name, version, release] = &self.parts;
        Some(format!("{topurl}/packages/{name}/{version}/{release}/metadata.json"))
    }
}

/// Returns the part of a build that describes the image, if the build is an image.
fn image(build: &Value) -> Result<Option<&Value>, Mismatch> {
    let new = build.get::<Option<&Value>>(&["extra", "typeinfo", "image"])?;
    Ok(new.or(build.get(&["extra", "image"])?))
}

fn digest(image: &Value) -> Result<Option<Digest>, Mismatch> {
    let digests: Option<&BTreeMap<String, Value>> = image.get(&["index", "digests"])?;
    let Some(digests) = digests else { return Ok(None) };
    let preferred = INDEX_TYPES.iter().find_map(|media| digests.get(*media)).or_else(|| digests.values().next());
    let text = preferred.map(|digest| digest.get::<&str>(&[])).transpose()?;
    Ok(text.and_then(|text| text.parse().ok()))
}

fn origin(build: &Value, image: &Value) -> Result<ImageOrigin, Mismatch> {
    let mut parents = BTreeMap::new();
    let recorded: Option<&BTreeMap<String, Value>> = image.get(&["parent_image_builds"])?;
    for (pull, parent) in recorded.into_iter().flatten() {
        let read = || Ok(ParentBuild { id: parent.get(&["id"])?, nvr: parent.get::<&str>(&["nvr"])?.to_owned() });
        let parent = read().map_err(|error: Mismatch| error.within(pull).within("parent_image_builds"))?;
        parents.insert(pull.clone(), parent);
    }
    Ok(ImageOrigin {
        composes: image.each(&["odcs", "compose_ids"], |id| id.get(&[]))?,
        signing_intent: image.get::<Option<&str>>(&["odcs", "signing_intent"])?.map(str::to_owned),
        parent_build: image.get(&["parent_build_id"])?,
        parents,
        flatpak: image.get::<Option<bool>>(&["flatpak"])?.unwrap_or(false),
        filesystem_task: build.get(&["extra", "filesystem_koji_task_id"])?,
    })
}

impl Archive {
    pub(super) fn of(value: &Value) -> Result<Self, Mismatch> {
        let texts = |path: &[&str]| -> Result<BTreeMap<String, String>, Mismatch> {
            let members: Option<&BTreeMap<String, Value>> = value.get(path)?;
            // A label without a value is `Nil`.
            let text = |(name, value): (&String, &Value)| {
                let text = value.get::<Option<&str>>(&[]).map_err(|error| error.within(name))?;
                Ok((name.clone(), text.unwrap_or_default().to_owned()))
            };
            members.into_iter().flatten().map(text).collect()
        };
        Ok(Self {
            id: value.get(&["id"])?,
            filename: value.get::<&str>(&["filename"])?.to_owned(),
            arch: value.get::<Option<&str>>(&["extra", "image", "arch"])?.map(str::to_owned),
            repositories: value
                .each(&["extra", "docker", "repositories"], |pull| pull.get::<&str>(&[]).map(str::to_owned))?,
            digests: texts(&["extra", "docker", "digests"])?,
            labels: texts(&["extra", "docker", "config", "config", "Labels"])?,
        })
    }
}

/// Reads facts about builds, tags and packages for handlers. No method needs a login.
///
/// ```no_run
/// use freshmaker_redhat::koji::{KojiConfig, KojiReader};
///
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let koji = KojiReader::new(&KojiConfig::new("https://koji.example.org/kojihub"))?;
/// if let Some(build) = koji.build("nginx-container-1.24-5").await? {
///     let made = koji.task_request(&build).await?;
///     println!("{} was built from {} for {}", build.nvr, made.source.location, made.target);
///     for (arch, packages) in koji.installed_rpms(&build).await?.iter() {
///         println!("{arch}: {} packages", packages.len());
///     }
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
#[doc(alias = "brew")]
pub struct KojiReader {
    pub(super) client: Client,
    topurl: Option<String>,
}

impl KojiReader {
    /// Creates a reader of this hub. Nothing is sent.
    ///
    /// # Errors
    /// [`Unsupported`](Remedy::Unsupported) if a certificate file cannot be used.
    pub fn new(config: &KojiConfig) -> Result<Self> {
        Ok(Self { client: Client::new(config)?, topurl: config.topurl.clone() })
    }

    /// Returns a build by its name, version and release, or by its id. `None` if the hub has no
    /// such build.
    ///
    /// # Errors
    /// [`Unavailable`](Remedy::Unavailable) if the hub does not answer,
    /// [`Corrupt`](Remedy::Corrupt) with the path of the wrong member if the answer has another
    /// shape, else the remedy of the fault that the hub raised.
    pub async fn build(&self, nvr_or_id: &str) -> Result<Option<Build>> {
        let key = nvr_or_id.parse().map_or_else(|_| nvr_or_id.into(), Value::Int);
        let answer = self.ask(Request::new("getBuild", vec![key])).await?;
        if answer == Value::Nil {
            return Ok(None);
        }
        Build::of(&answer).map(Some).map_err(|error| self.corrupt("getBuild", &error.within(nvr_or_id)))
    }

    /// Returns many builds in the order of `nvrs`; `None` for each that the hub does not have.
    ///
    /// # Errors
    /// As for [`build`](Self::build). A fault for one build is an error of the whole call.
    pub async fn builds(&self, nvrs: &[&str]) -> Result<Vec<Option<Build>>> {
        let calls: Vec<_> = nvrs.iter().map(|&nvr| Request::new("getBuild", vec![nvr.into()])).collect();
        let answers = self.client.multicall(&calls).await?;
        let read = |(nvr, answer): (&&str, Result<Value, CallError>)| match answer {
            Ok(Value::Nil) => Ok(None),
            Ok(value) => Build::of(&value).map(Some).map_err(|error| self.corrupt("getBuild", &error.within(nvr))),
            Err(error) => Err(self.failed("getBuild", error)),
        };
        nvrs.iter().zip(answers).map(read).collect()
    }

    /// Returns the files of a build.
    ///
    /// # Errors
    /// As for [`build`](Self::build).
    pub async fn archives(&self, build: i64) -> Result<Vec<Archive>> {
        let answer = self.ask(Request::new("listArchives", vec![build.into()])).await?;
        answer.each(&[], Archive::of).map_err(|error| self.corrupt("listArchives", &error))
    }

    /// Returns the request of the task of a build: the commit of the recipe, and the target.
    ///
    /// The source is that of the build, else that of the task; the first one that names a commit
    /// counts. A revision with a `/` is the name of a branch and does not count. A `?` at the end
    /// of the repository is removed.
    ///
    /// # Errors
    /// [`NotFound`](Remedy::NotFound) if the build has no task, or neither names a commit; else as
    /// for [`build`](Self::build).
    pub async fn task_request(&self, build: &Build) -> Result<TaskRequest> {
        let missing = |text: &str| Error::new(Remedy::NotFound, self.client.place(&build.nvr), text);
        let task = build.task.ok_or_else(|| missing("the build has no task"))?;
        self.read_request(build, task, &self.ask(Request::new("getTaskRequest", vec![task.into()])).await?)
    }

    /// Reads the answer of `getTaskRequest` about the task of a build.
    pub(super) fn read_request(&self, build: &Build, task: i64, answer: &Value) -> Result<TaskRequest> {
        let missing = |text: &str| Error::new(Remedy::NotFound, self.client.place(&build.nvr), text);
        let corrupt = |error: Mismatch| self.corrupt("getTaskRequest", &error.within(task));
        let parts: &[Value] = answer.get(&[]).map_err(corrupt)?;
        let part = |at: usize| parts.get(at).unwrap_or(&Value::Nil);
        let asked = part(0).get::<Option<&str>>(&[]).map_err(|error| corrupt(error.within("[0]")))?;
        let sources = [build.source.as_deref(), asked].into_iter().flatten();
        let source = sources.filter_map(commit).next();
        Ok(TaskRequest {
            task,
            source: source.ok_or_else(|| missing("neither the build nor its task names a commit"))?,
            target: part(1)
                .get::<Option<&str>>(&[])
                .map_err(|error| corrupt(error.within("[1]")))?
                .unwrap_or_default()
                .to_owned(),
            branch: branch(answer).map_err(corrupt)?.map(str::to_owned),
        })
    }

    /// Returns the names of the tags of a build.
    ///
    /// # Errors
    /// As for [`build`](Self::build).
    pub async fn tags(&self, nvr: &str) -> Result<Vec<String>> {
        let answer = self.ask(Request::new("listTags", vec![nvr.into()])).await?;
        let name = |tag: &'_ Value| tag.get::<&str>(&["name"]).map(str::to_owned);
        answer.each(&[], name).map_err(|error| self.corrupt("listTags", &error))
    }

    /// Returns the latest build of each package in a tag, or of one package.
    ///
    /// # Errors
    /// [`NotFound`](Remedy::NotFound) if there is no such tag; else as for [`build`](Self::build).
    pub async fn latest(&self, tag: &str, package: Option<&str>) -> Result<Vec<Build>> {
        let request = Request::new("getLatestBuilds", vec![tag.into()]).named([("package", package.into())]);
        let answer = self.ask(request).await?;
        answer.each(&[], Build::of).map_err(|error| self.corrupt("getLatestBuilds", &error))
    }

    /// Returns the packages that are installed in an image, by architecture of the image. If
    /// several versions of a package are installed, all are included.
    ///
    /// For a file for which the hub lists no packages, the packages that its content generator
    /// recorded are used, if a `topurl` is configured.
    ///
    /// # Errors
    /// As for [`build`](Self::build) and [`metadata`](Self::metadata), except that missing metadata
    /// are no error.
    pub async fn installed_rpms(&self, build: &Build) -> Result<Contents> {
        let archives = self.archives(build.id).await?;
        let images: Vec<_> = archives.iter().filter_map(|image| Some((image.arch.as_deref()?, image))).collect();
        let list =
            |(_, image): &(&str, &Archive)| Request::new("listRPMs", Vec::new()).named([("imageID", image.id.into())]);
        let answers = self.client.multicall(&images.iter().map(list).collect::<Vec<_>>()).await?;
        let mut installed = Contents::default();
        let mut unlisted = Vec::new();
        for ((arch, image), answer) in images.into_iter().zip(answers) {
            let answer = answer.map_err(|error| self.failed("listRPMs", error))?;
            let packages = answer.each(&[], Package::of);
            let packages = packages.map_err(|error| self.corrupt("listRPMs", &error.within(image.id)))?;
            if packages.is_empty() {
                unlisted.push((arch, image));
            }
            for package in packages {
                let nvr = package.nvr().map_err(|error| {
                    let text = format_args!("archive {}: {error}", image.id);
                    Error::new(Remedy::Corrupt, self.client.place("listRPMs"), text)
                })?;
                installed.install(arch, nvr);
            }
        }
        if !unlisted.is_empty() && build.generator.is_some() && self.topurl.is_some() {
            self.install_recorded(build, &unlisted, &mut installed).await?;
        }
        Ok(installed)
    }

    /// Adds the packages that the content generator recorded for these files.
    async fn install_recorded(
        &self,
        build: &Build,
        images: &[(&str, &Archive)],
        installed: &mut Contents,
    ) -> Result<()> {
        let metadata = match self.metadata(build).await {
            Err(error) if error.remedy == Remedy::NotFound => return Ok(()),
            metadata => metadata?,
        };
        let corrupt = |error: &dyn fmt::Display| {
            let place = self.client.place(&build.nvr);
            Error::new(Remedy::Corrupt, place, format_args!("metadata.json: {error}"))
        };
        let metadata = Metadata::deserialize(metadata).map_err(|error| corrupt(&error))?;
        for (arch, image) in images {
            for package in metadata.packages(&image.filename) {
                installed.install(*arch, package.nvr().map_err(|error| corrupt(&error))?);
            }
        }
        Ok(())
    }

    /// Returns the log files of a build.
    ///
    /// # Errors
    /// As for [`build`](Self::build).
    pub async fn logs(&self, build: i64) -> Result<Vec<Log>> {
        let answer = self.ask(Request::new("getBuildLogs", vec![build.into()])).await?;
        let log = |log: &Value| {
            Ok(Log { name: log.get::<&str>(&["name"])?.to_owned(), path: log.get::<&str>(&["path"])?.to_owned() })
        };
        answer.each(&[], log).map_err(|error| self.corrupt("getBuildLogs", &error))
    }

    /// Returns the metadata of a build that its content generator recorded, as JSON.
    ///
    /// # Errors
    /// [`Unsupported`](Remedy::Unsupported) without a configured `topurl`;
    /// [`NotFound`](Remedy::NotFound) if no content generator made the build or there is no such
    /// file; [`Unavailable`](Remedy::Unavailable) if the file cannot be downloaded;
    /// [`Corrupt`](Remedy::Corrupt) if it is not JSON.
    pub async fn metadata(&self, build: &Build) -> Result<serde_json::Value> {
        let place = self.client.place(&build.nvr);
        let topurl = self.topurl.as_deref();
        let topurl = topurl.ok_or_else(|| Error::new(Remedy::Unsupported, &place, "no `topurl` is configured"))?;
        let url = build.metadata_url(topurl);
        let url = url.ok_or_else(|| Error::new(Remedy::NotFound, &place, "no content generator made this build"))?;
        let body = self.client.file(&url).await?;
        serde_json::from_slice(&body).map_err(|error| Error::new(Remedy::Corrupt, url, error))
    }

    pub(super) async fn ask(&self, request: Request) -> Result<Value> {
        let answer = self.client.call(&request).await;
        answer.map_err(|error| error.into_error(Call::Read, &self.client.place(&request.method)))
    }

    pub(super) fn corrupt(&self, method: &str, error: &Mismatch) -> Error {
        Error::new(Remedy::Corrupt, self.client.place(method), error)
    }

    pub(super) fn failed(&self, method: &str, error: CallError) -> Error {
        error.into_error(Call::Read, &self.client.place(method))
    }
}

/// Reads the branch in the answer of `getTaskRequest`; `None` if the request names none.
pub(super) fn branch(answer: &Value) -> Result<Option<&str>, Mismatch> {
    let parts: &[Value] = answer.get(&[])?;
    match parts.get(2) {
        Some(options @ Value::Struct(_)) => options.get(&["git_branch"]).map_err(|error| error.within("[2]")),
        _ => Ok(None),
    }
}

/// Returns the repository and the commit that a source names; `None` if it names no commit.
fn commit(source: &str) -> Option<Source> {
    let (location, revision) = source.rsplit_once('#')?;
    if revision.is_empty() || revision.contains('/') {
        return None;
    }
    let location = location.strip_suffix('?').unwrap_or(location);
    Some(Source { location: location.to_owned(), revision: Some(revision.to_owned()) })
}
