use super::Secret;
use freshmaker::backend::{Error, Remedy, Result};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

/// Largest size of a token, in bytes.
const TOKEN_BYTES_MAX: usize = 64 << 10;

/// Where the bearer token of a client comes from.
///
/// ```
/// use freshmaker_net::{Bearer, Secret};
///
/// let bearer = Bearer::Given(Secret::new("t0ken"));
/// assert_eq!(bearer.token("farm")?.unwrap().expose(), "t0ken");
/// assert_eq!(Bearer::None.token("farm")?, None);
/// # Ok::<(), freshmaker::backend::Error>(())
/// ```
#[derive(Debug)]
pub enum Bearer {
    /// There is none.
    None,
    /// It is configured.
    Given(Secret),
    /// It is in a file, with the contents when it was last read.
    File(PathBuf, Mutex<Option<Secret>>),
}

impl Bearer {
    /// Creates the source of a token that is in a file. The file is read when the token is needed.
    #[must_use]
    pub fn file(path: &Path) -> Self {
        Self::File(path.to_owned(), Mutex::default())
    }

    /// Returns the token, for a service that errors name.
    ///
    /// # Errors
    /// [`Unavailable`](Remedy::Unavailable) if the file cannot be read, or contains no token.
    pub fn token(&self, service: &str) -> Result<Option<Secret>> {
        match self {
            Self::None => Ok(None),
            Self::Given(token) => Ok(Some(token.clone())),
            Self::File(path, known) => {
                let mut known = known.lock().unwrap_or_else(PoisonError::into_inner);
                if known.is_none() {
                    *known = Some(read(service, path)?);
                }
                Ok(known.clone())
            }
        }
    }

    /// Notes that the service has refused the token. The next request reads the file again, because
    /// it may contain a new token by then.
    pub fn refused(&self) {
        if let Self::File(_, known) = self {
            *known.lock().unwrap_or_else(PoisonError::into_inner) = None;
        }
    }
}

fn read(service: &str, path: &Path) -> Result<Secret> {
    let failed = |text: &dyn std::fmt::Display| {
        Error::new(Remedy::Unavailable, format!("{service}: token file {}", path.display()), text)
    };
    let text = std::fs::read_to_string(path).map_err(|error| failed(&error))?;
    let token = text.trim();
    if token.is_empty() || token.len() > TOKEN_BYTES_MAX || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(failed(&"there is no token in it"));
    }
    Ok(Secret::new(token))
}
