use super::config::KojiConfig;
use super::packages::Package;
use super::read::{Build, branch};
use super::recipes::{KojiRecipes, parents, without_name};
use super::request::marker_in;
use super::status::imported;
use super::xmlrpc::{Mismatch, Request, Value};
use crate::contracts::{BuiltImage, Containing, Each, ImageBuilds, Images, PackageBuilds, Recipes, TaskBuild};
use crate::image::CatalogImage;
use async_trait::async_trait;
use freshmaker::artifact::Nvr;
use freshmaker::backend::{Clock, Error, Remedy, Result};
use freshmaker::engine::SystemClock;
use freshmaker::time::{Timestamp, earlier};
use futures_util::{StreamExt, TryStreamExt};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Number of builds that are asked for at once. A build of an image has about 5 kB.
const PAGE: usize = 500;

/// Most builds of one name that are looked through for a branch. One image has that many in years.
const BUILDS_OF_NAME_MAX: usize = 1_000;

/// Most builds that are looked through for the newest ones. More than this within the time that
/// counts is no build system for images.
const BUILDS_MAX: usize = 50_000;

/// Most images whose packages are asked for in one question.
const IMAGES_MAX: usize = 5_000;

/// Number of names, of images, or of tasks that are asked about in one go.
const TOGETHER: usize = 100;

/// Largest number of names whose builds are listed at the same time.
const PARALLEL: usize = 4;

/// Most packages of images that are remembered, about 40 MB.
const REMEMBERED_MAX: usize = 300_000;

/// The architectures of source packages.
const SOURCES: [&str; 2] = ["src", "nosrc"];

/// Tells which images there are, what is in them and what they are built on, from Koji alone: for
/// teams and distributions without a catalog of images.
///
/// * [`ImageBuilds`]: builds by branch, by task, and the newest of each name and version.
/// * [`PackageBuilds`]: the binary packages that a build made.
/// * [`Images`]: the newest build of each name and version is an image that may be rebuilt. Koji
///   knows neither repositories nor content sets: to ask for content sets is an error, and no image
///   is [offered](Images::offered) as a replacement for another one.
///
/// Only builds that were completed [within](Self::within) a time count, 180 days by default.
///
/// # Requests
/// Builds are listed in pages of 500. To find the images with a package costs two calls for each
/// newest image, at most 8 at the same time; what was found is remembered, because the packages of
/// a build never change, up to 300,000 packages. The bounds are 50,000 builds, 5,000 images, and
/// 1,000 builds of one name; more is an error that names the bound.
///
/// ```
/// use freshmaker_redhat::image::ImageSearch;
/// use freshmaker_redhat::koji::{KojiConfig, KojiImages, KojiRecipes};
/// use std::sync::Arc;
/// use std::time::Duration;
///
/// let koji = KojiConfig::new("https://koji.example.org/kojihub");
/// let images = KojiImages::new(&koji)?.within(Duration::from_secs(90 * 24 * 3600));
/// let search = ImageSearch::new(Arc::new(images), Arc::new(KojiRecipes::new(&koji)?));
/// # drop(search);
/// # Ok::<(), freshmaker::backend::Error>(())
/// ```
#[derive(Clone, Debug)]
#[doc(alias = "brew")]
pub struct KojiImages {
    recipes: KojiRecipes,
    clock: Arc<dyn Clock>,
    within: Duration,
    remembered: Arc<Mutex<Remembered>>,
}

/// The packages of images that were asked about.
#[derive(Default)]
struct Remembered {
    packages: usize,
    images: BTreeMap<Nvr, Arc<BTreeSet<Nvr>>>,
}

impl fmt::Debug for Remembered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Remembered").field("images", &self.images.len()).field("packages", &self.packages).finish()
    }
}

impl Remembered {
    fn keep(&mut self, image: Nvr, packages: Arc<BTreeSet<Nvr>>) {
        if self.packages + packages.len() > REMEMBERED_MAX {
            *self = Self::default();
        }
        self.packages += packages.len();
        self.images.insert(image, packages);
    }
}

/// A row of a list of builds, or its name and what is wrong with it.
type Row = std::result::Result<Build, (Nvr, String)>;

impl KojiImages {
    /// Reads from this hub. Nothing is sent.
    ///
    /// # Errors
    /// [`Unsupported`](Remedy::Unsupported) if a certificate file cannot be used.
    pub fn new(config: &KojiConfig) -> Result<Self> {
        Ok(Self {
            recipes: KojiRecipes::new(config)?,
            clock: Arc::new(SystemClock),
            within: Duration::from_secs(180 * 24 * 3600),
            remembered: Arc::default(),
        })
    }

    /// Sets how long ago a build may have been completed to count for [`Images`].
    #[must_use]
    pub fn within(self, within: Duration) -> Self {
        Self { within, ..self }
    }

