use super::bus::BusWorld;
use super::executor::VirtualClock;
use super::trouble::{Asks, Trouble};
use super::weather::Weather;
use freshmaker::artifact::{Artifact, ArtifactId, ArtifactKind, Digest, Parameters};
use freshmaker::backend::{BuildRequest, Found, Lease};
use freshmaker::graph::{ArtifactGraph, EdgeKind};
use freshmaker::rebuild::{
    AttemptId, AttemptRecord, BuildId, ExternalId, Failure, FailureClass, Observed, Output, RunId, SessionId,
};
use freshmaker::time::{Timestamp, later};
use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU32;
use std::time::Duration;

/// Everything outside the process. It goes on when the process dies.
#[derive(Debug)]
pub(super) struct World {
    pub(super) rng: fastrand::Rng,
    pub(super) clock: VirtualClock,
    pub(super) weather: Weather,
    pub(super) graph: ArtifactGraph,
    pub(super) slots: u32,
    pub(super) buses: [BusWorld; 2],
    pub(super) violations: Vec<String>,
    pub(super) trace: Vec<String>,
    /// Content of what is there now, by artifact.
    pub(super) outputs: BTreeMap<ArtifactId, Digest>,
    pub(super) tasks: Vec<Task>,
    /// How many tasks there were, with those of a lost host.
    begun: u32,
    /// Requests on their way to the build system.
    requests: Vec<Pending>,
    /// How many each process submits to each build system at this moment.
    submitting: BTreeMap<(usize, &'static str), u32>,
    /// The build systems that a person has paused, and since when.
    pub(super) paused: BTreeMap<&'static str, Timestamp>,
    sessions: u32,
    closed: BTreeSet<SessionId>,
    /// Artifacts whose output does not depend on their parents.
    absorbing: BTreeSet<ArtifactId>,
    broken: BTreeSet<ArtifactId>,
    pub(super) canceled: bool,
    /// Until when each run may write.
    living: BTreeMap<RunId, Timestamp>,
    /// How long no process was alive, in all.
    pub(super) downtime: Duration,
    /// The clocks were set, so that dates say nothing.
    pub(super) clock_was_set: bool,
    /// A process began after that, and cannot know that the clocks were set while builds ran.
    pub(super) began_after_clock: bool,
    pub(super) second_bus_is_down: bool,
    /// Events that retention has removed.
    pub(super) swept: u64,
    /// The host that is gone for good, by the number of its process.
    pub(super) lost_host: Option<usize>,
    /// What goes wrong for hours, until it is mended.
    pub(super) trouble: Option<Trouble>,
    /// The artifact that it is about, unless it is about something else.
    pub(super) victim: ArtifactId,
    /// The build whose row cannot be read.
    pub(super) broken_row: Option<BuildId>,
    /// When was asked for what is in trouble.
    pub(super) asks: Asks,
    /// How often a catalog panicked. Each time is the end of at most one event.
    pub(super) catalog_panics: u64,
}

/// A request on its way: it is let in if its session is open when it arrives, and takes effect a
/// little later, whatever becomes of the session.
#[derive(Debug)]
struct Pending {
    arrives: Timestamp,
    commits: Timestamp,
    let_in: bool,
    system: &'static str,
    request: BuildRequest,
}

impl Pending {
    fn next(&self) -> Timestamp {
        if self.let_in { self.commits } else { self.arrives }
    }
}

#[derive(Clone, Debug)]
pub(super) struct Task {
    system: &'static str,
    session: Option<SessionId>,
    pub(super) external: ExternalId,
    pub(super) marker: AttemptId,
    pub(super) artifact: ArtifactId,
    ends: Timestamp,
    end: Observed,
    stale: bool,
    /// How long its output stays, once it has ended: repositories do not stay for ever.
    lives: Option<Duration>,
    pub(super) state: Observed,
}

impl Task {
    /// Whether what it made is no longer there at this time.
    fn is_gone(&self, at: Timestamp) -> bool {
        match (&self.state, self.lives) {
            (Observed::Succeeded(_), Some(lives)) => later(self.ends, lives) <= at,
            (state, _) => *state == Observed::Vanished,
        }
    }
}

/// The output under the name of what made it.
fn named(end: Observed, external: &ExternalId) -> Observed {
    match end {
        Observed::Succeeded(output) => Observed::Succeeded(Output { name: external.to_string(), ..output }),
        end => end,
    }
}

/// The build systems, of which the weather says how many there are.
pub(super) const SYSTEMS: [&str; 2] = ["builds", "others"];

/// Who reads about a pause may be stopped for a minute, and a call may take another one, before the
/// pause holds.
const PAUSE_HOLDS: Duration = Duration::from_secs(300);

/// A request that was let in takes effect within this time.
pub(super) const SETTLE: Duration = Duration::from_secs(30);

/// A repository that expires within this time is renewed when it is asked for.
const MARGIN: Duration = Duration::from_secs(5 * 60);

/// A person has decided about what a lost host leaves within this time.
const DECIDED_WITHIN: Duration = Duration::from_secs(6 * 3600);

/// A request may arrive so late.
const LATE: Duration = Duration::from_secs(20 * 60);

impl World {
    pub(super) fn new(seed: u64, clock: VirtualClock, weather: Weather) -> Self {
        let mut rng = fastrand::Rng::with_seed(seed);
        let mut world = Self {
            slots: rng.u32(1..4),
            rng,
            clock,
            weather,
            graph: ArtifactGraph::new(),
            buses: Default::default(),
            violations: Vec::new(),
            trace: Vec::new(),
            outputs: BTreeMap::new(),
            tasks: Vec::new(),
            begun: 0,
            requests: Vec::new(),
            submitting: BTreeMap::new(),
            paused: BTreeMap::new(),
            sessions: 0,
            closed: BTreeSet::new(),
            absorbing: BTreeSet::new(),
            broken: BTreeSet::new(),
            canceled: false,
            living: BTreeMap::new(),
            downtime: Duration::ZERO,
            clock_was_set: false,
            began_after_clock: false,
            second_bus_is_down: false,
            swept: 0,
            lost_host: None,
            trouble: None,
            victim: "image0".into(),
            broken_row: None,
            asks: Asks::default(),
            catalog_panics: 0,
        };
        world.second_bus_is_down = world.weather.buses > 1;
        world.grow();
        world
    }

