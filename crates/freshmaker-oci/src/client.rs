use crate::cache::{Cache, Known};
use crate::config::{MirrorsFor, OciConfig};
use crate::host::{Ask, Body, Host};
use crate::manifest::{
    ACCEPT, Descriptor, ImageConfig, ImageManifest, MANIFEST_BYTES_MAX, Manifest, OCI_INDEX, json, media_type,
};
use crate::snapshot::Snapshot;
use freshmaker::artifact::{Digest, ImageReference};
use freshmaker::backend::{Clock, Error, Remedy, Result};
use freshmaker::engine::SystemClock;
use freshmaker_net::{Reply, off_runtime};
use reqwest::header::{CONTENT_TYPE, ETAG, LINK};
use reqwest::{Method, Url};
use serde::Deserialize;
use sha2::{Digest as _, Sha512};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

/// The most pages of a list that are read.
const PAGES_MAX: usize = 100;
/// How many tags are asked for at once.
const PAGE_TAGS: usize = 1000;
/// The most tags of a repository that are read.
const TAGS_MAX: usize = 100_000;
/// The most artifacts that refer to one manifest.
const REFERRERS_MAX: usize = 1000;
const CONTENT_DIGEST: &str = "docker-content-digest";

/// A manifest or an index, with the digest of its bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Fetched {
    /// The digest of the bytes, which were verified.
    pub digest: Digest,
    /// What the bytes say.
    pub manifest: Manifest,
}

/// A client of container registries that verifies the digest of what it reads, and changes nothing
/// but [tags](Self::tag).
///
/// Cheap to clone; clones share connections, tokens and known manifests.
///
/// ```no_run
/// use freshmaker_oci::{OciClient, OciConfig};
///
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let client = OciClient::new(OciConfig::of_user())?;
/// let image = "debian:12".parse()?;
/// println!("{image} is {} today", client.head(&image).await?);
/// let tags = client.tags(&image).await?;
/// println!("{} tags", tags.len());
/// # Ok(())
/// # }
/// ```
///
/// # Cancel safety
/// Every method may be dropped at any time: nothing is changed by it, but that the tag may have
/// moved if [`tag`](Self::tag) was dropped.
#[derive(Clone, Debug)]
pub struct OciClient {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    config: Arc<OciConfig>,
    clock: Arc<dyn Clock>,
    hosts: Mutex<BTreeMap<String, Arc<Host>>>,
    cache: Mutex<Cache>,
}

/// A successful answer, with the URL that was asked and the place for errors.
struct Answer {
    reply: Reply,
    url: String,
    place: String,
}

impl OciClient {
    /// Creates a client. Nothing is sent.
    ///
    /// # Errors
    /// Those of [`OciConfig::check_offline`].
    pub fn new(config: OciConfig) -> Result<Self> {
        Self::with_clock(config, Arc::new(SystemClock))
    }

    /// Creates a client with another clock, by which tokens and demanded pauses end.
    ///
    /// # Errors
    /// Those of [`OciConfig::check_offline`].
    pub fn with_clock(config: OciConfig, clock: Arc<dyn Clock>) -> Result<Self> {
        config.check_offline()?;
        let (hosts, cache) = (Mutex::default(), Mutex::default());
        Ok(Self { inner: Arc::new(Inner { config: Arc::new(config), clock, hosts, cache }) })
    }

    /// Returns the configuration.
    #[must_use]
    pub fn config(&self) -> &OciConfig {
        &self.inner.config
    }

