//! The files of a commit, with those of its submodules: other repositories, of which it names a
//! commit each.

use super::{Checkouts, Submodules, fault_of_url, make};
use crate::Result;
use crate::entry::plain;
use freshmaker::artifact::Digest;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// How deep submodules may be in each other, and how many a commit may have in all.
const DEPTH_MAX: usize = 8;
const MODULES_MAX: usize = 200;

/// A commit of a repository, and where its files are written to.
pub(super) struct Module {
    url: String,
    repository: PathBuf,
    commit: String,
    files: PathBuf,
    depth: usize,
}

/// A submodule, as the index of a commit has it.
struct Link {
    commit: String,
    path: String,
}

impl Module {
    pub(super) fn of(url: &str, repository: &Path, commit: &str, files: &Path) -> Self {
        let (repository, files) = (repository.to_owned(), files.to_owned());
        Self { url: url.to_owned(), repository, commit: commit.to_owned(), files, depth: 0 }
    }
}

impl Checkouts {
    /// Writes the files of a commit, and those of its submodules as is configured.
    pub(super) async fn write_all(&self, top: Module) -> Result<()> {
        let (mut open, mut modules) = (vec![top], 0);
        while let Some(module) = open.pop() {
            let links = self.write(&module).await?;
            let Some(first) = links.first() else { continue };
            match self.git.submodules {
                Submodules::Fetch => {}
                Submodules::Refuse => {
                    let first = plain(&first.path);
                    return Err(format!("the commit has the submodule {first}, and `submodules` refuses them").into());
                }
                Submodules::Empty => {
                    let (first, submodules) = (plain(&first.path), links.len());
                    tracing::warn!(submodules, first, "the directories of submodules stay empty");
                    continue;
                }
            }
            modules += links.len();
            if modules > MODULES_MAX || module.depth >= DEPTH_MAX {
                let text = format!("there are more than {MODULES_MAX} submodules, or they are {DEPTH_MAX} deep");
                return Err(text.into());
            }
            let urls = self.urls(&module).await?;
            for link in links {
                let path = plain(&link.path);
                let fetched = self.fetch_module(&module, &link, urls.get(&link.path)).await;
                let hint = "say `submodules = \"empty\"` if no image needs it";
                open.push(fetched.map_err(|error| format!("the submodule {path}: {error}; {hint}"))?);
            }
        }
        Ok(())
    }

    /// Writes the files of one repository, and returns its submodules.
    async fn write(&self, module: &Module) -> Result<Vec<Link>> {
        let index = self.directory.join("index");
        let _ = fs::remove_file(&index);
        let places = [("GIT_INDEX_FILE", index.as_path()), ("GIT_WORK_TREE", &module.files)];
        self.within(&module.repository, &["read-tree", "--reset", "-u", &module.commit], &places).await?;
        let listed = self.within(&module.repository, &["ls-files", "--stage", "-z"], &places).await?;
        let entries = listed.split(|byte| *byte == 0).filter(|entry| entry.starts_with(b"160000 "));
        let links = entries.filter_map(|entry| {
            let (about, path) = std::str::from_utf8(entry).ok()?.split_once('\t')?;
            Some(Link { commit: about.split(' ').nth(1)?.to_owned(), path: path.to_owned() })
        });
        Ok(links.collect())
    }

    /// Returns the addresses of submodules by their paths, as the file `.gitmodules` has them.
    async fn urls(&self, module: &Module) -> Result<BTreeMap<String, String>> {
        let file = module.files.join(".gitmodules");
        // A link could lead anywhere.
        if !fs::symlink_metadata(&file).is_ok_and(|about| about.is_file()) {
            return Ok(BTreeMap::new());
        }
        let file = file.to_string_lossy();
        let keys = r"^submodule\..*\.(path|url)$";
        let listed = self.run(&["config", "--file", &file, "--null", "--get-regexp", keys], &[]).await?;
        let (listed, mut known) = (String::from_utf8_lossy(&listed), BTreeMap::<&str, [Option<&str>; 2]>::new());
        for entry in listed.split('\0') {
            let Some((key, value)) = entry.split_once('\n') else { continue };
            let Some((name, what)) = key.rsplit_once('.') else { continue };
            known.entry(name).or_default()[usize::from(what == "url")] = Some(value);
        }
        let pairs = known.into_values().filter_map(|[path, url]| Some((path?.to_owned(), url?.to_owned())));
        Ok(pairs.collect())
    }