    /// One or two bases and some images that are built from earlier ones.
    fn grow(&mut self) {
        let bases = self.rng.usize(1..3);
        let images = self.rng.usize(2..8);
        let mut names: Vec<String> = Vec::new();
        for number in 0..bases {
            let name = format!("base{number}");
            self.graph.insert(Artifact::new(name.as_str(), ArtifactKind::Image));
            self.outputs.insert(name.as_str().into(), Digest::of(name.as_bytes()));
            names.push(name);
        }
        if self.rng.bool() {
            let compose = Artifact::new("compose0", ArtifactKind::Repository).with_source("packages", None);
            let compose = compose.with_system(SYSTEMS[0]);
            self.graph.insert(compose);
            // Both ends are there.
            let _ = self.graph.depend("compose0", names[0].as_str(), EdgeKind::RuntimeContent);
            let digest = self.expected(&"compose0".into(), &self.outputs);
            self.outputs.insert("compose0".into(), digest);
        }
        for number in 0..images {
            let name = format!("image{number}");
            let artifact = Artifact::new(name.as_str(), ArtifactKind::Image).with_source(format!("src/{name}"), None);
            let artifact = artifact.with_system(SYSTEMS[self.rng.usize(..self.weather.systems as usize)]);
            self.graph.insert(artifact);
            for _ in 0..self.rng.usize(1..4) {
                let parent = names[self.rng.usize(..names.len())].clone();
                // Both ends are there.
                let _ = self.graph.depend(name.as_str(), parent.as_str(), EdgeKind::ParentImage);
            }
            if self.graph.get(&"compose0".into()).is_some() && self.rng.u32(..100) < 40 {
                let _ = self.graph.depend(name.as_str(), "compose0", EdgeKind::Repository);
            }
            if self.rng.u32(..100) < 15 {
                self.absorbing.insert(name.as_str().into());
            }
            if self.chance(self.weather.broken_recipe) {
                self.broken.insert(name.as_str().into());
            }
            let digest = self.expected(&name.as_str().into(), &self.outputs);
            self.outputs.insert(name.as_str().into(), digest);
            names.push(name);
        }
        self.trouble = self.weather.trouble;
        if let Some(trouble) = self.trouble {
            // What is in trouble may hold one.
            self.slots = self.slots.max(2);
            self.victim = format!("image{}", self.rng.usize(..images)).as_str().into();
            let victim = self.victim.clone();
            self.say(|| format!("{trouble:?} of {victim} for hours"));
        }
    }

