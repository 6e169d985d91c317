//! Reading request bodies within bounds: of bytes as they arrive and once more as they are decoded, of time, and of
//! memory for all bodies in work together.

use std::io::{self, Read};
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use flate2::bufread::{DeflateDecoder, MultiGzDecoder, ZlibDecoder};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use poem::Body;
use poem::http::{HeaderMap, header};
use tokio::time::{Instant, timeout};

use crate::problem::Failure;

/// Most bytes of a request body, before and after decoding.
pub const REQUEST_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Bytes that are decoded at once.
const DECODE_BYTES: usize = 64 * 1024;
/// Largest window of a zstd frame, as a power of two: what RFC 9659 allows in HTTP.
const ZSTD_WINDOW_LOG_MAX: u32 = 23;
/// Longest time that a body may take to arrive.
const BODY_TIMEOUT: Duration = Duration::from_secs(30);

/// Largest answer that takes no room.
const SMALL_ANSWER_BYTES_MAX: usize = 4 * 1024;

/// Most bytes of a refused body that are read, so that its client gets to see why.
const DISCARD_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Longest time for that.
const DISCARD_TIMEOUT: Duration = Duration::from_secs(5);

/// Room for all request bodies in work, reserved as their bytes arrive.
#[derive(Clone)]
pub struct BodyBudget {
    room: Arc<Room>,
}

#[derive(Debug)]
struct Room {
    used: AtomicUsize,
    bytes_max: usize,
}

/// How a body is encoded (RFC 9110, section 8.4.1, and RFC 8878).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Coding {
    Identity,
    Gzip,
    Deflate,
    Zstd,
}

/// A body in memory; gives its room back when it is dropped.
pub struct ReadBody {
    /// All of it.
    pub bytes: Bytes,
    lease: Lease,
}

impl ReadBody {
    /// Drops the body and keeps its room, for what became of it.
    pub fn into_lease(self) -> Lease {
        self.lease
    }
}

/// Room that is taken. Dropping it frees the room.
#[derive(Debug)]
pub struct Lease {
    room: Arc<Room>,
    bytes: usize,
}

impl BodyBudget {
    /// Room for `bytes_max` bytes.
    #[must_use]
    pub fn new(bytes_max: usize) -> Self {
        Self { room: Arc::new(Room { used: AtomicUsize::new(0), bytes_max }) }
    }

    /// Bytes of all bodies in work.
    #[must_use]
    pub fn used_bytes(&self) -> usize {
        self.room.used.load(Ordering::Acquire)
    }

    /// A body to send, which takes room until it is sent.
    ///
    /// # Errors
    /// There is no room for it now.
    pub fn hold(&self, bytes: Bytes) -> Result<Body, Failure> {
        let mut lease = self.lease();
        lease.grow(bytes.len()).map_err(|_| Failure::NoRoomForAnswer)?;
        Ok(lease.hold(bytes))
    }

    /// Room that nothing was taken of yet.
    fn lease(&self) -> Lease {
        Lease { room: Arc::clone(&self.room), bytes: 0 }
    }

    /// Reads and decodes a whole body.
    ///
    /// # Errors
    /// It is too large, too slow or broken off, has a coding that is unknown or not what it says, or there is no room
    /// for it now.
    pub async fn read(&self, headers: &HeaderMap, body: Body) -> Result<ReadBody, Failure> {
        let coding = coding_of(headers)?;
        let read = timeout(BODY_TIMEOUT, self.collect(body.into())).await.unwrap_or(Err(Failure::BodyTimeout))?;
        match coding {
            Coding::Identity => Ok(read),
            Coding::Gzip => self.decode(&mut MultiGzDecoder::new(read.bytes.as_ref())),
            Coding::Deflate if is_zlib(&read.bytes) => {
                let mut decoder = ZlibDecoder::new(read.bytes.as_ref());
                self.decode(&mut decoder).and_then(|decoded| whole(decoded, decoder.get_ref()))
            }
            Coding::Deflate => {
                let mut decoder = DeflateDecoder::new(read.bytes.as_ref());
                self.decode(&mut decoder).and_then(|decoded| whole(decoded, decoder.get_ref()))
            }
            Coding::Zstd => {
                let mut decoder = zstd::Decoder::with_buffer(read.bytes.as_ref()).map_err(|error| broken(&error))?;
                decoder.window_log_max(ZSTD_WINDOW_LOG_MAX).map_err(|error| broken(&error))?;
                self.decode(&mut decoder)
            }
        }
    }

