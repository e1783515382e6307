use super::{Forms, moment, type_name};
use freshmaker::Reason;
use freshmaker::artifact::{ArtifactId, ArtifactKind, Nvr, Parameter, Parameters};
use freshmaker::backend::{BuildLinks, NeededBuild};
use freshmaker::graph::EdgeKind;
use freshmaker::plan::RebuildReason;
use freshmaker::rebuild::{BuildId, BuildRecord, DependencyKind, EventId, Neighbourhood, PublicBuildState};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// A build in Freshmaker's form, in the order of its keys in JSON. See [`forms`](super) for the
/// meaning of each key.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[cfg_attr(feature = "rest", derive(utoipa::ToSchema))]
pub struct BuildForm {
    /// The parameters of the build.
    pub build_args: BuildArgs,
    /// The number of the task in Koji.
    pub build_id: Option<i64>,
    /// The name of the parent that the build waits for.
    pub dep_on: Option<String>,
    /// The number of the parent that the build waits for.
    #[cfg_attr(feature = "rest", schema(value_type = Option<i64>))]
    pub dep_on_id: Option<BuildId>,
    /// The event that the build belongs to.
    #[cfg_attr(feature = "rest", schema(value_type = Option<i64>))]
    pub event_id: Option<EventId>,
    /// The number of the build.
    #[cfg_attr(feature = "rest", schema(value_type = i64))]
    pub id: BuildId,
    /// The name of the artifact, without version and release.
    pub name: String,
    /// The numbers of the ODCS composes that the build takes packages from.
    pub odcs_composes: BTreeSet<i64>,
    /// The release that is rebuilt, if the id of the artifact is an NVR.
    #[cfg_attr(feature = "rest", schema(value_type = Option<String>))]
    pub original_nvr: Option<Nvr>,
    /// Why the artifact is rebuilt.
    #[cfg_attr(feature = "rest", schema(value_type = String))]
    pub rebuild_reason: RebuildReason,
    /// The name of the output, if that is an NVR.
    #[cfg_attr(feature = "rest", schema(value_type = Option<String>))]
    pub rebuilt_nvr: Option<Nvr>,
    /// The number of the state: [`PublicBuildState::number`].
    pub state: i16,
    /// The state: `BUILD`, `DONE`, `FAILED`, `CANCELED` or `PLANNED`.
    #[cfg_attr(feature = "rest", schema(value_type = String))]
    pub state_name: PublicBuildState,
    /// The reason for the state.
    pub state_reason: String,
    /// When the build ended.
    #[cfg_attr(feature = "rest", schema(format = DateTime))]
    pub time_completed: Option<String>,
    /// When the build was planned.
    #[cfg_attr(feature = "rest", schema(format = DateTime))]
    pub time_submitted: String,
    /// The number of the artifact's kind: [`ArtifactKind::number`].
    #[serde(rename = "type")]
    pub kind: i16,
    /// `RPM`, `IMAGE`, `MODULE` or `IMAGE_REPOSITORY`.
    pub type_name: &'static str,
    /// The address of this form.
    pub url: String,
}

/// The parameters of a build in Freshmaker's form, in the order of their keys in JSON.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "rest", derive(utoipa::ToSchema))]
pub struct BuildArgs {
    /// The architectures, separated by spaces.
    pub arches: Option<String>,
    /// The branch of the recipe.
    pub branch: Option<String>,
    /// The revision of the recipe.
    pub commit: Option<String>,
    /// Whether it is a Flatpak.
    pub flatpak: bool,
    /// Whether it is an isolated build, which does not change the latest build of its target.
    pub isolated: bool,
    /// The image that the last stage starts from.
    pub original_parent: Option<String>,
    /// The composes that the artifact's parameters name. They are not prepared for the build.
    pub renewed_odcs_compose_ids: BTreeSet<i64>,
    /// Where the recipe is.
    pub repository: Option<String>,
    /// The build target.
    pub target: Option<String>,
}

