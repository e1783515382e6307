//! Events and parsers for Koji, and for Brew, which is Koji under another name.

use super::body::{Fault, Shape};
use super::field::Field;
use super::{hint, is_topic, parsed, read};
use freshmaker::event::{Event, Message, Parsed, Parser};
use freshmaker::rebuild::ExternalId;
use serde::{Deserialize, Serialize};

/// The name of the Koji in messages that do not say which one sent them.
pub const PRIMARY: &str = "primary";

fn primary() -> String {
    PRIMARY.to_owned()
}

/// Returns the name of the Koji that sent a message.
fn instance(root: &Field<'_, '_>) -> Result<String, Fault> {
    Ok(root.at("instance").optional_text()?.unwrap_or_else(primary))
}

/// The state of a Koji task, with Koji's names and numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum TaskState {
    /// The task waits for a builder.
    Free = 0,
    /// A builder works on the task.
    Open = 1,
    /// The task has succeeded.
    Closed = 2,
    /// The task was cancelled.
    Canceled = 3,
    /// The task has a builder that has not started yet.
    Assigned = 4,
    /// The task has failed.
    Failed = 5,
}

impl TaskState {
    /// All states, in the order of Koji's numbers.
    pub const ALL: [Self; 6] = [Self::Free, Self::Open, Self::Closed, Self::Canceled, Self::Assigned, Self::Failed];

    /// Returns Koji's number of the state.
    #[must_use]
    pub fn number(self) -> i64 {
        self as i64
    }

    /// Returns the state of one of Koji's numbers; `None` if the number is unknown.
    #[must_use]
    pub fn from_number(number: i64) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.number() == number)
    }

    /// Returns whether the state is final.
    #[must_use]
    pub fn has_ended(self) -> bool {
        matches!(self, Self::Closed | Self::Canceled | Self::Failed)
    }

    /// Returns Koji's name of the state.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Free => "FREE",
            Self::Open => "OPEN",
            Self::Closed => "CLOSED",
            Self::Canceled => "CANCELED",
            Self::Assigned => "ASSIGNED",
            Self::Failed => "FAILED",
        }
    }

    fn read(field: &Field<'_, '_>) -> Result<Self, Fault> {
        let text = field.text()?;
        let state = Self::ALL.into_iter().find(|state| state.name() == text);
        state.ok_or_else(|| field.fault("no state of a task"))
    }
}

/// Says that a task which builds a container image has ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContainerTaskChanged {
    /// The task.
    pub task_id: i64,
    /// Its state before; `None` if the message does not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub old: Option<TaskState>,
    /// Its state now.
    pub new: TaskState,
    /// Where the recipe is, as in the request to Koji: `git://host/namespace/repository#commit`.
    pub source: String,
    /// The namespace of the repository within its host, if the address has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// The repository. Its name is the name of the container.
    pub container: String,
    /// The commit, if the address has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commit: Option<String>,
    /// The branch, if the request has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub branch: Option<String>,
    /// The build target, if the request has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// The Koji that sent the message, as it calls itself. Numbers of tasks and names of builds are
    /// those of one Koji. Default: [`PRIMARY`].
    #[serde(default = "primary")]
    pub instance: String,
}

impl Event for ContainerTaskChanged {
    const KIND: &'static str = "koji.container-task-changed";

    fn search_key(&self) -> Option<String> {
        Some(self.task_id.to_string())
    }
}

/// Says that a task of any method has changed its state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskChanged {
    /// The task.
    pub task_id: i64,
    /// Its state before; `None` if the message does not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub old: Option<TaskState>,
    /// Its state now.
    pub new: TaskState,
    /// The method of the task, for example `build` or `buildContainer`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub method: Option<String>,
    /// The Koji that sent the message, as it calls itself. Numbers of tasks and names of builds are
    /// those of one Koji. Default: [`PRIMARY`].
    #[serde(default = "primary")]
    pub instance: String,
}

impl Event for TaskChanged {
    const KIND: &'static str = "koji.task-changed";

    fn search_key(&self) -> Option<String> {
        Some(self.task_id.to_string())
    }
}

