use super::Client;
use crate::artifact::ArtifactId;
use crate::backend::{BuildFilter, EventFilter, Page, Paging, Remedy, Result};
use crate::plan::{Explanation, Plan, short};
use crate::reason::Reason;
use crate::rebuild::{
    AttemptRecord, BuildId, BuildRecord, BuildState, Cause, EventId, EventRecord, RowKey, Transition, WaitingFor,
};
use serde::{Serialize, Serializer};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

/// The most builds of a name that are read for [`Client::why`].
const BUILDS_MAX: u32 = 200;

/// The most artifacts that a sentence names as causes.
const NAMES_MAX: usize = 5;

/// Cells of a name and of a sentence in a line.
const NAME: usize = 200;
const SENTENCE: usize = 1000;

/// The codes of what a look at a result has found.
const FOUND: [&str; 3] = ["built", "stale", "verification_failed"];

/// Why artifacts of a name were rebuilt or not, as far as it is stored: [`Client::why`].
///
/// As text it has a paragraph for each event, or a sentence that says that nothing is stored. As
/// JSON it has everything.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct Why {
    /// The name that was asked about.
    pub name: String,
    /// What events did about it, the newest event first; one entry for each event and artifact.
    pub events: Vec<WhyEvent>,
    /// How many of the newest events were read. When `limit` is reached, the plans of the others
    /// are not searched.
    pub events_read: usize,
    /// Whether the answer is complete. It is not if there are older events whose plans were not
    /// read, more events or builds than were asked for, or rows that cannot be read.
    pub complete: bool,
}

/// What one event did about one artifact.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct WhyEvent {
    /// The artifact.
    pub artifact: ArtifactId,
    /// The event.
    pub event: EventRecord,
    /// The builds of the artifact that the event has caused, newest first. Empty if it was left
    /// out of the plan.
    pub builds: Vec<WhyBuild>,
    plan: Option<Arc<Plan>>,
}

/// A build with everything that is stored about it.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct WhyBuild {
    /// The build, with its state, reason and output.
    pub build: BuildRecord,
    /// All events that it was made for.
    pub causes: Vec<Cause>,
    /// Its attempts, oldest first.
    pub attempts: Vec<AttemptRecord>,
    /// Its history, oldest first.
    pub history: Vec<Transition>,
    /// What it waits for now, or which failed build it could not be built without. `None` if it
    /// runs or has ended by itself.
    pub waits: Option<WaitingFor>,
}

impl WhyEvent {
    /// Returns why the artifact is in the plan of the event, or why not. `None` if the plan is not
    /// kept, or cannot be read.
    #[must_use]
    pub fn explanation(&self) -> Option<Explanation<'_>> {
        self.plan.as_ref().map(|plan| plan.explain(&self.artifact))
    }
}

impl WhyBuild {
    /// Returns what each look at a result of this build has found, oldest first.
    pub fn evidence(&self) -> impl Iterator<Item = &Reason> {
        let verifying = |step: &&Transition| step.from.as_deref() == Some(BuildState::Verifying.as_str());
        let reasons = self.history.iter().filter(verifying).map(|step| &step.reason);
        reasons.filter(|reason| FOUND.contains(&reason.code.as_str()))
    }
}

impl Client {
    /// The most events whose plans [`why`](Self::why) reads.
    pub const WHY_EVENTS_MAX: u32 = 100;

