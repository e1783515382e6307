use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// One value of a build parameter.
///
/// In serde formats a parameter is the plain value: `true`, `7`, `"main"` or `["a", "b"]`.
/// Fractions, dates, tables and lists of anything but texts are refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Parameter {
    /// Yes or no.
    Flag(bool),
    /// A whole number of 64 bits, with sign.
    Number(i64),
    /// A text.
    Text(String),
    /// A set of texts. If two requests share a build, the build gets the union of their sets.
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

/// The parameters that a build is submitted with: a map from names to typed values.
///
/// The core gives no parameter a meaning. Key names and the meaning of values belong to the adapter
/// of the build system; its documentation lists them.
///
/// Two requests for one artifact can share a build if their parameters [unite](Self::unite). If
/// they do not, each gets its own build. For each name:
///
/// * only one of the two has it: the value is kept;
/// * both have sets: the union of the two sets;
/// * both have the same value: that value;
/// * anything else: the two requests cannot share a build.
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
    /// Sets a parameter, replacing an earlier value of the same name.
    pub fn insert(&mut self, name: impl Into<String>, value: impl Into<Parameter>) {
        self.0.insert(name.into(), value.into());
    }

    /// Returns the value of a parameter; `None` if it is not set.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Parameter> {
        self.0.get(name)
    }

    /// Returns whether there are no parameters.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns all parameters, ordered by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Parameter)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value))
    }

    /// Returns parameters that are right for both requests: sets are united, other values must be
    /// equal.
    ///
    /// A parameter that only one of the two has is kept.
    ///
    /// # Errors
    /// The name of the first parameter (by name) whose two values cannot be used by one build: two
    /// different values, or a set and a single value.
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
