//! Names with their numbers, and the service itself.

use super::Api;
use super::address::Number;
use super::answer::{Answer, Failure, told};
use super::filters::KINDS;
use crate::messages::RESERVED_KINDS;
use freshmaker::rebuild::PublicBuildState;
use freshmaker_web::axum::extract::State;
use freshmaker_web::axum::http::StatusCode;
use freshmaker_web::axum::response::Response;
use serde::Serialize;
use utoipa::ToSchema;

/// A list of names with their numbers.
#[derive(Clone, Copy, Debug)]
enum Names {
    EventTypes,
    BuildTypes,
    BuildStates,
}

impl Names {
    /// What one of them is called in errors.
    fn called(self) -> &'static str {
        match self {
            Self::EventTypes => "event type",
            Self::BuildTypes => "build type",
            Self::BuildStates => "build state",
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

    fn list(self) -> Response {
        told(StatusCode::OK, &Named { items: self.items().into_iter().map(Name::of).collect() })
    }

    fn one(self, Number(id): Number) -> Answer {
        let found = self.items().into_iter().find(|(number, _)| *number == id);
        let missing = || Failure::not_found(&format!("No such {} found.", self.called()));
        found.map(|found| told(StatusCode::OK, &Name::of(found))).ok_or_else(missing)
    }
}

/// A name with its number.
#[derive(Debug, Serialize, ToSchema)]
struct Name {
    id: i64,
    name: &'static str,
}

impl Name {
    fn of((id, name): (i64, &'static str)) -> Self {
        Self { id, name }
    }
}

/// All names of a sort.
#[derive(Debug, Serialize, ToSchema)]
struct Named {
    items: Vec<Name>,
}

/// The two routes of a list of names.
macro_rules! named {
    ($names:expr, $list:ident at $path:literal, $one:ident at $path_of_one:literal, $what:literal) => {
        #[doc = concat!("All ", $what, ".")]
        #[utoipa::path(
                                                    get,
                                                    path = $path,
                                                    tag = "names",
                                                    responses((status = 200, description = "All of them", body = Named))
                                                )]
        pub(super) async fn $list() -> Response {
            $names.list()
        }

        #[doc = concat!("One of the ", $what, ".")]
        #[utoipa::path(
                                                    get,
                                                    path = $path_of_one,
                                                    tag = "names",
                                                    params(("id" = i64, Path, minimum = 0, description = "Its number")),
                                                    responses((status = 200, description = "Its name", body = Name))
                                                )]
        pub(super) async fn $one(number: Number) -> Answer {
            $names.one(number)
        }
    };
}

named!(Names::EventTypes, event_types at "/event-types/", event_type at "/event-types/{id}", "kinds of events");
named!(Names::BuildTypes, build_types at "/build-types/", build_type at "/build-types/{id}", "kinds of artifacts");
named!(Names::BuildStates, build_states at "/build-states/", build_state at "/build-states/{id}", "states of builds");

/// The service itself.
#[derive(Debug, Serialize, ToSchema)]
struct About {
    /// How callers log in: `noauth`, `openidc`, `proxy` or `tokens`.
    auth_backend: &'static str,
    /// The version of this service.
    version: &'static str,
}

/// The version, and how callers log in.
#[utoipa::path(
    get,
    path = "/about/",
    tag = "service",
    responses((status = 200, description = "Both", body = About))
)]
pub(super) async fn about(State(api): State<Api>) -> Response {
    let authentication = &api.web.config().authentication;
    let auth_backend = match (authentication.none, &authentication.oidc, &authentication.proxy) {
        (true, _, _) => "noauth",
        (_, Some(_), _) => "openidc",
        (_, None, Some(_)) => "proxy",
        (_, None, None) => "tokens",
    };
    told(StatusCode::OK, &About { auth_backend, version: env!("CARGO_PKG_VERSION") })
}