    /// Returns a view of the registries for one decision, which asks for the same thing only once.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        Snapshot::new(self.clone())
    }

    /// Returns the digest of what a tag names now: of the index, if the image has several
    /// platforms. One `HEAD` request; a registry that does not tell the digest is asked for the
    /// content. For a reference with a digest, checks that the registry has it.
    ///
    /// The answer for a tag is the word of the registry: only content can be verified.
    ///
    /// # Errors
    /// Those of the requests; [`Corrupt`](Remedy::Corrupt) if the registry tells another digest
    /// than the one in the reference.
    pub async fn head(&self, image: &ImageReference) -> Result<Digest> {
        let (path, wanted) = manifest_path(image);
        let answer = self.ask(image, Method::HEAD, &path, wanted, ACCEPT, MANIFEST_BYTES_MAX).await?;
        match (told(&answer.reply, &answer.place)?, image.digest()) {
            (Some(told), Some(asked)) if told != *asked && same_algorithm(&told, asked) => {
                Err(Error::new(Remedy::Corrupt, answer.place, format!("the registry answers for {told}")))
            }
            (Some(_), Some(asked)) => Ok(asked.clone()),
            (Some(told), None) => Ok(told),
            (None, _) => Ok(self.manifest(image).await?.digest),
        }
    }

    /// Returns the manifest or index that a reference names. What is known from before is asked for
    /// with `If-None-Match`.
    ///
    /// # Errors
    /// Those of the requests; [`Rejected`](Remedy::Rejected) if it has more than 4 MiB;
    /// [`Corrupt`](Remedy::Corrupt) if its digest is another one than the registry or the reference
    /// says, and as for [`Manifest::parse`].
    pub async fn manifest(&self, image: &ImageReference) -> Result<Fetched> {
        let (path, wanted) = manifest_path(image);
        let Answer { reply, url, place } =
            self.ask(image, Method::GET, &path, wanted, ACCEPT, MANIFEST_BYTES_MAX).await?;
        if reply.status == 304 {
            let known = self.cache().get(&url).map(|known| known.fetched.clone());
            return known.ok_or_else(|| Error::new(Remedy::Corrupt, place, "status 304 for unknown content"));
        }
        let etag = reply.headers.get(ETAG).and_then(|etag| etag.to_str().ok()).map(str::to_owned);
        let asked = image.digest().cloned().or(told(&reply, &place)?);
        let bytes = reply.body.len();
        let here = place.clone();
        let read = off_runtime(bytes, move || -> Result<Fetched> {
            let digest = match asked {
                Some(digest) => verify(&reply.body, digest, &here)?,
                None => Digest::of(&reply.body),
            };
            let content_type = reply.headers.get(CONTENT_TYPE).and_then(|text| text.to_str().ok());
            Ok(Fetched { digest, manifest: Manifest::parse(&reply.body, content_type, &here)? })
        });
        let fetched = read.await.map_err(|error| Error::new(Remedy::Unavailable, place, error))??;
        if let Some(etag) = etag {
            self.cache().insert(url, Known { etag, bytes, fetched: fetched.clone() });
        }
        Ok(fetched)
    }

    /// Returns content of a repository, at most [`OciConfig::blob_bytes_max`] bytes.
    ///
    /// # Errors
    /// Those of the requests; [`Rejected`](Remedy::Rejected) if it is larger;
    /// [`Corrupt`](Remedy::Corrupt) if it has another size or digest than the descriptor says.
    pub async fn blob(&self, image: &ImageReference, content: &Descriptor) -> Result<Vec<u8>> {
        let path = format!("blobs/{}", content.digest);
        let most = self.inner.config.blob_bytes_max;
        let size = usize::try_from(content.size).unwrap_or(usize::MAX);
        if size > most {
            let place = format!("oci: {}/{} {path}", image.registry(), image.repository());
            return Err(Error::new(Remedy::Rejected, place, format!("it has {size} bytes, more than {most}")));
        }
        let answer = self.ask(image, Method::GET, &path, MirrorsFor::Digests, "*/*", most).await?;
        let (place, body) = (answer.place, answer.reply.body);
        if body.len() != size {
            let text = format!("the registry sends {} bytes, and the manifest says {size}", body.len());
            return Err(Error::new(Remedy::Corrupt, place, text));
        }
        verify(&body, content.digest.clone(), &place)?;
        Ok(body)
    }

    /// Returns the configuration of an image.
    ///
    /// # Errors
    /// Those of [`blob`](Self::blob) and [`ImageConfig::parse`]; [`Corrupt`](Remedy::Corrupt) if it
    /// has another number of layers than the manifest.
    pub async fn image_config(&self, image: &ImageReference, manifest: &ImageManifest) -> Result<ImageConfig> {
        let bytes = self.blob(image, &manifest.config).await?;
        let place = format!("oci: {}/{} {}", image.registry(), image.repository(), manifest.config.digest);
        let config = ImageConfig::parse(&bytes, &place)?;
        if config.diff_ids.len() != manifest.layers.len() {
            let (here, there) = (config.diff_ids.len(), manifest.layers.len());
            let text = format!("`rootfs.diff_ids` has {here} layers, but the manifest has {there}");
            return Err(Error::new(Remedy::Corrupt, place, text));
        }
        Ok(config)
    }

    /// Returns the artifacts that refer to a manifest, such as attestations: by the API of OCI 1.1,
    /// else by the tag that replaces it (`sha256-…`). An empty list if there are none.
    ///
    /// # Errors
    /// Those of the requests; [`Corrupt`](Remedy::Corrupt) if the answer is not an index, or does
    /// not end.
    pub async fn referrers(&self, image: &ImageReference, of: &Digest) -> Result<Vec<Descriptor>> {
        let mut found = Vec::new();
        let mut path = Some(format!("referrers/{of}"));
        let mut pages = Pages::default();
        while let Some(page) = path {
            let answer = self.ask(image, Method::GET, &page, MirrorsFor::All, OCI_INDEX, MANIFEST_BYTES_MAX).await;
            let answer = match answer {
                Ok(answer) => answer,
                // Registries from before OCI 1.1 do not know the path.
                Err(error) if pages.is_first() && matches!(error.remedy, Remedy::NotFound | Remedy::Rejected) => {
                    return self.referrers_by_tag(image, of).await;
                }
                Err(error) => return Err(error),
            };
            match Manifest::parse(&answer.reply.body, Some(OCI_INDEX), &answer.place)? {
                Manifest::Index(index) => found.extend(index.manifests),
                Manifest::Image(_) => return Err(Error::new(Remedy::Corrupt, answer.place, "this is not an index")),
            }
            if found.len() > REFERRERS_MAX {
                let text = format!("more than {REFERRERS_MAX} referrers");
                return Err(Error::new(Remedy::Rejected, answer.place, text));
            }
            path = pages.next(&answer, image.repository())?;
        }
        Ok(found)
    }

    async fn referrers_by_tag(&self, image: &ImageReference, of: &Digest) -> Result<Vec<Descriptor>> {
        let tag = of.as_str().replace(':', "-");
        let text = format!("{}/{}:{tag}", image.registry(), image.repository());
        let Ok(list) = text.parse::<ImageReference>() else { return Ok(Vec::new()) };
        match self.manifest(&list).await {
            Ok(Fetched { manifest: Manifest::Index(index), .. }) => Ok(index.manifests),
            Ok(_) => Err(Error::new(Remedy::Corrupt, format!("oci: {list}"), "this is not an index")),
            Err(error) if error.remedy == Remedy::NotFound => Ok(Vec::new()),
            Err(error) => Err(error),
        }
    }

    /// Returns the tags of the repository of an image, in the order of the registry.
    ///
    /// # Errors
    /// Those of the requests; [`Rejected`](Remedy::Rejected) if there are more than 100,000 tags or
    /// 100 pages; [`Corrupt`](Remedy::Corrupt) if a page leads back to an earlier one.
    pub async fn tags(&self, image: &ImageReference) -> Result<Vec<String>> {
        #[derive(Deserialize)]
        struct Page {
            #[serde(default)]
            tags: Option<Vec<String>>,
        }
        let mut found = Vec::new();
        let mut path = Some(format!("tags/list?n={PAGE_TAGS}"));
        let mut pages = Pages::default();
        while let Some(page) = path {
            let most = MANIFEST_BYTES_MAX;
            let answer = self.ask(image, Method::GET, &page, MirrorsFor::All, "application/json", most).await?;
            found.extend(json::<Page>(&answer.reply.body, &answer.place)?.tags.into_iter().flatten());
            if found.len() > TAGS_MAX {
                return Err(Error::new(Remedy::Rejected, answer.place, format!("more than {TAGS_MAX} tags")));
            }
            path = pages.next(&answer, image.repository())?;
        }
        Ok(found)
    }

    /// Makes a tag name content that its repository already has: the manifest or index that
    /// `content` names by its digest. What the tag named before stays in the registry, without this
    /// name.
    ///
    /// Mirrors are not asked. To do it twice is the same as once.
    ///
    /// # Errors
    /// [`Unsupported`](Remedy::Unsupported) if `content` has no digest or `tag` is not a tag, those
    /// of [`manifest`](Self::manifest), and those of the registry, as for every request. After
    /// [`Unavailable`](Remedy::Unavailable) the tag may have moved.
    ///
    /// ```no_run
    /// # async fn example(client: freshmaker_oci::OciClient) -> Result<(), Box<dyn std::error::Error>> {
    /// let tested = client.head(&"registry.example.org/app:candidate".parse()?).await?;
    /// client.tag(&format!("registry.example.org/app@{tested}").parse()?, "1").await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn tag(&self, content: &ImageReference, tag: &str) -> Result<()> {
        let place = format!("oci: tag {content} as {tag:.128}");
        let unfit = |text: String| Error::new(Remedy::Unsupported, place.as_str(), text);
        let digest = content.digest().ok_or_else(|| unfit("it has no digest".to_owned()))?;
        let name = format!("{}/{}:{tag}", content.registry(), content.repository());
        let name: ImageReference = name.parse().map_err(|error| unfit(format!("{error}")))?;
        if name.tag() != Some(tag) {
            return Err(unfit("that is not a tag".to_owned()));
        }
        // Mirrors have what they were asked for before, and are asked for nothing here.
        let mut places = self.inner.config.places(content.registry(), content.repository(), MirrorsFor::All);
        let (origin, repository) = places.pop().unwrap_or_default();
        let host = self.host(&origin)?;
        let (path, bytes_max) = (format!("manifests/{digest}"), MANIFEST_BYTES_MAX);
        let repository = repository.as_str();
        let ask =
            Ask { method: Method::GET, repository, path: &path, accept: ACCEPT, etag: None, bytes_max, body: None };
        let reply = host.ask(&ask).await?;
        verify(&reply.body, digest.clone(), &host.place(&ask))?;
        let content_type = reply.headers.get(CONTENT_TYPE).and_then(|text| text.to_str().ok());
        let manifest = Manifest::parse(&reply.body, content_type, &host.place(&ask))?;
        let media_type = media_type(&manifest, &reply.body, content_type);
        let body = Some(Body { media_type, bytes: &reply.body });
        let path = format!("manifests/{tag}");
        let ask = Ask { method: Method::PUT, repository, path: &path, accept: "*/*", etag: None, bytes_max, body };
        host.ask(&ask).await.map(drop)
    }

    fn cache(&self) -> std::sync::MutexGuard<'_, Cache> {
        self.inner.cache.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn host(&self, name: &str) -> Result<Arc<Host>> {
        let mut hosts = self.inner.hosts.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(host) = hosts.get(name) {
            return Ok(Arc::clone(host));
        }
        let host = Arc::new(Host::new(name, &self.inner.config, &self.inner.clock)?);
        hosts.insert(name.to_owned(), Arc::clone(&host));
        Ok(host)
    }

    /// Asks the mirrors of a registry and then the registry itself.
    async fn ask(
        &self,
        image: &ImageReference,
        method: Method,
        path: &str,
        wanted: MirrorsFor,
        accept: &str,
        bytes_max: usize,
    ) -> Result<Answer> {
        let mut places = self.inner.config.places(image.registry(), image.repository(), wanted);
        let (origin, repository) = places.pop().unwrap_or_default();
        for (name, repository) in &places {
            match self.ask_host(name, repository, method.clone(), path, accept, bytes_max).await {
                Err(error) if error.remedy != Remedy::Corrupt => {
                    tracing::debug!(mirror = %name, error = %error, "a mirror is passed over");
                }
                answered => return answered,
            }
        }
        self.ask_host(&origin, &repository, method, path, accept, bytes_max).await
    }

    async fn ask_host(
        &self,
        name: &str,
        repository: &str,
        method: Method,
        path: &str,
        accept: &str,
        bytes_max: usize,
    ) -> Result<Answer> {
        let host = self.host(name)?;
        let url = host.url(repository, path);
        let etag = self.cache().get(&url).filter(|_| method == Method::GET).map(|known| known.etag.clone());
        let ask = Ask { method, repository, path, accept, etag, bytes_max, body: None };
        let place = host.place(&ask);
        let reply = host.ask(&ask).await?;
        Ok(Answer { reply, url, place })
    }
}