    /// Decodes within the limit of a body and the room for all. Without a pause, so that no more decoders, with the
    /// windows that they hold, are at work than the machine has threads for requests.
    fn decode(&self, decoder: &mut impl Read) -> Result<ReadBody, Failure> {
        let mut lease = self.lease();
        let mut decoded = Vec::new();
        loop {
            let before = decoded.len();
            lease.grow(DECODE_BYTES)?;
            decoder.by_ref().take(DECODE_BYTES as u64).read_to_end(&mut decoded).map_err(|error| broken(&error))?;
            if decoded.len() > REQUEST_BYTES_MAX {
                return Err(too_large());
            }
            if decoded.len() == before {
                return Ok(ReadBody { bytes: decoded.into(), lease });
            }
        }
    }

    async fn collect(&self, mut body: BoxBody<Bytes, io::Error>) -> Result<ReadBody, Failure> {
        if body.size_hint().lower() > REQUEST_BYTES_MAX as u64 {
            return Err(too_large());
        }
        let promised = body.size_hint().exact().and_then(|bytes| usize::try_from(bytes).ok()).unwrap_or_default();
        let mut lease = self.lease();
        let mut first = Bytes::new();
        let mut joined = BytesMut::new();
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|_| Failure::broken_off())?;
            let Ok(data) = frame.into_data() else { continue };
            if lease.bytes + data.len() > REQUEST_BYTES_MAX {
                return Err(too_large());
            }
            lease.grow(data.len())?;
            // A body that came in one piece is not copied.
            if first.is_empty() && joined.is_empty() {
                first = data;
            } else {
                joined.extend_from_slice(&std::mem::take(&mut first));
                // Once a quarter of the promised length is there, for all of it: doubling on would end up with twice as much,
                // and hold the body one and a half times on the way.
                let missing = promised.saturating_sub(joined.len());
                if joined.capacity() - joined.len() < data.len() && missing <= 3 * lease.bytes {
                    joined.reserve(missing);
                }
                joined.extend_from_slice(&data);
            }
        }
        let bytes = if joined.is_empty() { first } else { joined.freeze() };
        Ok(ReadBody { bytes, lease })
    }
}

/// The one coding of a body. Several at once are refused: nobody needs them, and they multiply what a few bytes can
/// become.
fn coding_of(headers: &HeaderMap) -> Result<Coding, Failure> {
    let mut codings = headers.get_all(header::CONTENT_ENCODING).iter();
    let Some(name) = codings.next() else { return Ok(Coding::Identity) };
    let name = name.as_bytes().trim_ascii();
    let is = |coding: &str| name.eq_ignore_ascii_case(coding.as_bytes());
    let coding = if is("gzip") || is("x-gzip") {
        Some(Coding::Gzip)
    } else if is("deflate") {
        Some(Coding::Deflate)
    } else if is("zstd") {
        Some(Coding::Zstd)
    } else {
        is("identity").then_some(Coding::Identity)
    };
    coding.filter(|_| codings.next().is_none()).ok_or_else(|| Failure::UnsupportedMediaType {
        detail: "Content-Encoding must be one of gzip, zstd and deflate, or absent".to_owned(),
    })
}

/// Whether a body begins as RFC 1950 says. `deflate` means that format, and some clients send what is inside it.
fn is_zlib(body: &[u8]) -> bool {
    matches!(body, [method, flags, ..] if method & 0x0f == 8 && (u16::from(*method) << 8 | u16::from(*flags)) % 31 == 0)
}

/// What was decoded, if it came of the whole body. The other codings go on with what follows; `deflate` is one stream, and
/// events behind it must not be passed over.
fn whole(decoded: ReadBody, rest: &[u8]) -> Result<ReadBody, Failure> {
    if rest.is_empty() { Ok(decoded) } else { Err(broken(&io::Error::other("something follows its end"))) }
}

fn too_large() -> Failure {
    Failure::TooLarge { detail: format!("a body has at most {REQUEST_BYTES_MAX} bytes; nothing was accepted") }
}

fn broken(error: &io::Error) -> Failure {
    Failure::Undecodable {
        detail: format!("the body is not what its Content-Encoding says, nothing was accepted: {error}"),
    }
}