impl BuildForm {
    /// Returns the same build with an earlier state, for messages about that state.
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

impl BuildForm {
    /// Makes the form of a build, with an address below a base URL; `None` if it prepares a
    /// repository.
    pub(crate) fn of(build: &BuildRecord, links: &BuildLinks, base: &str) -> Option<Self> {
        let type_name = type_name(build.kind)?;
        let parent = shown_parent(build, links);
        let original_nvr = nvr(build.key.artifact.as_str());
        Some(Self {
            build_args: build_args(build),
            build_id: links.external.as_ref().and_then(|task| task.as_str().parse().ok()),
            dep_on: parent.map(|parent| name(&parent.artifact)),
            dep_on_id: parent.map(|parent| parent.id),
            event_id: links.wanted_by.first().or(links.withdrawn_by.first()).copied(),
            id: build.id,
            name: original_nvr.as_ref().map_or(build.key.artifact.as_str(), Nvr::name).to_owned(),
            odcs_composes: composes(build, links),
            original_nvr,
            rebuild_reason: build.because,
            rebuilt_nvr: build.output.as_ref().and_then(|output| nvr(&output.name)),
            state: build.state.public().number(),
            state_name: build.state.public(),
            state_reason: build.reason.text.clone(),
            time_completed: build.done_at.map(moment),
            time_submitted: moment(build.created_at),
            kind: build.kind.number(),
            type_name,
            url: format!("{base}/api/1/builds/{}", build.id),
        })
    }
}

impl Forms<'_> {
    /// Returns the form of a build; `None` if the rows do not have it, or if it prepares a
    /// repository.
    #[must_use]
    pub fn build(&self, id: BuildId) -> Option<BuildForm> {
        let (build, none) = (self.rows.builds.get(&id)?, BuildLinks::default());
        BuildForm::of(build, self.links.get(&id).unwrap_or(&none), self.base)
    }
}

/// Returns the one parent that the form shows.
fn shown_parent<'a>(build: &BuildRecord, links: &'a BuildLinks) -> Option<&'a NeededBuild> {
    let is_image = |parent: &NeededBuild| parent_images(build).any(|id| id == parent.artifact.as_str());
    let shown = links.needs.iter().map(Arc::as_ref).filter(|parent| type_name(parent.kind).is_some());
    shown.min_by_key(|parent| (!is_image(parent), parent.id))
}

fn composes(build: &BuildRecord, links: &BuildLinks) -> BTreeSet<i64> {
    let prepared = links.needs.iter().filter(|parent| parent.kind == ArtifactKind::Repository);
    let prepared = prepared.filter_map(|parent| parent.output.as_ref()).map(|output| output.name.as_str());
    let given = build.parents.iter().filter(|parent| parent.kinds.contains(&EdgeKind::Repository));
    let given = given.filter_map(|parent| parent.name.as_deref());
    prepared.chain(given).filter_map(|name| name.parse().ok()).collect()
}

/// Returns what is beside each build, so that the forms of many builds look at each row once.
pub(super) fn links_of(rows: &Neighbourhood) -> BTreeMap<BuildId, BuildLinks> {
    let mut links: BTreeMap<_, BuildLinks> = BTreeMap::new();
    for cause in rows.causes.values() {
        let BuildLinks { wanted_by, withdrawn_by, .. } = links.entry(cause.build).or_default();
        (if cause.live { wanted_by } else { withdrawn_by }).push(cause.event);
    }
    let mut needed = BTreeMap::new();
    for edge in rows.dependencies.values().filter(|edge| edge.kind == DependencyKind::Needs) {
        let of = |id| rows.builds.get(&id).map(|parent| Arc::new(NeededBuild::of(parent)));
        let parent = needed.entry(edge.parent).or_insert_with_key(|id| of(*id));
        links.entry(edge.child).or_default().needs.extend(parent.clone());
    }
    let mut named: Vec<_> = rows.attempts.values().filter(|attempt| attempt.external.is_some()).collect();
    named.sort_by_key(|attempt| attempt.number);
    for attempt in named {
        links.entry(attempt.build).or_default().external.clone_from(&attempt.external);
    }
    links
}

fn nvr(text: &str) -> Option<Nvr> {
    text.parse().ok()
}

fn name(artifact: &ArtifactId) -> String {
    nvr(artifact.as_str()).map_or_else(|| artifact.to_string(), |nvr| nvr.name().to_owned())
}

/// Returns the images that the last stage starts from.
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