/// Follows the pages of a list.
#[derive(Debug, Default)]
struct Pages {
    seen: BTreeSet<String>,
}

impl Pages {
    fn is_first(&self) -> bool {
        self.seen.is_empty()
    }

    /// Returns the path of the next page within the repository; `None` after the last page.
    fn next(&mut self, answer: &Answer, repository: &str) -> Result<Option<String>> {
        let corrupt = |text: &str| Error::new(Remedy::Corrupt, answer.place.as_str(), text);
        let links = answer.reply.headers.get_all(LINK).iter().filter_map(|link| link.to_str().ok());
        let Some(link) = links.flat_map(|link| link.split(", ")).find(|link| link.contains("rel=\"next\"")) else {
            return Ok(None);
        };
        let target = link.split_once('<').and_then(|(_, rest)| rest.split_once('>')).map(|(target, _)| target);
        let base = Url::parse(&answer.url).ok();
        let next = base.as_ref().zip(target).and_then(|(base, target)| base.join(target).ok());
        let next = next.ok_or_else(|| corrupt("the link to the next page is not a URL"))?;
        // A login must not go elsewhere.
        let prefix = format!("/v2/{repository}/");
        let (Some(path), true) = (
            next.path().strip_prefix(&prefix).or_else(|| {
                let inner = next.path().split_once(&prefix)?;
                Some(inner.1)
            }),
            base.is_some_and(|base| base.origin() == next.origin()),
        ) else {
            return Err(corrupt("the link to the next page leads out of the repository"));
        };
        let path = next.query().map_or_else(|| path.to_owned(), |query| format!("{path}?{query}"));
        self.seen.insert(answer.url.clone());
        if self.seen.contains(next.as_str()) {
            return Err(corrupt("the pages of the list lead back to an earlier one"));
        }
        if self.seen.len() >= PAGES_MAX {
            let text = format!("the list has more than {PAGES_MAX} pages");
            return Err(Error::new(Remedy::Rejected, answer.place.as_str(), text));
        }
        Ok(Some(path))
    }
}

