use super::builds::Origin;
use super::bus::Dialect;
use super::calls::{Caller, Door, VERSION, call};
use super::ledger::Ledger;
use super::output;
use super::script::{Fate, Submission, Trouble};
use super::session::{User, authenticate};
use super::tasks::{Task, add_closed, advance};
use super::values::{Answer, Fault};
use super::world::World;
use crate::koji::xmlrpc;
use crate::messages::koji::TaskState;
use freshmaker::artifact::Nvr;
use freshmaker::backend::Clock;
use freshmaker::event::Message;
use freshmaker::time::{Timestamp, later};
use freshmaker_testing::http::{Reply, Request, Server};
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::task::JoinSet;

/// A fake Koji hub on a free port of localhost; see the [module documentation](super). It stops
/// when it is dropped.
///
/// # Panics
/// When the hub is dropped, if a planned [`trouble`](Self::trouble) did not occur, because then the
/// test has not tested it. [`calm`](Self::calm) removes such plans.
#[derive(Debug)]
#[doc(alias = "brew")]
#[doc(alias = "mock")]
pub struct Hub {
    inner: Arc<Inner>,
    address: SocketAddr,
    server: Option<Server>,
}

#[derive(Debug)]
struct Inner {
    clock: Arc<dyn Clock>,
    world: Mutex<World>,
    late: Mutex<Late>,
}

/// Delayed requests.
#[derive(Debug, Default)]
struct Late {
    visits: Vec<LateVisit>,
    /// Tasks that carry out a request when it is due, unless another request does so first.
    alarms: JoinSet<()>,
}

#[derive(Debug)]
struct LateVisit {
    due: Timestamp,
    visit: Visit,
    accepted: Option<Caller>,
    done: oneshot::Sender<Reply>,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Inner {
    /// Returns the state at this moment, after all due events in their order.
    fn world(&self) -> MutexGuard<'_, World> {
        let mut world = locked(&self.world);
        let now = self.clock.now();
        let due = {
            let mut late = locked(&self.late);
            let mut due: Vec<_> = late.visits.extract_if(.., |visit| visit.due <= now).collect();
            due.sort_by_key(|visit| visit.due);
            due
        };
        for LateVisit { due, visit, accepted, done } in due {
            advance(&mut world, due);
            let reply = match accepted {
                None => visit.reply(&mut world),
                Some(caller) => respond(visit.work(&mut world, &caller)),
            };
            // The client may have stopped waiting.
            drop(done.send(reply));
        }
        advance(&mut world, now);
        world
    }
}

impl Hub {
    /// Starts a hub without users, targets and builds, whose tasks follow this clock.
    ///
    /// # Errors
    /// If no port can be opened.
    pub async fn start(clock: Arc<dyn Clock>) -> io::Result<Self> {
        let world = Mutex::new(World::new(clock.now()));
        let inner = Arc::new(Inner { clock, world, late: Mutex::default() });
        let server = serve(&inner, (Ipv4Addr::LOCALHOST, 0).into()).await?;
        Ok(Self { inner, address: server.address(), server: Some(server) })
    }

