//! Reads what zstd has compressed.

use ruzstd::decoding::errors::{FrameDecoderError, ReadFrameHeaderError};
use ruzstd::decoding::{BlockDecodingStrategy, FrameDecoder};
use std::io::{self, BufRead, Read};

/// The contents of all frames, one after another. Frames that are to be skipped are: tools of
/// registries keep indexes of their own there.
pub(super) struct Frames<R> {
    source: R,
    frame: FrameDecoder,
}

impl<R: BufRead> Frames<R> {
    pub(super) fn new(source: R) -> Self {
        Self { source, frame: FrameDecoder::new() }
    }

    /// Begins the next frame; returns whether there is one.
    fn next(&mut self) -> io::Result<bool> {
        while !self.source.fill_buf()?.is_empty() {
            match self.frame.init(&mut self.source) {
                Ok(()) => return Ok(true),
                Err(FrameDecoderError::ReadFrameHeaderError(ReadFrameHeaderError::SkipFrame { length, .. })) => {
                    io::copy(&mut self.source.by_ref().take(length.into()), &mut io::sink())?;
                }
                Err(error) => return Err(io::Error::new(io::ErrorKind::InvalidData, error)),
            }
        }
        Ok(false)
    }
}

impl<R: BufRead> Read for Frames<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let read = self.frame.read(buffer)?;
            if read > 0 || buffer.is_empty() {
                return Ok(read);
            }
            if !self.frame.is_finished() {
                let decoded = self.frame.decode_blocks(&mut self.source, BlockDecodingStrategy::UptoBlocks(1));
                decoded.map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
            } else if !self.next()? {
                return Ok(0);
            }
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use ruzstd::encoding::{CompressionLevel, compress_to_vec};

    /// Compresses in two frames, with one between them that is to be skipped.
    pub(crate) fn compressed(bytes: &[u8]) -> Vec<u8> {
        let (one, other) = bytes.split_at(bytes.len() / 2);
        let [one, other] = [one, other].map(|half| compress_to_vec(half, CompressionLevel::Fastest));
        let skipped = [&0x184d_2a50_u32.to_le_bytes()[..], &3_u32.to_le_bytes(), b"toc"].concat();
        [one, skipped, other].concat()
    }

    fn read(bytes: &[u8]) -> io::Result<Vec<u8>> {
        let mut read = Vec::new();
        Frames::new(bytes).read_to_end(&mut read).map(|_| read)
    }

    #[test]
    fn all_frames_are_read_and_what_breaks_off_is_an_error() {
        let bytes: Vec<u8> = (0_u32..200_000).flat_map(|number| number.wrapping_mul(number).to_be_bytes()).collect();
        let compressed = compressed(&bytes);
        assert_eq!(read(&compressed).unwrap(), bytes);
        assert_eq!(read(b"").unwrap(), b"");
        for end in [3, compressed.len() / 3, compressed.len() - 1] {
            assert!(read(&compressed[..end]).is_err(), "{end}");
        }
        assert!(read(b"nothing that zstd made").is_err());
    }
}
