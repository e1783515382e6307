use freshmaker::backend::BoxError;

/// Bodies up to this many bytes are parsed in place, because that takes less than 10 ms.
const INLINE_MAX: usize = 256 << 10;

/// Parses a body without blocking the runtime for long.
///
/// Runs `read` in place for bodies of up to 256 KiB, and on a blocking thread of tokio for larger
/// ones; `bytes` is the length of the body.
///
/// # Errors
/// If `read` panics on the blocking thread, or the runtime shuts down first.
///
/// # Panics
/// Without a tokio runtime, if the body is larger than 256 KiB.
///
/// # Cancel safety
/// If the future is dropped, a `read` that was moved to a blocking thread still runs to its end;
/// its result is lost.
pub async fn off_runtime<T, F>(bytes: usize, read: F) -> Result<T, BoxError>
where
    T: Send + 'static,
    F: FnOnce() -> T + Send + 'static,
{
    if bytes <= INLINE_MAX {
        return Ok(read());
    }
    Ok(tokio::task::spawn_blocking(read).await?)
}