    pub(super) fn world(&self) -> MutexGuard<'_, World> {
        self.inner.world()
    }

    /// Returns the address that the hub listens on.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Returns the URL for calls, `http://127.0.0.1:…/kojihub`.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}/kojihub", self.address)
    }

    /// Returns the URL of the hub's files, `http://127.0.0.1:…/kojifiles`.
    #[must_use]
    pub fn files_url(&self) -> String {
        format!("http://{}/kojifiles", self.address)
    }

    /// Stops the hub: closes connections, refuses new ones, and loses [late](Trouble::LateRequest)
    /// requests. The database is kept.
    pub fn stop(&mut self) {
        self.server = None;
        *locked(&self.inner.late) = Late::default();
    }

    /// Starts the hub again at the same address, with all its sessions and tasks.
    ///
    /// # Errors
    /// If another process has taken the port meanwhile.
    pub async fn restart(&mut self) -> io::Result<()> {
        self.stop();
        self.server = Some(serve(&self.inner, self.address).await?);
        Ok(())
    }

    /// Adds a user who may log in with this password.
    pub fn add_user(&self, name: &str, password: &str) {
        self.user(name, Some(password), false);
    }

    /// Adds an administrator who may log in with this password.
    pub fn add_admin(&self, name: &str, password: &str) {
        self.user(name, Some(password), true);
    }

    fn user(&self, name: &str, password: Option<&str>, admin: bool) {
        let mut world = self.inner.world();
        let id = i64::try_from(world.users.len()).unwrap_or(i64::MAX - 1) + 1;
        world.users.push(User { id, name: name.to_owned(), password: password.map(str::to_owned), admin });
    }

    /// Sets the user that the client certificate proves in logins at `/kojihub/ssllogin`. With
    /// `None`, the hub asks for a Kerberos ticket there, which is the initial state.
    pub fn certificate(&self, user: Option<&str>) {
        self.inner.world().certificate = user.map(str::to_owned);
    }

    /// Adds a target with two tags, `<name>-build` and `<name>-candidate`. Submissions for unknown
    /// targets are built but not tagged.
    pub fn add_target(&self, name: &str) {
        self.inner.world().targets.push(name.to_owned());
    }

    /// Adds a finished container build with the packages of this fate, in the tag
    /// `<target>-candidate`, and returns its id. An empty target means no tag.
    ///
    /// # Errors
    /// A sentence, if the build exists already or a package of the fate has no valid name.
    pub fn add_image(&self, nvr: &Nvr, target: &str, fate: &Fate) -> Result<i64, String> {
        add_image(&mut self.inner.world(), nvr, target, (None, None), fate)
    }

    /// Adds a finished container build as [`add_image`](Self::add_image) does, with the task that
    /// built it on this parent. The task is no submission, so it is not in the ledger.
    ///
    /// # Errors
    /// As for [`add_image`](Self::add_image).
    pub fn add_built_image(&self, nvr: &Nvr, target: &str, parent: Option<&Nvr>, fate: &Fate) -> Result<i64, String> {
        let mut world = self.inner.world();
        let task = add_closed(&mut world, &source_of(nvr), target);
        add_image(&mut world, nvr, target, (Some(task), parent), fate)
    }

    /// Says which composes an image was built with. Does nothing if there is no such build.
    pub fn set_composes(&self, nvr: &Nvr, composes: &[i64]) {
        if let Some(build) = self.inner.world().builds.by_name_mut(nvr.as_str()) {
            build.composes = composes.to_vec();
        }
    }

    /// Adds a finished build of packages in these tags, and returns its id. Its packages are those
    /// of the fate; images that contain them got them from this build. A tag that is not there is
    /// added.
    ///
    /// # Errors
    /// A sentence, if the build exists already or a package of the fate has no valid name.
    pub fn add_packages(&self, nvr: &Nvr, tags: &[&str], fate: &Fate) -> Result<i64, String> {
        let mut world = self.inner.world();
        let origin = Origin {
            nvr: nvr.clone(),
            image: false,
            source: None,
            task: None,
            owner: 1,
            parent: None,
            target: "",
            started: world.now,
            completed: world.now,
        };
        let id = world.builds.add(origin, fate)?;
        for tag in tags {
            if world.tag_id(tag).is_none() {
                world.more_tags.push((*tag).to_owned());
            }
        }
        if let Some(build) = world.builds.by_name_mut(nvr.as_str()) {
            build.tags = tags.iter().map(|tag| (*tag).to_owned()).collect();
        }
        Ok(id)
    }

    /// Sets the function that decides the fate of submissions; `None` means that the submission
    /// succeeds at once. Replaces an earlier function.
    pub fn script(&self, script: impl FnMut(&Submission) -> Option<Fate> + Send + 'static) {
        self.inner.world().script = Box::new(script);
    }

    /// Sets the fate of the next submission of this source (without revision) that has none yet; it
    /// takes precedence over the script.
    pub fn next(&self, artifact: &str, fate: Fate) {
        self.inner.world().fates.entry(artifact.to_owned()).or_default().push_back(fate);
    }

    /// Makes a call of this method fail in this way: the next one if `after` is 0, else the one
    /// after that many further calls.
    pub fn trouble(&self, method: &str, after: usize, trouble: Trouble) {
        let mut world = self.inner.world();
        let nth = world.calls.get(method).copied().unwrap_or(0) + after + 1;
        world.troubles.push((method.to_owned(), nth, trouble));
    }

    /// Makes the next call of this method inside a `multiCall` raise this fault; the other calls of
    /// the `multiCall` are answered.
    pub fn trouble_within(&self, method: &str, code: i64, text: &str) {
        self.inner.world().within.entry(method.to_owned()).or_default().push_back(Fault::new(code, text));
    }

    /// Makes the next call of any method fail in this way.
    pub fn trouble_next(&self, trouble: Trouble) {
        self.inner.world().coming.push_back(trouble);
    }

    /// Sets the function that decides which calls fail, by their method and their count from 1.
    /// Replaces an earlier function. It is asked after [`trouble`](Self::trouble) and
    /// [`trouble_next`](Self::trouble_next).
    pub fn sabotage(&self, sabotage: impl FnMut(&str, usize) -> Option<Trouble> + Send + 'static) {
        self.inner.world().sabotage = Box::new(sabotage);
    }

    /// Removes all planned troubles. Delayed requests are still carried out.
    pub fn calm(&self) {
        let mut world = self.inner.world();
        world.sabotage = Box::new(|_, _| None);
        world.troubles.clear();
        world.within.clear();
        world.coming.clear();
    }

    /// Makes all sessions expire, so that clients have to renew them.
    pub fn expire_sessions(&self) {
        self.inner.world().sessions.expire();
    }

    /// Returns the ids of the sessions that are not closed.
    #[must_use]
    pub fn open_sessions(&self) -> Vec<i64> {
        self.inner.world().sessions.open()
    }

    /// Returns how often a method was called; calls inside a `multiCall` are not counted.
    #[must_use]
    pub fn calls(&self, method: &str) -> usize {
        self.inner.world().calls.get(method).copied().unwrap_or(0)
    }

    /// Returns the ids of the submitted tasks that have not ended.
    #[must_use]
    pub fn live_tasks(&self) -> Vec<i64> {
        let live = |task: &&Task| task.parent.is_none() && !task.state.has_ended();
        self.inner.world().tasks.all().filter(live).map(|task| task.id).collect()
    }

    /// Returns the ids of the submitted tasks that succeeded.
    #[must_use]
    pub fn closed_tasks(&self) -> Vec<i64> {
        let closed = |task: &&Task| task.parent.is_none() && task.state == TaskState::Closed;
        self.inner.world().tasks.all().filter(closed).map(|task| task.id).collect()
    }

    /// Returns the messages about tasks since the last call of this method. The hub does not send
    /// them: the test can deliver, lose, repeat or delay them. At most the last 10,000 are kept.
    #[must_use]
    pub fn messages(&self, dialect: Dialect) -> Vec<Message> {
        self.inner.world().changes.drain(..).map(|change| change.message(dialect)).collect()
    }

    /// Returns a copy of the record of all submissions.
    #[must_use]
    pub fn ledger(&self) -> Ledger {
        self.inner.world().ledger.clone()
    }
}