    /// Returns why artifacts of this name were rebuilt or not: what the newest events did about
    /// them, at most `limit` entries, all from stored rows.
    ///
    /// The name is the id of an artifact, the name part of an id that is an NVR, or the name of an
    /// output. The newest 200 builds of the name are found however old they are. Exclusions from
    /// plans are found in the newest [`WHY_EVENTS_MAX`](Self::WHY_EVENTS_MAX) events. An event
    /// whose plan does not mention the name is not listed.
    ///
    /// One plan is read for each event that is looked at, until `limit` entries are found; the
    /// history is read for each build, and what it waits for if it has not ended well.
    ///
    /// ```
    /// use freshmaker::client::Client;
    /// use freshmaker::memory::MemoryStorage;
    /// use std::sync::Arc;
    ///
    /// # futures_util::FutureExt::now_or_never(async {
    /// let client = Client::new(Arc::new(MemoryStorage::new()));
    /// let why = client.why("shop-container-2.1-4", 5).await?;
    /// assert_eq!(
    ///     why.to_string(),
    ///     "nothing is stored about shop-container-2.1-4: no build has this name or made it, and no event has a plan \
    ///      with it\n"
    /// );
    /// # Ok::<(), freshmaker::backend::Error>(()) }).unwrap().unwrap();
    /// ```
    ///
    /// # Errors
    /// Those of the storage.
    #[doc(alias = "explain")]
    #[doc(alias = "provenance")]
    pub async fn why(&self, name: &str, limit: u32) -> Result<Why> {
        let mut why = Why { name: name.to_owned(), events: Vec::new(), events_read: 0, complete: true };
        let (builds, causes) = self.builds_called(&mut why).await?;
        let newest = self.events(EventFilter::default(), Paging::first(Self::WHY_EVENTS_MAX)).await?;
        why.events_read = newest.items.len();
        why.complete &= newest.next.is_none() && newest.unreadable.is_empty();
        let mut events: BTreeMap<EventId, EventRecord> =
            newest.items.into_iter().map(|event| (event.id, event)).collect();
        let others: BTreeSet<_> = causes.iter().map(|cause| cause.event).collect();
        let others: Vec<_> = others.into_iter().filter(|id| !events.contains_key(id)).rev().collect();
        if !others.is_empty() {
            let filter = EventFilter { ids: others, ..EventFilter::default() };
            let Page { items, next, unreadable, .. } = self.events(filter, Paging::first(Paging::LIMIT_MAX)).await?;
            why.complete &= next.is_none() && unreadable.is_empty();
            events.extend(items.into_iter().map(|event| (event.id, event)));
        }
        for event in events.into_values().rev() {
            let caused = causes.iter().filter(|cause| cause.event == event.id);
            let mut artifacts: BTreeMap<ArtifactId, Vec<&BuildRecord>> = BTreeMap::new();
            for build in caused.filter_map(|cause| builds.get(&cause.build)) {
                artifacts.entry(build.key.artifact.clone()).or_default().push(build);
            }
            let plan = self.kept(&mut why, &event).await?;
            for id in plan.iter().flat_map(|plan| mentioned(plan, name)) {
                artifacts.entry(id.clone()).or_default();
            }
            for (artifact, mut builds) in artifacts {
                if why.events.len() >= limit as usize {
                    why.complete = false;
                    return Ok(why);
                }
                builds.sort_by_key(|build| std::cmp::Reverse(build.id));
                let mut told = Vec::with_capacity(builds.len());
                for build in builds {
                    told.push(self.why_build(build, &causes).await?);
                }
                why.events.push(WhyEvent { artifact, event: event.clone(), builds: told, plan: plan.clone() });
            }
        }
        Ok(why)
    }

    /// The newest builds of artifacts or outputs with this name, and why they are there.
    async fn builds_called(&self, why: &mut Why) -> Result<(BTreeMap<BuildId, BuildRecord>, Vec<Cause>)> {
        let names = vec![why.name.clone()];
        let named = BuildFilter { names: names.clone(), ..BuildFilter::default() };
        let made = BuildFilter { outputs: names, ..BuildFilter::default() };
        let mut builds = BTreeMap::new();
        for filter in [named, made] {
            let Page { items, next, unreadable, .. } = self.builds(filter, Paging::first(BUILDS_MAX)).await?;
            why.complete &= next.is_none() && unreadable.is_empty();
            builds.extend(items.into_iter().map(|build| (build.id, build)));
        }
        let causes =
            if builds.is_empty() { Vec::new() } else { self.links(builds.keys().copied().collect()).await?.causes };
        Ok((builds, causes))
    }

    /// The plan of an event, if it has one that can be read.
    async fn kept(&self, why: &mut Why, event: &EventRecord) -> Result<Option<Arc<Plan>>> {
        if event.plan.is_none() {
            return Ok(None);
        }
        match self.plan(event.id).await {
            Err(error) if error.remedy == Remedy::Corrupt => {
                why.complete = false;
                Ok(None)
            }
            plan => Ok(plan?.map(Arc::new)),
        }
    }

    async fn why_build(&self, build: &BuildRecord, causes: &[Cause]) -> Result<WhyBuild> {
        let waits = if build.state.is_success() { None } else { self.waiting_for(build.id).await? };
        Ok(WhyBuild {
            build: build.clone(),
            causes: causes.iter().filter(|cause| cause.build == build.id).cloned().collect(),
            attempts: self.attempts(build.id).await?,
            history: self.transitions(&RowKey::Build(build.id)).await?,
            waits,
        })
    }
}

