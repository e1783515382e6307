//! Sessions as a hub stores them: who may call, and in which order.

use super::calls::{Caller, Door};
use super::values::{Answer, Args, Fault, NO_ROWS, int, list, or_nil, quoted, record, seconds, text, time};
use super::world::World;
use crate::koji::xmlrpc::Value;
use freshmaker::time::Timestamp;
use freshmaker_testing::http::Request;
use std::collections::BTreeMap;

/// Number of letters of a session key after the id of the user.
const KEY_LETTERS: usize = 19;

#[derive(Clone, Debug)]
pub(super) struct User {
    pub(super) id: i64,
    pub(super) name: String,
    pub(super) password: Option<String>,
    pub(super) admin: bool,
}

#[derive(Clone, Debug)]
pub(super) struct Session {
    id: i64,
    user: i64,
    key: String,
    authtype: i64,
    /// Number of the last call that changed something.
    callnum: Option<i64>,
    master: Option<i64>,
    exclusive: bool,
    expired: bool,
    pub(super) closed: Option<Timestamp>,
    started: Timestamp,
    updated: Timestamp,
    renewed: Option<Timestamp>,
}

#[derive(Debug, Default)]
pub(super) struct Sessions {
    sessions: BTreeMap<i64, Session>,
    random: Random,
}

/// Source of session keys. The keys need not be secret here, only different, and the same in every
/// run.
#[derive(Debug)]
struct Random(fastrand::Rng);

impl Default for Random {
    fn default() -> Self {
        Self(fastrand::Rng::with_seed(1))
    }
}

/// Returns the credentials of a request, from the headers, or from the query as clients before 1.30
/// send them.
fn credentials(request: &Request) -> Result<Option<(i64, String, Option<i64>)>, Fault> {
    let query: BTreeMap<_, _> = request.query.split('&').filter_map(|pair| pair.split_once('=')).collect();
    let field = |header: &str, name: &str| request.header(header).or_else(|| query.get(name).copied());
    let Some(id) = field("koji-session-id", "session-id") else { return Ok(None) };
    let refused = |what: &str| Fault::new(1002, format!("Invalid {what}"));
    let id = id.parse().map_err(|_| refused("session or bad credentials"))?;
    let key = field("koji-session-key", "session-key").unwrap_or_default().to_owned();
    let callnum = field("koji-session-callnum", "callnum");
    let callnum = callnum.map(str::parse).transpose().map_err(|_| refused("callnum"))?;
    Ok(Some((id, key, callnum)))
}

impl Sessions {
    pub(super) fn get(&self, id: i64) -> Option<&Session> {
        self.sessions.get(&id)
    }

    pub(super) fn open(&self) -> Vec<i64> {
        self.sessions.values().filter(|session| session.closed.is_none()).map(|session| session.id).collect()
    }

    /// Makes all sessions expire, so that clients have to renew them.
    pub(super) fn expire(&mut self) {
        self.sessions.values_mut().for_each(|session| session.expired = true);
    }

    /// Stores the number of a call that changed something.
    pub(super) fn commit(&mut self, caller: &Caller) {
        if let (Some(id), Some(callnum)) = (caller.session, caller.callnum)
            && let Some(session) = self.sessions.get_mut(&id)
        {
            session.callnum = Some(callnum);
        }
    }

    fn create(&mut self, user: i64, authtype: i64, master: Option<i64>, now: Timestamp) -> Value {
        let id = self.sessions.last_key_value().map_or(1, |(id, _)| id + 1);
        let key = self.key(user);
        let answer = granted(id, &key);
        let session = Session {
            id,
            user,
            key,
            authtype,
            callnum: None,
            master,
            exclusive: false,
            expired: false,
            closed: None,
            started: now,
            updated: now,
            renewed: None,
        };
        self.sessions.insert(id, session);
        answer
    }

    fn key(&mut self, user: i64) -> String {
        let letters: String = (0..KEY_LETTERS).map(|_| self.random.0.alphanumeric()).collect();
        format!("{user}-{letters}")
    }

    fn renew(&mut self, id: i64, now: Timestamp) -> Option<Value> {
        let user = self.sessions.get(&id)?.user;
        let key = self.key(user);
        let session = self.sessions.get_mut(&id)?;
        (session.expired, session.renewed, session.updated) = (false, Some(now), now);
        session.key.clone_from(&key);
        Some(granted(id, &key))
    }