    pub(super) fn chance(&mut self, per_mille: u32) -> bool {
        self.rng.u32(..1000) < per_mille
    }

    pub(super) fn now(&self) -> Timestamp {
        self.clock.steady()
    }

    pub(super) fn violation(&mut self, text: String) {
        self.trace.push(format!("VIOLATION {text}"));
        self.violations.push(text);
    }

    /// A run has begun, or goes on; those that did not renew in time are over.
    pub(super) fn leased(&mut self, lease: &Lease) {
        let now = self.now();
        self.living.retain(|_, until| *until > now);
        self.living.insert(lease.run, later(now, lease.ttl));
    }

    pub(super) fn released(&mut self, run: RunId) {
        self.living.remove(&run);
    }

    /// The clocks of all are set forward or back by a month. A lease then ends at most so long
    /// after its next look as it lasts.
    pub(super) fn set_clock(&mut self) {
        let month = Duration::from_secs(30 * 24 * 3600);
        let forward = self.rng.bool();
        if forward {
            self.clock.set_forward(month);
        } else {
            self.clock.set_back(month);
        }
        self.clock_was_set = true;
        self.changes();
        let until = later(self.now(), freshmaker::store::LEASE_TTL * 3);
        self.living.values_mut().for_each(|living| *living = until);
        self.say(|| format!("the clocks are set {}", if forward { "forward" } else { "back" }));
    }

    /// Something was stored by this run.
    pub(super) fn committed(&mut self, run: Option<RunId>) {
        if let Some(run) = run.filter(|run| !self.living.contains_key(run)) {
            self.violation(format!("run {run} wrote after it was over"));
        }
    }

    pub(super) fn say(&mut self, text: impl FnOnce() -> String) {
        let line = format!("{} {}", self.now().format("%H:%M:%S%.3f"), text());
        self.trace.push(line);
    }

    /// The content of an artifact that is built from these contents of its parents.
    fn content(&self, id: &ArtifactId, parameters: &Parameters, parents: &[(ArtifactId, Option<Digest>)]) -> Digest {
        let mut parts = vec![id.as_str().to_owned()];
        parts.extend(parameters.iter().map(|(name, value)| format!("{name}={value:?}")));
        if !self.absorbing.contains(id) {
            for (parent, digest) in parents {
                parts.push(parent.to_string());
                parts.push(digest.as_ref().map(ToString::to_string).unwrap_or_default());
            }
        }
        Digest::of_parts(parts.iter().map(String::as_bytes))
    }

    fn expected(&self, id: &ArtifactId, outputs: &BTreeMap<ArtifactId, Digest>) -> Digest {
        let mut parents: Vec<_> = self
            .graph
            .parents(id)
            .into_iter()
            .map(|(parent, _)| (parent.clone(), outputs.get(parent).cloned()))
            .collect();
        parents.dedup();
        let parameters = self.graph.get(id).map(|artifact| artifact.parameters.clone()).unwrap_or_default();
        self.content(id, &parameters, &parents)
    }

    /// What every artifact would contain if all were built in order from the bases that are there
    /// now.
    pub(super) fn converged(&self) -> BTreeMap<ArtifactId, Digest> {
        let mut outputs: BTreeMap<ArtifactId, Digest> = BTreeMap::new();
        // Names are given in the order in which images were made from earlier ones.
        for artifact in self.graph.artifacts() {
            let digest = if artifact.buildable() {
                self.expected(&artifact.id, &outputs)
            } else {
                self.outputs[&artifact.id].clone()
            };
            outputs.insert(artifact.id.clone(), digest);
        }
        outputs
    }

    /// A base gets new content.
    pub(super) fn change(&mut self, base: &ArtifactId, content: &str) {
        self.outputs.insert(base.clone(), Digest::of(format!("{content} {base}").as_bytes()));
        if self.chance(self.weather.parameters) {
            self.change_parameters(base, content);
        }
    }

    /// An image that is built from this base is built with other parameters from now on.
    fn change_parameters(&mut self, base: &ArtifactId, value: &str) {
        let mut affected = BTreeSet::from([base.clone()]);
        // Names are given in the order in which images were made from earlier ones.
        for artifact in self.graph.artifacts() {
            if self.graph.parents(&artifact.id).into_iter().any(|(parent, _)| affected.contains(parent)) {
                affected.insert(artifact.id.clone());
            }
        }
        let images = self.graph.artifacts().filter(|it| it.kind == ArtifactKind::Image && it.buildable());
        let images: Vec<_> = images.filter(|it| affected.contains(&it.id)).collect();
        let Some(image) = images.get(self.rng.usize(..images.len().max(1))) else { return };
        let mut image = (**image).clone();
        image.parameters.insert("flavour", value);
        self.say(|| format!("{} is built as {value} from now on", image.id));
        self.graph.insert(image);
    }