impl Drop for Hub {
    fn drop(&mut self) {
        let left = locked(&self.inner.world).planned();
        assert!(left.is_empty() || std::thread::panicking(), "the hub was told of trouble that never came: {left:?}");
    }
}

async fn serve(inner: &Arc<Inner>, address: SocketAddr) -> io::Result<Server> {
    let inner = inner.clone();
    Server::start_at(address, move |request| {
        let inner = inner.clone();
        async move { answer(&inner, request).await }
    })
    .await
}

fn plain(status: u16, text: impl Into<String>) -> Reply {
    Reply::new(status)
        .with_header("koji-version", VERSION)
        .with_header("content-type", "text/plain")
        .with_body(text.into() + "\n")
}

async fn answer(inner: &Arc<Inner>, request: Request) -> Reply {
    let door = match request.path.trim_end_matches('/') {
        "/kojihub" => Door::Front,
        "/kojihub/ssllogin" => Door::Certificate,
        path => return output::file(&inner.world(), path),
    };
    if request.method != "POST" {
        let text = "Method Not Allowed\nThis is an XML-RPC server. Only POST requests are accepted.";
        return plain(405, text).with_header("allow", "POST");
    }
    if request.body.is_empty() {
        return plain(400, "Invalid request: Empty request");
    }
    let asked = match xmlrpc::Request::parse(&request.body) {
        Ok(asked) => asked,
        Err(error) => return plain(400, format!("Invalid request: {error}")),
    };
    let trouble = {
        let mut world = inner.world();
        if door == Door::Certificate && world.certificate.is_none() {
            return page(401, "Unauthorized").with_header("www-authenticate", "Negotiate");
        }
        world.trouble(&asked.method)
    };
    let visit = Visit { request, asked, door };
    match trouble {
        None => visit.reply(&mut inner.world()),
        Some(Trouble::LateRequest(by)) => later_reply(inner, visit, by, None).await,
        Some(Trouble::LateWork(by)) => {
            let accepted = visit.accept(&mut inner.world());
            match accepted {
                Ok(caller) => later_reply(inner, visit, by, Some(caller)).await,
                Err(fault) => respond(Err(fault)),
            }
        }
        Some(trouble) => visit.troubled(&mut inner.world(), trouble),
    }
}

