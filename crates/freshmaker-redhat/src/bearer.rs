//! Tokens of OpenID Connect, given or in a file.

use freshmaker::backend::{Error, Remedy, Result};
use freshmaker_net::Secret;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

/// Largest size of a token, in bytes.
const TOKEN_BYTES_MAX: usize = 64 << 10;

/// Where the token of a client comes from.
#[derive(Debug)]
pub(crate) enum Bearer {
    /// There is none.
    None,
    /// It is configured.
    Given(Secret),
    /// It is in a file, with the contents when it was last read.
    File(PathBuf, Mutex<Option<Secret>>),
}

impl Bearer {
    pub(crate) fn file(path: &Path) -> Self {
        Self::File(path.to_owned(), Mutex::default())
    }

    /// Returns the token, for a service that errors name.
    pub(crate) fn token(&self, service: &str) -> Result<Option<Secret>> {
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

    /// Says that the service has refused the token. The next request reads the file again, because
    /// it may contain a new token by then.
    pub(crate) fn refused(&self) {
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
