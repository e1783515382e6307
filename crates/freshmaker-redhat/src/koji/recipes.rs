use super::config::KojiConfig;
use super::fault::CallError;
use super::read::{Archive, Build, ImageOrigin, KojiReader, TaskRequest};
use super::xmlrpc::{Request, Value};
use crate::contracts::{Each, Recipe, Recipes};
use async_trait::async_trait;
use freshmaker::artifact::{Artifact, ArtifactKind, Nvr, Parameter};
use freshmaker::backend::{Error, Result};
use freshmaker::graph::EdgeKind;
use freshmaker_net::Call;
use futures_util::StreamExt;
use std::collections::{BTreeMap, BTreeSet};

/// Largest number of images whose packages are asked for at the same time.
const PARALLEL: usize = 8;

/// Finds out from Koji how images can be built again, and what is installed in them.
///
/// * The source is the commit that the build records, else that of its task, on the same server
///   unless there is [another one](Self::with_git_base_url). The target, and the
///   branch as parameter `git_branch`, are those of the task. A Flatpak has the parameter
///   `flatpak`.
/// * Builds are isolated (parameter `isolated`): they do not become the latest ones of their
///   target, unless [that is wanted](Self::not_isolated). They are built for all architectures of
///   their target, unless [those of the last build](Self::with_arch_overrides) are wanted.
/// * Parents are all images that the build records: the one of its last stage as
///   [`ParentImage`](EdgeKind::ParentImage), all others as
///   [`BuilderStage`](EdgeKind::BuilderStage).
/// * A base image, whose file system was made by a task of its own, has no parent that would bring
///   a fix. It can be rebuilt only if an [extra repository](Self::with_extra_repository) offers the
///   packages.
///
/// Builds and tasks are asked for in multicalls of 100.
///
/// It also knows, as [`PackageOrigins`](crate::contracts::PackageOrigins), which builds the
/// packages of an image come from and where builds of packages are tagged. That takes four
/// multicalls each, however many images or builds are asked about (up to 100).
///
/// ```
/// use freshmaker_redhat::koji::{KojiConfig, KojiRecipes};
///
/// let koji = KojiConfig::new("https://koji.example.org/kojihub");
/// let recipes = KojiRecipes::new(&koji)?
///     .with_extra_repository("ubi9-container-9.4", "https://repos.example.org/ubi9.repo");
/// # drop(recipes);
/// # Ok::<(), freshmaker::backend::Error>(())
/// ```
#[derive(Clone, Debug)]
#[doc(alias = "brew")]
pub struct KojiRecipes {
    pub(super) reader: KojiReader,
    extra: BTreeMap<String, BTreeSet<String>>,
    isolated: bool,
    arch_overrides: bool,
    git_base_url: Option<String>,
}

impl KojiRecipes {
    /// Reads from this hub. Nothing is sent.
    ///
    /// # Errors
    /// [`Unsupported`](freshmaker::backend::Remedy::Unsupported) if a certificate file cannot be
    /// used.
    pub fn new(config: &KojiConfig) -> Result<Self> {
        let reader = KojiReader::new(config)?;
        Ok(Self { reader, extra: BTreeMap::new(), isolated: true, arch_overrides: false, git_base_url: None })
    }

    /// Rebuilds become the latest builds of their targets.
    #[must_use]
    pub fn not_isolated(mut self) -> Self {
        self.isolated = false;
        self
    }

    /// Images are rebuilt for the architectures that their last build has, as parameter
    /// `arch_override`, and not for all of their target. Koji takes that for isolated builds only.
    /// This asks for the files of all builds, in multicalls of 100.
    #[doc(alias = "supply_arch_overrides")]
    #[must_use]
    pub fn with_arch_overrides(mut self) -> Self {
        self.arch_overrides = true;
        self
    }

    /// Builds from the repositories of this server, such as `git+https://src.example.org`, and not
    /// from the one that the last build names: the repository is the path of its source. For
    /// example, what was built from `git://old.example.org/containers/app#f1d2` is built again from
    /// `git+https://src.example.org/containers/app#f1d2`.
    #[must_use]
    pub fn with_git_base_url(mut self, url: impl Into<String>) -> Self {
        self.git_base_url = Some(url.into());
        self
    }

    /// Adds the URL of a repository file that an image is built with, as parameter `yum_repourls`.
    /// The image is named by name and version, `ubi9-container-9.4`. A base image needs one.
    #[must_use]
    pub fn with_extra_repository(mut self, name_and_version: impl Into<String>, url: impl Into<String>) -> Self {
        self.extra.entry(name_and_version.into()).or_default().insert(url.into());
        self
    }

    /// Asks once for each key, and reads each answer alone.
    ///
    /// # Errors
    /// If the hub does not answer, or answers any of the calls with a fault that passes.
    pub(super) async fn each<K, T>(
        &self,
        method: &str,
        keys: Vec<(K, Value)>,
        read: impl Fn(&K, &Value) -> Result<T>,
    ) -> Result<Vec<(K, std::result::Result<T, String>)>> {
        self.all(keys.into_iter().map(|(key, asked)| (key, Request::new(method, vec![asked]))).collect(), read).await
    }