/// Says that a package of a build was signed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RpmSigned {
    /// The build, `name-version-release`.
    pub nvr: String,
    /// The Koji that sent the message, as it calls itself. Numbers of tasks and names of builds are
    /// those of one Koji. Default: [`PRIMARY`].
    #[serde(default = "primary")]
    pub instance: String,
}

impl Event for RpmSigned {
    const KIND: &'static str = "koji.rpm-signed";

    fn search_key(&self) -> Option<String> {
        Some(self.nvr.clone())
    }
}

/// Reads ended tasks of Brew, and makes [`ContainerTaskChanged`] of those that build containers.
/// Tasks of other methods are not events.
pub const CONTAINER_TASK: Parser =
    Parser::new(&["brew.task.closed", "brew.task.failed"], &[ContainerTaskChanged::KIND], container_task);

/// Reads all changes of Koji tasks, and makes [`TaskChanged`].
pub const TASK: Parser = Parser::new(&[TASK_TOPIC], &[TaskChanged::KIND], task);

/// Reads signed packages of Brew, and makes [`RpmSigned`].
pub const SIGNED: Parser = Parser::new(&["brew.sign.rpm"], &[RpmSigned::KIND], signed);

const TASK_TOPIC: &str = "buildsys.task.state.change";
const BREW_TASKS: &str = "brew.task";

const CONTAINER_TASK_SHAPE: Shape = Shape::Fields(&[
    ("old", Shape::Whole),
    ("new", Shape::Whole),
    ("instance", Shape::Whole),
    (
        "info",
        Shape::Fields(&[
            ("id", Shape::Whole),
            ("method", Shape::Whole),
            ("request", Shape::Fields(&[("git_branch", Shape::Whole)])),
        ]),
    ),
]);

fn container_task(message: &Message) -> Parsed {
    read(message, &CONTAINER_TASK_SHAPE, |body| {
        let root = Field::root(body);
        let info = root.at("info");
        if info.at("method").text()? != "buildContainer" {
            return Ok(None);
        }
        let request = info.at("request");
        let source = request.item(0);
        let repository = Repository::of(source.text()?);
        parsed(
            message,
            &ContainerTaskChanged {
                task_id: info.at("id").id()?,
                old: root.at("old").optional(TaskState::read)?,
                new: TaskState::read(&root.at("new"))?,
                source: source.owned()?,
                namespace: repository.namespace.map(str::to_owned),
                container: repository.name.ok_or_else(|| source.fault("names no repository"))?.to_owned(),
                commit: repository.commit.map(str::to_owned),
                branch: request.item(2).at("git_branch").optional_text()?,
                target: request.item(1).optional_text()?,
                instance: instance(&root)?,
            },
        )
    })
}

const TASK_SHAPE: Shape = Shape::Fields(&[
    ("id", Shape::Whole),
    ("old", Shape::Whole),
    ("new", Shape::Whole),
    ("method", Shape::Whole),
    ("instance", Shape::Whole),
]);

fn task(message: &Message) -> Parsed {
    read(message, &TASK_SHAPE, |body| {
        let root = Field::root(body);
        parsed(
            message,
            &TaskChanged {
                task_id: root.at("id").id()?,
                old: root.at("old").optional(TaskState::read)?,
                new: TaskState::read(&root.at("new"))?,
                method: root.at("method").optional_text()?,
                instance: instance(&root)?,
            },
        )
    })
}

const SIGNED_SHAPE: Shape =
    Shape::Fields(&[("instance", Shape::Whole), ("build", Shape::Fields(&[("nvr", Shape::Whole)]))]);

fn signed(message: &Message) -> Parsed {
    read(message, &SIGNED_SHAPE, |body| {
        let root = Field::root(body);
        parsed(message, &RpmSigned { nvr: root.at("build").at("nvr").owned()?, instance: instance(&root)? })
    })
}

const HINT_SHAPE: Shape = Shape::Fields(&[
    ("id", Shape::Whole),
    ("instance", Shape::Whole),
    ("info", Shape::Fields(&[("id", Shape::Whole)])),
]);