    /// Fetches the commit of a submodule, and returns what is to be written of it.
    async fn fetch_module(&self, module: &Module, link: &Link, url: Option<&String>) -> Result<Module> {
        let url = absolute(&module.url, url.ok_or("the file .gitmodules has no address of it")?);
        if let Some(fault) = fault_of_url(&url) {
            return Err(fault.into());
        }
        let is_local = |url: &str| url.starts_with('/') || url.starts_with("file:");
        if is_local(&url) && !is_local(&self.git.url) {
            return Err(format!("{url:?} is on this machine, and the repository is not").into());
        }
        // Git has made the directory; a link above it could lead anywhere.
        let files = fs::canonicalize(module.files.join(&link.path))?;
        if !files.starts_with(fs::canonicalize(&module.files)?) {
            return Err("its directory is outside of the repository".into());
        }
        let repository = self.directory.join("modules").join(Digest::of(url.as_bytes()).short());
        if !repository.join("HEAD").is_file() {
            make(&repository)?;
            let path = repository.to_string_lossy();
            self.run(&["init", "--quiet", "--bare", "--template=", "--", &path], &[]).await?;
        }
        let commit = format!("{}^{{commit}}", link.commit);
        let is_there = ["cat-file", "-e", &commit];
        if self.within(&repository, &is_there, &[]).await.is_err() {
            let alone =
                ["fetch", "--quiet", "--no-tags", "--depth=1", "--no-recurse-submodules", "--", &url, &link.commit];
            if self.within(&repository, &alone, &[]).await.is_err() {
                // Not every server gives a commit by its number.
                let all = "+refs/heads/*:refs/freshmaker/*";
                let fetch = ["fetch", "--quiet", "--tags", "--no-recurse-submodules", "--", &url, all];
                self.within(&repository, &fetch, &[]).await?;
                self.within(&repository, &is_there, &[]).await.map_err(|_| {
                    let commit = &link.commit;
                    format!("{url} has no branch or tag with the commit {commit}")
                })?;
            }
        }
        Ok(Module { url, repository, commit: link.commit.clone(), files, depth: module.depth + 1 })
    }
}

/// Returns the address of a submodule, which may be relative to that of the repository that has it.
fn absolute(of: &str, url: &str) -> String {
    if !(url.starts_with("./") || url.starts_with("../")) {
        return url.to_owned();
    }
    let (mut base, mut rest) = (of.trim_end_matches('/'), url);
    loop {
        if let Some(below) = rest.strip_prefix("./") {
            rest = below;
        } else if let Some(above) = rest.strip_prefix("../") {
            let cut = base.rfind(['/', ':']).unwrap_or(0);
            // What is left of `host:path` keeps its colon.
            base = &base[..cut + usize::from(base[cut..].starts_with(':'))];
            rest = above;
        } else {
            let slash = if base.ends_with(':') { "" } else { "/" };
            return format!("{base}{slash}{rest}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::absolute;

    #[test]
    fn an_address_may_be_relative() {
        for (of, url, wanted) in [
            ("https://git.example.org/team/images.git", "../tools.git", "https://git.example.org/team/tools.git"),
            ("https://git.example.org/team/images", "../../x/y", "https://git.example.org/x/y"),
            ("https://git.example.org/team/images/", "./sub", "https://git.example.org/team/images/sub"),
            ("git@git.example.org:images.git", "../tools.git", "git@git.example.org:tools.git"),
            ("/srv/git/images", "../tools", "/srv/git/tools"),
            ("/srv/git/images", "https://git.example.org/x", "https://git.example.org/x"),
        ] {
            assert_eq!(absolute(of, url), wanted, "{of} {url}");
        }
    }
}
