//! Reads request bodies: each within the message limit, before and after decompression, and at a pace; all together within a budget.

use std::io::Read as _;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::body::Body;
use bytes::{Bytes, BytesMut};
use contract::Refusal;
use flate2::bufread::GzDecoder;
use http_body_util::BodyExt as _;

use super::MAX_MESSAGE_BYTES;

/// What all bodies may take that have arrived in part, or wait until they are admitted, in bytes.
const MAX_READING_BYTES: usize = 256 * 1024 * 1024;
/// What a body takes before its first byte, in bytes: about the buffers of its connection. So many bodies at most can be read at the same time.
const BODY_BYTES: usize = 16 * 1024;
/// How long a sender may pause, and the unit of its pace.
const WINDOW: Duration = Duration::from_secs(10);
/// What has to arrive in each window that does not bring the end, in bytes.
const MIN_WINDOW_BYTES: usize = 64 * 1024;
/// Windows that a body may take.
const MAX_WINDOWS: usize = 3;

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

/// The room for bodies. Nobody waits for it: who waits for room would hold what they have, and everyone else up.
#[derive(Debug)]
pub struct Room {
    free: AtomicUsize,
    window: Duration,
}

/// A body that has come.
#[derive(Debug)]
pub struct Received<'a> {
    /// What came.
    pub bytes: Bytes,
    held: Held<'a>,
}

impl<'a> Received<'a> {
    /// What came, and the room that it takes until the other is dropped.
    pub fn into_parts(self) -> (Bytes, Held<'a>) {
        (self.bytes, self.held)
    }
}

/// What one body takes of the room, until this is dropped.
#[derive(Debug)]
pub struct Held<'a> {
    room: &'a Room,
    bytes: usize,
}

impl Default for Room {
    fn default() -> Self {
        Self { free: AtomicUsize::new(MAX_READING_BYTES), window: WINDOW }
    }
}

impl Room {
    /// Reads a body of at most `limit` bytes.
    ///
    /// # Errors
    /// Why not: it is too large, too slow, breaks off, or takes more than the room leaves it.
    pub async fn read(&self, mut body: Body, limit: usize) -> Result<Received<'_>, Refusal> {
        let mut held = Held { room: self, bytes: 0 };
        held.take(BODY_BYTES)?;
        let mut message = BytesMut::new();
        for _ in 0..MAX_WINDOWS {
            let before = message.len();
            match tokio::time::timeout(self.window, read_on(&mut body, limit, &mut message, &mut held)).await {
                Ok(Ok(())) => {
                    // What it grew to can be twice of what it holds, and it can lie in a queue for long.
                    let mut message = Vec::from(message);
                    message.shrink_to_fit();
                    return Ok(Received { bytes: message.into(), held });
                }
                Ok(Err(refusal)) => return Err(refusal),
                Err(_) if message.len() - before < MIN_WINDOW_BYTES => break,
                Err(_) => {}
            }
        }
        Err(Refusal::Slow)
    }
}

/// Reads to the end. What has come stays where this is cancelled. Pieces are copied: a piece of one byte would keep the buffer in which it lies.
async fn read_on(body: &mut Body, limit: usize, message: &mut BytesMut, held: &mut Held<'_>) -> Result<(), Refusal> {
    while let Some(frame) = body.frame().await {
        let Ok(piece) = frame.map_err(|_| Refusal::Malformed)?.into_data() else { continue };
        if piece.len() > limit - message.len() {
            return Err(Refusal::TooLarge);
        }
        held.take(piece.len())?;
        message.extend_from_slice(&piece);
    }
    Ok(())
}

impl Held<'_> {
    /// Takes more, if that leaves as much free as is held then. However many senders take as much as they can get, small ones so find room
    /// beside them: n of them leave the (n + 1)th part.
    fn take(&mut self, bytes: usize) -> Result<(), Refusal> {
        let held = self.bytes + bytes;
        let left = |free: usize| free.checked_sub(bytes).filter(|left| held <= *left);
        self.room.free.fetch_update(Ordering::Relaxed, Ordering::Relaxed, left).map_err(|_| Refusal::Overloaded)?;
        self.bytes = held;
        Ok(())
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.room.free.fetch_add(self.bytes, Ordering::Relaxed);
    }
}

