//! Goes back to a copy of the database that `backup` has made.

use crate::Result;
use crate::site::Site;
use freshmaker::backend::Storage;
use freshmaker_sql::SqliteStorage;
use std::fs;
use std::path::{Path, PathBuf};

/// Puts a copy in the place of the database; returns where what was there is now.
///
/// # Errors
/// If a service runs here, or the file is no copy that this version can use. Then nothing has
/// changed.
pub(crate) async fn run(site: &Site, file: &Path) -> Result<PathBuf> {
    let database = site.database();
    fs::create_dir_all(&site.config.state)?;
    let _lock = site.lock()?;
    let place = |path: &Path, error: std::io::Error| format!("{}: {error}", path.display());
    // A copy of the copy: the file that is given stays as it is, and what goes wrong changes
    // nothing.
    let next = beside(&database, ".restored");
    for end in ["", "-wal", "-shm", ".lock"] {
        let _ = fs::remove_file(beside(&next, end));
    }
    fs::copy(file, &next).map_err(|error| place(file, error))?;
    let checked = check(&next).await;
    for end in ["-shm", ".lock"] {
        let _ = fs::remove_file(beside(&next, end));
    }
    if let Err(error) = checked {
        let _ = fs::remove_file(beside(&next, "-wal"));
        let _ = fs::remove_file(&next);
        return Err(format!("{} is no copy of a database of ours: {error}", file.display()).into());
    }
    let kept = free_name(&database);
    // What SQLite keeps beside a database would be replayed into another one.
    for end in ["", "-wal", "-shm"] {
        let from = beside(&database, end);
        if from.exists() {
            fs::rename(&from, beside(&kept, end)).map_err(|error| place(&from, error))?;
        }
    }
    for end in ["-wal", ""] {
        let from = beside(&next, end);
        if from.exists() {
            fs::rename(&from, beside(&database, end)).map_err(|error| place(&from, error))?;
        }
    }
    Ok(kept)
}

/// Opens a copy, and brings its tables up to date.
async fn check(copy: &Path) -> Result<()> {
    let mut header = [0; 16];
    std::io::Read::read_exact(&mut fs::File::open(copy)?, &mut header)?;
    if &header != b"SQLite format 3\0" {
        return Err("it is no database of SQLite".into());
    }
    let storage = SqliteStorage::open(copy)?;
    storage.upkeep().migrate().await?;
    Ok(())
}

fn beside(path: &Path, end: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(end);
    name.into()
}

/// Returns a name for what is replaced that nothing has yet.
fn free_name(database: &Path) -> PathBuf {
    let mut names = (1..).map(|number: u64| beside(database, &format!(".replaced-{number}")));
    names.find(|name| !name.exists()).unwrap_or_else(|| beside(database, ".replaced"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::FILE;
    use freshmaker::backend::NewDocument;
    use serde_json::json;

    async fn value(site: &Site) -> serde_json::Value {
        let client = site.client().await.unwrap();
        client.documents().await.unwrap().get("test", "a").await.unwrap().unwrap().body
    }

    async fn put(site: &Site, value: serde_json::Value) {
        let client = freshmaker::client::Client::new(site.storage().await.unwrap());
        let documents = client.documents().await.unwrap();
        let expected = documents.get("test", "a").await.unwrap().map(|document| document.version);
        documents.put(NewDocument { expected, ..NewDocument::new("test", "a", value) }).await.unwrap();
    }

    /// Restores once the lock is free: what another test forks has a copy of it until it runs its
    /// program.
    async fn restored(site: &Site, copy: &Path) -> Result<PathBuf> {
        while site.lock().is_err() {
            tokio::task::yield_now().await;
        }
        run(site, copy).await
    }

    #[tokio::test]
    async fn a_copy_replaces_all_that_was_stored_since() {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join(FILE), "").unwrap();
        let site = Site::open(directory.path()).unwrap();
        fs::create_dir(&site.config.state).unwrap();
        put(&site, json!("good")).await;
        let copy = directory.path().join("copy");
        site.client().await.unwrap().backup(&copy).await.unwrap();
        put(&site, json!("bad")).await;
        // What a service that was killed leaves behind.
        fs::write(beside(&site.database(), "-wal"), "not of the copy").unwrap();
        let lock = site.lock().unwrap();
        let refused = run(&site, &copy).await.unwrap_err().to_string();
        assert!(refused.contains("a service runs here"), "{refused}");
        drop(lock);
        let other = directory.path().join(FILE);
        assert!(restored(&site, &other).await.unwrap_err().to_string().contains("no copy"));
        let kept = restored(&site, &copy).await.unwrap();
        assert_eq!(value(&site).await, json!("good"));
        assert!(kept.is_file() && beside(&kept, "-wal").is_file() && copy.is_file());
        put(&site, json!("worse")).await;
        assert_ne!(restored(&site, &copy).await.unwrap(), kept);
        assert_eq!(value(&site).await, json!("good"));
    }
}