impl Lease {
    /// Takes as much room as `bytes` need, and gives back what it has beyond that.
    ///
    /// # Errors
    /// The room that is left is smaller than this.
    pub fn resize(&mut self, bytes: usize) -> Result<(), Failure> {
        match bytes.checked_sub(self.bytes) {
            Some(more) => self.grow(more),
            None => {
                self.settle(bytes);
                Ok(())
            }
        }
    }

    /// An answer to send, which keeps its room until it is sent. It has to be given, so that it is counted even if there is
    /// no room for it: then other requests are refused. A small one is not counted.
    pub fn hold_answer(self, bytes: Vec<u8>) -> Body {
        if bytes.len() <= SMALL_ANSWER_BYTES_MAX { bytes.into() } else { self.hold(bytes.into()) }
    }

    fn hold(mut self, bytes: Bytes) -> Body {
        self.settle(bytes.len());
        Body::from(BoxBody::new(HeldBody { body: Full::new(bytes), _lease: self }))
    }

    /// Has so much room from now on, be it there or not.
    fn settle(&mut self, bytes: usize) {
        let before = std::mem::replace(&mut self.bytes, bytes);
        let used = &self.room.used;
        match bytes.checked_sub(before) {
            Some(more) => used.fetch_add(more, Ordering::AcqRel),
            None => used.fetch_sub(before - bytes, Ordering::AcqRel),
        };
    }

    fn grow(&mut self, bytes: usize) -> Result<(), Failure> {
        let grown = self.room.used.fetch_update(Ordering::AcqRel, Ordering::Acquire, |used| {
            used.checked_add(bytes).filter(|sum| *sum <= self.room.bytes_max)
        });
        grown.map_err(|_| Failure::NoCapacity {
            code: "no_capacity",
            shortage: Some("too many bodies are in work".to_owned()),
        })?;
        self.bytes += bytes;
        Ok(())
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.room.used.fetch_sub(self.bytes, Ordering::AcqRel);
    }
}

/// A body to send; gives its room back when it is dropped, sent or not.
struct HeldBody {
    body: Full<Bytes>,
    _lease: Lease,
}