/// Returns a page of a web server or a proxy.
pub(super) fn page(status: u16, title: &str) -> Reply {
    const TYPE: &str = "<!DOCTYPE HTML PUBLIC \"-//W3C//DTD HTML 4.01//EN\" \"http://www.w3.org/TR/html4/strict.dtd\">";
    let body = format!(
        "{TYPE}\n<html><head>\n<title>{status} {title}</title>\n</head><body>\n<h1>{title}</h1>\n</body></html>\n"
    );
    Reply::new(status).with_header("content-type", "text/html; charset=iso-8859-1").with_body(body)
}

fn respond(answer: Answer) -> Reply {
    let response = match answer {
        Ok(value) => xmlrpc::Response::Value(value),
        Err(fault) => xmlrpc::Response::Fault { code: fault.code, text: fault.text },
    };
    match response.encode() {
        Ok(body) => {
            Reply::new(200).with_header("koji-version", VERSION).with_header("content-type", "text/xml").with_body(body)
        }
        Err(error) => plain(500, error.to_string()),
    }
}

/// Carries out a request later, also if the client disconnects meanwhile.
async fn later_reply(inner: &Arc<Inner>, visit: Visit, by: Duration, accepted: Option<Caller>) -> Reply {
    let (done, wait) = oneshot::channel();
    let due = later(inner.clock.now(), by);
    {
        let alarm = inner.clone();
        let mut late = locked(&inner.late);
        late.visits.push(LateVisit { due, visit, accepted, done });
        late.alarms.spawn(async move {
            alarm.clock.sleep(by).await;
            drop(alarm.world());
        });
    }
    wait.await.unwrap_or_else(|_| Reply::new(200).cut_after(0))
}

/// One call, from its arrival to its answer.
#[derive(Debug)]
struct Visit {
    request: Request,
    asked: xmlrpc::Request,
    door: Door,
}

impl Visit {
    fn accept(&self, world: &mut World) -> Result<Caller, Fault> {
        authenticate(world, &self.request, &self.asked.method, self.door)
    }

    fn work(&self, world: &mut World, caller: &Caller) -> Answer {
        call(world, caller, &self.asked.method, &self.asked.params)
    }

    /// Accepts the call and carries it out, at once.
    fn reply(&self, world: &mut World) -> Reply {
        respond(self.accept(world).and_then(|caller| self.work(world, &caller)))
    }

    fn troubled(&self, world: &mut World, trouble: Trouble) -> Reply {
        match trouble {
            Trouble::RequestLost => Reply::new(200).cut_after(0),
            Trouble::AnswerLost => self.reply(world).cut_after(0),
            Trouble::AnswerCut(bytes) => self.reply(world).cut_after(bytes),
            Trouble::Truncated(bytes) => {
                let mut reply = self.reply(world);
                reply.body.truncate(bytes);
                reply
            }
            Trouble::Stalls => self.reply(world).stall_after(0),
            Trouble::Html => page(200, "Down for maintenance"),
            Trouble::Status(status) => page(status, "Proxy Error"),
            Trouble::StatusAfter(status) => {
                drop(self.reply(world));
                page(status, "Proxy Error")
            }
            Trouble::Fault(code, text) => respond(Err(Fault::new(code, text))),
            Trouble::Offline => respond(Err(Fault::new(1014, "database outage"))),
            Trouble::Expired => {
                world.sessions.expire();
                self.reply(world)
            }
            Trouble::Twice => {
                drop(self.reply(world));
                self.reply(world)
            }
            // These are handled before this function is called.
            Trouble::LateRequest(_) | Trouble::LateWork(_) => self.reply(world),
        }
    }
}

fn source_of(nvr: &Nvr) -> String {
    format!("git://src.example.com/containers/{}#{}", nvr.name(), nvr.version())
}

/// Adds a finished container build, perhaps with the task that made it, and its parent.
fn add_image(
    world: &mut World,
    nvr: &Nvr,
    target: &str,
    (task, parent): (Option<i64>, Option<&Nvr>),
    fate: &Fate,
) -> Result<i64, String> {
    let (source, parent) = (source_of(nvr), parent.map(ToString::to_string));
    let origin = Origin {
        nvr: nvr.clone(),
        image: true,
        source: Some(&source),
        task,
        owner: 1,
        parent: parent.as_deref(),
        target,
        started: world.now,
        completed: world.now,
    };
    world.builds.add(origin, fate)
}
