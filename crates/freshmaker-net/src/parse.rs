use freshmaker::backend::BoxError;

/// Bodies up to this many bytes are read at once: that takes less than a hundredth of a second.
const INLINE_MAX: usize = 256 << 10;

/// Reads a body without holding up the runtime for long.
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
