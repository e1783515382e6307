//! Builds, their archives, packages and tags.

use super::calls::Caller;
use super::script::Fate;
use super::tasks::Task;
use super::values::{Answer, Args, Fault, class, field, int, is_true, list, or_nil, plain, query, read_time, record};
use super::values::{seconds, text, texts, time, with};
use super::world::World;
use crate::koji::xmlrpc::Value;
use freshmaker::artifact::{Digest, Nvr};
use freshmaker::time::Timestamp;

pub(super) const REGISTRY: &str = "registry.example.com";
const MANIFEST_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
const MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
/// The state of all builds here: complete.
const COMPLETE: i64 = 1;

/// A package that is installed in an image or made by a build.
#[derive(Clone, Debug)]
pub(super) struct Rpm {
    id: i64,
    pub(super) arch: String,
    pub(super) nvr: Nvr,
}

#[derive(Clone, Debug)]
pub(super) struct Archive {
    id: i64,
    pub(super) arch: String,
    pub(super) installed: Vec<Rpm>,
}

#[derive(Clone, Debug)]
pub(super) struct Build {
    pub(super) id: i64,
    pub(super) nvr: Nvr,
    pub(super) source: Option<String>,
    pub(super) task: Option<i64>,
    owner: i64,
    pub(super) started: Timestamp,
    pub(super) completed: Timestamp,
    /// Digest of the index, if the build is an image.
    pub(super) digest: Option<String>,
    parent: Option<i64>,
    /// Numbers of the composes that an image was built with.
    pub(super) composes: Vec<i64>,
    /// The images of all stages with their names, if they are recorded.
    parents: Vec<(i64, String)>,
    pub(super) archives: Vec<Archive>,
    rpms: Vec<Rpm>,
    /// Names of its tags, in the order in which they were added.
    pub(super) tags: Vec<String>,
}

/// All builds, and the counters for ids of packages and archives.
#[derive(Debug, Default)]
pub(super) struct Builds {
    rows: Vec<Build>,
    rpms: i64,
    archives: i64,
}

/// The facts that a build is created from.
pub(super) struct Origin<'a> {
    pub(super) nvr: Nvr,
    pub(super) image: bool,
    pub(super) source: Option<&'a str>,
    pub(super) task: Option<i64>,
    pub(super) owner: i64,
    pub(super) parent: Option<&'a str>,
    pub(super) target: &'a str,
    pub(super) started: Timestamp,
    pub(super) completed: Timestamp,
}

impl Builds {
    pub(super) fn by_name(&self, nvr: &str) -> Option<&Build> {
        self.rows.iter().find(|build| build.nvr.as_str() == nvr)
    }

    pub(super) fn by_name_mut(&mut self, nvr: &str) -> Option<&mut Build> {
        self.rows.iter_mut().find(|build| build.nvr.as_str() == nvr)
    }

    /// Returns the build that made a package, if there is one here.
    fn maker(&self, package: &Rpm) -> Option<i64> {
        let made = |build: &&Build| build.rpms.iter().any(|rpm| (&rpm.nvr, &rpm.arch) == (&package.nvr, &package.arch));
        self.rows.iter().find(made).map(|build| build.id)
    }

    fn by_id(&self, id: i64) -> Option<&Build> {
        self.rows.iter().find(|build| build.id == id)
    }

    fn packages(&mut self, arch: &str, nvrs: &[String]) -> Result<Vec<Rpm>, String> {
        let mut found = Vec::new();
        for nvr in nvrs {
            let nvr = nvr.parse::<Nvr>().map_err(|error| error.to_string())?;
            self.rpms += 1;
            found.push(Rpm { id: self.rpms, arch: arch.to_owned(), nvr });
        }
        Ok(found)
    }

