//! Web hooks of other services: a registry that reports pushes, and a git forge that reports
//! commits. Both are hints: the service looks at registry or tree at once, and uses nothing else of
//! the request. The limits of requests (`freshmaker_web::Limits`: a body of 1 MiB and so on) apply
//! to them too.

use crate::config::Hooks;
use freshmaker_web::axum::Router;
use freshmaker_web::axum::http::{HeaderMap, StatusCode};
use freshmaker_web::axum::routing::post;
use freshmaker_web::{Allowed, Problem, ProblemCode, Web, WholeBody};
use sha2::{Digest, Sha256};
use std::fs;
use std::io;
use std::sync::Arc;
use subtle::ConstantTimeEq;
use tokio::sync::Notify;

/// The length of a block of SHA-256, in bytes.
const BLOCK: usize = 64;
/// The headers with a signature of the body: GitHub's, which Forgejo sends as well, and Gitea's.
const SIGNATURES: [&str; 2] = ["x-hub-signature-256", "x-gitea-signature"];
/// The header with GitLab's secret.
const SECRET: &str = "x-gitlab-token";

/// What hooks wake.
#[derive(Clone, Debug, Default)]
pub(crate) struct Wakes {
    /// The registries are asked.
    pub(crate) registries: Arc<Notify>,
    /// The tree is fetched, and looked at.
    pub(crate) tree: Arc<Notify>,
}

/// Returns the routes.
///
/// # Errors
/// If the secret of git's hooks cannot be read, or is too short to be one.
pub(crate) fn routes(web: &Web, wakes: &Wakes, hooks: &Hooks) -> io::Result<Router> {
    let registries = Arc::clone(&wakes.registries);
    let pushed = post(move |_: WholeBody| async move {
        registries.notify_one();
        StatusCode::ACCEPTED
    });
    let router = Router::new().route("/hooks/registry", web.allow(Allowed::REBUILDERS, pushed));
    let Some(secret) = secret(hooks)? else { return Ok(router) };
    let tree = Arc::clone(&wakes.tree);
    let committed = post(move |headers: HeaderMap, WholeBody(body): WholeBody| async move {
        if !is_signed(&headers, &body, secret.as_bytes()) {
            return Err(Problem::new(ProblemCode::Unauthenticated, "the body has no signature of ours"));
        }
        tree.notify_one();
        Ok(StatusCode::ACCEPTED)
    });
    Ok(router.route("/hooks/git", committed))
}

/// Reads the secret of git's hooks; `None` if there is none.
pub(crate) fn secret(hooks: &Hooks) -> io::Result<Option<Arc<str>>> {
    let Some(file) = &hooks.git_secret_file else { return Ok(None) };
    let secret = fs::read_to_string(file)
        .map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", file.display())))?;
    let secret: Arc<str> = secret.trim().into();
    if secret.len() < 16 {
        return Err(io::Error::other(format!("{}: a secret has at least 16 characters", file.display())));
    }
    Ok(Some(secret))
}

/// Whether a body is signed with this secret, or comes with it.
fn is_signed(headers: &HeaderMap, body: &[u8], secret: &[u8]) -> bool {
    let get = |name: &str| headers.get(name).map(|value| value.as_bytes());
    let signature = SIGNATURES.iter().find_map(|name| get(name));
    match (signature, get(SECRET)) {
        (Some(signature), _) => {
            let sent = signature.strip_prefix(b"sha256=").unwrap_or(signature);
            let wanted: String = hmac(secret, body).iter().map(|byte| format!("{byte:02x}")).collect();
            sent.ct_eq(wanted.as_bytes()).into()
        }
        (None, Some(sent)) => sent.ct_eq(secret).into(),
        (None, None) => false,
    }
}

/// HMAC with SHA-256 (RFC 2104).
fn hmac(key: &[u8], message: &[u8]) -> [u8; 32] {
    let mut block = [0_u8; BLOCK];
    if key.len() > BLOCK {
        block[..32].copy_from_slice(&Sha256::digest(key));
    } else {
        block[..key.len()].copy_from_slice(key);
    }
    let keyed = |pad: u8| Sha256::new_with_prefix(block.map(|byte| byte ^ pad));
    let inner = keyed(0x36).chain_update(message).finalize();
    keyed(0x5c).chain_update(inner).finalize().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    #[test]
    fn the_code_is_that_of_rfc_4231() {
        // Test cases 1, 2 and 6 of <https://www.rfc-editor.org/rfc/rfc4231#section-4>.
        for (key, message, wanted) in [
            (&[0x0b_u8; 20][..], &b"Hi There"[..], "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7"),
            (
                b"Jefe",
                b"what do ya want for nothing?",
                "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843",
            ),
            (
                &[0xaa; 131],
                b"Test Using Larger Than Block-Size Key - Hash Key First",
                "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54",
            ),
        ] {
            assert_eq!(hex(&hmac(key, message)), wanted);
        }
    }

    #[test]
    fn only_what_is_signed_counts() {
        // The example of GitHub's documentation, "Validating webhook deliveries".
        let (secret, body) = (b"It's a Secret to Everybody", b"Hello, World!");
        let right = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17";
        let signed = |name: &'static str, value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(name, value.parse().unwrap());
            is_signed(&headers, body, secret)
        };
        assert!(signed("x-hub-signature-256", right));
        assert!(signed("x-gitea-signature", right.strip_prefix("sha256=").unwrap()));
        assert!(signed("x-gitlab-token", "It's a Secret to Everybody"));
        assert!(!signed("x-hub-signature-256", &right.replace('7', "8")));
        assert!(!signed("x-gitlab-token", "it is not"));
        assert!(!signed("x-other", right));
    }
}
