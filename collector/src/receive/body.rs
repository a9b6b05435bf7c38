//! Reads a request body within the message limit, before and after decompression.

use axum::body::Body;
use bytes::{Bytes, BytesMut};
use contract::Refusal;
use flate2::read::MultiGzDecoder;
use http_body_util::{BodyExt as _, Limited};
use std::io::Read as _;
use std::time::Duration;

use super::MAX_MESSAGE_BYTES;

/// How long a sender may take to send its body.
const BODY_TIMEOUT: Duration = Duration::from_secs(30);

/// How a body is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// Not at all.
    Identity,
    /// gzip, one member or several.
    Gzip,
}

/// The body as it came, or why not.
pub async fn read(body: Body) -> Result<Bytes, Refusal> {
    let collected = tokio::time::timeout(BODY_TIMEOUT, Limited::new(body, MAX_MESSAGE_BYTES).collect()).await;
    match collected {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(error)) if error.is::<http_body_util::LengthLimitError>() => Err(Refusal::TooLarge),
        Ok(Err(_)) | Err(_) => Err(Refusal::Malformed),
    }
}

/// The message inside a body. Inflating stops at the limit, whatever the body claims.
pub fn decompress(body: Bytes, encoding: Encoding) -> Result<Bytes, Refusal> {
    match encoding {
        Encoding::Identity => Ok(body),
        Encoding::Gzip => {
            let mut inflated = Vec::new();
            let limit = MAX_MESSAGE_BYTES as u64;
            MultiGzDecoder::new(&*body).take(limit + 1).read_to_end(&mut inflated).map_err(|_| Refusal::Malformed)?;
            if inflated.len() > MAX_MESSAGE_BYTES {
                return Err(Refusal::TooLarge);
            }
            Ok(BytesMut::from(&*inflated).freeze())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;

    fn gzip(bytes: &[u8]) -> Bytes {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap().into()
    }

    /// Guarantees: a small body that inflates beyond the limit is refused as too large, also when it is split over gzip members.
    #[test]
    fn a_bomb_is_refused() {
        let bomb = gzip(&vec![0; MAX_MESSAGE_BYTES + 1]);
        assert!(bomb.len() < 1024 * 1024);
        assert_eq!(decompress(bomb, Encoding::Gzip), Err(Refusal::TooLarge));

        let half = gzip(&vec![0; MAX_MESSAGE_BYTES / 2 + 1]);
        let members: Bytes = [half.clone(), half].concat().into();
        assert_eq!(decompress(members, Encoding::Gzip), Err(Refusal::TooLarge));
    }

    /// Guarantees: a truncated or foreign body is malformed, and an honest one comes out as it went in.
    #[test]
    fn gzip_is_strict() {
        let honest = gzip(b"message");
        assert_eq!(decompress(honest.slice(..honest.len() - 4), Encoding::Gzip), Err(Refusal::Malformed));
        assert_eq!(decompress(Bytes::from_static(b"message"), Encoding::Gzip), Err(Refusal::Malformed));
        assert_eq!(decompress(honest, Encoding::Gzip), Ok(Bytes::from_static(b"message")));
    }

    /// Guarantees: a body beyond the limit is refused while it is read.
    #[tokio::test]
    async fn a_large_body_is_refused() {
        assert_eq!(read(Body::from(vec![0; MAX_MESSAGE_BYTES + 1])).await, Err(Refusal::TooLarge));
    }
}
