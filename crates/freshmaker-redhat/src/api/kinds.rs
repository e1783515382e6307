//! Names with their numbers, and the service itself.

use super::Api;
use super::answer::{Answer, Failure, told};
use super::filters::KINDS;
use super::place::Number;
use crate::messages::RESERVED_KINDS;
use freshmaker::rebuild::PublicBuildState;
use freshmaker_web::axum::extract::State;
use freshmaker_web::axum::http::StatusCode;
use freshmaker_web::axum::response::Response;
use serde_json::{Value, json};

/// A list of names with their numbers.
#[derive(Clone, Copy, Debug)]
pub(super) enum Names {
    EventTypes,
    BuildTypes,
    BuildStates,
}

impl Names {
    /// The name in paths, and that of one of them in errors.
    pub(super) fn called(self) -> (&'static str, &'static str) {
        match self {
            Self::EventTypes => ("event-types", "event type"),
            Self::BuildTypes => ("build-types", "build type"),
            Self::BuildStates => ("build-states", "build state"),
        }
    }

    fn items(self) -> Vec<(i64, &'static str)> {
        match self {
            Self::EventTypes => RESERVED_KINDS.iter().map(|(number, name)| (i64::from(*number), *name)).collect(),
            Self::BuildTypes => {
                let named = KINDS.iter().map(|kind| (kind.number(), crate::forms::type_name(*kind)));
                named.filter_map(|(number, name)| Some((i64::from(number), name?))).collect()
            }
            Self::BuildStates => {
                PublicBuildState::ALL.iter().map(|state| (i64::from(state.number()), state.as_str())).collect()
            }
        }
    }

    pub(super) fn list(self) -> Response {
        let items: Vec<Value> = self.items().into_iter().map(item).collect();
        told(StatusCode::OK, &json!({ "items": items }))
    }

    pub(super) fn one(self, Number(id): Number) -> Answer {
        let found = self.items().into_iter().find(|(number, _)| *number == id);
        let missing = || Failure::not_found(&format!("No such {} found.", self.called().1));
        found.map(|found| told(StatusCode::OK, &item(found))).ok_or_else(missing)
    }
}

fn item((id, name): (i64, &str)) -> Value {
    json!({ "id": id, "name": name })
}

/// The version, and how callers log in.
pub(super) async fn about(State(api): State<Api>) -> Response {
    let authentication = &api.web.config().authentication;
    let backend = match (authentication.none, &authentication.oidc, &authentication.proxy) {
        (true, _, _) => "noauth",
        (_, Some(_), _) => "openidc",
        (_, None, Some(_)) => "proxy",
        (_, None, None) => "tokens",
    };
    told(StatusCode::OK, &json!({ "auth_backend": backend, "version": env!("CARGO_PKG_VERSION") }))
}
