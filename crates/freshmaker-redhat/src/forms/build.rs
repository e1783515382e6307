use super::{Forms, moment};
use freshmaker::Reason;
use freshmaker::artifact::{ArtifactKind, Nvr, Parameter, Parameters};
use freshmaker::graph::EdgeKind;
use freshmaker::plan::RebuildReason;
use freshmaker::rebuild::{BuildId, BuildRecord, Cause, DependencyKind, EventId, PublicBuildState};
use serde::Serialize;
use std::collections::BTreeSet;

/// A build as Freshmaker shows it. See [`forms`](super) for what each key means here.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct BuildForm {
    /// Its number.
    pub id: BuildId,
    /// What is built, without version and release.
    pub name: String,
    /// What it is built anew from, if that is an NVR.
    pub original_nvr: Option<Nvr>,
    /// What came out, if that is an NVR.
    pub rebuilt_nvr: Option<Nvr>,
    /// [`ArtifactKind::number`].
    #[serde(rename = "type")]
    pub kind: i16,
    /// `RPM`, `IMAGE`, `MODULE` or `IMAGE_REPOSITORY`.
    pub type_name: &'static str,
    /// [`PublicBuildState::number`].
    pub state: i16,
    /// How far it is.
    pub state_name: PublicBuildState,
    /// Why.
    pub state_reason: String,
    /// The parent it waits for, by name.
    pub dep_on: Option<String>,
    /// The parent it waits for.
    pub dep_on_id: Option<BuildId>,
    /// When it was planned.
    pub time_submitted: String,
    /// When it ended.
    pub time_completed: Option<String>,
    /// The event it belongs to.
    pub event_id: Option<EventId>,
    /// The task in Koji.
    pub build_id: Option<i64>,
    /// Where it is shown.
    pub url: String,
    /// What it is built with.
    pub build_args: BuildArgs,
    /// The composes of ODCS it takes packages from.
    pub odcs_composes: BTreeSet<i64>,
    /// Why it is rebuilt.
    pub rebuild_reason: RebuildReason,
}

/// What a build is called with, as Freshmaker shows it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct BuildArgs {
    /// Where the recipe lies.
    pub repository: Option<String>,
    /// At which revision.
    pub commit: Option<String>,
    /// The image it is built on.
    pub original_parent: Option<String>,
    /// The build target.
    pub target: Option<String>,
    /// The branch of the recipe.
    pub branch: Option<String>,
    /// The architectures, with spaces between them.
    pub arches: Option<String>,
    /// Whether it is a flatpak.
    pub flatpak: bool,
    /// Whether it is built beside the others of its target.
    pub isolated: bool,
    /// Composes that were given, and are not prepared for it.
    pub renewed_odcs_compose_ids: BTreeSet<i64>,
}

impl BuildForm {
    /// The same build when it was in this state, for whoever tells of states that have passed.
    #[must_use]
    pub fn in_state(mut self, state: PublicBuildState, reason: &Reason) -> Self {
        (self.state, self.state_name) = (state.number(), state);
        self.state_reason.clone_from(&reason.text);
        if matches!(state, PublicBuildState::Build | PublicBuildState::Planned) {
            self.time_completed = None;
        }
        self
    }
}