    /// Makes these calls, and reads each answer alone.
    ///
    /// # Errors
    /// As for [`each`](Self::each).
    pub(super) async fn all<K, T>(
        &self,
        calls: Vec<(K, Request)>,
        read: impl Fn(&K, &Value) -> Result<T>,
    ) -> Result<Vec<(K, std::result::Result<T, String>)>> {
        let (keys, calls): (Vec<K>, Vec<Request>) = calls.into_iter().unzip();
        let answers = self.reader.client.multicall(&calls).await?;
        let mut found = Vec::with_capacity(keys.len());
        for ((key, call), answer) in keys.into_iter().zip(&calls).zip(answers) {
            let answer = match answer {
                Ok(value) => read(&key, &value),
                Err(error) => Err(self.odd(&call.method, error)?),
            };
            found.push((key, answer.map_err(|error| error.to_string())));
        }
        Ok(found)
    }

    /// Returns the error of one call, or fails with it if it says that the hub is out of order.
    fn odd(&self, method: &str, error: CallError) -> Result<Error> {
        let error = error.into_error(Call::Read, &self.reader.client.place(method));
        if error.is_transient() { Err(error) } else { Ok(error) }
    }

    /// Returns these builds by the key that they were asked for with.
    pub(super) async fn builds<K: ToString + Ord>(
        &self,
        keys: impl IntoIterator<Item = (K, Value)>,
    ) -> Result<BTreeMap<K, std::result::Result<Build, String>>> {
        let read = |key: &K, value: &Value| match value {
            Value::Nil => Ok(None),
            value => {
                let corrupt =
                    |error: super::xmlrpc::Mismatch| self.reader.corrupt("getBuild", &error.within(key.to_string()));
                Build::of(value).map(Some).map_err(corrupt)
            }
        };
        let found = self.each("getBuild", keys.into_iter().collect(), read).await?;
        let known = found.into_iter().map(|(key, build)| {
            let build = build.and_then(|build| build.ok_or_else(|| format!("Koji has no build {}", key.to_string())));
            (key, build)
        });
        Ok(known.collect())
    }

    /// Returns the request of the task of each of these builds.
    async fn requests(&self, builds: &BTreeMap<Nvr, Build>) -> Result<Each<TaskRequest>> {
        let keys = builds.iter().filter_map(|(nvr, build)| Some((nvr.clone(), build.task?.into())));
        let read = |nvr: &Nvr, value: &Value| {
            let build = &builds[nvr];
            self.reader.read_request(build, build.task.unwrap_or_default(), value)
        };
        Ok(self.each("getTaskRequest", keys.collect(), read).await?.into_iter().collect())
    }

    /// Returns the architectures of the images of each of these builds, as Koji writes them:
    /// `s390x x86_64`.
    async fn arches(&self, builds: &BTreeMap<Nvr, Build>) -> Result<Each<String>> {
        let keys = builds.iter().map(|(nvr, build)| (nvr.clone(), build.id.into())).collect();
        let arches = |_: &Nvr, rows: &Value| {
            let archives = rows.each(&[], Archive::of).map_err(|error| self.reader.corrupt("listArchives", &error))?;
            let arches: BTreeSet<String> = archives.into_iter().filter_map(|archive| archive.arch).collect();
            Ok(arches.into_iter().collect::<Vec<_>>().join(" "))
        };
        Ok(self.each("listArchives", keys, arches).await?.into_iter().collect())
    }

    /// Returns the names of the last stages' images that the builds name only by number.
    async fn unnamed(&self, builds: &BTreeMap<Nvr, Build>) -> Result<BTreeMap<i64, std::result::Result<Nvr, String>>> {
        let origins = builds.values().filter_map(|build| build.image.as_ref());
        let unnamed: BTreeSet<i64> = origins.filter_map(without_name).collect();
        let found = self.builds(unnamed.into_iter().map(|number| (number, Value::Int(number)))).await?;
        Ok(found.into_iter().map(|(number, build)| (number, build.and_then(|build| nvr(&build.nvr)))).collect())
    }

    /// Returns where the repository is that an image was built from.
    fn location(&self, built_from: &str) -> std::result::Result<String, String> {
        let Some(base) = &self.git_base_url else { return Ok(built_from.to_owned()) };
        let path = built_from.split_once("://").and_then(|(_, rest)| rest.split_once('/')).map(|(_, path)| path);
        let path = path.filter(|path| !path.is_empty());
        let path =
            path.ok_or_else(|| format!("it was built from {built_from:?}, which is no repository of a server"))?;
        Ok(format!("{}/{path}", base.trim_end_matches('/')))
    }