/// Returns the number of the task that a message of the Koji [`PRIMARY`] is about; see
/// [`task_hint_of`].
///
/// ```
/// use freshmaker::Message;
/// use freshmaker_redhat::messages;
///
/// let (topic, body) = (
///     "org.fedoraproject.prod.buildsys.task.state.change".into(),
///     r#"{"id": 7, "new": "CLOSED"}"#.into(),
/// );
/// let mut message = Message { id: "1".into(), topic, headers: [].into(), body };
/// assert_eq!(messages::koji::task_hint(&message).map(|id| id.to_string()).as_deref(), Some("7"));
/// message.body.truncate(5);
/// assert_eq!(messages::koji::task_hint(&message), None);
/// ```
#[must_use]
pub fn task_hint(message: &Message) -> Option<ExternalId> {
    hint_of(PRIMARY, message)
}

/// Returns a function that reads the number of the task that a message of this Koji (or Brew) is
/// about, as a [hint](freshmaker::engine::EngineBuilder::hints).
///
/// Only the end of the topic, the name of the Koji and the number are read, so any prefix will do.
/// The function returns `None` for messages of other Kojis, whose tasks have the same numbers, and
/// for all other messages, including broken ones.
///
/// ```
/// use freshmaker::Message;
/// use freshmaker_redhat::messages::koji::task_hint_of;
///
/// let (topic, body) = (
///     "org.fedoraproject.prod.buildsys.task.state.change".into(),
///     r#"{"id": 7, "new": "CLOSED", "instance": "secondary"}"#.into(),
/// );
/// let message = Message { id: "1".into(), topic, headers: [].into(), body };
/// assert!(task_hint_of("secondary")(&message).is_some());
/// assert!(task_hint_of("primary")(&message).is_none());
/// ```
pub fn task_hint_of(instance: &str) -> impl Fn(&Message) -> Option<ExternalId> + Clone + use<> {
    let instance = instance.to_owned();
    move |message| hint_of(&instance, message)
}

fn hint_of(of: &str, message: &Message) -> Option<ExternalId> {
    let of_brew = || message.topic.rsplit_once('.').is_some_and(|(group, _)| is_topic(group, BREW_TASKS));
    if !is_topic(&message.topic, TASK_TOPIC) && !of_brew() {
        return None;
    }
    hint(message, &HINT_SHAPE, |root| {
        if instance(root)? != of {
            return Err(root.at("instance").fault("is another Koji"));
        }
        if root.at("id").is_there() { root.at("id").id() } else { root.at("info").at("id").id() }
    })
}

/// The parts of an address of a recipe.
struct Repository<'u> {
    namespace: Option<&'u str>,
    name: Option<&'u str>,
    commit: Option<&'u str>,
}

impl<'u> Repository<'u> {
    /// Reads `scheme://host/namespace/name.git?#commit` or `host:namespace/name`.
    fn of(url: &'u str) -> Self {
        let (address, commit) = url.split_once('#').map_or((url, None), |(address, commit)| (address, Some(commit)));
        let path = match address.split_once("://") {
            Some((_, rest)) => rest.split_once('/').map_or("", |(_, path)| path),
            None => address.rsplit_once(':').map_or(address, |(_, path)| path),
        };
        let path = path.split('?').next().unwrap_or_default().trim_end_matches('/');
        let path = path.strip_suffix(".git").unwrap_or(path);
        let mut parts = path.rsplit('/').filter(|part| !part.is_empty());
        let (name, namespace) = (parts.next(), parts.next());
        Self { namespace, name, commit: commit.filter(|commit| !commit.is_empty()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_recipes_are_taken_apart() {
        for (url, namespace, name, commit) in [
            ("git://pkgs.example.com/containers/nginx#deadbeef", Some("containers"), Some("nginx"), Some("deadbeef")),
            ("git+https://src.example.org/forks/me/rpms/wine.git?#f8", Some("rpms"), Some("wine"), Some("f8")),
            ("git://x/y#1", None, Some("y"), Some("1")),
            ("git@host:containers/app/", Some("containers"), Some("app"), None),
            ("ssh://host", None, None, None),
            ("#", None, None, None),
        ] {
            let found = Repository::of(url);
            assert_eq!((found.namespace, found.name, found.commit), (namespace, name, commit), "{url}");
        }
    }
}