/// The artifacts of this name that a plan builds, leaves out or has as changed.
fn mentioned<'a>(plan: &'a Plan, name: &'a str) -> impl Iterator<Item = &'a ArtifactId> {
    let nodes = plan.nodes().map(|node| &node.artifact.id);
    let others = plan.exclusions().map(|(id, _)| id).chain(plan.changed().map(|(id, _)| id));
    nodes.chain(others).filter(|id| id.is_called(name))
}

impl Serialize for WhyEvent {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Form<'a> {
            artifact: &'a ArtifactId,
            event: &'a EventRecord,
            explanation: Option<Explanation<'a>>,
            /// The explanation as a sentence.
            text: Option<String>,
            builds: &'a [WhyBuild],
        }
        let Self { artifact, event, builds, .. } = self;
        let explanation = self.explanation();
        let text = explanation.as_ref().map(ToString::to_string);
        Form { artifact, event, explanation, text, builds }.serialize(serializer)
    }
}

/// The text of a reason, on one line.
fn sentence(reason: &Reason) -> String {
    short(&reason.to_string(), SENTENCE)
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = short(&self.name, NAME);
        if self.events.is_empty() {
            write!(f, "nothing is stored about {name}: no build has this name or made it, and ")?;
            return match (self.complete, self.events_read) {
                (true, _) => writeln!(f, "no event has a plan with it"),
                (false, read) => writeln!(f, "none of the newest {read} events has a plan with it"),
            };
        }
        for (position, event) in self.events.iter().enumerate() {
            let space = if position == 0 { "" } else { "\n" };
            write!(f, "{space}{event}")?;
        }
        if !self.complete {
            writeln!(f, "\nthere may be more: older events and builds were not looked at")?;
        }
        Ok(())
    }
}

impl fmt::Display for WhyEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let EventRecord { id, state, envelope, reason, .. } = &self.event;
        let (kind, about) = (short(&envelope.kind, NAME), short(&envelope.search_key, NAME));
        writeln!(f, "event {id} {state} {kind} {about} ({})", sentence(reason))?;
        write!(f, "  {}: ", short(self.artifact.as_str(), NAME))?;
        match self.explanation() {
            Some(explanation) => writeln!(f, "{explanation}")?,
            None => writeln!(f, "the plan of the event is not kept, or cannot be read")?,
        }
        self.builds.iter().try_for_each(|build| build.fmt(f))
    }
}

impl fmt::Display for WhyBuild {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let BuildRecord { id, state, output, reason, demands, .. } = &self.build;
        let output = output.as_ref().filter(|output| !output.name.is_empty());
        let output = output.map_or(String::new(), |output| format!(" as {}", short(&output.name, NAME)));
        writeln!(f, "  build {id} {state}{output} ({})", sentence(reason))?;
        for cause in &self.causes {
            let names: Vec<_> = cause.because.iter().take(NAMES_MAX).map(|id| short(id.as_str(), NAME)).collect();
            let because = if names.is_empty() { String::new() } else { format!(" because of {}", names.join(", ")) };
            let more = cause.because.len().saturating_sub(NAMES_MAX);
            let more = if more > 0 { format!(" and {more} more") } else { String::new() };
            let no_more = if cause.live { "" } else { ", and does not want it any more" };
            writeln!(f, "    event {} wanted it{because}{more}{no_more}", cause.event)?;
        }
        if !demands.is_empty() {
            let demands: Vec<_> = demands.iter().map(ToString::to_string).collect();
            writeln!(f, "    it must contain {}", demands.join(", "))?;
        }
        for attempt in &self.attempts {
            let external = attempt.external.as_ref().map_or("without an id".to_owned(), ToString::to_string);
            writeln!(f, "    attempt {} {} {external} ({})", attempt.number, attempt.state, sentence(&attempt.reason))?;
        }
        self.evidence().try_for_each(|found| writeln!(f, "    its result was checked: {}", sentence(found)))?;
        let Some(waits) = &self.waits else { return Ok(()) };
        write!(f, "    {}", short(&waits.reason.text, SENTENCE))?;
        let since = waits.since.map_or(String::new(), |since| format!(", since {since}"));
        let next = waits.next.map_or(String::new(), |next| format!("; the next change is expected at {}", next.at));
        writeln!(f, "{since}{next}")
    }
}