/// Returns the path of a manifest, and whether mirrors know it as well as the registry.
fn manifest_path(image: &ImageReference) -> (String, MirrorsFor) {
    match (image.digest(), image.tag()) {
        (Some(digest), _) => (format!("manifests/{digest}"), MirrorsFor::Digests),
        (None, tag) => (format!("manifests/{}", tag.unwrap_or("latest")), MirrorsFor::All),
    }
}

/// Returns the digest in the header of the registry's answer.
fn told(reply: &Reply, place: &str) -> Result<Option<Digest>> {
    let Some(value) = reply.headers.get(CONTENT_DIGEST) else { return Ok(None) };
    let text = value.to_str().unwrap_or_default();
    let digest = text.parse().map_err(|error| Error::new(Remedy::Corrupt, place, format!("{CONTENT_DIGEST}: {error}")));
    digest.map(Some)
}

fn same_algorithm(one: &Digest, other: &Digest) -> bool {
    one.as_str().split_once(':').map(|(algorithm, _)| algorithm)
        == other.as_str().split_once(':').map(|(algorithm, _)| algorithm)
}

/// Returns the digest if it is that of the bytes.
fn verify(bytes: &[u8], digest: Digest, place: &str) -> Result<Digest> {
    let real = match digest.as_str().split_once(':') {
        Some(("sha256", _)) => Digest::of(bytes).to_string(),
        Some(("sha512", _)) => {
            let hex: String = Sha512::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect();
            format!("sha512:{hex}")
        }
        _ => {
            let text = format!("the algorithm of the digest {} is not supported", digest.as_str());
            return Err(Error::new(Remedy::Unsupported, place, text));
        }
    };
    if real == digest.as_str() {
        return Ok(digest);
    }
    let text = format!("the registry sends wrong content: it should be {digest}, and is {real}");
    Err(Error::new(Remedy::Corrupt, place, text))
}