    /// Adds a build with the packages of its fate, and returns its id.
    pub(super) fn add(&mut self, origin: Origin<'_>, fate: &Fate) -> Result<i64, String> {
        let name = origin.nvr.to_string();
        if self.by_name(&name).is_some() {
            return Err(format!("build already exists: {name}"));
        }
        let (mut archives, mut rpms) = (Vec::new(), Vec::new());
        for (arch, nvrs) in &fate.rpms {
            let packages = self.packages(arch, nvrs)?;
            if origin.image {
                self.archives += 1;
                archives.push(Archive { id: self.archives, arch: arch.clone(), installed: packages });
            } else {
                rpms.extend(packages);
            }
        }
        let id = i64::try_from(self.rows.len()).unwrap_or(i64::MAX - 1) + 1;
        let digest = fate.digest.clone().unwrap_or_else(|| Digest::of(name.as_bytes()).to_string());
        self.rows.push(Build {
            id,
            nvr: origin.nvr,
            source: origin.source.map(str::to_owned),
            task: origin.task,
            owner: origin.owner,
            started: origin.started,
            completed: origin.completed,
            digest: origin.image.then_some(digest),
            parent: origin.parent.and_then(|parent| self.by_name(parent)).map(|parent| parent.id),
            composes: Vec::new(),
            parents: Vec::new(),
            archives,
            rpms,
            tags: if origin.target.is_empty() { Vec::new() } else { vec![format!("{}-candidate", origin.target)] },
        });
        Ok(id)
    }

    /// Records the images that a build was made from, by their names.
    pub(super) fn name_parents(&mut self, id: i64, names: &[String]) -> Result<(), String> {
        let mut parents = Vec::new();
        for name in names {
            let parent = self.by_name(name).ok_or_else(|| format!("there is no build {name}"))?;
            parents.push((parent.id, name.clone()));
        }
        self.rows.iter_mut().filter(|build| build.id == id).for_each(|build| build.parents.clone_from(&parents));
        Ok(())
    }
}

/// Creates the result of a successful task, and a build unless it is a scratch build. An error is
/// the text of a fault.
pub(super) fn import(world: &mut World, task: &Task, at: Timestamp) -> Result<Value, String> {
    let options = task.options();
    let image = task.method == "buildContainer";
    let source = if let Some(Value::Text(source)) = task.request.first() { source.as_str() } else { "" };
    let path = source.split('#').next().unwrap_or_default().trim_end_matches('?').trim_end_matches('/');
    let last = path.rsplit('/').next().unwrap_or_default().trim_end_matches(".git");
    let name = if image && !last.ends_with("-container") { format!("{last}-container") } else { last.to_owned() };
    let release = match field(options, "release") {
        Value::Text(release) => release.clone(),
        _ => task.id.to_string(),
    };
    let nvr = format!("{name}-{}-{release}", task.fate.version);
    let pull = format!("{REGISTRY}/{name}:{}-{release}", task.fate.version);
    let mut ids = Vec::new();
    if !is_true(field(options, "scratch")) {
        let origin = Origin {
            nvr: nvr.parse().map_err(|error| format!("{nvr}: {error}"))?,
            image,
            source: Some(source),
            task: Some(task.id),
            owner: task.owner,
            parent: if let Value::Text(parent) = field(options, "koji_parent_build") { Some(parent) } else { None },
            target: if world.targets.iter().any(|target| target == task.target()) { task.target() } else { "" },
            started: task.started.unwrap_or(at),
            completed: at,
        };
        ids.push(world.builds.add(origin, &task.fate)?.to_string());
    }
    if image { Ok(record([("repositories", texts([pull])), ("koji_builds", texts(ids))])) } else { Ok(Value::Nil) }
}

impl Build {
    fn pull(&self) -> String {
        format!("{REGISTRY}/{}:{}-{}", self.nvr.name(), self.nvr.version(), self.nvr.release())
    }