    /// A process died: what it had not acknowledged will come again.
    pub(super) fn disconnect(&mut self, process: usize, down: Duration) {
        self.downtime += down;
        self.deliver_again(process);
        self.submitting.retain(|(of, _), _| *of != process);
        self.say(|| format!("process {process} dies"));
    }

    /// A process is stopped, and goes on later as if nothing had happened.
    pub(super) fn freeze(&mut self, process: usize, for_: Duration) {
        self.downtime += for_;
        self.changes();
        self.say(|| format!("process {process} is stopped for {} s", for_.as_secs()));
    }

    /// How many may be submitted at once.
    pub(super) fn submissions(&self) -> NonZeroU32 {
        NonZeroU32::new(self.slots.div_ceil(2)).expect("there is a slot")
    }

    /// The process submits one more to this build system from now on.
    pub(super) fn submit(&mut self, process: usize, system: &'static str) {
        let now = self.now();
        if self.paused.get(system).is_some_and(|since| later(*since, PAUSE_HOLDS) < now) {
            self.violation(format!("process {process} submits to {system}, which is paused"));
        }
        let submitting = self.submitting.entry((process, system)).or_default();
        *submitting += 1;
        let submitting = *submitting;
        if submitting > self.submissions().get() {
            self.violation(format!("process {process} submits {submitting} at once to {system}"));
        }
    }

    /// The process submits one less.
    pub(super) fn submitted(&mut self, process: usize, system: &'static str) {
        if let Some(submitting) = self.submitting.get_mut(&(process, system)) {
            *submitting = submitting.saturating_sub(1);
        }
    }

    /// A session, which says on which host it is.
    pub(super) fn open_session(&mut self, process: usize) -> SessionId {
        self.sessions += 1;
        SessionId::new(format!("S{}@{process}", self.sessions))
    }

    /// Whether what was submitted in this session can be asked about by this process.
    pub(super) fn is_here(&self, process: usize, session: Option<&SessionId>) -> bool {
        let host = session.and_then(|session| session.as_str().split_once('@')).map(|(_, host)| host);
        !self.weather.hosts || host.is_none_or(|host| host == process.to_string())
    }

    /// Whether a host can be lost, and others go on: once in a world, while something runs.
    pub(super) fn may_lose_a_host(&self) -> bool {
        let runs = self.tasks.iter().any(|task| task.state == Observed::Running);
        self.weather.hosts && self.weather.processes > 1 && self.lost_host.is_none() && runs
    }

    /// A host is gone, with everything that runs there and that is on its way there.
    pub(super) fn lose_host(&mut self, process: usize) {
        self.lost_host = Some(process);
        self.downtime += DECIDED_WITHIN;
        let tasks = std::mem::take(&mut self.tasks);
        self.tasks = tasks.into_iter().filter(|task| !self.was_lost(task) || task.state != Observed::Running).collect();
        let requests = std::mem::take(&mut self.requests);
        let lost = |request: &Pending| self.is_here(process, request.request.session.as_ref());
        self.requests = requests.into_iter().filter(|request| !lost(request)).collect();
        self.say(|| format!("the host of process {process} is gone for good"));
    }

    /// Whether the task was on the host that is gone: its end cannot be asked for any more.
    pub(super) fn was_lost(&self, task: &Task) -> bool {
        self.lost_host.is_some_and(|host| self.is_here(host, task.session.as_ref()))
    }

    /// What has not arrived yet in this session is turned away.
    pub(super) fn close_session(&mut self, session: &SessionId) {
        self.say(|| format!("session {session} is closed"));
        self.closed.insert(session.clone());
    }

