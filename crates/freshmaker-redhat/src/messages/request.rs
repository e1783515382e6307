//! Requests of people to Freshmaker, with the keys of Freshmaker's interface.
//!
//! Unknown keys are refused, and the error names the key: `dry-run` instead of `dry_run` must not
//! start a real rebuild. A key beside the wrapper `msg`, instead of in it, is refused too. Numbers
//! must be numbers and flags must be `true` or `false`: `true` is not the advisory 1.

use super::body::{Body, Fault, Shape};
use super::field::Field;
use super::{parsed, read};
use freshmaker::event::{Event, Message, Parsed, Parser};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// A person requests the rebuild of the images that an advisory affects.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ManualRebuild {
    /// The advisory. At least one of this and `freshmaker_event_id` is set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub errata_id: Option<i64>,
    /// An earlier event whose rebuilds this request builds on. Its advisory is used if the request
    /// names none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub freshmaker_event_id: Option<i64>,
    /// Only these images, as `name-version-release`. Empty for all images.
    #[serde(default)]
    pub container_images: Vec<String>,
    /// Whether the request is a dry run: an event with a plan and builds, and nothing is submitted.
    #[serde(default)]
    pub dry_run: bool,
    /// Whether to rebuild although another event of the advisory is in progress.
    #[serde(default)]
    pub force: bool,
    /// Any data that the requester wants to have stored with the event.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metadata: Option<Value>,
    /// For bundles: images to be used instead of others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bundle_related_image_overrides: Option<serde_json::Map<String, Value>>,
    /// The id under which the requester waits for the result.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub msg_id: Option<String>,
    /// Who asks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requester: Option<String>,
}

impl Event for ManualRebuild {
    const KIND: &'static str = "freshmaker.manual-rebuild";

    fn search_key(&self) -> Option<String> {
        self.errata_id.map(|id| id.to_string()).or_else(|| self.msg_id.clone())
    }

    fn manual(&self) -> bool {
        true
    }

    fn requester(&self) -> Option<String> {
        self.requester.clone()
    }

    fn dry_run(&self) -> bool {
        self.dry_run
    }
}

/// A person requests the rebuild of images, independent of any change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AsyncBuild {
    /// The dist-git branch to build.
    pub dist_git_branch: String,
    /// The images, as the requester wrote them. At least one.
    pub container_images: Vec<String>,
    /// The build target; `None` for the target of the branch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub brew_target: Option<String>,
    /// An earlier event of this kind that the request goes on with. All named images are built.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub freshmaker_event_id: Option<i64>,
    /// Whether the request is a dry run: an event with a plan and builds, and nothing is submitted.
    #[serde(default)]
    pub dry_run: bool,
    /// Any data that the requester wants to have stored with the event.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metadata: Option<Value>,
    /// The id under which the requester waits for the result.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub msg_id: Option<String>,
    /// Who asks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requester: Option<String>,
}

impl AsyncBuild {
    /// Returns the names of the images in Koji, which all end with `-container`.
    ///
    /// ```
    /// use freshmaker_redhat::messages::request::AsyncBuild;
    ///
    /// let build: AsyncBuild = serde_json::from_str(
    ///     r#"{"dist_git_branch": "main", "container_images": ["foo", "bar-container"]}"#,
    /// )?;
    /// assert_eq!(build.names(), ["foo-container", "bar-container"]);
    /// # Ok::<(), serde_json::Error>(())
    /// ```
    #[must_use]
    pub fn names(&self) -> Vec<String> {
        let name = |image: &String| {
            let stem = image.strip_suffix("-container").unwrap_or(image);
            format!("{stem}-container")
        };
        self.container_images.iter().map(name).collect()
    }
}

impl Event for AsyncBuild {
    const KIND: &'static str = "freshmaker.async-build";

    fn search_key(&self) -> Option<String> {
        self.msg_id.clone()
    }

    fn manual(&self) -> bool {
        true
    }

    fn requester(&self) -> Option<String> {
        self.requester.clone()
    }

    fn dry_run(&self) -> bool {
        self.dry_run
    }
}

/// A person requests the end of an event and of its builds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CancelEvent {
    /// The event.
    pub event_id: i64,
    /// The numbers of the running builds in Koji.
    pub builds_id: Vec<i64>,
    /// How often the request was tried before, 0 to [`TRIES_MAX`](Self::TRIES_MAX).
    #[serde(default, rename = "try")]
    pub tries: i64,
}

impl CancelEvent {
    /// A request that was tried more often than this is refused.
    pub const TRIES_MAX: i64 = 3;
}

impl Event for CancelEvent {
    const KIND: &'static str = "freshmaker.cancel-event";

    fn search_key(&self) -> Option<String> {
        Some(self.event_id.to_string())
    }

    fn manual(&self) -> bool {
        true
    }
}

/// Reads requests for the images of an advisory, and makes [`ManualRebuild`].
pub const MANUAL_REBUILD: Parser = Parser::new(&["freshmaker.manual.rebuild"], &[ManualRebuild::KIND], manual_rebuild);