    /// Returns what the content generator records about an image.
    pub(super) fn extra(&self) -> Value {
        let Some(digest) = &self.digest else { return Value::Nil };
        let parent =
            |(id, nvr): &(i64, String)| (format!("{REGISTRY}/{nvr}"), record([("id", int(*id)), ("nvr", text(nvr))]));
        let image = record([
            ("parent_build_id", or_nil(self.parent, int)),
            ("parent_images", list([])),
            ("parent_image_builds", Value::Struct(self.parents.iter().map(parent).collect())),
            (
                "index",
                record([
                    ("digests", record([(MANIFEST_LIST, text(digest))])),
                    ("pull", texts([self.pull(), format!("{REGISTRY}/{}@{digest}", self.nvr.name())])),
                    ("tags", texts([format!("{}-{}", self.nvr.version(), self.nvr.release())])),
                ]),
            ),
        ]);
        let composes = record([("compose_ids", list(self.composes.iter().copied().map(int)))]);
        let image = if self.composes.is_empty() { image } else { with(image, [("odcs", composes)]) };
        let made = record([
            ("image", image.clone()),
            ("submitter", text("osbs")),
            ("typeinfo", record([("image", image)])),
            (
                "osbs_build",
                record([("engine", text("podman")), ("kind", text("container_build")), ("subtypes", list([]))]),
            ),
        ]);
        match self.task {
            Some(task) => with(made, [("container_koji_task_id", int(task))]),
            None => made,
        }
    }

    fn owner_name(&self, world: &World) -> Value {
        world.user(self.owner).map_or(Value::Nil, |user| text(&user.name))
    }

    /// Returns the members that all calls return for a build.
    fn common(&self, world: &World) -> Value {
        record([
            ("build_id", int(self.id)),
            ("completion_time", time(self.completed)),
            ("creation_event_id", int(self.id)),
            ("creation_time", time(self.started)),
            ("draft", Value::Bool(false)),
            ("epoch", Value::Nil),
            ("name", text(self.nvr.name())),
            ("nvr", text(self.nvr.to_string())),
            ("owner_id", int(self.owner)),
            ("owner_name", self.owner_name(world)),
            ("package_id", int(world.builds.package(self.nvr.name()).unwrap_or_default())),
            ("package_name", text(self.nvr.name())),
            ("promoter_id", Value::Nil),
            ("promoter_name", Value::Nil),
            ("promotion_time", Value::Nil),
            ("release", text(self.nvr.release())),
            ("start_time", time(self.started)),
            ("state", int(COMPLETE)),
            ("task_id", or_nil(self.task, int)),
            ("version", text(self.nvr.version())),
            ("volume_id", int(0)),
            ("volume_name", text("DEFAULT")),
        ])
    }

    fn listed(&self, world: &World) -> Value {
        with(
            self.common(world),
            [
                ("completion_ts", seconds(self.completed)),
                ("creation_ts", seconds(self.started)),
                ("extra", self.extra()),
                ("promotion_ts", Value::Nil),
                ("source", or_nil(self.source.as_deref(), text)),
                ("start_ts", seconds(self.started)),
            ],
        )
    }

    fn told(&self, world: &World) -> Value {
        let generator = |value: Value| if self.digest.is_some() { value } else { Value::Nil };
        with(
            self.listed(world),
            [("id", int(self.id)), ("cg_id", generator(int(1))), ("cg_name", generator(text("atomic-reactor")))],
        )
    }

    fn tagged(&self, world: &World, tag: &str) -> Value {
        with(
            self.common(world),
            [
                ("create_event", int(self.id)),
                ("id", int(self.id)),
                ("tag_id", or_nil(world.tag_id(tag), int)),
                ("tag_name", text(tag)),
            ],
        )
    }

    /// Returns the digest of the image for one architecture.
    pub(super) fn manifest(&self, arch: &str) -> String {
        Digest::of_parts([self.digest.as_deref().unwrap_or_default().as_bytes(), arch.as_bytes()]).to_string()
    }

    pub(super) fn docker(&self, archive: &Archive) -> Value {
        let (manifest, name) = (self.manifest(&archive.arch), self.nvr.name());
        let labels = record([("com.redhat.component", text(name))]);
        record([
            ("id", text(Digest::of(manifest.as_bytes()).to_string())),
            ("parent_id", Value::Nil),
            ("repositories", texts([self.pull(), format!("{REGISTRY}/{name}@{manifest}")])),
            ("digests", record([(MANIFEST, text(&manifest))])),
            ("layer_sizes", list([])),
            (
                "config",
                record([
                    ("architecture", text(if archive.arch == "x86_64" { "amd64" } else { &archive.arch })),
                    ("os", text("linux")),
                    ("config", record([("Labels", labels)])),
                ]),
            ),
        ])
    }

