use std::io::{self, Read};
use std::pin::Pin;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body_util::combinators::BoxBody;
use hyper::body::{Body as HttpBody, Frame};
use poem::http::{HeaderMap, header};

use super::budget::{BodyBudget, NoRoom, SMALL_ANSWER_BYTES_MAX};
use super::request_body::{REQUEST_BYTES_MAX, ReadBody};
use crate::error::ApiError;

async fn read(budget: &BodyBudget, body: Vec<u8>) -> Result<ReadBody, ApiError> {
    budget.read(&HeaderMap::new(), body.into()).await
}

#[tokio::test]
async fn room_is_held_while_a_body_is_in_work_and_given_back_after() {
    let budget = BodyBudget::new(100);
    let held = read(&budget, vec![b'x'; 60]).await.expect("room for it");
    assert!(matches!(read(&budget, vec![b'x'; 41]).await, Err(ApiError::NoCapacity { .. })));
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
    assert!(matches!(read(vec![1, REQUEST_BYTES_MAX - 1, 1]).await, Err(ApiError::TooLarge { .. })));
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
            matches!(budget.read(&headers(&[coding]), bomb.into()).await, Err(ApiError::TooLarge { .. })),
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
    assert!(matches!(budget.read(&headers(&["gzip"]), small.into()).await, Err(ApiError::NoCapacity { .. })));
    assert_eq!(budget.used_bytes(), 0);
}

#[tokio::test]
async fn a_coding_that_is_unknown_repeated_or_not_what_it_says_is_refused() {
    let budget = BodyBudget::new(usize::MAX);
    for codings in [&["br"][..], &[""], &["gzip, gzip"], &["gzip", "gzip"], &["identity", "gzip"], &["gzip;q=1"]] {
        let refused = budget.read(&headers(codings), encoded("gzip", b"[]").into()).await;
        assert!(matches!(refused, Err(ApiError::UnsupportedMediaType { .. })), "{codings:?}");
    }
    for coding in ["gzip", "deflate", "Deflate", "zstd"] {
        let whole = encoded(coding, b"[1, 2, 3, 4, 5, 6, 7, 8]");
        for bytes in [b"[]".to_vec(), whole[..whole.len() - 5].to_vec(), [&whole, &b"more"[..]].concat()] {
            let refused = budget.read(&headers(&[coding]), bytes.into()).await;
            assert!(matches!(refused, Err(ApiError::Undecodable { .. })), "{coding}");
        }
    }
    let mut wide = zstd::Encoder::new(Vec::new(), 1).expect("an encoder");
    wide.window_log(27).expect("a window");
    io::copy(&mut io::repeat(0).take(1 << 20), &mut wide).expect("encoded");
    let wide = wide.finish().expect("encoded");
    let refused = budget.read(&headers(&["zstd"]), wide.into()).await;
    assert!(matches!(refused, Err(ApiError::Undecodable { .. })), "a window larger than RFC 9659 allows");
}

#[tokio::test]
async fn an_answer_takes_room_until_it_is_sent_or_given_up() {
    let budget = BodyBudget::new(100);
    let held = budget.hold(vec![b'x'; 60].into()).expect("room for it");
    assert!(matches!(budget.hold(vec![b'x'; 41].into()), Err(NoRoom)));
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
    assert!(matches!(large.resize(10_001), Err(NoRoom)));
    assert_eq!(budget.used_bytes(), 9_000);
    let answer = large.hold_answer(vec![b'x'; 11_000]);
    assert_eq!(budget.used_bytes(), 11_000);
    assert!(matches!(read(&budget, vec![b'x']).await, Err(ApiError::NoCapacity { .. })));
    assert_eq!(answer.into_bytes().await.expect("sent").len(), 11_000);
    assert_eq!(budget.used_bytes(), 0);
}

#[tokio::test]
async fn a_body_over_the_limit_is_refused() {
    let budget = BodyBudget::new(usize::MAX);
    assert!(read(&budget, vec![b'x'; REQUEST_BYTES_MAX]).await.is_ok());
    assert!(matches!(read(&budget, vec![b'x'; REQUEST_BYTES_MAX + 1]).await, Err(ApiError::TooLarge { .. })));
}
