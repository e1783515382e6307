use super::BuiltImages;
use super::built::Root;
use crate::messages::koji::{ContainerTaskChanged, PRIMARY, TaskChanged, TaskState};
use async_trait::async_trait;
use freshmaker::handler::{Context, Decision, Handler, HandlerResult};

/// The method of tasks that build containers.
const BUILD_CONTAINER: &str = "buildContainer";

/// Rebuilds the images that are built on an image which was rebuilt, but not by this engine.
///
/// Only images whose latest build is recent enough are followed, see [`BuiltImages`].
///
/// Listens to finished tasks of Koji, as Brew ([`ContainerTaskChanged`]) and, by
/// [`on_tasks`](Self::on_tasks), as Fedora ([`TaskChanged`]) announce them. It asks what the task
/// has built, and for the newest builds of all images.
///
/// * A task that this crate's build system has submitted is left alone: its event rebuilds what
///   follows. So are scratch builds, tasks that failed, and tasks of another Koji.
/// * Images follow that were built on an earlier release of the same name and version, and images
///   that are built on those. What was built on another version, or on this release or a newer one,
///   is left out with the reason.
/// * If nothing is built on the image, nothing is stored.
///
/// ```
/// use freshmaker_redhat::handlers::{BuiltImages, RebuildImagesOnParent};
///
/// fn wire(images: BuiltImages) -> freshmaker::engine::EngineBuilder {
///     let on_parent = RebuildImagesOnParent::new(images);
///     let on_task = on_parent.clone().on_tasks();
///     freshmaker::Engine::builder().on(on_parent).on(on_task)
/// }
/// ```
#[derive(Clone, Debug)]
pub struct RebuildImagesOnParent {
    images: BuiltImages,
    instance: String,
}

impl RebuildImagesOnParent {
    /// Rebuilds by what these know.
    #[must_use]
    pub fn new(images: BuiltImages) -> Self {
        Self { images, instance: PRIMARY.to_owned() }
    }

    /// Sets the Koji whose tasks count, as it calls itself in messages;
    /// [`PRIMARY`](crate::messages::koji::PRIMARY) by default.
    #[must_use]
    pub fn with_instance(self, instance: impl Into<String>) -> Self {
        Self { instance: instance.into(), ..self }
    }

    /// Returns the same for the messages of Fedora, which are about tasks of all methods.
    #[must_use]
    pub fn on_tasks(self) -> RebuildImagesOnParentTask {
        RebuildImagesOnParentTask(self)
    }

    async fn decide(&self, task: i64, state: TaskState, instance: &str, cx: &Context) -> HandlerResult {
        if state != TaskState::Closed || instance != self.instance {
            return Ok(Decision::Ignore);
        }
        let made = self.images.of_task(task).await?;
        let Some(parent) = made.nvr.filter(|_| !made.marked) else { return Ok(Decision::Ignore) };
        self.images.built_on(&parent, Root::Outside, cx).await?.decide(cx.facts(), cx).await
    }
}

#[async_trait]
impl Handler<ContainerTaskChanged> for RebuildImagesOnParent {
    async fn handle(&self, event: ContainerTaskChanged, cx: Context) -> HandlerResult {
        self.decide(event.task_id, event.new, &event.instance, &cx).await
    }
}

/// [`RebuildImagesOnParent`] for the messages of Fedora. Only tasks with the method
/// `buildContainer` count.
#[derive(Clone, Debug)]
pub struct RebuildImagesOnParentTask(RebuildImagesOnParent);

#[async_trait]
impl Handler<TaskChanged> for RebuildImagesOnParentTask {
    async fn handle(&self, event: TaskChanged, cx: Context) -> HandlerResult {
        if event.method.as_deref() != Some(BUILD_CONTAINER) {
            return Ok(Decision::Ignore);
        }
        self.0.decide(event.task_id, event.new, &event.instance, &cx).await
    }
}
