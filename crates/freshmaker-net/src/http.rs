use super::native;
use super::tls::{self, PemFiles};
use freshmaker::backend::{Error, Remedy, Result, with_causes};
use futures_util::StreamExt;
use serde::Deserialize;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

/// How a service is reached over HTTP.
///
/// ```
/// use freshmaker_net::HttpConfig;
/// use std::time::Duration;
///
/// let mut config = HttpConfig::new("https://koji.example.org/kojihub");
/// config.ca = Some("/etc/pki/example-ca.pem".into());
/// config.timeout = Duration::from_secs(20);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct HttpConfig {
    /// Where it is, without a slash at the end.
    pub url: String,
    /// Certificates (PEM) of the authorities that are trusted; those of the system, if not set.
    pub ca: Option<PathBuf>,
    /// Certificate and private key (PEM, in one file) to show to the server.
    pub client_cert: Option<PathBuf>,
    /// TLS by OpenSSL, at most 1.2, for servers that ask for the client's certificate only when they have seen the path. Needs the feature `native-tls`.
    pub native_tls: bool,
    /// Longest time to make a connection.
    pub connect_timeout: Duration,
    /// Longest time from the request to the end of the answer.
    pub timeout: Duration,
    /// Longer answers are refused.
    pub bytes_max: usize,
}

impl HttpConfig {
    /// With the bounds that suit most: ten seconds to connect, a minute to answer, 64 MiB.
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: url.into().trim_end_matches('/').to_owned(),
            ca: None,
            client_cert: None,
            native_tls: false,
            connect_timeout: Duration::from_secs(10),
            timeout: Duration::from_secs(60),
            bytes_max: 64 << 20,
        }
    }

    fn pem_files(&self) -> PemFiles<'_> {
        PemFiles { ca: self.ca.as_deref(), client: self.client_cert.as_deref().map(|path| (path, path)) }
    }
}

/// A text that is never shown: a password, a token.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    /// Hides the text.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text, for the one place that sends it.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// What a failed call means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call {
    /// It changes nothing: it may be sent again.
    Read,
    /// It may have taken effect as soon as it could have left this machine.
    Write,
}

impl Call {
    /// What it means that there is no answer, or none of the service itself.
    pub fn unanswered(self) -> Remedy {
        match self {
            Self::Read => Remedy::Unavailable,
            Self::Write => Remedy::Unclear,
        }
    }

    /// What an answer means that makes no sense.
    pub fn answered_with_nonsense(self) -> Remedy {
        match self {
            Self::Read => Remedy::Corrupt,
            Self::Write => Remedy::Unclear,
        }
    }
}

/// An answer that came whole.
#[derive(Debug)]
pub struct Reply {
    /// The HTTP status.
    pub status: u16,
    /// The headers.
    pub headers: reqwest::header::HeaderMap,
    /// The body, decompressed.
    pub body: Vec<u8>,
}

/// Room that is made for an answer before it comes, in bytes.
const BELIEVED_MAX: usize = 4 << 20;

/// A client within bounds that never sends a request twice by itself and follows no redirection.
#[derive(Clone, Debug)]
pub struct Http {
    client: reqwest::Client,
    bytes_max: usize,
}

impl Http {
    /// Makes a client.
    ///
    /// # Errors
    /// [`Remedy::Unsupported`] if a file of the configuration cannot be used.
    pub fn new(config: &HttpConfig) -> Result<Self> {
        let builder = reqwest::Client::builder();
        let builder = if config.native_tls {
            native::configure(builder, config)?
        } else {
            builder.tls_backend_preconfigured(tls::client_config(&config.url, config.pem_files())?)
        };
        let client = builder
            .connect_timeout(config.connect_timeout)
            .timeout(config.timeout)
            .redirect(reqwest::redirect::Policy::none())
            .retry(reqwest::retry::never())
            .user_agent(concat!("freshmaker/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|error| Error::new(Remedy::Unsupported, &config.url, with_causes(&error)))?;
        Ok(Self { client, bytes_max: config.bytes_max })
    }

    /// A request to be completed and given to [`send`](Self::send).
    pub fn request(&self, method: reqwest::Method, url: &str) -> reqwest::RequestBuilder {
        self.client.request(method, url)
    }

    /// Sends it and reads the whole answer, whatever its status. `place` names service and call in errors.
    pub async fn send(&self, request: reqwest::RequestBuilder, call: Call, place: &str) -> Result<Reply> {
        let response = request.send().await.map_err(|error| {
            // Without a connection nothing can have been sent; nor by a request that could not be made.
            let remedy = if error.is_connect() || error.is_builder() { Remedy::Unavailable } else { call.unanswered() };
            Error::new(remedy, place, with_causes(&error.without_url()))
        })?;
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let announced = response.content_length().and_then(|length| usize::try_from(length).ok()).unwrap_or(0);
        // A length is only believed as far as it costs nothing to be wrong.
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
                return Err(Error::new(call.unanswered(), place, text));
            }
            body.extend_from_slice(&part);
        }
        Ok(Reply { status, headers, body })
    }
}