impl HttpBody for HeldBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        Pin::new(&mut self.body).poll_frame(context).map_err(|never| match never {})
    }

    /// Never said beforehand: hyper would drop the body, and with it the room, as soon as it has queued the bytes, and not
    /// once the client has taken them.
    fn is_end_stream(&self) -> bool {
        false
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// A body that stays at hand while somebody else reads it: so that it can be sent to another instance if nothing
/// of it was read, and so that the rest of it can be read after an answer that did not wait for it.
#[derive(Clone)]
pub struct KeptBody {
    kept: Arc<Mutex<Kept>>,
}

struct Kept {
    body: BoxBody<Bytes, io::Error>,
    touched: bool,
    broken: bool,
    last_read: Option<Instant>,
}

impl KeptBody {
    /// Keeps a body.
    #[must_use]
    pub fn new(body: BoxBody<Bytes, io::Error>) -> Self {
        Self { kept: Arc::new(Mutex::new(Kept { body, touched: false, broken: false, last_read: None })) }
    }

    /// Whether anything of it was read.
    #[must_use]
    pub fn was_touched(&self) -> bool {
        self.kept().touched
    }

    /// Whether it broke off: the fault of whoever sent it.
    #[must_use]
    pub fn is_broken(&self) -> bool {
        self.kept().broken
    }

    /// When the last of what has come of it so far was read.
    #[must_use]
    pub fn last_read(&self) -> Option<Instant> {
        self.kept().last_read
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads on without keeping anything, for as long as that is cheap: a client that is still sending when the
    /// connection closes may never see its answer.
    pub async fn discard(mut self) {
        let read_on = async {
            let mut discarded = 0;
            while discarded < DISCARD_BYTES_MAX
                && let Some(Ok(frame)) = self.frame().await
            {
                discarded += frame.data_ref().map_or(0, Bytes::len);
            }
        };
        let _ = timeout(DISCARD_TIMEOUT, read_on).await;
    }
}

impl HttpBody for KeptBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        let mut kept = self.kept();
        kept.touched = true;
        let frame = Pin::new(&mut kept.body).poll_frame(context);
        kept.broken |= matches!(frame, Poll::Ready(Some(Err(_))));
        if frame.is_ready() {
            kept.last_read = Some(Instant::now());
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.kept().body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.kept().body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn read(budget: &BodyBudget, body: Vec<u8>) -> Result<ReadBody, Failure> {
        budget.read(&HeaderMap::new(), body.into()).await
    }

    #[tokio::test]
    async fn room_is_held_while_a_body_is_in_work_and_given_back_after() {
        let budget = BodyBudget::new(100);
        let held = read(&budget, vec![b'x'; 60]).await.expect("room for it");
        assert!(matches!(read(&budget, vec![b'x'; 41]).await, Err(Failure::NoCapacity { .. })));
        assert_eq!(read(&budget, vec![b'x'; 40]).await.expect("room for it").bytes.len(), 40);
        drop(held);
        assert!(read(&budget, vec![b'x'; 100]).await.is_ok());
        assert_eq!(budget.room.used.load(Ordering::Acquire), 0);
    }

    /// A body that does not say how long it is.
    struct Pieces(Vec<usize>);

    impl HttpBody for Pieces {
        type Data = Bytes;
        type Error = io::Error;

        fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
            Poll::Ready(self.0.pop().map(|len| Ok(Frame::data(Bytes::from(vec![b'x'; len])))))
        }
    }

    #[tokio::test]
    async fn a_body_that_does_not_say_its_length_is_counted_as_it_comes() {
        let budget = BodyBudget::new(usize::MAX);
        let read = |pieces| async { budget.read(&HeaderMap::new(), BoxBody::new(Pieces(pieces)).into()).await };
        assert_eq!(read(vec![1, REQUEST_BYTES_MAX - 2, 1]).await.expect("at the limit").bytes.len(), REQUEST_BYTES_MAX);
        assert!(matches!(read(vec![1, REQUEST_BYTES_MAX - 1, 1]).await, Err(Failure::TooLarge { .. })));
        assert_eq!(budget.room.used.load(Ordering::Acquire), 0);
    }

    fn headers(codings: &[&str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for coding in codings {
            headers.append(header::CONTENT_ENCODING, coding.parse().expect("a header"));
        }
        headers
    }

    fn encoded(coding: &str, content: &[u8]) -> Vec<u8> {
        use flate2::Compression;
        use flate2::read::{DeflateEncoder, GzEncoder, ZlibEncoder};
        let mut bytes = Vec::new();
        let level = Compression::fast();
        match coding {
            "gzip" | "X-GZIP" => GzEncoder::new(content, level).read_to_end(&mut bytes).map(drop),
            "deflate" => ZlibEncoder::new(content, level).read_to_end(&mut bytes).map(drop),
            "Deflate" => DeflateEncoder::new(content, level).read_to_end(&mut bytes).map(drop),
            "zstd" => zstd::stream::copy_encode(content, &mut bytes, 1),
            _ => return content.to_vec(),
        }
        .expect("encoded");
        bytes
    }

    #[tokio::test]
    async fn every_coding_is_decoded_up_to_the_limit_and_no_further_however_small_it_was_sent() {
        for coding in ["gzip", "X-GZIP", "deflate", "Deflate", "zstd", "identity", " Identity "] {
            let budget = BodyBudget::new(2 * REQUEST_BYTES_MAX);
            let text: Vec<u8> = (0..200_000_u32).flat_map(u32::to_le_bytes).collect();
            let read = budget.read(&headers(&[coding]), encoded(coding, &text).into()).await.expect("decoded");
            assert_eq!(read.bytes, text, "{coding}");
            assert!(budget.used_bytes() >= text.len());
            drop(read);
            let most = encoded(coding, &vec![0; REQUEST_BYTES_MAX]);
            assert_eq!(
                budget.read(&headers(&[coding]), most.into()).await.map(|read| read.bytes.len()).ok(),
                Some(REQUEST_BYTES_MAX)
            );
            let bomb = encoded(coding, &vec![0; REQUEST_BYTES_MAX + 1]);
            assert!(
                matches!(budget.read(&headers(&[coding]), bomb.into()).await, Err(Failure::TooLarge { .. })),
                "{coding}"
            );
            assert_eq!(budget.used_bytes(), 0);
        }
    }

    #[tokio::test]
    async fn what_was_encoded_piece_by_piece_is_decoded_whole() {
        let budget = BodyBudget::new(usize::MAX);
        for coding in ["gzip", "zstd"] {
            let pieces = [encoded(coding, b"[1,"), encoded(coding, b"2]")].concat();
            let read = budget.read(&headers(&[coding]), pieces.into()).await.expect("decoded");
            assert_eq!(read.bytes.as_ref(), b"[1,2]", "{coding}");
        }
    }

    #[tokio::test]
    async fn what_is_decoded_takes_room_as_well() {
        let budget = BodyBudget::new(1_000_000);
        let small = encoded("gzip", &vec![0; 2_000_000]);
        assert!(matches!(budget.read(&headers(&["gzip"]), small.into()).await, Err(Failure::NoCapacity { .. })));
        assert_eq!(budget.used_bytes(), 0);
    }

    #[tokio::test]
    async fn a_coding_that_is_unknown_repeated_or_not_what_it_says_is_refused() {
        let budget = BodyBudget::new(usize::MAX);
        for codings in [&["br"][..], &[""], &["gzip, gzip"], &["gzip", "gzip"], &["identity", "gzip"], &["gzip;q=1"]] {
            let refused = budget.read(&headers(codings), encoded("gzip", b"[]").into()).await;
            assert!(matches!(refused, Err(Failure::UnsupportedMediaType { .. })), "{codings:?}");
        }
        for coding in ["gzip", "deflate", "Deflate", "zstd"] {
            let whole = encoded(coding, b"[1, 2, 3, 4, 5, 6, 7, 8]");
            for bytes in [b"[]".to_vec(), whole[..whole.len() - 5].to_vec(), [&whole, &b"more"[..]].concat()] {
                let refused = budget.read(&headers(&[coding]), bytes.into()).await;
                assert!(matches!(refused, Err(Failure::Undecodable { .. })), "{coding}");
            }
        }
        let mut wide = zstd::Encoder::new(Vec::new(), 1).expect("an encoder");
        wide.window_log(27).expect("a window");
        io::copy(&mut io::repeat(0).take(1 << 20), &mut wide).expect("encoded");
        let wide = wide.finish().expect("encoded");
        let refused = budget.read(&headers(&["zstd"]), wide.into()).await;
        assert!(matches!(refused, Err(Failure::Undecodable { .. })), "a window larger than RFC 9659 allows");
    }

    #[tokio::test]
    async fn an_answer_takes_room_until_it_is_sent_or_given_up() {
        let budget = BodyBudget::new(100);
        let held = budget.hold(vec![b'x'; 60].into()).expect("room for it");
        assert!(matches!(budget.hold(vec![b'x'; 41].into()), Err(Failure::NoRoomForAnswer)));
        assert_eq!(held.into_bytes().await.expect("sent").len(), 60);
        assert_eq!(budget.used_bytes(), 0);
        drop(budget.hold(vec![b'x'; 100].into()));
        assert_eq!(budget.used_bytes(), 0);
    }

    #[tokio::test]
    async fn the_room_of_a_body_becomes_that_of_its_answer() {
        let budget = BodyBudget::new(10_000);
        let mut small = read(&budget, vec![b'x'; 60]).await.expect("room for it").into_lease();
        small.resize(20).expect("room for it");
        assert_eq!(budget.used_bytes(), 20);
        let answer = small.hold_answer(vec![b'x'; SMALL_ANSWER_BYTES_MAX]);
        assert_eq!(budget.used_bytes(), 0);
        drop(answer);
        let mut large = read(&budget, vec![b'x'; 60]).await.expect("room for it").into_lease();
        large.resize(9_000).expect("room for it");
        assert!(matches!(large.resize(10_001), Err(Failure::NoCapacity { .. })));
        assert_eq!(budget.used_bytes(), 9_000);
        let answer = large.hold_answer(vec![b'x'; 11_000]);
        assert_eq!(budget.used_bytes(), 11_000);
        assert!(matches!(read(&budget, vec![b'x']).await, Err(Failure::NoCapacity { .. })));
        assert_eq!(answer.into_bytes().await.expect("sent").len(), 11_000);
        assert_eq!(budget.used_bytes(), 0);
    }

    #[tokio::test]
    async fn a_body_over_the_limit_is_refused() {
        let budget = BodyBudget::new(usize::MAX);
        assert!(read(&budget, vec![b'x'; REQUEST_BYTES_MAX]).await.is_ok());
        assert!(matches!(read(&budget, vec![b'x'; REQUEST_BYTES_MAX + 1]).await, Err(Failure::TooLarge { .. })));
    }
}
