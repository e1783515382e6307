use super::native;
use super::tls::{self, TlsFiles};
use freshmaker::backend::{Error, Remedy, Result, with_causes};
use futures_util::StreamExt;
use std::fmt;
use std::time::Duration;

/// How a client reaches one HTTP service: address, certificates and bounds.
///
/// ```
/// use freshmaker_net::HttpConfig;
/// use std::time::Duration;
///
/// let mut config = HttpConfig::new("https://koji.example.org/kojihub");
/// config.tls.ca = Some("/etc/pki/example-ca.pem".into());
/// config.timeout = Duration::from_secs(20);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct HttpConfig {
    /// Base URL of the service, without a slash at the end.
    pub url: String,
    /// Certificates of the trusted authorities, and of the client.
    pub tls: TlsFiles,
    /// Uses TLS by OpenSSL, at most version 1.2. Needed for servers that ask for the client's
    /// certificate only after they have seen the path of the request. Needs the feature
    /// `native-tls`. Default: `false`, which means rustls.
    pub native_tls: bool,
    /// Longest time to establish a connection. Default: 10 s.
    pub connect_timeout: Duration,
    /// Longest time from the request to the end of the answer. Default: 60 s.
    pub timeout: Duration,
    /// Largest accepted answer, in bytes after decompression. Default: 64 MiB.
    pub bytes_max: usize,
}

impl HttpConfig {
    /// Creates a configuration for a base URL, with default bounds: 10 s to connect, 60 s for a
    /// request, 64 MiB for an answer. Slashes at the end of the URL are removed.
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: url.into().trim_end_matches('/').to_owned(),
            tls: TlsFiles::default(),
            native_tls: false,
            connect_timeout: Duration::from_secs(10),
            timeout: Duration::from_secs(60),
            bytes_max: 64 << 20,
        }
    }

    /// Returns whether requests can be sent to this URL.
    ///
    /// # Errors
    /// [`Remedy::Unsupported`] if it is not a URL with the scheme `http` or `https`, a host, and
    /// a possible port, or has a user or a password, which errors and logs would show. The error
    /// does not show them.
    pub fn check_url(url: &str) -> Result<()> {
        let refused = |text: &dyn fmt::Display| Err(Error::new(Remedy::Unsupported, shown(url), text));
        // The parser takes out line breaks and what is around a URL, and encodes other blanks.
        if url.contains(|c: char| c.is_whitespace() || c.is_control()) {
            let text = "a URL has no blanks and line breaks: put comments on lines of their own";
            return Err(Error::new(Remedy::Unsupported, shown(url).escape_debug().to_string(), text));
        }
        match reqwest::Url::parse(url) {
            Err(error) => refused(&format_args!("this is not a URL: {error}")),
            Ok(parsed) if !matches!(parsed.scheme(), "http" | "https") => refused(&"this is not an HTTP URL"),
            Ok(parsed) if has_user(&parsed) => refused(
                &"a user or a password in a URL would be shown in logs: take them out, and use the settings of the login",
            ),
            Ok(parsed) if parsed.port() == Some(0) => refused(&"no server has the port 0"),
            Ok(_) => Ok(()),
        }
    }
}

fn has_user(url: &reqwest::Url) -> bool {
    !url.username().is_empty() || url.password().is_some()
}

/// Returns a URL without everything in which a password may be.
fn shown(url: &str) -> String {
    match (reqwest::Url::parse(url), url.rsplit_once('@')) {
        (Ok(parsed), _) if !has_user(&parsed) => url.to_owned(),
        (_, Some((before, after))) => {
            let scheme = before.split_once("://").map_or(String::new(), |(scheme, _)| format!("{scheme}://"));
            format!("{scheme}…@{after}")
        }
        (_, None) => url.to_owned(),
    }
}

/// Whether a call changes state, which decides what a failure means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call {
    /// The call changes nothing: it may be sent again.
    Read,
    /// The call changes state: it may have taken effect as soon as its bytes could have left this
    /// machine.
    Write,
}

impl Call {
    /// Returns the remedy for a missing answer, or an answer from something other than the service:
    /// `Unavailable` for reads, `Unclear` for writes.
    pub fn unanswered(self) -> Remedy {
        match self {
            Self::Read => Remedy::Unavailable,
            Self::Write => Remedy::Unclear,
        }
    }

    /// Returns the remedy for an answer that cannot be parsed: `Corrupt` for reads, `Unclear` for
    /// writes.
    pub fn answered_with_nonsense(self) -> Remedy {
        match self {
            Self::Read => Remedy::Corrupt,
            Self::Write => Remedy::Unclear,
        }
    }
}

/// A complete answer.
#[derive(Debug)]
pub struct Reply {
    /// The HTTP status.
    pub status: u16,
    /// The headers.
    pub headers: reqwest::header::HeaderMap,
    /// The body, decompressed.
    pub body: Vec<u8>,
}

/// Most bytes that are reserved for a body because of its announced length.
const BELIEVED_MAX: usize = 4 << 20;

