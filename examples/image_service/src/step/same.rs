//! Whether a new image is equal to the one that the tag names, by the comparison that `build.same`
//! chooses: of all files without their times, or of the packages alone.

use super::contents::Contents;
use super::{Step, say};
use crate::config::Same;
use crate::verify::{Platforms, at};
use freshmaker::artifact::Digest;
use freshmaker::backend::{Error, Remedy, Result};
use freshmaker_oci::{Image, OciClient};
use std::io::Cursor;

/// The largest layer that is compared, compressed: it is held in memory.
const LAYER_BYTES_MAX: usize = 1 << 30;

impl Step {
    /// Returns what two images have in common, as a proof; `None` if they differ. What cannot be
    /// compared differs.
    pub(super) async fn alike(&self, platforms: &Platforms, before: &Digest, now: &Digest) -> Result<Option<String>> {
        let by = self.site.config.build.same;
        match by {
            Same::Content => return Ok(None),
            Same::Packages if !self.is_only_about_bases(before).await? => return Ok(None),
            Same::Files | Same::Packages => {}
        }
        let [before, now] = [at(&self.image, before)?, at(&self.image, now)?];
        let [before, now] = [platforms.images(&before).await?, platforms.images(&now).await?];
        let mut proofs = Vec::new();
        for (before, now) in before.iter().zip(&now) {
            if before.config.runtime != now.config.runtime {
                return Ok(None);
            }
            let pair = (self.contents(before).await, self.contents(now).await);
            let (before, now) = match pair {
                (Ok(before), Ok(now)) => (before, now),
                (Err(error), _) | (_, Err(error)) => {
                    say(format_args!("not compared: {error}"));
                    return Ok(None);
                }
            };
            let proof = match by {
                Same::Packages => packages(&before, &now),
                _ => (before.files() == now.files())
                    .then(|| format!("the same files, modes and owners ({})", now.files())),
            };
            match proof {
                Some(proof) => proofs.push(proof),
                None => return Ok(None),
            }
        }
        Ok(Some(format!("{}, as build.same compares", proofs.join("; "))))
    }

    /// Whether nothing but a base is the reason of the build: neither a change of its own files,
    /// nor a fix, nor a person.
    async fn is_only_about_bases(&self, before: &Digest) -> Result<bool> {
        let record = self.records.of(&self.request.artifact).await?;
        let planned = self.request.source.as_ref().and_then(|source| source.revision.as_ref());
        let is_same_recipe = record
            .is_some_and(|record| record.digest == *before && planned.is_some() && record.revision.as_ref() == planned);
        Ok(is_same_recipe && self.causes.are_bases)
    }

    /// Reads all layers of an image.
    async fn contents(&self, image: &Image) -> Result<Contents> {
        let mut config = self.site.config.oci();
        config.blob_bytes_max = LAYER_BYTES_MAX;
        let (client, mut contents) = (OciClient::new(config)?, Contents::default());
        for layer in &image.manifest.layers {
            let bytes = client.blob(&self.image, layer).await?;
            let place = format!("the layer {}", layer.digest);
            let broken = |error| Error::new(Remedy::Unsupported, &place, error);
            let adding = tokio::task::spawn_blocking(move || contents.add(Cursor::new(bytes)).map(|()| contents));
            contents = adding.await.map_err(std::io::Error::other).and_then(|added| added).map_err(broken)?;
        }
        Ok(contents)
    }
}

/// Says that both have the same packages.
fn packages(before: &Contents, now: &Contents) -> Option<String> {
    let (Some(before), Some(now)) = (before.packages(), now.packages()) else {
        say(format_args!("not compared: there is no database of dpkg or apk, or one of RPM"));
        return None;
    };
    if let Some(package) = before.symmetric_difference(&now).next() {
        say(format_args!("the packages differ, as in {package}"));
        return None;
    }
    let digest = Digest::of_parts(now.iter().map(|package| package.as_bytes()));
    Some(format!("the same packages ({} in all, {digest})", now.len()))
}
