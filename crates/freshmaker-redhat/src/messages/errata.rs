//! Events and parsers for the Errata Tool.

use super::body::{Fault, Form, Shape};
use super::field::Field;
use super::{parsed, read};
use freshmaker::event::{Event, Message, Parsed, Parser, Severity};
use serde::{Deserialize, Serialize};

/// Says that an advisory has changed its status.
///
/// The message does not say what the advisory is for (bundles, Flatpaks); a handler must ask.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AdvisoryStatusChanged {
    /// The advisory.
    pub errata_id: i64,
    /// Its status before; `None` if the message does not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// Its status according to the message, for example `SHIPPED_LIVE`. Messages can be late, so
    /// the advisory may have another status by now.
    pub to: String,
    /// The name of the advisory, for example `RHSA-2041:1234-01`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub advisory: Option<String>,
    /// The title. For a security advisory it begins with the severity and a colon: `Important: …`.
    /// The [severity of the event](freshmaker::Severity) is that word, or moderate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub synopsis: Option<String>,
    /// The product.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub product: Option<String>,
    /// The release.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub release: Option<String>,
    /// The types of its contents: `rpm`, `docker`, `module`. `None` in older messages.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content_types: Option<Vec<String>>,
}

impl AdvisoryStatusChanged {
    /// Says that an advisory has shipped, and no more. So it is always the same for one advisory.
    #[must_use]
    pub fn shipped(errata_id: i64) -> Self {
        let to = "SHIPPED_LIVE".to_owned();
        let (advisory, synopsis, product, release) = (None, None, None, None);
        Self { errata_id, from: None, to, advisory, synopsis, product, release, content_types: None }
    }
}

impl Event for AdvisoryStatusChanged {
    const KIND: &'static str = "errata.advisory-status-changed";

    fn search_key(&self) -> Option<String> {
        Some(self.errata_id.to_string())
    }

    fn severity(&self) -> Severity {
        let word = self.synopsis.as_deref().and_then(|synopsis| synopsis.split_once(':')).map(|(word, _)| word);
        match word {
            Some("Critical") => Severity::Critical,
            Some("Important") => Severity::Important,
            Some("Low") => Severity::Low,
            _ => Severity::Moderate,
        }
    }
}

/// Says that a build of an advisory for modules was signed, while the advisory has the status `QE`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModuleAdvisorySigned {
    /// The advisory.
    pub errata_id: i64,
    /// Its status.
    pub status: String,
    /// The types of its contents. `None` in older messages.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content_types: Option<Vec<String>>,
    /// The build that was signed, if the message has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nvr: Option<String>,
}

impl Event for ModuleAdvisorySigned {
    const KIND: &'static str = "errata.module-advisory-signed";

    fn search_key(&self) -> Option<String> {
        Some(self.errata_id.to_string())
    }
}

/// Says that all packages of an advisory are signed, so that images can be built with them.
///
/// No message of a service says this:
/// [`AnnounceAdvisories`](crate::handlers::AnnounceAdvisories) finds it out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AdvisoryRpmsSigned {
    /// The advisory.
    pub errata_id: i64,
    /// Its name with its revision, for example `RHSA-2018:2838-08`.
    pub advisory: String,
    /// Whether the advisory has shipped, so that its packages are available to everyone.
    #[serde(default)]
    pub released: bool,
    /// Its security impact in lower case: `critical`, `important`, `moderate`, `low`, `none`, or
    /// empty. The [severity of the event](freshmaker::Severity) is the same, or moderate.
    #[serde(default)]
    pub security_impact: String,
}

impl Event for AdvisoryRpmsSigned {
    const KIND: &'static str = "errata.advisory-rpms-signed";

    fn search_key(&self) -> Option<String> {
        Some(self.errata_id.to_string())
    }

    fn severity(&self) -> Severity {
        match self.security_impact.as_str() {
            "critical" => Severity::Critical,
            "important" => Severity::Important,
            "low" => Severity::Low,
            _ => Severity::Moderate,
        }
    }
}

/// Reads changes of the status of advisories, and makes [`AdvisoryStatusChanged`].
pub const STATUS: Parser = Parser::new(&["errata.activity.status"], &[AdvisoryStatusChanged::KIND], status);

/// Reads signed builds of advisories, and makes [`ModuleAdvisorySigned`] if the status is `QE` and
/// the types of contents include `module` or are unknown.
pub const SIGNING: Parser = Parser::new(&["errata.activity.signing"], &[ModuleAdvisorySigned::KIND], signing);

const STATUS_SHAPE: Shape = Shape::Fields(&[
    ("errata_id", Shape::Whole),
    ("from", Shape::Whole),
    ("to", Shape::Whole),
    ("errata_status", Shape::Whole),
    ("fulladvisory", Shape::Whole),
    ("synopsis", Shape::Whole),
    ("product", Shape::Whole),
    ("release", Shape::Whole),
    ("content_types", Shape::Whole),
]);

fn status(message: &Message) -> Parsed {
    read(message, &STATUS_SHAPE, |body| {
        let root = Field::root(body);
        let to = root.at("to");
        let to = if to.is_there() || !root.at("errata_status").is_there() {
            to.owned()
        } else {
            root.at("errata_status").owned()
        };
        parsed(
            message,
            &AdvisoryStatusChanged {
                errata_id: root.at("errata_id").id()?,
                from: root.at("from").optional_text()?,
                to: to?,
                advisory: root.at("fulladvisory").optional_text()?,
                synopsis: root.at("synopsis").optional_text()?,
                product: root.at("product").optional_text()?,
                release: root.at("release").optional_text()?,
                content_types: content_types(&root.at("content_types"), body.form)?,
            },
        )
    })
}

const SIGNING_SHAPE: Shape = Shape::Fields(&[
    ("errata_id", Shape::Whole),
    ("errata_status", Shape::Whole),
    ("content_types", Shape::Whole),
    ("to", Shape::Whole),
]);

fn signing(message: &Message) -> Parsed {
    read(message, &SIGNING_SHAPE, |body| {
        let root = Field::root(body);
        let status = root.at("errata_status").text()?;
        let content_types = match body.form {
            Form::Headers => content_types(&root.at("content_types"), body.form)?,
            Form::Plain | Form::Wrapped => Some(root.at("content_types").texts()?),
        };
        let modules = content_types.as_ref().is_none_or(|types| types.iter().any(|name| name == "module"));
        if status != "QE" || !modules {
            return Ok(None);
        }
        let errata_id = root.at("errata_id").id()?;
        let (status, nvr) = (status.to_owned(), root.at("to").optional_text()?);
        parsed(message, &ModuleAdvisorySigned { errata_id, status, content_types, nvr })
    })
}

/// Reads a list of texts; in a header, the words of the text.
fn content_types(field: &Field<'_, '_>, form: Form) -> Result<Option<Vec<String>>, Fault> {
    field.optional(|field| match form {
        Form::Plain | Form::Wrapped => field.texts(),
        Form::Headers => {
            let words = field.text()?.split(|c: char| !c.is_alphanumeric() && c != '_' && c != '-');
            Ok(words.filter(|word| !word.is_empty()).map(str::to_owned).collect())
        }
    })
}