    /// A request leaves the process; it arrives later, even if the process is dead by then. Returns
    /// when it takes effect.
    pub(super) fn request(&mut self, system: &'static str, request: BuildRequest) -> Option<Timestamp> {
        if self.chance(self.weather.lost_request) {
            self.say(|| format!("the request for {} is lost", request.artifact));
            return None;
        }
        for parent in &request.parents {
            if parent.name.as_ref().is_some_and(|name| self.is_gone(name)) {
                self.violation(format!("{} is sent to be built from {}, which is gone", request.artifact, parent.id));
            }
        }
        let longest = if self.chance(self.weather.slow_request) { LATE } else { Duration::from_millis(200) };
        let arrives = later(self.now(), longest.mul_f64(self.rng.f64()));
        let longest = if self.rng.u32(..10) == 0 { SETTLE } else { Duration::from_millis(200) };
        let commits = later(arrives, longest.mul_f64(self.rng.f64() * 0.99));
        self.requests.push(Pending { arrives, commits, let_in: false, system, request });
        Some(commits)
    }

    /// Lets happen what happens by now: requests arrive and take effect, builds end.
    pub(super) fn catch_up(&mut self) {
        let now = self.now();
        loop {
            let next = self.requests.iter().enumerate().min_by_key(|(_, request)| request.next());
            let next = next.map(|(n, request)| (request.next(), n));
            let running = self.tasks.iter().enumerate().filter(|(_, task)| task.state == Observed::Running);
            let end = running.min_by_key(|(_, task)| task.ends).map(|(n, task)| (task.ends, n));
            match (next, end) {
                (Some((at, n)), end) if at <= now && end.is_none_or(|(ends, _)| at <= ends) => self.proceed(n),
                (_, Some((at, n))) if at <= now => self.finish(n),
                _ => return,
            }
        }
    }

    /// A request is let in or turned away; or, if it was let in before, takes effect.
    fn proceed(&mut self, number: usize) {
        let pending = &mut self.requests[number];
        if pending.let_in {
            let pending = self.requests.remove(number);
            self.begin(pending.system, &pending.request, pending.commits);
        } else if pending.request.session.as_ref().is_some_and(|session| self.closed.contains(session)) {
            let request = self.requests.remove(number).request;
            self.say(|| format!("the late request for {} is turned away", request.artifact));
        } else {
            pending.let_in = true;
        }
    }

    fn begin(&mut self, system: &'static str, request: &BuildRequest, at: Timestamp) {
        if self.tasks.iter().any(|task| task.marker == request.attempt) {
            self.violation(format!("two tasks for marker {}", request.attempt));
        }
        let live: Vec<_> = self.tasks.iter().filter(|task| task.state == Observed::Running).collect();
        if live.iter().any(|task| task.artifact == request.artifact) {
            self.violation(format!("two live tasks of {}", request.artifact));
        } else if live.iter().filter(|task| task.system == system).count() >= self.slots as usize {
            self.violation(format!("more than {} live tasks of {system}", self.slots));
        }
        let stale = !request.no_cache && request.kind == ArtifactKind::Image && self.chance(self.weather.stale_build);
        let end = if stale { Self::stale(request) } else { self.fate(request) };
        // What is interrupted each time is interrupted soon.
        let longest = if self.ails(Trouble::Interruptions, &request.artifact) { 5 } else { 600 };
        let takes = Duration::from_secs(self.rng.u64(1..longest));
        self.begun += 1;
        let external = ExternalId::new(format!("T{}", self.begun));
        let prepared = request.kind == ArtifactKind::Repository;
        let lives = prepared.then(|| Duration::from_secs(self.rng.u64(12..60) * 60));
        // Nobody on another host could see that it is gone.
        let lives = lives.filter(|_| !self.weather.hosts);
        let end = if prepared { named(end, &external) } else { end };
        self.say(|| {
            format!(
                "{external} of {system} builds {} from {:?}",
                request.artifact,
                request.parents.iter().map(|p| p.digest.as_ref().map(|d| d.short().to_owned())).collect::<Vec<_>>()
            )
        });
        self.tasks.push(Task {
            system,
            session: request.session.clone(),
            external,
            marker: request.attempt.clone(),
            artifact: request.artifact.clone(),
            ends: later(at, takes),
            end,
            stale,
            lives,
            state: Observed::Running,
        });
    }

    /// The end of a build that took what was there before.
    fn stale(request: &BuildRequest) -> Observed {
        let digest = Some(Digest::of_parts([b"stale".as_slice(), request.attempt.as_str().as_bytes()]));
        Observed::Succeeded(Output { name: String::new(), digest, contents: None })
    }

    pub(super) fn is_stale(&self, id: &ExternalId) -> bool {
        self.tasks.iter().any(|task| task.external == *id && task.stale)
    }

    /// Whether what the attempt built was made of what was there.
    pub(super) fn made_fresh(&self, attempt: &AttemptRecord) -> bool {
        attempt.external.as_ref().is_some_and(|id| !self.is_stale(id))
    }