    pub(super) fn filename(&self, archive: &Archive) -> String {
        format!("docker-image-{}.{}.tar.gz", self.nvr.name(), archive.arch)
    }

    fn archive(&self, archive: &Archive, of_images: bool) -> Value {
        let image = record([("arch", text(&archive.arch)), ("type", text("docker-image"))]);
        let told = record([
            ("btype", text("image")),
            ("btype_id", int(4)),
            ("build_id", int(self.id)),
            ("buildroot_id", int(1)),
            ("checksum", text(&self.manifest(&archive.arch)[7..39])),
            ("checksum_type", int(0)),
            ("compression_type", text("tar")),
            ("extra", record([("image", image), ("docker", self.docker(archive))])),
            ("filename", text(self.filename(archive))),
            ("id", int(archive.id)),
            ("metadata_only", Value::Bool(false)),
            ("size", int(1800)),
            ("type_description", text("Tar file")),
            ("type_extensions", text("tar tar.gz tar.bz2 tar.xz tgz")),
            ("type_id", int(4)),
            ("type_name", text("tar")),
        ]);
        if of_images { with(told, [("arch", text(&archive.arch))]) } else { told }
    }
}

impl Rpm {
    fn told(&self, build: i64) -> Value {
        record([
            ("arch", text(&self.arch)),
            ("build_id", int(build)),
            ("buildroot_id", Value::Nil),
            ("buildtime", int(1_795_419_405)),
            ("draft", Value::Bool(false)),
            ("epoch", or_nil(self.nvr.epoch(), |epoch| int(epoch.into()))),
            ("external_repo_id", int(0)),
            ("external_repo_name", text("INTERNAL")),
            ("extra", Value::Nil),
            ("id", int(self.id)),
            ("metadata_only", Value::Bool(false)),
            ("name", text(self.nvr.name())),
            ("nvr", text(format!("{}-{}-{}", self.nvr.name(), self.nvr.version(), self.nvr.release()))),
            ("payloadhash", text("7684cd89799fcf98920bf7e4f691cffd")),
            ("release", text(self.nvr.release())),
            ("size", int(6515)),
            ("version", text(self.nvr.version())),
        ])
    }
}

impl Builds {
    /// Returns the id of a package: that of the first build with its name.
    fn package(&self, name: &str) -> Option<i64> {
        self.rows.iter().find(|build| build.nvr.name() == name).map(|build| build.id)
    }
}

