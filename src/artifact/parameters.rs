use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// One value a build is called with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Parameter {
    /// Yes or no.
    Flag(bool),
    /// A whole number.
    Number(i64),
    /// A text.
    Text(String),
    /// A set of texts: the sets of two requests unite.
    Set(BTreeSet<String>),
}

impl From<bool> for Parameter {
    fn from(value: bool) -> Self {
        Self::Flag(value)
    }
}

impl From<i64> for Parameter {
    fn from(value: i64) -> Self {
        Self::Number(value)
    }
}

impl From<&str> for Parameter {
    fn from(value: &str) -> Self {
        Self::Text(value.to_owned())
    }
}

impl From<String> for Parameter {
    fn from(value: String) -> Self {
        Self::Text(value)
    }
}

impl<const N: usize> From<[&str; N]> for Parameter {
    fn from(values: [&str; N]) -> Self {
        Self::Set(values.into_iter().map(str::to_owned).collect())
    }
}

/// What a build is called with: a typed map whose key names belong to the adapter of the build system.
///
/// Two requests for one artifact can share a build if their parameters [unite](Self::unite).
///
/// ```
/// use freshmaker::artifact::Parameters;
///
/// let mut first = Parameters::default();
/// first.insert("repositories", ["a"]);
/// let mut second = Parameters::default();
/// second.insert("repositories", ["b"]);
/// let both = first.unite(&second)?;
/// assert_eq!(both.get("repositories"), Some(&["a", "b"].into()));
///
/// second.insert("branch", "stable");
/// first.insert("branch", "main");
/// assert_eq!(first.unite(&second), Err("branch".to_owned()));
/// # Ok::<(), String>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Parameters(BTreeMap<String, Parameter>);

impl Parameters {
    /// Sets a parameter, replacing an earlier value.
    pub fn insert(&mut self, name: impl Into<String>, value: impl Into<Parameter>) {
        self.0.insert(name.into(), value.into());
    }

    /// The value of a parameter.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Parameter> {
        self.0.get(name)
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// All of them, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Parameter)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value))
    }

    /// The parameters that serve both requests: sets unite, scalars must be equal.
    ///
    /// # Errors
    /// The name of the first parameter whose two values cannot be served by one build.
    pub fn unite(&self, other: &Self) -> Result<Self, String> {
        let mut united = self.clone();
        for (name, theirs) in &other.0 {
            match (united.0.get_mut(name), theirs) {
                (None, theirs) => {
                    united.0.insert(name.clone(), theirs.clone());
                }
                (Some(Parameter::Set(ours)), Parameter::Set(theirs)) => ours.extend(theirs.iter().cloned()),
                (Some(ours), theirs) if ours == theirs => {}
                (Some(_), _) => return Err(name.clone()),
            }
        }
        Ok(united)
    }
}
