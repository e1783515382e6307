//! Writes lines to standard output. If its reader has gone (a closed pipe), the work goes on.

use std::fmt;
use std::io::{self, ErrorKind, Write};
use std::sync::OnceLock;

static FAILED: OnceLock<io::Error> = OnceLock::new();

/// Like `println!`, which would panic where the reader is gone, as with `| head`.
macro_rules! say {
    ($($text:tt)*) => { $crate::out::line(format_args!($($text)*)) };
}

/// Like `eprintln!`, for the same reason.
macro_rules! complain {
    ($($text:tt)*) => { $crate::out::error_line(format_args!($($text)*)) };
}

pub(crate) use {complain, say};

pub(crate) fn line(text: fmt::Arguments<'_>) {
    if FAILED.get().is_none()
        && let Err(error) = writeln!(io::stdout(), "{text}")
    {
        let _ = FAILED.set(error);
    }
}

pub(crate) fn error_line(text: fmt::Arguments<'_>) {
    // There is no third place to tell that this one is gone.
    let _ = writeln!(io::stderr(), "{text}");
}

/// Whether everything that was said could be written. A reader that has seen enough is no failure.
pub(crate) fn finish() -> io::Result<()> {
    let _ = io::stdout().flush().map_err(|error| FAILED.set(error));
    match FAILED.get() {
        Some(error) if error.kind() != ErrorKind::BrokenPipe => Err(io::Error::new(error.kind(), error.to_string())),
        _ => Ok(()),
    }
}
