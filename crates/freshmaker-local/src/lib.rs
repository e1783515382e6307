//! Backends for rebuilds on one machine with [freshmaker]: recipes in files, builds by
//! a program.
//!
//! * [`files`]: a catalog that reads a tree of Containerfiles, a TOML manifest, or both.
//! * [`command`]: a build system that runs one program for each build, under a supervisor that
//!   keeps running if the engine stops.
//!
//! Together with the SQLite storage of `freshmaker-sql`, an engine needs no other service.
//!
//! ```no_run
//! use freshmaker::handler::rebuild_dependents;
//! use freshmaker::memory::MemoryStorage;
//! use freshmaker::Engine;
//! use freshmaker_local::command::{CommandBuildSystem, CommandConfig};
//! use freshmaker_local::files::FilesCatalog;
//! use std::sync::Arc;
//!
//! let catalog = FilesCatalog::from_tree("images")?;
//! let builds = CommandBuildSystem::new(CommandConfig::new("./build.sh", "state"))?;
//! let engine = Engine::builder()
//!     .storage(Arc::new(MemoryStorage::new()))
//!     .catalog("images", Arc::new(catalog))
//!     .build_system("builder", Arc::new(builds))
//!     .on(rebuild_dependents)
//!     .build()?;
//! # drop(engine);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Features
//! None.
//!
//! # Limits
//! * [`command`] needs Unix, and a local file system for its directory.
//! * [`files`] reads files up to the sizes that its modules state. A file that it leaves out is
//!   reported as a [`files::Problem`].

pub mod command;
pub mod files;