    /// Replaces the clock of the system.
    #[must_use]
    pub fn with_clock(self, clock: Arc<dyn Clock>) -> Self {
        Self { clock, ..self }
    }

    fn place(&self, method: &str) -> String {
        self.recipes.reader.client.place(method)
    }

    /// Lists complete builds of images, those with the highest numbers first. The answer says also
    /// whether these are all.
    async fn listed(&self, condition: (&'static str, Value), most: usize) -> Result<(Vec<Row>, bool)> {
        let mut rows = Vec::new();
        while rows.len() < most {
            let page = [("order", "-build_id".into()), ("offset", number(rows.len())), ("limit", number(PAGE))];
            let named =
                [condition.clone(), ("state", 1.into()), ("type", "image".into()), ("queryOpts", Value::record(page))];
            let answer = self.recipes.reader.ask(Request::new("listBuilds", Vec::new()).named(named)).await?;
            let page = answer.each(&[], row).map_err(|error| self.corrupt("listBuilds", &error))?;
            let last = page.len() < PAGE;
            rows.extend(page);
            if last {
                return Ok((rows, true));
            }
        }
        Ok((rows, false))
    }

    fn corrupt(&self, method: &str, error: &Mismatch) -> Error {
        self.recipes.reader.corrupt(method, error)
    }

    /// Returns the newest build of a name that was made from this branch.
    async fn newest_of(&self, package: i64, name: &str, asked: &str) -> Result<std::result::Result<Nvr, String>> {
        let (rows, all) = self.listed(("packageID", package.into()), BUILDS_OF_NAME_MAX).await?;
        let (mut tasks, mut odd) = (Vec::new(), None);
        for row in &rows {
            match row {
                Ok(Build { nvr, task, .. }) => match (nvr.parse::<Nvr>(), task) {
                    (Ok(nvr), Some(task)) => tasks.push((nvr, Value::Int(*task))),
                    (Ok(_), None) => {}
                    (Err(error), _) => odd = Some(error.to_string()),
                },
                Err((nvr, text)) => odd = Some(format!("{nvr}: {text}")),
            }
        }
        tasks.sort_by(|(one, _), (other, _)| other.by_release(one));
        for some in tasks.chunks(TOGETHER) {
            let read = |nvr: &Nvr, answer: &Value| {
                let found = branch(answer).map(|found| found.map(str::to_owned));
                found.map_err(|error| self.corrupt("getTaskRequest", &error.within(nvr)))
            };
            for (nvr, found) in self.recipes.each("getTaskRequest", some.to_vec(), read).await? {
                match found {
                    Ok(Some(found)) if found == asked => return Ok(Ok(nvr)),
                    Ok(_) => {}
                    Err(text) => odd = Some(text),
                }
            }
        }
        let many = if all { format!("{}", rows.len()) } else { format!("latest {}", rows.len()) };
        let odd = odd.map(|text| format!("; what Koji says about one makes no sense: {text}")).unwrap_or_default();
        Ok(Err(format!("none of the {many} builds of {name} was made from the branch {asked}{odd}")))
    }

    /// Describes the newest builds, with the names of parents that they name only by number.
    async fn with_parents(&self, newest: Vec<Build>, known: &BTreeMap<i64, Nvr>) -> Result<Vec<BuiltImage>> {
        let origins = newest.iter().filter_map(|build| build.image.as_ref());
        let unnamed: BTreeSet<i64> =
            origins.filter_map(without_name).filter(|number| !known.contains_key(number)).collect();
        let found = self.recipes.builds(unnamed.into_iter().map(|number| (number, Value::Int(number)))).await?;
        let named = found.into_iter().map(|(number, build)| {
            let nvr = build.and_then(|build| build.nvr.parse::<Nvr>().map_err(|error| error.to_string()));
            (number, nvr)
        });
        let mut unnamed: BTreeMap<_, _> = named.collect();
        unnamed.extend(known.iter().map(|(number, nvr)| (*number, Ok(nvr.clone()))));
        let mut images = Vec::with_capacity(newest.len());
        for build in newest {
            let (Ok(nvr), Some(origin)) = (build.nvr.parse(), &build.image) else { continue };
            images.push(match parents(origin, &unnamed) {
                Ok(parents) => BuiltImage { nvr, parents, unknown_parent: None },
                Err(text) => BuiltImage { nvr, parents: BTreeSet::new(), unknown_parent: Some(text) },
            });
        }
        Ok(images)
    }

    /// Returns the packages of these names in each of these images.
    async fn contents(&self, images: &[Nvr], names: &BTreeSet<String>) -> Result<Each<Vec<Nvr>>> {
        let lock = || self.remembered.lock().unwrap_or_else(PoisonError::into_inner);
        let mut found = Each::new();
        let named = |packages: &BTreeSet<Nvr>| {
            packages.iter().filter(|package| names.contains(package.name())).cloned().collect::<Vec<_>>()
        };
        let mut unknown = BTreeSet::new();
        for image in images {
            match lock().images.get(image) {
                Some(packages) => drop(found.insert(image.clone(), Ok(named(packages)))),
                None => drop(unknown.insert(image.clone())),
            }
        }
        if !unknown.is_empty() {
            for (image, packages) in self.recipes.installed(&unknown).await? {
                let packages = packages.map(|packages| {
                    let matching = named(&packages);
                    lock().keep(image.clone(), Arc::new(packages));
                    matching
                });
                found.insert(image, packages);
            }
        }
        Ok(found)
    }
}

/// Reads a row of a list of builds. One that makes no sense costs no other, if it has a name.
fn row(value: &Value) -> std::result::Result<Row, Mismatch> {
    let error = match Build::of(value) {
        Ok(build) => return Ok(Ok(build)),
        Err(error) => error,
    };
    let part = |name: &str| value.get::<&str>(&[name]).ok();
    let name = part("name").zip(part("version")).zip(part("release"));
    let nvr = name.and_then(|((name, version), release)| format!("{name}-{version}-{release}").parse().ok());
    nvr.map(|nvr| Err((nvr, error.to_string()))).ok_or(error)
}

/// Returns whether this is a container image, and not one of a virtual machine.
fn is_container(build: &Build) -> bool {
    let origin = build.image.as_ref();
    build.digest.is_some() || origin.is_some_and(|origin| origin.parent_build.is_some() || !origin.parents.is_empty())
}

fn number(number: usize) -> Value {
    Value::Int(i64::try_from(number).unwrap_or(i64::MAX))
}

#[async_trait]
impl ImageBuilds for KojiImages {
    async fn newest_from_branch(
        &self,
        names: &BTreeSet<String>,
        branch: &str,
    ) -> Result<BTreeMap<String, std::result::Result<Nvr, String>>> {
        let keys = names.iter().map(|name| (name.clone(), name.as_str().into())).collect();
        let read = |name: &String, answer: &Value| {
            let id = answer.get::<Option<i64>>(&[]);
            id.map_err(|error| self.corrupt("getPackageID", &error.within(name)))
        };
        let ids = self.recipes.each("getPackageID", keys, read).await?;
        let found = ids.into_iter().map(|(name, id)| async move {
            let found = match id {
                Ok(Some(id)) => self.newest_of(id, &name, branch).await?,
                Ok(None) => Err(format!("Koji has no package {name}")),
                Err(text) => Err(text),
            };
            Ok((name, found))
        });
        futures_util::stream::iter(found).buffer_unordered(PARALLEL).try_collect().await
    }