/// Reads requests for images, and makes [`AsyncBuild`].
pub const ASYNC_BUILD: Parser = Parser::new(&["freshmaker.async.manual.build"], &[AsyncBuild::KIND], async_build);

/// Reads requests to cancel, and makes [`CancelEvent`].
pub const CANCEL_EVENT: Parser = Parser::new(&["freshmaker.manage.eventcancel"], &[CancelEvent::KIND], cancel_event);

fn manual_rebuild(message: &Message) -> Parsed {
    const KEYS: [&str; 9] = [
        "errata_id",
        "freshmaker_event_id",
        "container_images",
        "dry_run",
        "force",
        "metadata",
        "bundle_related_image_overrides",
        "msg_id",
        "requester",
    ];
    read(message, &Shape::Whole, |body| {
        let root = Field::root(body);
        only_known(body, &KEYS)?;
        let overrides = root.at("bundle_related_image_overrides");
        let request = ManualRebuild {
            errata_id: root.at("errata_id").optional(Field::number)?,
            freshmaker_event_id: root.at("freshmaker_event_id").optional(Field::number)?,
            container_images: root.at("container_images").optional(Field::texts)?.unwrap_or_default(),
            dry_run: root.at("dry_run").optional(Field::flag)?.unwrap_or_default(),
            force: root.at("force").optional(Field::flag)?.unwrap_or_default(),
            metadata: root.at("metadata").optional(|metadata| metadata.json().cloned())?,
            bundle_related_image_overrides: overrides.optional(|overrides| overrides.object().cloned())?,
            msg_id: root.at("msg_id").optional(Field::owned)?,
            requester: root.at("requester").optional(Field::owned)?,
        };
        if request.errata_id.is_none() && request.freshmaker_event_id.is_none() {
            return Err(root.at("errata_id").fault("missing, and freshmaker_event_id as well"));
        }
        parsed(message, &request)
    })
}

fn async_build(message: &Message) -> Parsed {
    const KEYS: [&str; 8] = [
        "dist_git_branch",
        "container_images",
        "brew_target",
        "freshmaker_event_id",
        "dry_run",
        "metadata",
        "msg_id",
        "requester",
    ];
    read(message, &Shape::Whole, |body| {
        let root = Field::root(body);
        only_known(body, &KEYS)?;
        let images = root.at("container_images");
        let request = AsyncBuild {
            dist_git_branch: root.at("dist_git_branch").owned()?,
            container_images: images.texts()?,
            brew_target: root.at("brew_target").optional(Field::owned)?,
            freshmaker_event_id: root.at("freshmaker_event_id").optional(Field::number)?,
            dry_run: root.at("dry_run").optional(Field::flag)?.unwrap_or_default(),
            metadata: root.at("metadata").optional(|metadata| metadata.json().cloned())?,
            msg_id: root.at("msg_id").optional(Field::owned)?,
            requester: root.at("requester").optional(Field::owned)?,
        };
        if request.container_images.is_empty() {
            return Err(images.fault("an empty list: name at least one image"));
        }
        parsed(message, &request)
    })
}

fn cancel_event(message: &Message) -> Parsed {
    read(message, &Shape::Whole, |body| {
        let root = Field::root(body);
        let action = root.at("action");
        let expected = message.topic.rsplit('.').next().unwrap_or_default();
        if action.text()? != expected {
            return Err(action.fault(format!("not {expected}, which is the end of the topic")));
        }
        only_known(body, &["action", "event_id", "builds_id", "try", "msg_id"])?;
        let tries = root.at("try");
        let request = CancelEvent {
            event_id: root.at("event_id").number()?,
            builds_id: root.at("builds_id").list(|build| build.number())?,
            tries: tries.optional(Field::number)?.unwrap_or_default(),
        };
        if request.tries > CancelEvent::TRIES_MAX {
            return Err(tries.fault(format!("more than {}", CancelEvent::TRIES_MAX)));
        }
        parsed(message, &request)
    })
}

/// Checks that the request has only known keys, and has none of them beside its wrapper, where they
/// would be ignored.
fn only_known(body: &Body, known: &[&str]) -> Result<(), Fault> {
    let root = Field::root(body);
    if let Some(unknown) = root.object()?.keys().find(|key| !known.contains(&key.as_str())) {
        let name: String = unknown.chars().take(NAME_MAX).collect();
        return Err(root.at(&name).fault(format!("not known; there are {}", known.join(", "))));
    }
    let mut strays = known.iter().filter(|key| **key != IDENTITY && body.beside.get(key).is_some());
    match strays.next() {
        Some(stray) => Err(Fault::new(*stray, "stands beside msg and not in it, where it would not be read")),
        None => Ok(()),
    }
}

/// A key that may stand beside the wrapper, where it has another meaning: fedmsg gives each message
/// an id.
const IDENTITY: &str = "msg_id";

/// How many characters of an unknown key an error shows. This is enough to recognize the key.
const NAME_MAX: usize = 64;