    fn fate(&mut self, request: &BuildRequest) -> Observed {
        if self.ails(Trouble::Interruptions, &request.artifact) {
            return Observed::Failed(Failure::new(FailureClass::Interrupted, "the builder went away"));
        }
        if self.broken.contains(&request.artifact) {
            return Observed::Failed(Failure::new(FailureClass::Deterministic, "the recipe is broken"));
        }
        if self.weather.flaky_builds_max > 0 && self.chance(self.weather.flaky_build) {
            self.weather.flaky_builds_max -= 1;
            let class = if self.rng.bool() { FailureClass::Infrastructure } else { FailureClass::Interrupted };
            return Observed::Failed(Failure::new(class, "the builder broke"));
        }
        let parents: Vec<_> = request.parents.iter().map(|parent| (parent.id.clone(), parent.digest.clone())).collect();
        let digest = Some(self.content(&request.artifact, &request.parameters, &parents));
        Observed::Succeeded(Output { name: String::new(), digest, contents: None })
    }

    fn finish(&mut self, number: usize) {
        let task = &mut self.tasks[number];
        task.state = task.end.clone();
        let (artifact, external, state) = (task.artifact.clone(), task.external.clone(), task.state.clone());
        if let Observed::Succeeded(Output { digest: Some(digest), .. }) = &state {
            self.outputs.insert(artifact.clone(), digest.clone());
        }
        self.say(|| format!("{external} of {artifact} ends: {state:?}"));
    }

    pub(super) fn find(&self, process: usize, system: &str, marker: &AttemptId) -> Vec<Found> {
        let found = self.tasks.iter().filter(|task| task.system == system && task.marker == *marker);
        let found = found.filter(|task| self.is_here(process, task.session.as_ref()));
        found.map(|task| Found { external: task.external.clone(), observed: task.state.clone() }).collect()
    }

    /// How these stand. Who asks for a repository wants to use it: it stays longer, if it is still
    /// there.
    pub(super) fn status(&mut self, process: usize, system: &str, ids: &[ExternalId]) -> Vec<Found> {
        let now = self.now();
        let mut found = Vec::new();
        let elsewhere: BTreeSet<_> = self.elsewhere(process).map(|task| task.external.clone()).collect();
        let unknown = ids.iter().filter(|id| elsewhere.contains(id));
        found.extend(unknown.map(|id| Found { external: id.clone(), observed: Observed::Vanished }));
        let asked = |task: &&mut Task| task.system == system && ids.contains(&task.external);
        let here = |task: &&mut Task| !elsewhere.contains(&task.external);
        for task in self.tasks.iter_mut().filter(asked).filter(here) {
            if task.is_gone(now) {
                task.state = Observed::Vanished;
            } else if task.is_gone(later(now, MARGIN)) {
                task.lives = task.lives.map(|lives| lives + MARGIN * 4);
            }
            found.push(Found { external: task.external.clone(), observed: task.state.clone() });
        }
        found
    }

    /// What runs on other hosts, and is not known on that of this process.
    fn elsewhere(&self, process: usize) -> impl Iterator<Item = &Task> {
        self.tasks.iter().filter(move |task| !self.is_here(process, task.session.as_ref()))
    }

    fn is_gone(&self, name: &str) -> bool {
        self.tasks.iter().any(|task| task.external.as_str() == name && task.is_gone(self.now()))
    }

    pub(super) fn cancel(&mut self, process: usize, system: &str, id: &ExternalId) {
        if self.elsewhere(process).any(|task| task.external == *id) {
            return;
        }
        // Who takes an attempt over after a clock was set cannot know that.
        if !self.canceled && !self.began_after_clock && self.weather.processes == 1 {
            self.violation(format!("{id} is cancelled, but nobody wants that"));
        }
        let asked = |task: &&mut Task| task.system == system && task.external == *id;
        if let Some(task) = self.tasks.iter_mut().filter(asked).find(|task| task.state == Observed::Running) {
            task.state = Observed::Canceled;
        }
        self.say(|| format!("{id} is cancelled"));
    }

    /// Whether every artifact must have its newest content in the end: no recipe is broken, nothing
    /// was cancelled, and no event has failed because a catalog panicked.
    pub(super) fn must_converge(&self) -> bool {
        self.broken.is_empty() && !self.canceled && self.catalog_panics == 0
    }
}
