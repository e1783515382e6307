use super::Principal;
use crate::problem::{Problem, ProblemCode};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;
use utoipa::ToSchema;

/// What somebody may do, under the names that Freshmaker has for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Role {
    /// Everything.
    Admin,
    /// Ask for rebuilds, cancel and retry them.
    ManualRebuilder,
    /// Ask for named builds outside an advisory (`POST /api/2/async-builds/`).
    FreshmakerAsyncRebuilders,
}

impl Role {
    /// All roles.
    pub const ALL: &'static [Self] = &[Self::Admin, Self::ManualRebuilder, Self::FreshmakerAsyncRebuilders];

    /// Returns the name, as in configurations.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Admin => "admin",
            Self::ManualRebuilder => "manual_rebuilder",
            Self::FreshmakerAsyncRebuilders => "freshmaker_async_rebuilders",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Who has a role.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[non_exhaustive]
pub struct Members {
    /// Names of users, as the proxy or the issuer tells them. No patterns.
    pub users: BTreeSet<String>,
    /// Names of groups: everybody in one of them has the role.
    pub groups: BTreeSet<String>,
}

/// Who may read: in a file `"public"`, `"authenticated"` or the name of a role.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
#[non_exhaustive]
pub enum ReadAccess {
    /// Everybody who can reach the service.
    Public,
    /// Everybody who is recognized.
    #[default]
    Authenticated,
    /// Who has this role, or is an administrator.
    Role(Role),
}

impl TryFrom<String> for ReadAccess {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl FromStr for ReadAccess {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let role = Role::ALL.iter().find(|role| role.as_str() == text);
        match (text, role) {
            ("public", _) => Ok(Self::Public),
            ("authenticated", _) => Ok(Self::Authenticated),
            (_, Some(role)) => Ok(Self::Role(*role)),
            _ => Err(format!("{text:?} is not one of public, authenticated and the names of roles")),
        }
    }
}

/// Who may use a route. Every route is registered with one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Allowed {
    /// Everybody, always: nothing there tells of what is rebuilt.
    Everybody,
    /// Who may [read](crate::config::Access::read).
    Readers,
    /// Who may read [metrics](crate::config::Access::metrics).
    Metrics,
    /// Who has one of these roles.
    Roles(&'static [Role]),
}

impl Allowed {
    /// Those who administer the service.
    pub const ADMINS: Self = Self::Roles(&[Role::Admin]);

    /// Those who may ask for rebuilds and decide about them.
    pub const REBUILDERS: Self = Self::Roles(&[Role::Admin, Role::ManualRebuilder]);

    /// Those who may ask for something; for what is decided by what they ask for, see
    /// [`RequestRule`](crate::RequestRule).
    pub const REQUESTERS: Self = Self::Roles(&[Role::Admin, Role::ManualRebuilder, Role::FreshmakerAsyncRebuilders]);

    /// Checks that this principal is allowed.
    ///
    /// # Errors
    /// 401 if the caller is not known, else 403.
    pub(crate) fn check(self, access: &crate::config::Access, principal: Option<&Principal>) -> Result<(), Problem> {
        match self {
            Self::Everybody => Ok(()),
            Self::Readers => access.read.check(principal),
            Self::Metrics => access.metrics.check(principal),
            Self::Roles(roles) => must_have(roles, principal),
        }
    }
}

impl ReadAccess {
    fn check(self, principal: Option<&Principal>) -> Result<(), Problem> {
        match self {
            Self::Public => Ok(()),
            Self::Authenticated => must_be_known(principal).map(drop),
            Self::Role(role) => must_have(&[role, Role::Admin], principal),
        }
    }
}

fn must_be_known(principal: Option<&Principal>) -> Result<&Principal, Problem> {
    principal.ok_or_else(|| Problem::new(ProblemCode::Unauthenticated, "this needs a login"))
}

fn must_have(roles: &[Role], principal: Option<&Principal>) -> Result<(), Problem> {
    let principal = must_be_known(principal)?;
    if roles.iter().any(|role| principal.roles.contains(role)) {
        return Ok(());
    }
    let names: Vec<_> = roles.iter().map(|role| role.as_str()).collect();
    let text = format!("{} has none of the roles that may do this: {}", principal.name, names.join(", "));
    Err(Problem::new(ProblemCode::Forbidden, text))
}
