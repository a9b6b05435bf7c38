//! Reads a request body within the message limit, before and after decompression.

use axum::body::Body;
use bytes::Bytes;
use contract::Refusal;
use flate2::bufread::GzDecoder;
use http_body_util::{BodyExt as _, Limited};
use std::io::Read as _;
use std::time::Duration;

use super::MAX_MESSAGE_BYTES;

/// How long a sender may take to send its body.
const BODY_TIMEOUT: Duration = Duration::from_secs(30);

/// Members that a gzip body may have. Each costs the same however little is in it, and no SDK sends more than one.
const MAX_GZIP_MEMBERS: usize = 64;

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
            let (mut inflated, mut rest) = (Vec::new(), &*body);
            for _ in 0..MAX_GZIP_MEMBERS {
                let room = MAX_MESSAGE_BYTES + 1 - inflated.len();
                let mut member = GzDecoder::new(rest).take(room as u64);
                member.read_to_end(&mut inflated).map_err(|_| Refusal::Malformed)?;
                if inflated.len() > MAX_MESSAGE_BYTES {
                    return Err(Refusal::TooLarge);
                }
                rest = member.into_inner().into_inner();
                if rest.is_empty() {
                    break;
                }
            }
            if !rest.is_empty() {
                return Err(Refusal::Malformed);
            }
            // What it grew beyond its content goes back; a copy would take as much again.
            inflated.shrink_to_fit();
            Ok(inflated.into())
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

    /// Guarantees: several members are one message; a great many, which would cost their time one by one, are refused.
    #[test]
    fn members_are_few() {
        let members = |number| Bytes::from([gzip(b"a"), gzip(b"b")].concat().repeat(number));
        assert_eq!(decompress(members(2), Encoding::Gzip), Ok(Bytes::from_static(b"abab")));
        assert_eq!(decompress(members(MAX_GZIP_MEMBERS), Encoding::Gzip), Err(Refusal::Malformed));
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
