//! Dispatches calls by the name of their method.

use super::values::{Answer, Fault, field, int, list, text};
use super::world::World;
use super::{builds, session, tasks};
use crate::koji::xmlrpc::Value;
use freshmaker::time::Timestamp;

/// The imitated release of Koji.
pub(super) const VERSION: &str = "1.35.3";

/// Methods that change something, and so use up the number of their call.
const WRITES: [&str; 14] = [
    "build",
    "buildContainer",
    "buildImage",
    "cancelBuild",
    "cancelTask",
    "cancelTaskChildren",
    "cancelTaskFull",
    "exclusiveSession",
    "logout",
    "logoutChild",
    "makeTask",
    "resubmitTask",
    "sharedSession",
    "subsession",
];

/// The path that a request came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Door {
    /// `/kojihub`.
    Front,
    /// `/kojihub/ssllogin`, where the web server asks for a client certificate.
    Certificate,
}

/// The caller, as identified when the request was accepted.
#[derive(Clone, Debug)]
pub(super) struct Caller {
    pub(super) user: Option<i64>,
    pub(super) session: Option<i64>,
    pub(super) callnum: Option<i64>,
    /// The expired session that a login may renew.
    pub(super) expired: Option<i64>,
    pub(super) door: Door,
    /// When the request was accepted.
    pub(super) arrived: Timestamp,
}

impl Caller {
    pub(super) fn nobody(arrived: Timestamp, door: Door) -> Self {
        Self { user: None, session: None, callnum: None, expired: None, door, arrived }
    }
}

/// Carries out a call as one transaction.
pub(super) fn call(world: &mut World, caller: &Caller, method: &str, params: &[Value]) -> Answer {
    world.changed = false;
    let answer = dispatch(world, caller, method, params);
    if world.changed && answer.is_ok() {
        world.sessions.commit(caller);
    }
    answer
}

fn dispatch(world: &mut World, caller: &Caller, method: &str, params: &[Value]) -> Answer {
    let answer = match method {
        "getAPIVersion" => Ok(int(1)),
        "getKojiVersion" => Ok(text(VERSION)),
        "hello" => Ok(text("Hello World")),
        "echo" => Ok(list(params.to_vec())),
        "multiCall" => multicall(world, caller, params),
        _ => session::call(world, caller, method, params)
            .or_else(|| tasks::call(world, caller, method, params))
            .or_else(|| builds::call(world, caller, method, params))
            .unwrap_or_else(|| Err(Fault::generic(format!("Invalid method: {method}")))),
    };
    world.changed |= answer.is_ok() && WRITES.contains(&method);
    answer
}

fn multicall(world: &mut World, caller: &Caller, params: &[Value]) -> Answer {
    let [Value::Array(calls)] = params else {
        return Err(Fault::new(
            1019,
            "ModXMLRPCRequestHandler.multiCall() missing 1 required positional argument: 'calls'",
        ));
    };
    let mut answers = Vec::new();
    for call in calls {
        let answer = match (field(call, "methodName"), field(call, "params")) {
            (Value::Text(method), Value::Array(params)) => match world.fault_within(method) {
                Some(fault) => Err(fault),
                None => dispatch(world, caller, method, params),
            },
            (Value::Nil, _) => Err(Fault::new(1, "methodName")),
            (_, _) => Err(Fault::new(1, "params")),
        };
        answers.push(match answer {
            Ok(value) => list([value]),
            Err(fault) => super::values::with(fault.value(), [("traceback", super::values::texts(["Traceback\n"]))]),
        });
    }
    Ok(list(answers))
}