    fn close(&mut self, id: i64, now: Timestamp) {
        for session in self.sessions.values_mut().filter(|it| it.id == id || it.master == Some(id)) {
            session.closed = session.closed.or(Some(now));
            session.exclusive = false;
        }
    }
}

fn granted(id: i64, key: &str) -> Value {
    record([("session-id", int(id)), ("session-key", text(key)), ("header-auth", Value::Bool(true))])
}

/// Identifies the caller by the rules of the hub: checks the key first, then the expiry, then the
/// number of the call.
pub(super) fn authenticate(world: &mut World, request: &Request, method: &str, door: Door) -> Result<Caller, Fault> {
    let now = world.now;
    let mut caller = Caller::nobody(now, door);
    let Some((id, key, callnum)) = credentials(request)? else { return Ok(caller) };
    let session = world.sessions.sessions.get_mut(&id);
    let closed = session.as_ref().and_then(|session| session.closed);
    let Some(session) = session.filter(|session| session.key == key && closed.is_none()) else {
        return Err(Fault::new(1002, "Invalid session or bad credentials"));
    };
    let logs_in = matches!(method, "login" | "sslLogin");
    if session.expired && !logs_in {
        return Err(Fault::new(1007, format!("session \"{id}\" has expired")));
    }
    if let (Some(callnum), Some(last)) = (callnum, session.callnum) {
        if last > callnum {
            return Err(Fault::new(1008, format!("{last} > {callnum} (session {id})")));
        }
        if last == callnum {
            let text = format!("unable to retry call {callnum} (method {method}) for session {id}");
            return Err(Fault::new(1009, text));
        }
    }
    if session.expired {
        caller.expired = Some(id);
        return Ok(caller);
    }
    session.updated = now;
    (caller.user, caller.session, caller.callnum) = (Some(session.user), Some(id), callnum);
    Ok(caller)
}

/// Answers the calls about sessions; `None` for other methods.
pub(super) fn call(world: &mut World, caller: &Caller, method: &str, params: &[Value]) -> Option<Answer> {
    let bind = |names, required| Args::bind(method, names, required, params.to_vec());
    Some(match method {
        "login" => {
            bind(&["user", "password", "opts", "renew", "exclusive"], 2).and_then(|it| login(world, caller, &it))
        }
        "sslLogin" => bind(&["proxyuser", "proxyauthtype", "renew", "exclusive"], 0)
            .and_then(|args| ssl_login(world, caller, &args)),
        "logout" => bind(&["session_id"], 0).and_then(|args| logout(world, caller, &args)),
        "logoutChild" => bind(&["session_id"], 1).and_then(|args| {
            let child = args.id("session_id")?;
            if world.sessions.get(child).is_some_and(|session| session.master == caller.session) {
                world.sessions.close(child, world.now);
            }
            Ok(Value::Nil)
        }),
        "exclusiveSession" => bind(&["force"], 0).and_then(|args| exclusive(world, caller, args.flag("force"))),
        "sharedSession" => logged_in(caller).map(|(_, id)| {
            if let Some(session) = world.sessions.sessions.get_mut(&id) {
                session.exclusive = false;
            }
            Value::Nil
        }),
        "subsession" => logged_in(caller).map(|(user, id)| {
            let session = world.sessions.get(id);
            let (authtype, above) = session.map_or((0, None), |session| (session.authtype, session.master));
            world.sessions.create(user, authtype, above.or(Some(id)), world.now)
        }),
        "getSessionInfo" => Ok(or_nil(caller.session.and_then(|id| world.sessions.get(id)), describe)),
        "getLoggedInUser" => Ok(or_nil(caller.user.and_then(|id| world.user(id)), |user| {
            let (user, authtype) = (described(user), caller.session.and_then(|id| world.sessions.get(id)));
            let authtype = int(authtype.map_or(0, |session| session.authtype));
            super::values::with(user, [("authtype", authtype), ("krb_principal", Value::Nil)])
        })),
        "getUser" => {
            bind(&["userInfo", "strict", "krb_princs", "groups"], 0).and_then(|args| user(world, caller, &args))
        }
        "getUserPerms" | "getPerms" => {
            Ok(list(caller.user.and_then(|id| world.user(id)).filter(|user| user.admin).map(|_| text("admin"))))
        }
        _ => return None,
    })
}

fn logged_in(caller: &Caller) -> Result<(i64, i64), Fault> {
    caller.user.zip(caller.session).ok_or_else(|| Fault::new(1002, "Not logged in"))
}