/// Answers the calls about builds; `None` for other methods.
pub(super) fn call(world: &mut World, caller: &Caller, method: &str, params: &[Value]) -> Option<Answer> {
    let bind = |names, required| Args::bind(method, names, required, params.to_vec());
    Some(match method {
        "getBuild" => bind(&["buildInfo", "strict"], 1)
            .and_then(|args| Ok(found(world, &args, "buildInfo")?.map_or(Value::Nil, |build| build.told(world)))),
        "findBuildID" => bind(&["X", "strict"], 1)
            .and_then(|args| Ok(found(world, &args, "X")?.map_or(Value::Nil, |build| int(build.id)))),
        "getBuildType" => bind(&["buildInfo", "strict"], 1).and_then(|args| {
            let Some(build) = found(world, &args, "buildInfo")? else { return Ok(Value::Nil) };
            let kind = if build.digest.is_some() { "image" } else { "rpm" };
            Ok(record([(kind, record([("build_id", int(build.id))]))]))
        }),
        // This hub has no such builds and no signatures.
        "getMavenBuild" | "getWinBuild" => bind(&["buildInfo", "strict"], 1).map(|_| Value::Nil),
        "queryRPMSigs" => bind(&["rpm_id", "sigkey", "queryOpts"], 0).map(|_| list([])),
        "cancelBuild" => bind(&["buildID", "strict"], 1).and_then(|args| match found(world, &args, "buildID")? {
            Some(build) if caller.user != Some(build.owner) && !world.is_admin(caller) => {
                Err(Fault::new(1004, "Cannot cancel build, not owner"))
            }
            // A complete build cannot be cancelled.
            Some(_) | None => Ok(Value::Bool(false)),
        }),
        "listBuilds" => listed(world, method, params),
        "listArchives" => archives(world, method, params),
        "listRPMs" => {
            let names = &[
                "buildID",
                "buildrootID",
                "imageID",
                "componentBuildrootID",
                "hostID",
                "arches",
                "queryOpts",
                "draft",
            ];
            bind(names, 0).and_then(|args| rpms(world, &args))
        }
        "listBuildRPMs" => bind(&["build"], 1).and_then(|args| {
            let Some(build) = found(world, &args, "build")? else { return Ok(list([])) };
            Ok(list(build.rpms.iter().map(|rpm| rpm.told(build.id))))
        }),
        "getBuildLogs" => bind(&["build"], 1).and_then(|args| {
            let Some(build) = found(world, &args, "build")? else {
                return Err(Fault::generic(format!("No such build: {}", plain(args.get("build")))));
            };
            let (name, dir) = ("cg_import.log", ".");
            let (package, version, release) = (build.nvr.name(), build.nvr.version(), build.nvr.release());
            let path = format!("packages/{package}/{version}/{release}/data/logs/{dir}/{name}");
            Ok(list([record([("name", text(name)), ("dir", text(dir)), ("path", text(path))])]))
        }),
        "getPackageID" => {
            bind(&["name", "strict"], 1).and_then(|args| Ok(or_nil(world.builds.package(args.text("name")?), int)))
        }
        _ => return super::tags::call(world, method, params),
    })
}

/// Returns a build by its name, its id, or a struct with its name, version and release.
pub(super) fn found<'a>(world: &'a World, args: &Args, name: &str) -> Result<Option<&'a Build>, Fault> {
    let (found, shown) = match args.get(name) {
        Value::Text(nvr) if nvr.parse::<Nvr>().is_err() => {
            return Err(Fault::generic(format!("invalid format: {nvr}")));
        }
        Value::Text(nvr) => (world.builds.by_name(nvr), format!("'{nvr}'")),
        asked @ Value::Struct(_) => {
            let part = |name| match field(asked, name) {
                Value::Text(text) => Ok(text.as_str()),
                _ => Err(Fault::generic("did not provide name, version, and release")),
            };
            let nvr = format!("{}-{}-{}", part("name")?, part("version")?, part("release")?);
            (world.builds.by_name(&nvr), format!("'{nvr}'"))
        }
        other @ (Value::Nil | Value::Array(_)) => {
            return Err(Fault::generic(format!("Invalid type for argument: <class '{}'>", class(other))));
        }
        _ => {
            let id = args.id(name)?;
            (world.builds.by_id(id), id.to_string())
        }
    };
    if found.is_none() && args.flag("strict") {
        return Err(Fault::generic(format!("No such build: {shown}")));
    }
    Ok(found)
}

