use super::builds::Origin;
use super::bus::Change;
use super::hub::Hub;
use super::script::Fate;
use super::tasks::add_closed;
use super::values::{list, record, text, texts};
use super::world::World;
use crate::koji::xmlrpc::Value;
use crate::messages::koji::TaskState;
use freshmaker::artifact::Nvr;

/// A finished build of a container image by somebody else, for [`Hub::add_container`].
///
/// ```
/// use freshmaker_redhat::fakes::koji::{Container, Fate};
///
/// let app = Container::new("app-container-1-7".parse()?, "f40-containers")
///     .from_branch("f40")
///     .at_commit("c0ffee")
///     .on("base-container-40-1".parse()?)
///     .with_builder("go-container-1-1".parse()?)
///     .with_fate(Fate::succeeds().with_rpm("x86_64", "bash-5.2-1.fc40"));
/// assert_eq!(app.source, "git://src.example.com/containers/app-container#c0ffee");
/// # Ok::<(), freshmaker::artifact::NvrError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Container {
    /// Its name. No other build may have it.
    pub nvr: Nvr,
    /// The target; empty for none.
    pub target: String,
    /// The repository with the recipe, and the commit.
    pub source: String,
    /// The branch that the request names.
    pub branch: Option<String>,
    /// The image that its last stage starts from, and the images that its other stages use. The hub
    /// must have them.
    pub parents: Vec<Nvr>,
    /// What is installed, by architecture.
    pub fate: Fate,
}

impl Container {
    /// Creates a build of an image without parents and packages, from the recipe with the name of
    /// the image.
    #[must_use]
    pub fn new(nvr: Nvr, target: &str) -> Self {
        let source = format!("git://src.example.com/containers/{}#{}", nvr.name(), nvr.version());
        Self { nvr, target: target.to_owned(), source, branch: None, parents: Vec::new(), fate: Fate::succeeds() }
    }

    /// Sets the branch.
    #[must_use]
    pub fn from_branch(mut self, branch: &str) -> Self {
        self.branch = Some(branch.to_owned());
        self
    }

    /// Sets the commit.
    #[must_use]
    pub fn at_commit(mut self, commit: &str) -> Self {
        let location = self.source.split('#').next().unwrap_or_default();
        self.source = format!("{location}#{commit}");
        self
    }

    /// Sets the image that the last stage starts from.
    #[must_use]
    pub fn on(mut self, parent: Nvr) -> Self {
        self.parents.insert(0, parent);
        self
    }

    /// Adds an image that another stage uses. The one of the last stage must be set before.
    #[must_use]
    pub fn with_builder(mut self, builder: Nvr) -> Self {
        self.parents.push(builder);
        self
    }

    /// Sets what is installed.
    #[must_use]
    pub fn with_fate(mut self, fate: Fate) -> Self {
        self.fate = fate;
        self
    }
}

impl Hub {
    /// Adds a finished container build with its task, and returns the id of the task. A
    /// [message](Hub::messages) says that the task has ended. The task is no submission, so it is
    /// not in the ledger.
    ///
    /// # Errors
    /// A sentence, if the build exists already, the hub has no build of a parent, or a package has
    /// no valid name.
    pub fn add_container(&self, container: &Container) -> Result<i64, String> {
        add(&mut self.world(), container)
    }
}

fn add(world: &mut World, container: &Container) -> Result<i64, String> {
    let Container { nvr, target, source, branch, parents, fate } = container;
    let parents: Vec<String> = parents.iter().map(ToString::to_string).collect();
    let task = add_closed(world, source, target);
    let now = world.now;
    let origin = Origin {
        nvr: nvr.clone(),
        image: true,
        source: Some(source),
        task: Some(task),
        owner: 1,
        parent: parents.first().map(String::as_str),
        target,
        started: now,
        completed: now,
    };
    let build = world.builds.add(origin, fate)?;
    world.builds.name_parents(build, &parents)?;
    let options = Value::record(branch.iter().map(|branch| ("git_branch", text(branch))));
    let result = record([("koji_builds", texts([build.to_string()])), ("repositories", list([]))]);
    let ended = world.tasks.finish(task, options, result);
    let change = ended.map(|task| Change::of(task, Some(TaskState::Open), now));
    change.into_iter().for_each(|change| world.announce(change));
    Ok(task)
}
