use super::pattern::whole;
use super::{ConversionError, Difference, Note};
use serde_json::{Map, Value, json};

/// Deepest nesting of rules that is read.
const NESTING_MAX: usize = 12;

/// Which of the two lists a rule is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum List {
    Allow,
    Block,
}

impl List {
    pub(super) const BOTH: [Self; 2] = [Self::Allow, Self::Block];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Allow => "HANDLER_BUILD_ALLOWLIST",
            Self::Block => "HANDLER_BUILD_BLOCKLIST",
        }
    }

    pub(super) fn of(name: &str) -> Result<Self, ConversionError> {
        let found = Self::BOTH.into_iter().find(|list| list.name() == name);
        found.ok_or_else(|| {
            let known = Self::BOTH.map(Self::name).join(", ");
            ConversionError::new(name, format!("not read; there are {known}"))
        })
    }
}

/// What is known of an event before its images are, there.
const EARLY: [&str; 2] = ["dry_run", "manual"];

/// How a fact of the Python service is called here.
enum Fact {
    /// By this name; the note says what else is different.
    Known(&'static str, Option<&'static str>),
    /// It is not known here.
    Unknown,
    /// It is of no image, but says where images are searched.
    Search,
    /// It is known neither there nor here.
    Nonsense,
}

fn fact(name: &str) -> Fact {
    let same = |name| Fact::Known(name, None);
    match name {
        "advisory_name" => same("advisory_name"),
        "advisory_state" => same("advisory_state"),
        "advisory_security_impact" => same("advisory_security_impact"),
        "advisory_product_short_name" => same("advisory_product_short_name"),
        "advisory_has_hightouch_bug" => same("advisory_has_hightouch_bug"),
        "dry_run" => same("dry_run"),
        "manual" => same("manual"),
        "image_name" => same("image_name"),
        "image_version" => same("image_version"),
        "image_release" => same("image_release"),
        "advisory_release_name" => Fact::Known("advisory_release", Some("the same")),
        "image_published_repo" => Fact::Known("image_repository", Some("one value for each repository")),
        "name" => Fact::Known("image_name", Some("the same")),
        "branch" => Fact::Known("parameter.git_branch", Some("the same")),
        "advisory_is_major_incident" => {
            Fact::Known("advisory_has_hightouch_bug", Some("Bugzilla alone is asked about incidents, not Jira"))
        }
        "advisory_content_types" => {
            Fact::Known("advisory_content_types", Some("each type is compared alone, not all of them in one text"))
        }
        "published" => Fact::Search,
        "advisory_is_compliance_priority" | "advisory_is_contract_priority" => Fact::Unknown,
        _ => Fact::Nonsense,
    }
}

/// Reads the rules of one list, and notes differences.
pub(super) struct Rules {
    pub(super) list: List,
    pub(super) notes: Vec<Note>,
}

impl Rules {
    pub(super) fn note(&mut self, place: &str, difference: Difference, text: String) {
        self.notes.push(Note { place: place.to_owned(), difference, text });
    }

    /// Reads a whole rule; `None` if it never matches there.
    pub(super) fn top(&mut self, place: &str, rule: &Value) -> Result<Option<Value>, ConversionError> {
        let read = self.rule(place, rule, 0)?;
        if read.is_some() && self.list == List::Allow && !may_match_early(rule) {
            let text =
                "no advisory passes this rule there, because its images are not known yet; here it allows images";
            self.note(place, Difference::MissingFact, text.to_owned());
        }
        Ok(read)
    }

    fn rule(&mut self, place: &str, rule: &Value, depth: usize) -> Result<Option<Value>, ConversionError> {
        if depth > NESTING_MAX {
            return Err(ConversionError::new(place, format!("rules are nested more than {NESTING_MAX} deep")));
        }
        match rule {
            Value::Object(conditions) => self.conditions(place, conditions),
            Value::Array(items) if items.is_empty() => {
                self.note(place, Difference::NeverMatches, "an empty list matches nothing, and is left out".to_owned());
                Ok(None)
            }
            Value::Array(items) => match items.as_slice() {
                [Value::String(operator), Value::Array(rules)] if operator == "any" || operator == "all" => {
                    self.several(place, operator, rules, depth)
                }
                _ => Err(ConversionError::new(place, "expected [\"any\", [rules]] or [\"all\", [rules]]")),
            },
            _ => Err(ConversionError::new(place, "expected a rule: an object, or a list with any or all")),
        }
    }

    fn several(
        &mut self,
        place: &str,
        operator: &str,
        rules: &[Value],
        depth: usize,
    ) -> Result<Option<Value>, ConversionError> {
        let mut read = Vec::new();
        for (number, rule) in rules.iter().enumerate() {
            read.push(self.rule(&format!("{place}.{operator}[{number}]"), rule, depth + 1)?);
        }
        let all = operator == "all";
        if all && read.is_empty() {
            // Python's `all` of nothing is true.
            return Err(ConversionError::new(place, "a list of no rules matches everything; say what it is to match"));
        }
        let never = if all { read.iter().any(Option::is_none) } else { read.iter().all(Option::is_none) };
        if never {
            self.note(place, Difference::NeverMatches, "it matches nothing, and is left out".to_owned());
            return Ok(None);
        }
        let read: Vec<_> = read.into_iter().flatten().collect();
        Ok(Some(json!({ operator: read })))
    }

