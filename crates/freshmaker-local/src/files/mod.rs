//! A catalog read from files: a tree of Containerfiles, a TOML manifest, or both.
//!
//! An image that a Containerfile names is not always a parent. The graph then has a note, with one
//! of these codes:
//!
//! | code | meaning |
//! |---|---|
//! | `pinned_by_digest` | the file names the image by its digest, whose content never changes |
//! | `unused_stage` | it is only used by a stage that the image does not need |
//! | `onbuild` | it is used only when another image is built from this one |

mod catalog;
pub mod containerfile;
mod glob;
mod instruction;
mod lines;
pub mod manifest;
mod mount;
mod reader;
mod rules;
pub mod tree;
mod tree_table;
mod words;

pub use catalog::{FilesCatalog, FilesError};

use std::fmt;
use std::path::PathBuf;

/// A file or a reference that was left out or cannot be read, and why.
///
/// ```
/// use freshmaker_local::files::Problem;
///
/// let problem = Problem {
///     path: "app/Dockerfile".into(),
///     line: Some(3),
///     text: "ARG BASE has no default".into(),
/// };
/// assert_eq!(problem.to_string(), "app/Dockerfile:3: ARG BASE has no default");
/// ```
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Problem {
    /// The file or directory.
    pub path: PathBuf,
    /// The line, counted from 1; `None` if the problem concerns the whole file.
    pub line: Option<usize>,
    /// What is wrong, as a sentence.
    pub text: String,
}

impl Problem {
    fn at(path: PathBuf, problem: &containerfile::Problem) -> Self {
        Self { path, line: Some(problem.line), text: problem.text.clone() }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:", self.path.display())?;
        if let Some(line) = self.line {
            write!(f, "{line}:")?;
        }
        write!(f, " {}", self.text)
    }
}