/// The message inside a body that gzip packed. Inflating stops at the limit, whatever the body claims.
pub fn inflate(body: &[u8]) -> Result<Bytes, Refusal> {
    let (mut inflated, mut rest) = (Vec::new(), body);
    for _ in 0..MAX_GZIP_MEMBERS {
        let room = MAX_MESSAGE_BYTES + 1 - inflated.len();
        let mut member = GzDecoder::new(rest).take(room as u64);
        member.read_to_end(&mut inflated).map_err(|_| Refusal::Malformed)?;
        if inflated.len() > MAX_MESSAGE_BYTES {
            return Err(Refusal::TooLarge);
        }
        rest = member.into_inner().into_inner();
        if rest.is_empty() {
            inflated.shrink_to_fit();
            return Ok(inflated.into());
        }
    }
    Err(Refusal::Malformed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;
    use std::time::Instant;

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
        assert_eq!(inflate(&bomb), Err(Refusal::TooLarge));

        let half = gzip(&vec![0; MAX_MESSAGE_BYTES / 2 + 1]);
        let members: Bytes = [half.clone(), half].concat().into();
        assert_eq!(inflate(&members), Err(Refusal::TooLarge));
    }

    /// Guarantees: several members are one message; a great many, which would cost their time one by one, are refused.
    #[test]
    fn members_are_few() {
        let members = |number| Bytes::from([gzip(b"a"), gzip(b"b")].concat().repeat(number));
        assert_eq!(inflate(&members(2)), Ok(Bytes::from_static(b"abab")));
        assert_eq!(inflate(&members(MAX_GZIP_MEMBERS)), Err(Refusal::Malformed));
    }

    /// Guarantees: a truncated or foreign body is malformed, and an honest one comes out as it went in.
    #[test]
    fn gzip_is_strict() {
        let honest = gzip(b"message");
        assert_eq!(inflate(&honest[..honest.len() - 4]), Err(Refusal::Malformed));
        assert_eq!(inflate(b"message"), Err(Refusal::Malformed));
        assert_eq!(inflate(&honest), Ok(Bytes::from_static(b"message")));
    }

    /// Guarantees: a body beyond its limit is refused while it is read, and one at the limit is not.
    #[tokio::test]
    async fn a_large_body_is_refused() {
        let room = Room::default();
        assert_eq!(room.read(Body::from(vec![0; 101]), 100).await.unwrap_err(), Refusal::TooLarge);
        assert_eq!(room.read(Body::from(vec![0; 100]), 100).await.unwrap().bytes.len(), 100);
        assert_eq!(room.read(Body::from(vec![0; MAX_MESSAGE_BYTES]), MAX_MESSAGE_BYTES).await.unwrap().bytes.len(), 64 << 20);
        assert_eq!(room.free.into_inner(), MAX_READING_BYTES);
    }

    /// A body that brings so many bytes every few milliseconds for that long.
    fn steady(bytes: usize, duration: Duration) -> Body {
        let start = Instant::now();
        let pieces = futures_util::stream::unfold((), move |()| async move {
            tokio::time::sleep(Duration::from_millis(2)).await;
            (start.elapsed() < duration).then(|| (Ok::<_, std::io::Error>(Bytes::from(vec![0; bytes])), ()))
        });
        Body::from_stream(Box::pin(pieces))
    }

    /// Guarantees: a sender that trickles has one window, one that keeps coming has three and may use them. What has come is looked at before the
    /// time is, so that this holds on a machine that is busy, too.
    #[tokio::test]
    async fn a_body_has_a_pace() {
        let window = Duration::from_millis(50);
        let room = Room { window, ..Room::default() };
        // So many windows that a machine which stands still for a while does not come to the end of them.
        let endless = 60_000;
        for (bytes, windows, expected) in [
            (1, endless, Err((Refusal::Slow, 1))),
            (MIN_WINDOW_BYTES, endless, Err((Refusal::Slow, 3))),
            (MIN_WINDOW_BYTES, 2, Ok(())),
        ] {
            let start = Instant::now();
            let read = room.read(steady(bytes, window * windows), MAX_MESSAGE_BYTES).await;
            match (read, expected) {
                (Ok(_), Ok(())) => {}
                (Err(refusal), Err((expected, windows))) => {
                    assert_eq!(refusal, expected);
                    assert!(start.elapsed() >= window * windows);
                }
                (read, expected) => panic!("{bytes} bytes: {read:?}, not {expected:?}"),
            }
        }
        assert_eq!(room.free.into_inner(), MAX_READING_BYTES);
    }

    /// Guarantees: one body gets the room that the largest message takes; many that take all they can get are cut at equal parts, and leave one such
    /// part to whoever comes; and all of it is there again afterwards.
    #[test]
    fn room_is_shared() {
        let room = Room::default();
        let mut hogs: Vec<_> = (0..63).map(|_| Held { room: &room, bytes: 0 }).collect();
        for _ in 0..MAX_MESSAGE_BYTES / 1024 {
            for hog in &mut hogs {
                let _ = hog.take(1024);
            }
        }
        // 256 MiB in 64 parts are 4 MiB, as near as pieces of 1 KiB come to it.
        assert!(hogs.iter().all(|hog| (4 << 20) - hog.bytes <= 64 * 1024), "{hogs:?}");
        let mut honest = Held { room: &room, bytes: 0 };
        assert_eq!(honest.take(1 << 20), Ok(()));
        assert_eq!(honest.take(3 << 20), Err(Refusal::Overloaded));
        drop((hogs, honest));
        let mut largest = Held { room: &room, bytes: 0 };
        assert_eq!(largest.take(MAX_MESSAGE_BYTES + BODY_BYTES), Ok(()));
        drop(largest);
        assert_eq!(room.free.into_inner(), MAX_READING_BYTES);
    }
}