    async fn of_task(&self, task: i64) -> Result<TaskBuild> {
        let reader = &self.recipes.reader;
        let request = reader.ask(Request::new("getTaskRequest", vec![task.into()])).await?;
        let corrupt = |method: &str, error: Mismatch| self.corrupt(method, &error.within(task));
        let parts: &[Value] = request.get(&[]).map_err(|error| corrupt("getTaskRequest", error))?;
        if marker_in(parts).is_some() {
            return Ok(TaskBuild { nvr: None, marked: true });
        }
        let result = reader.ask(Request::new("getTaskResult", vec![task.into()])).await?;
        let made = imported(&result).map_err(|error| corrupt("getTaskResult", error))?;
        let made = match made {
            Some(number) => Some(number),
            None => {
                let builds = Request::new("listBuilds", Vec::new()).named([("taskID", task.into())]);
                let builds = reader.ask(builds).await?;
                let numbers = builds.each(&[], |build| build.get::<i64>(&["build_id"]));
                numbers.map_err(|error| corrupt("listBuilds", error))?.first().copied()
            }
        };
        let Some(number) = made else { return Ok(TaskBuild { nvr: None, marked: false }) };
        let build = reader.build(&number.to_string()).await?;
        let gone = || Error::new(Remedy::NotFound, self.place("getBuild"), format!("Koji has no build {number}"));
        let nvr = build.ok_or_else(gone)?.nvr;
        let nvr = nvr.parse().map_err(|error| Error::new(Remedy::Corrupt, self.place("getBuild"), error))?;
        Ok(TaskBuild { nvr: Some(nvr), marked: false })
    }