/// An HTTP client with bounds. It never sends a request twice by itself and follows no redirection.
#[derive(Clone, Debug)]
pub struct Http {
    client: reqwest::Client,
    bytes_max: usize,
    /// What a larger answer means; `None` if it means the same as a missing one.
    larger: Option<Remedy>,
}

impl Http {
    /// Creates a client. Nothing is sent.
    ///
    /// # Errors
    /// [`Remedy::Unsupported`] if no request can be sent to the URL, a certificate file cannot be
    /// used, or `native_tls` is set without the feature `native-tls`.
    pub fn new(config: &HttpConfig) -> Result<Self> {
        HttpConfig::check_url(&config.url)?;
        let builder = reqwest::Client::builder();
        let builder = if config.native_tls {
            native::configure(builder, config)?
        } else {
            builder.tls_backend_preconfigured(tls::client_config(&config.url, &config.tls)?)
        };
        let client = builder
            .connect_timeout(config.connect_timeout)
            .timeout(config.timeout)
            .redirect(reqwest::redirect::Policy::none())
            .retry(reqwest::retry::never())
            .user_agent(concat!("freshmaker/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|error| Error::new(Remedy::Unsupported, &config.url, with_causes(&error)))?;
        Ok(Self { client, bytes_max: config.bytes_max, larger: None })
    }

    /// Returns the same client, with the same connections, for answers of at most `bytes_max`
    /// bytes. The error about a larger answer has the remedy `larger`.
    #[must_use]
    pub fn bounded(&self, bytes_max: usize, larger: Remedy) -> Self {
        Self { client: self.client.clone(), bytes_max, larger: Some(larger) }
    }

    /// Returns a request to complete and pass to [`send`](Self::send).
    pub fn request(&self, method: reqwest::Method, url: &str) -> reqwest::RequestBuilder {
        self.client.request(method, url)
    }

    /// Sends a request and reads the whole answer, whatever its status. `place` names the service
    /// and the call in errors.
    ///
    /// # Errors
    /// * [`Remedy::Unsupported`] if the request cannot be built, which no repetition changes: its
    ///   URL or a header is invalid.
    /// * [`Remedy::Unavailable`] if there is no connection: nothing was sent.
    /// * [`Call::unanswered`] if the answer does not arrive in time, breaks off, or has more than
    ///   [`HttpConfig::bytes_max`] bytes. For the last, [`bounded`](Self::bounded) sets another
    ///   remedy.
    ///
    /// # Cancel safety
    /// If the future is dropped, the request may have been sent. Treat a dropped [`Call::Write`]
    /// like [`Remedy::Unclear`].
    pub async fn send(&self, request: reqwest::RequestBuilder, call: Call, place: &str) -> Result<Reply> {
        let response = request.send().await.map_err(|error| {
            let remedy = match () {
                () if error.is_builder() => Remedy::Unsupported,
                // Without a connection nothing can have been sent.
                () if error.is_connect() => Remedy::Unavailable,
                () => call.unanswered(),
            };
            Error::new(remedy, place, with_causes(&error.without_url()))
        })?;
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let announced = response.content_length().and_then(|length| usize::try_from(length).ok()).unwrap_or(0);
        // The announced length may be wrong: reserve only an amount that is cheap if it is.
        let mut body = Vec::with_capacity(announced.min(self.bytes_max).min(BELIEVED_MAX));
        let mut parts = response.bytes_stream();
        while let Some(part) = parts.next().await {
            let part = part.map_err(|error| {
                let text =
                    format!("the answer broke off after {} bytes: {}", body.len(), with_causes(&error.without_url()));
                Error::new(call.unanswered(), place, text)
            })?;
            if body.len() + part.len() > self.bytes_max {
                let text = format!("the answer has more than the {} bytes that are allowed", self.bytes_max);
                return Err(Error::new(self.larger.unwrap_or(call.unanswered()), place, text));
            }
            body.extend_from_slice(&part);
        }
        Ok(Reply { status, headers, body })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_in_a_url_is_refused_and_not_shown() {
        for url in [
            "https://me:pw@koji.example.org/kojihub",
            "https://me:p/w@koji.example.org/kojihub",
            "https://me:p@w@koji.example.org/kojihub",
            "https:me:pw@koji.example.org/kojihub",
            "https://pw@koji.example.org",
            "https://me:pw@koji.example.org:9x/",
            "ftp://me:pw@koji.example.org",
        ] {
            let error = HttpConfig::check_url(url).unwrap_err();
            let said = format!("{error} {error:?}");
            assert!(said.contains("…@koji.example.org"), "{said}");
            assert!(!said.contains("pw") && !said.contains("p/w") && !said.contains("p@w"), "{said}");
        }
        HttpConfig::check_url("https://koji.example.org/@scope/x").unwrap();
    }

    #[test]
    fn blanks_in_a_url_are_refused() {
        for url in
            ["https://h/kojihub ; c", "https://h/kojihub # c", "https://h/\nkojihub", " https://h", "https://h\t"]
        {
            let said = HttpConfig::check_url(url).unwrap_err().to_string();
            assert!(said.contains("a URL has no blanks") && !said.contains(['\n', '\t']), "{said}");
        }
    }
}
