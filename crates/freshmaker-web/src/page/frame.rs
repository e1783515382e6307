//! The parts around the contents of every page: its head, the navigation, and the link to its JSON.

use super::links;
use super::text;
use super::visit::Visit;
use crate::auth::Allowed;

/// The places that a page may belong to, in the order of the navigation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    Overview,
    Events,
    Builds,
    Queue,
    Failures,
    DeadLetters,
    Plans,
    Report,
    Audit,
    Health,
    /// None of them.
    Other,
}

impl Place {
    /// Those of the navigation, with their paths from the root and their names.
    const ALL: [(Self, &'static str, &'static str); 10] = [
        (Self::Overview, "", "Overview"),
        (Self::Events, "events", "Events"),
        (Self::Builds, "builds", "Builds"),
        (Self::Queue, "queue", "Queue"),
        (Self::Failures, "failures", "Failures"),
        (Self::DeadLetters, "dead-letters", "Dead letters"),
        (Self::Plans, "plans/new", "Preview"),
        (Self::Report, "report", "Report"),
        (Self::Audit, "audit", "Audit log"),
        (Self::Health, "health", "Health"),
    ];

    fn allowed(self) -> Allowed {
        match self {
            Self::Audit => Allowed::ADMINS,
            Self::Plans => Allowed::REBUILDERS,
            _ => Allowed::Readers,
        }
    }
}

/// One place in the navigation.
#[derive(Clone, Debug)]
pub(crate) struct Way {
    pub(crate) path: &'static str,
    pub(crate) name: &'static str,
    pub(crate) is_here: bool,
}

/// What is around the contents of a page.
#[derive(Clone, Debug)]
pub(crate) struct Frame {
    pub(crate) title: String,
    pub(crate) root: String,
    pub(crate) ways: Vec<Way>,
    /// The name of the caller.
    pub(crate) who: Option<String>,
    /// The path and query to sign in and come back, for who can.
    pub(crate) sign_in: Option<String>,
    pub(crate) can_sign_out: bool,
    /// The same as JSON: the path from the root.
    pub(crate) json: Option<String>,
    pub(crate) curl: String,
    /// The position of the stream of changes behind which this page is out of date.
    pub(crate) after: Option<i64>,
    /// After how many seconds the script looks again, without a change.
    pub(crate) every: u32,
    /// What a form has just done.
    pub(crate) told: Option<&'static str>,
    host: String,
    has_login: bool,
}

/// The frame of a page that only shows a problem.
#[derive(Clone, Debug)]
pub(crate) struct BareFrame<'a> {
    pub(crate) title: &'a str,
    pub(crate) root: &'a str,
}

impl Frame {
    pub(super) fn new(visit: &Visit, place: Place, title: &str) -> Self {
        let config = visit.web.config();
        let principal = visit.caller.principal.as_ref();
        let ways = Place::ALL.into_iter().filter(|(way, ..)| visit.may(way.allowed()));
        let ways = ways.map(|(way, path, name)| Way { path, name, is_here: way == place });
        Self {
            title: text::plain(title),
            root: visit.root.clone(),
            ways: ways.collect(),
            who: principal.map(|principal| principal.name.clone()),
            sign_in: (principal.is_none() && config.authentication.tokens).then(|| sign_in(visit)),
            can_sign_out: crate::auth::session_of(&visit.headers).is_some(),
            json: None,
            curl: String::new(),
            after: None,
            every: 0,
            told: visit.told.as_deref().and_then(super::acts::told),
            host: visit.host().to_owned(),
            has_login: !config.authentication.none,
        }
    }

    /// The same with the path of its JSON form, from the root.
    pub(crate) fn json(mut self, path: impl Into<String>) -> Self {
        let path = path.into();
        let login = if self.has_login { "-H \"authorization: Bearer $TOKEN\" " } else { "" };
        // What is copied into a shell has no quotes of its own.
        let host: String = self.host.chars().filter(|c| c.is_ascii_alphanumeric() || ".:-[]".contains(*c)).collect();
        self.curl = format!("curl {login}'{host}/{path}'");
        self.json = Some(path);
        self
    }

    /// The same, which follows all changes from this position on.
    pub(crate) fn live(self, after: i64) -> Self {
        Self { after: Some(after), every: 30, ..self }
    }

    /// The same, of which not every change is announced: the script looks again after this time.
    pub(crate) fn every(self, seconds: u32) -> Self {
        Self { every: seconds, ..self }
    }
}

/// The way to sign in and come back to this page.
fn sign_in(visit: &Visit) -> String {
    match visit.with_query(&visit.path) {
        here if here.is_empty() || visit.path == "sign-in" => "sign-in".to_owned(),
        here => format!("sign-in?to={}", links::encoded(&here)),
    }
}
