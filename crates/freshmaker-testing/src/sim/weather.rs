//! How unkind the world of a seed is.

use super::trouble::Trouble;

/// How often the simulated world does what is difficult for the engine. Probabilities are per
/// mille.
#[derive(Clone, Debug)]
pub struct Weather {
    /// Processes that work on one storage.
    pub processes: u32,
    /// A process dies before a step.
    pub crash: u32,
    /// The most deaths.
    pub crashes_max: u32,
    /// A process is stopped before a step, and goes on up to a minute later, when its lease may be
    /// lost.
    pub freeze: u32,
    /// At most so many of those.
    pub freezes_max: u32,
    /// A call to the storage or the bus fails, before or after it took effect.
    pub backend_error: u32,
    /// At most so many of those.
    pub backend_errors_max: u32,
    /// A message is delivered twice.
    pub duplicate: u32,
    /// An answer of the build system is lost on the way back.
    pub lost_answer: u32,
    /// A request is lost on the way there.
    pub lost_request: u32,
    /// A request arrives minutes late, when its sender has long given up.
    pub slow_request: u32,
    /// A build succeeds, but from what was there before.
    pub stale_build: u32,
    /// A build fails because of the machinery, or is interrupted.
    pub flaky_build: u32,
    /// At most so many of those.
    pub flaky_builds_max: u32,
    /// A build fails because of its recipe, every time.
    pub broken_recipe: u32,
    /// An event is cancelled while it is under way.
    pub cancel: u32,
    /// A call panics or never ends.
    pub odd: u32,
    /// A commit takes effect later, up to 70 seconds, and its answer is lost.
    pub late_commit: u32,
    /// At most so many of those two.
    pub odd_max: u32,
    /// The clocks are set forward or back by a month.
    pub clock: u32,
    /// Handlers of each message; all but one only look on.
    pub handlers: u32,
    /// The buses that there are. The second one takes nothing until everything else has ended.
    pub buses: u32,
    /// A message says something else than that one base was pushed.
    pub odd_message: u32,
    /// A call to a catalog panics or never ends.
    pub odd_catalog: u32,
    /// What goes wrong for hours.
    pub trouble: Option<Trouble>,
    /// A process is asked to end before a step, and is started again.
    pub deploy: u32,
    /// At most so many of those.
    pub deploys_max: u32,
    /// A push also changes the parameters of an image.
    pub parameters: u32,
    /// The build systems that there are; each has a concurrency limit of its own.
    pub systems: u32,
    /// The catalogs that there are; each knows a part of the images, and their parents.
    pub catalogs: u32,
    /// A person pauses a build system for up to half an hour.
    pub pause: u32,
    /// Events are removed ten minutes after they have ended.
    pub retention: bool,
    /// Each process is on a host of its own, and what it submits runs there and is known nowhere
    /// else.
    pub hosts: bool,
    /// A host is gone for good, with everything that runs on it.
    pub host_lost: u32,
}

impl Weather {
    /// Every seed has its own weather, from a calm day to all at once.
    pub(super) fn of_seed(seed: u64) -> Self {
        let mut rng = fastrand::Rng::with_seed(seed ^ 0x5eed);
        let mut pick = |values: &[u32]| values[rng.usize(..values.len())];
        let weather = Self {
            processes: pick(&[1, 1, 2, 3]),
            crash: pick(&[0, 2, 10, 40]),
            crashes_max: pick(&[1, 3, 8]),
            freeze: pick(&[0, 0, 1, 4]),
            freezes_max: pick(&[1, 3]),
            backend_error: pick(&[0, 10, 50]),
            backend_errors_max: pick(&[5, 20]),
            duplicate: pick(&[0, 300]),
            lost_answer: pick(&[0, 100, 400]),
            lost_request: pick(&[0, 100, 300]),
            slow_request: pick(&[0, 0, 100, 300]),
            stale_build: pick(&[0, 0, 200]),
            flaky_build: pick(&[0, 0, 200]),
            flaky_builds_max: 2,
            broken_recipe: pick(&[0, 0, 0, 200]),
            cancel: pick(&[0, 0, 500]),
            odd: pick(&[0, 0, 3, 20]),
            late_commit: pick(&[0, 0, 5, 100]),
            odd_max: pick(&[2, 8]),
            clock: pick(&[0, 0, 0, 500]),
            handlers: pick(&[1, 1, 2]),
            buses: pick(&[1, 1, 2]),
            odd_message: pick(&[0, 0, 300]),
            odd_catalog: pick(&[0, 0, 100]),
            trouble: None,
            deploy: pick(&[0, 0, 0, 0, 5]),
            deploys_max: 6,
            parameters: pick(&[0, 0, 300]),
            systems: pick(&[1, 1, 2]),
            catalogs: pick(&[1, 1, 2]),
            pause: pick(&[0, 0, 500]),
            retention: pick(&[0, 0, 0, 0, 0, 0, 0, 1]) == 1,
            hosts: pick(&[0, 0, 0, 1]) == 1,
            host_lost: pick(&[0, 5, 20]),
        };
        weather.with_trouble(&mut rng)
    }

    /// In some worlds something goes wrong for hours, and what nobody could tell from it does not
    /// go wrong there. Where processes are asked to end, nothing else kills what they handle.
    fn with_trouble(mut self, rng: &mut fastrand::Rng) -> Self {
        if self.deploy > 0 {
            let calm = Self { crash: 0, freeze: 0, backend_error: 0, odd: 0, odd_catalog: 0, late_commit: 0, ..self };
            self = Self { odd_message: 500, ..calm };
        } else if rng.usize(..6) == 0 {
            self.trouble = Some(Trouble::ALL[rng.usize(..Trouble::ALL.len())]);
            self.hosts = false;
            if self.trouble == Some(Trouble::Handler) {
                self.odd_message = 500;
            }
        }
        self
    }
}