    async fn newest_since(&self, since: Timestamp) -> Result<Vec<BuiltImage>> {
        let (rows, all) = self.listed(("completeAfter", since.timestamp().into()), BUILDS_MAX).await?;
        if !all {
            let text = format!("more than {BUILDS_MAX} images were built since {since}");
            return Err(Error::new(Remedy::Corrupt, self.place("listBuilds"), text));
        }
        let mut known = BTreeMap::new();
        let mut newest: BTreeMap<(String, String), (Nvr, Row)> = BTreeMap::new();
        for row in rows {
            let nvr = match &row {
                Ok(build) if !is_container(build) => continue,
                Ok(build) => match build.nvr.parse::<Nvr>() {
                    Ok(nvr) => nvr,
                    Err(error) => return Err(Error::new(Remedy::Corrupt, self.place("listBuilds"), error)),
                },
                Err((nvr, _)) => nvr.clone(),
            };
            if let Ok(build) = &row {
                known.insert(build.id, nvr.clone());
            }
            let group = (nvr.name().to_owned(), nvr.version().to_owned());
            let newer = newest.get(&group).is_none_or(|(other, _)| nvr.by_release(other).is_gt());
            if newer {
                newest.insert(group, (nvr, row));
            }
        }
        let (mut builds, mut odd) = (Vec::new(), Vec::new());
        for (nvr, row) in newest.into_values() {
            match row {
                Ok(build) => builds.push(build),
                Err((_, text)) => {
                    odd.push(BuiltImage { nvr, parents: BTreeSet::new(), unknown_parent: Some(text) });
                }
            }
        }
        let mut images = self.with_parents(builds, &known).await?;
        images.append(&mut odd);
        images.sort_by(|one, other| one.nvr.cmp(&other.nvr));
        Ok(images)
    }
}

#[async_trait]
impl PackageBuilds for KojiImages {
    async fn packages(&self, builds: &BTreeSet<Nvr>) -> Result<Each<BTreeSet<Nvr>>> {
        let keys = builds.iter().map(|nvr| (nvr.clone(), nvr.to_string().into()));
        let (mut found, mut numbers) = (Each::new(), Vec::new());
        for (nvr, build) in self.recipes.builds(keys).await? {
            match build {
                Ok(build) => numbers.push((nvr, Value::Int(build.id))),
                Err(text) => drop(found.insert(nvr, Err(text))),
            }
        }
        let read = |nvr: &Nvr, answer: &Value| {
            let corrupt = |error: Mismatch| self.corrupt("listBuildRPMs", &error.within(nvr));
            let rows = answer.each(&[], |row| Ok((row.get::<&str>(&["arch"])?.to_owned(), Package::of(row)?)));
            let binary = rows.map_err(corrupt)?.into_iter().filter(|(arch, _)| !SOURCES.contains(&arch.as_str()));
            let odd = |error| Error::new(Remedy::Corrupt, self.place("listBuildRPMs"), error);
            binary.map(|(_, package)| package.nvr().map_err(odd)).collect::<Result<BTreeSet<Nvr>>>()
        };
        found.extend(self.recipes.each("listBuildRPMs", numbers, read).await?);
        Ok(found)
    }
}

#[async_trait]
impl Images for KojiImages {
    async fn containing(&self, wanted: &Containing) -> Result<Vec<CatalogImage>> {
        if !wanted.content_sets.is_empty() {
            let text = "Koji does not know the content sets of images";
            return Err(Error::new(Remedy::Unsupported, self.place("listBuilds"), text));
        }
        let newest = self.newest_since(earlier(self.clock.now(), self.within)).await?;
        if newest.len() > IMAGES_MAX {
            let text = format!("{} images may contain the packages, at most {IMAGES_MAX}", newest.len());
            return Err(Error::new(Remedy::Corrupt, self.place("listBuilds"), text));
        }
        let newest: Vec<Nvr> = newest.into_iter().map(|image| image.nvr).collect();
        let mut images = Vec::new();
        for some in newest.chunks(TOGETHER) {
            let with = self.contents(some, &wanted.packages).await?.into_iter();
            let with = with.filter(|(_, packages)| packages.as_ref().map_or(true, |packages| !packages.is_empty()));
            images.extend(with.map(described).map(CatalogImage::affected));
        }
        Ok(images)
    }

    async fn images(&self, nvrs: &BTreeSet<Nvr>, packages: &BTreeSet<String>) -> Result<Vec<CatalogImage>> {
        let all: Vec<Nvr> = nvrs.iter().cloned().collect();
        let mut images = Vec::new();
        for some in all.chunks(TOGETHER) {
            images.extend(self.contents(some, packages).await?.into_iter().map(described));
        }
        Ok(images)
    }

    async fn offered(&self, _: &BTreeSet<(String, String)>, _: &BTreeSet<String>) -> Result<Vec<CatalogImage>> {
        Ok(Vec::new())
    }
}

fn described((nvr, packages): (Nvr, std::result::Result<Vec<Nvr>, String>)) -> CatalogImage {
    let image = CatalogImage::new(nvr);
    match packages {
        Ok(packages) => packages.into_iter().fold(image.with_known_rpms(), CatalogImage::with_rpm),
        Err(text) => image.with_lookup_error(text),
    }
}