    fn recipe(
        &self,
        image: &Nvr,
        build: &Build,
        request: TaskRequest,
        unnamed: &BTreeMap<i64, std::result::Result<Nvr, String>>,
    ) -> std::result::Result<Recipe, String> {
        let unknown = ImageOrigin::default();
        let origin = build.image.as_ref().unwrap_or(&unknown);
        let (location, revision) = (self.location(&request.source.location)?, request.source.revision);
        let mut artifact = Artifact::new(image.to_string(), ArtifactKind::Image);
        artifact = artifact.with_source(location, revision.as_deref());
        artifact.target = request.target;
        if let Some(branch) = request.branch {
            artifact = artifact.with_parameter("git_branch", branch);
        }
        if origin.flatpak {
            artifact = artifact.with_parameter("flatpak", true);
        }
        if self.isolated {
            artifact = artifact.with_parameter("isolated", true);
        }
        let name_and_version = format!("{}-{}", image.name(), image.version());
        match self.extra.get(&name_and_version) {
            Some(urls) => artifact = artifact.with_parameter("yum_repourls", Parameter::Set(urls.clone())),
            None if origin.filesystem_task.is_some() => {
                let text = "is a base image, and no extra repository is configured for it";
                return Err(format!("{name_and_version} {text}"));
            }
            None => {}
        }
        let parents = parents(origin, unnamed)?;
        Ok(Recipe { artifact, parents, composes: origin.composes.iter().copied().collect() })
    }
}

/// Returns the images that an image was built from. `unnamed` has the names of those that the build
/// names only by number.
pub(super) fn parents(
    origin: &ImageOrigin,
    unnamed: &BTreeMap<i64, std::result::Result<Nvr, String>>,
) -> std::result::Result<BTreeSet<(Nvr, EdgeKind)>, String> {
    let mut parents = BTreeSet::new();
    for parent in origin.parents.values() {
        let last = origin.parent_build == Some(parent.id);
        let kind = if last { EdgeKind::ParentImage } else { EdgeKind::BuilderStage };
        parents.insert((nvr(&parent.nvr)?, kind));
    }
    if let Some(parent) = without_name(origin).and_then(|number| unnamed.get(&number)) {
        parents.insert((parent.clone()?, EdgeKind::ParentImage));
    }
    Ok(parents)
}

/// Returns the number of the last stage's image, if the build does not tell its name.
pub(super) fn without_name(origin: &ImageOrigin) -> Option<i64> {
    let number = origin.parent_build?;
    origin.parents.values().all(|parent| parent.id != number).then_some(number)
}

pub(super) fn nvr(text: &str) -> std::result::Result<Nvr, String> {
    text.parse().map_err(|error| format!("{text}: {error}"))
}

/// The keys of `getBuild` for these images.
pub(super) fn keys(images: &BTreeSet<Nvr>) -> impl Iterator<Item = (Nvr, Value)> {
    images.iter().map(|nvr| (nvr.clone(), nvr.to_string().into()))
}

#[async_trait]
impl Recipes for KojiRecipes {
    async fn recipes(&self, images: &BTreeSet<Nvr>) -> Result<Each<Recipe>> {
        let (mut found, mut builds) = (Each::new(), BTreeMap::new());
        for (image, build) in self.builds(keys(images)).await? {
            match build {
                Ok(build) if build.task.is_none() => {
                    found.insert(image, Err(format!("build {} has no task in Koji", build.nvr)));
                }
                Ok(build) => drop(builds.insert(image, build)),
                Err(text) => drop(found.insert(image, Err(text))),
            }
        }
        let unnamed = self.unnamed(&builds).await?;
        let mut arches = if self.arch_overrides { self.arches(&builds).await? } else { Each::new() };
        for (image, request) in self.requests(&builds).await? {
            let mut recipe = request.and_then(|request| self.recipe(&image, &builds[&image], request, &unnamed));
            if let Some(arches) = arches.remove(&image) {
                recipe = recipe.and_then(|recipe| {
                    Ok(Recipe { artifact: recipe.artifact.with_parameter("arch_override", arches?), ..recipe })
                });
            }
            found.insert(image, recipe);
        }
        Ok(found)
    }

    async fn installed(&self, images: &BTreeSet<Nvr>) -> Result<Each<BTreeSet<Nvr>>> {
        let builds = self.builds(keys(images)).await?;
        let asked = builds.into_iter().map(|(image, build)| async move {
            let build = match build {
                Ok(build) => build,
                Err(text) => return Ok((image, Err(text))),
            };
            match self.reader.installed_rpms(&build).await {
                Ok(contents) => Ok((image, Ok(contents.iter().flat_map(|(_, rpms)| rpms.iter().cloned()).collect()))),
                Err(error) if error.is_transient() => Err(error),
                Err(error) => Ok((image, Err(error.to_string()))),
            }
        });
        let answers: Vec<_> = futures_util::stream::iter(asked).buffer_unordered(PARALLEL).collect().await;
        answers.into_iter().collect()
    }
}