    fn conditions(&mut self, place: &str, conditions: &Map<String, Value>) -> Result<Option<Value>, ConversionError> {
        let mut read = Map::new();
        for (name, value) in conditions {
            let place = format!("{place}.{name}");
            let (ours, different) = match fact(name) {
                Fact::Known(ours, different) => (ours, different),
                Fact::Nonsense => {
                    let text = format!("no event has the fact `{name}` there either; the condition is left out");
                    self.note(&place, Difference::UnknownFact, text);
                    continue;
                }
                Fact::Search => {
                    self.note_search(&place, value)?;
                    continue;
                }
                Fact::Unknown if self.list == List::Allow => {
                    let text = format!("the fact `{name}` is not known here; the rule allows nothing, and is left out");
                    self.note(&place, Difference::UnknownFact, text);
                    return Ok(None);
                }
                Fact::Unknown => {
                    let text = format!("the fact `{name}` is not known here; the rule blocks without this condition");
                    self.note(&place, Difference::UnknownFact, text);
                    continue;
                }
            };
            if let Some(different) = different {
                let text = format!("the fact `{name}` is `{ours}` here: {different}");
                self.note(&place, Difference::Renamed, text);
            }
            let patterns = self.patterns(&place, value)?;
            match patterns.as_slice() {
                [] if value.is_null() => {}
                [] => {
                    self.note(
                        &place,
                        Difference::NeverMatches,
                        "a list without expressions matches nothing".to_owned(),
                    );
                    return Ok(None);
                }
                // Two names there may be one here; each must hold.
                _ if read.contains_key(ours) => {
                    return Err(ConversionError::new(place, format!("`{ours}` is asked for twice in one rule")));
                }
                [one] => drop(read.insert(ours.to_owned(), json!(one))),
                several => drop(read.insert(ours.to_owned(), json!(several))),
            }
        }
        if read.is_empty() {
            let blocks = self.list == List::Block && conditions.keys().any(|name| matches!(fact(name), Fact::Unknown));
            if blocks {
                let text = "the rule asks only for facts that are not known here";
                return Err(ConversionError::new(place, text));
            }
            self.note(place, Difference::NeverMatches, "no condition is left; there it matches nothing".to_owned());
            return Ok(None);
        }
        self.note_missing(place, conditions);
        Ok(Some(Value::Object(read)))
    }

    /// Notes what the condition `published` means there.
    fn note_search(&mut self, place: &str, value: &Value) -> Result<(), ConversionError> {
        let published = self.patterns(place, value)?.iter().any(|pattern| pattern == "true");
        // A rule that blocks published ones says the contrary.
        let published = published == (self.list == List::Allow);
        let searched = if published {
            "published repositories and exceptions are searched, as always here"
        } else {
            "all repositories are searched, while here only published ones and exceptions are"
        };
        let text = format!("`published` is no fact of an image there; it only says that {searched}");
        self.note(place, Difference::UnknownFact, format!("{text}; the condition is left out"));
        Ok(())
    }

    /// Notes what a rule means there for events that do not have all its facts.
    fn note_missing(&mut self, place: &str, conditions: &Map<String, Value>) {
        let has = |wanted: &dyn Fn(&str) -> bool| conditions.keys().any(|name| wanted(name));
        let advisory = has(&|name| name.starts_with("advisory_"));
        let image = has(&|name| name.starts_with("image_"));
        let early = has(&|name| EARLY.contains(&name));
        if self.list == List::Block && (advisory || early) && image {
            let text = "there it blocks the whole event, before its images are known; here it blocks these images";
            self.note(place, Difference::MissingFact, text.to_owned());
        }
        if early && (advisory || image) {
            let text = "there it also matches requests for named images, which have no advisory, by the rest of its \
                        conditions; here it does not";
            self.note(place, Difference::MissingFact, text.to_owned());
        }
    }

    /// Reads the expressions of a condition.
    fn patterns(&mut self, place: &str, value: &Value) -> Result<Vec<String>, ConversionError> {
        let values = match value {
            Value::Array(values) => values.as_slice(),
            Value::Null => &[],
            one => std::slice::from_ref(one),
        };
        let mut patterns = Vec::new();
        for value in values {
            let given = match value {
                Value::String(text) if text == "True" || text == "False" => text.to_lowercase(),
                Value::String(text) => text.clone(),
                Value::Bool(flag) => flag.to_string(),
                Value::Number(number) => number.to_string(),
                _ => return Err(ConversionError::new(place, "expected an expression, or a list of them")),
            };
            if matches!(given.as_str(), "true" | "false") {
                patterns.push(given);
                continue;
            }
            let pattern = whole(place, &given)?;
            if pattern != given {
                let text = format!("`{given}` matches the beginning there, and is `{pattern}` here");
                self.note(place, Difference::Beginning, text);
            }
            patterns.push(pattern);
        }
        Ok(patterns)
    }
}

/// Whether a rule may match an advisory there, before its images are known: a rule of which no fact
/// is known matches nothing.
fn may_match_early(rule: &Value) -> bool {
    match rule {
        Value::Object(conditions) => {
            conditions.keys().any(|name| name.starts_with("advisory_") || EARLY.contains(&name.as_str()))
        }
        Value::Array(items) => match items.as_slice() {
            [Value::String(operator), Value::Array(rules)] if operator == "all" => rules.iter().all(may_match_early),
            [_, Value::Array(rules)] => rules.iter().any(may_match_early),
            _ => false,
        },
        _ => false,
    }
}