fn listed(world: &World, method: &str, params: &[Value]) -> Answer {
    const NAMES: &[&str] = &[
        "packageID",
        "userID",
        "taskID",
        "prefix",
        "state",
        "volumeID",
        "source",
        "createdBefore",
        "createdAfter",
        "completeBefore",
        "completeAfter",
        "type",
        "typeInfo",
        "queryOpts",
        "pattern",
        "cgID",
        "draft",
        "promotedBefore",
        "promotedAfter",
        "promoter",
    ];
    let args = Args::bind(method, NAMES, 0, params.to_vec())?;
    let package = match args.get("packageID") {
        Value::Text(name) => Some(world.builds.package(name).unwrap_or(-1)),
        _ => args.optional_id("packageID")?,
    };
    let user = match args.get("userID") {
        Value::Text(name) => Some(world.users.iter().find(|user| user.name == *name).map_or(-1, |user| user.id)),
        _ => args.optional_id("userID")?,
    };
    let task = args.optional_id("taskID")?;
    let state = args.optional_id("state")?;
    let (before, after) = (read_time(args.get("completeBefore")), read_time(args.get("completeAfter")));
    let is = |wanted: &Value, value: &str| if let Value::Text(wanted) = wanted { wanted == value } else { true };
    let fits = |build: &&Build| {
        let name = build.nvr.name();
        package.is_none_or(|id| world.builds.package(name) == Some(id))
            && user.is_none_or(|id| build.owner == id)
            && task.is_none_or(|id| build.task == Some(id))
            && state.is_none_or(|state| state == COMPLETE)
            && before.is_none_or(|at| build.completed < at)
            && after.is_none_or(|at| build.completed > at)
            && is(args.get("type"), if build.digest.is_some() { "image" } else { "rpm" })
            && is(args.get("source"), build.source.as_deref().unwrap_or_default())
            && if let Value::Text(prefix) = args.get("prefix") { name.starts_with(prefix) } else { true }
    };
    Ok(query(world.builds.rows.iter().filter(fits).map(|build| build.listed(world)).collect(), args.get("queryOpts")))
}

fn archives(world: &World, method: &str, params: &[Value]) -> Answer {
    const NAMES: &[&str] = &[
        "buildID",
        "buildrootID",
        "componentBuildrootID",
        "hostID",
        "type",
        "filename",
        "size",
        "checksum",
        "checksum_type",
        "typeInfo",
        "queryOpts",
        "imageID",
        "archiveID",
        "strict",
    ];
    let args = Args::bind(method, NAMES, 0, params.to_vec())?;
    let build = args.optional_id("buildID")?;
    let of_images = match args.get("type") {
        Value::Nil => false,
        Value::Text(kind) if kind == "image" => true,
        Value::Text(kind) if matches!(kind.as_str(), "maven" | "win" | "rpm" | "module") => return Ok(list([])),
        other => return Err(Fault::generic(format!("unsupported archive type: {}", plain(other)))),
    };
    let builds = world.builds.rows.iter().filter(|it| build.is_none_or(|id| it.id == id));
    let rows = builds.flat_map(|build| build.archives.iter().map(move |archive| build.archive(archive, of_images)));
    Ok(query(rows.collect(), args.get("queryOpts")))
}

fn rpms(world: &World, args: &Args) -> Answer {
    let (build, image) = (args.optional_id("buildID")?, args.optional_id("imageID")?);
    let mut rows = Vec::new();
    for it in &world.builds.rows {
        if image.is_none() && build.is_none_or(|id| it.id == id) {
            rows.extend(it.rpms.iter().map(|rpm| (it.id, rpm)));
        }
        // A package in an image that no build here has made is reported as one of the image's own
        // build.
        let archives = it.archives.iter().filter(|archive| Some(archive.id) == image);
        let installed = archives.flat_map(|archive| &archive.installed);
        rows.extend(installed.map(|rpm| (world.builds.maker(rpm).unwrap_or(it.id), rpm)));
    }
    let wanted = |rpm: &Rpm| match args.get("arches") {
        Value::Text(arch) => rpm.arch == *arch,
        Value::Array(any) => any.contains(&text(&rpm.arch)),
        _ => true,
    };
    let rows = rows.into_iter().filter(|(_, rpm)| wanted(rpm)).map(|(build, rpm)| rpm.told(build));
    Ok(query(rows.collect(), args.get("queryOpts")))
}

impl World {
    /// Returns the builds in a tag, oldest first, as calls about tags return them.
    pub(super) fn builds_in(&self, tag: &str) -> Vec<(&str, Value)> {
        let inside = self.builds.rows.iter().filter(|build| build.tags.iter().any(|it| it == tag));
        inside.map(|build| (build.nvr.name(), build.tagged(self, tag))).collect()
    }

    pub(super) fn tags_of(&self, build: &Build) -> Vec<String> {
        build.tags.clone()
    }
}