/// Returns the fault for a permission that the caller does not have.
pub(super) fn denied(world: &World, caller: &Caller, permission: &str) -> Fault {
    let who = caller.user.and_then(|id| world.user(id));
    let who = who.map_or("user not logged in".to_owned(), |user| format!("logged in as {}", user.name));
    Fault::new(1004, format!("{permission} permission required ({who})"))
}

fn login(world: &mut World, caller: &Caller, args: &Args) -> Answer {
    const REFUSED: &str = "invalid username or password";
    let (name, password) = (args.text("user")?, args.text("password").map_err(|_| Fault::new(1002, REFUSED))?);
    let user = world.users.iter().find(|user| user.name == name && user.password.as_deref() == Some(password));
    let user = user.ok_or_else(|| Fault::new(1002, REFUSED))?.id;
    grant(world, caller, args, user, 0)
}

fn ssl_login(world: &mut World, caller: &Caller, args: &Args) -> Answer {
    let name = match (caller.door, &world.certificate) {
        (Door::Certificate, Some(name)) => name,
        (Door::Certificate | Door::Front, _) => return Err(Fault::new(1002, "could not verify client: None")),
    };
    let user = world.users.iter().find(|user| user.name == *name);
    let user = user.ok_or_else(|| Fault::new(1002, format!("Unknown user: {name}")))?.id;
    grant(world, caller, args, user, 2)
}

fn grant(world: &mut World, caller: &Caller, args: &Args, user: i64, authtype: i64) -> Answer {
    if caller.user.is_some() {
        return Err(Fault::new(1002, "Already logged in"));
    }
    let now = world.now;
    let renewed = caller.expired.filter(|_| args.flag("renew")).and_then(|id| world.sessions.renew(id, now));
    Ok(renewed.unwrap_or_else(|| world.sessions.create(user, authtype, None, now)))
}

fn logout(world: &mut World, caller: &Caller, args: &Args) -> Answer {
    let (user, own) = logged_in(caller)?;
    let id = args.optional_id("session_id")?.unwrap_or(own);
    let owned = world.sessions.get(id).is_some_and(|session| session.user == user);
    if !owned && !world.is_admin(caller) {
        // The real hub intends to answer that only administrators or the owner may do this, but
        // fails earlier, because its database query returns no rows.
        return Err(Fault::generic(NO_ROWS));
    }
    world.sessions.close(id, world.now);
    Ok(Value::Nil)
}

fn exclusive(world: &mut World, caller: &Caller, force: bool) -> Answer {
    let (user, id) = logged_in(caller)?;
    let taken = |it: &&Session| it.user == user && it.exclusive && it.closed.is_none() && it.id != id;
    if let Some(other) = world.sessions.sessions.values().find(taken).map(|session| session.id) {
        if !force {
            return Err(Fault::new(1006, "Cannot get exclusive session"));
        }
        world.sessions.close(other, world.now);
    }
    if let Some(session) = world.sessions.sessions.get_mut(&id) {
        session.exclusive = true;
    }
    Ok(Value::Nil)
}

fn user(world: &World, caller: &Caller, args: &Args) -> Answer {
    let found = match args.get("userInfo") {
        Value::Nil => caller.user.and_then(|id| world.user(id)),
        Value::Text(name) => world.users.iter().find(|user| user.name == *name),
        _ => world.user(args.id("userInfo")?),
    };
    match found {
        Some(user) => Ok(described(user)),
        None if args.flag("strict") => Err(Fault::generic(format!("No such user: {}", quoted(args.get("userInfo"))))),
        None => Ok(Value::Nil),
    }
}

fn described(user: &User) -> Value {
    record([
        ("id", int(user.id)),
        ("name", text(&user.name)),
        ("status", int(0)),
        ("usertype", int(0)),
        ("krb_principals", list([])),
    ])
}

fn describe(session: &Session) -> Value {
    record([
        ("authtype", int(session.authtype)),
        ("callnum", or_nil(session.callnum, int)),
        ("exclusive", if session.exclusive { Value::Bool(true) } else { Value::Nil }),
        ("expired", Value::Bool(session.expired)),
        ("master", or_nil(session.master, int)),
        ("renew_time", or_nil(session.renewed, time)),
        ("renew_ts", or_nil(session.renewed, seconds)),
        ("start_time", time(session.started)),
        ("start_ts", seconds(session.started)),
        ("update_time", time(session.updated)),
        ("update_ts", seconds(session.updated)),
        ("user_id", int(session.user)),
    ])
}