impl Forms<'_> {
    /// A build; `None` if the rows do not have it, or if it is no build for Freshmaker.
    #[must_use]
    pub fn build(&self, id: BuildId) -> Option<BuildForm> {
        let build = self.rows.builds.get(&id)?;
        let type_name = type_name(build.kind)?;
        let parent = self.parent(build);
        Some(BuildForm {
            id,
            name: name(build),
            original_nvr: nvr(build.key.artifact.as_str()),
            rebuilt_nvr: build.output.as_ref().and_then(|output| nvr(&output.name)),
            kind: build.kind.number(),
            type_name,
            state: build.state.public().number(),
            state_name: build.state.public(),
            state_reason: build.reason.text.clone(),
            dep_on: parent.map(name),
            dep_on_id: parent.map(|parent| parent.id),
            time_submitted: moment(build.created_at),
            time_completed: build.done_at.map(moment),
            event_id: self.owner(id),
            build_id: self.task(id),
            url: format!("{}/api/1/builds/{id}", self.base),
            build_args: build_args(build),
            odcs_composes: self.composes(build),
            rebuild_reason: build.because,
        })
    }

    /// The builds whose output this one needs, as far as the rows have them.
    fn parents<'b>(&'b self, build: &'b BuildRecord) -> impl Iterator<Item = &'b BuildRecord> {
        let needed = self.rows.needs(build.id).filter(|need| need.kind == DependencyKind::Needs);
        needed.filter_map(|need| self.rows.builds.get(&need.parent))
    }

    /// The one parent that is told.
    fn parent<'b>(&'b self, build: &'b BuildRecord) -> Option<&'b BuildRecord> {
        let is_image = |parent: &BuildRecord| parent_images(build).any(|id| id == parent.key.artifact.as_str());
        let told = self.parents(build).filter(|parent| type_name(parent.kind).is_some());
        told.min_by_key(|parent| (!is_image(parent), parent.id))
    }

    /// The one event that is told.
    fn owner(&self, build: BuildId) -> Option<EventId> {
        let oldest = |causes: &mut dyn Iterator<Item = &Cause>| causes.map(|cause| cause.event).min();
        let live = oldest(&mut self.rows.causes_of(build).filter(|cause| cause.live));
        live.or_else(|| oldest(&mut self.rows.causes_of(build)))
    }

    /// The task of the latest attempt that has one.
    fn task(&self, build: BuildId) -> Option<i64> {
        let attempts = self.rows.attempts.values().filter(|attempt| attempt.build == build);
        let known = attempts.filter_map(|attempt| Some((attempt.number, attempt.external.as_ref()?)));
        known.max_by_key(|(number, _)| *number).and_then(|(_, external)| external.as_str().parse().ok())
    }

    fn composes(&self, build: &BuildRecord) -> BTreeSet<i64> {
        let prepared = self.parents(build).filter(|parent| parent.kind == ArtifactKind::Repository);
        let prepared = prepared.filter_map(|parent| parent.output.as_ref()).map(|output| output.name.as_str());
        let given = build.parents.iter().filter(|parent| parent.kinds.contains(&EdgeKind::Repository));
        let given = given.filter_map(|parent| parent.name.as_deref());
        prepared.chain(given).filter_map(|name| name.parse().ok()).collect()
    }
}

/// What Freshmaker calls a kind. It has none for repositories of packages.
fn type_name(kind: ArtifactKind) -> Option<&'static str> {
    match kind {
        ArtifactKind::Rpm => Some("RPM"),
        ArtifactKind::Image => Some("IMAGE"),
        ArtifactKind::Module => Some("MODULE"),
        ArtifactKind::ImageRepository => Some("IMAGE_REPOSITORY"),
        ArtifactKind::Repository => None,
    }
}

fn nvr(text: &str) -> Option<Nvr> {
    text.parse().ok()
}

fn name(build: &BuildRecord) -> String {
    let artifact = build.key.artifact.as_str();
    nvr(artifact).map_or_else(|| artifact.to_owned(), |nvr| nvr.name().to_owned())
}

/// What the final stage of an image starts from.
fn parent_images(build: &BuildRecord) -> impl Iterator<Item = &str> {
    let images = build.parents.iter().filter(|parent| parent.kinds.contains(&EdgeKind::ParentImage));
    images.map(|parent| parent.id.as_str())
}

fn build_args(build: &BuildRecord) -> BuildArgs {
    let parameters = &build.parameters;
    BuildArgs {
        repository: build.source.as_ref().map(|source| source.location.clone()),
        commit: build.source.as_ref().and_then(|source| source.revision.clone()),
        original_parent: parent_images(build).next().map(str::to_owned),
        target: Some(build.key.target.clone()).filter(|target| !target.is_empty()),
        branch: text(parameters, "git_branch"),
        arches: text(parameters, "arch_override"),
        flatpak: parameters.get("flatpak") == Some(&Parameter::Flag(true)),
        isolated: parameters.get("isolated") == Some(&Parameter::Flag(true)),
        renewed_odcs_compose_ids: numbers(parameters, "compose_ids"),
    }
}

fn text(parameters: &Parameters, name: &str) -> Option<String> {
    match parameters.get(name)? {
        Parameter::Text(text) => Some(text.clone()),
        Parameter::Flag(_) | Parameter::Number(_) | Parameter::Set(_) => None,
    }
}

fn numbers(parameters: &Parameters, name: &str) -> BTreeSet<i64> {
    match parameters.get(name) {
        Some(Parameter::Set(set)) => set.iter().filter_map(|number| number.parse().ok()).collect(),
        Some(Parameter::Number(number)) => [*number].into(),
        Some(Parameter::Flag(_) | Parameter::Text(_)) | None => BTreeSet::new(),
    }
}
