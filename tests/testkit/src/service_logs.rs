//! Events as services log them: texts with many numbers and ids, the same in every run.
//!
//! Event `n` has the word [`RARE_WORD`] if `n` is 7 above a multiple of 1,000,003, and the value 12345 of `userId` once per
//! 100,000 events. Four events in a row have one trace id in each fourth of these groups.

use domain::level::Level;

/// A word of few events.
pub const RARE_WORD: &str = "zanzibar";
/// A word of no event.
pub const MISSING_WORD: &str = "unreachable";

/// A number that depends on `n` only, for one of several purposes (splitmix64). 0 to 4 are those of this module.
#[must_use]
pub fn mixed(n: u64, purpose: u64) -> u64 {
    let mut mixed = n.wrapping_mul(8).wrapping_add(purpose).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

/// The level of event `n`.
#[must_use]
pub fn level(n: u64) -> Level {
    match mixed(n, 0) / 1_000 % 100 {
        0..75 => Level::Info,
        75..90 => Level::Debug,
        90..97 => Level::Warn,
        _ => Level::Error,
    }
}

/// The trace id of event `n`, if it has one.
#[must_use]
pub fn trace_id(n: u64) -> Option<[u8; 16]> {
    let group = n / 4;
    group.is_multiple_of(4).then(|| (u128::from(mixed(group, 1)) << 64 | u128::from(mixed(group, 2))).to_be_bytes())
}

/// The value of `requestId` in the metadata of event `n`, which no other event has.
#[must_use]
pub fn request_id(n: u64) -> String {
    format!("{:016x}", mixed(n, 3))
}

fn user(n: u64) -> u64 {
    n * 7_919 % 100_000
}

fn status(n: u64) -> u16 {
    match n % 200 {
        0 => 500,
        rest if rest % 25 == 3 => 404,
        _ => 200,
    }
}

fn millis(n: u64) -> u64 {
    mixed(n, 0) % 997
}

/// The message of event `n`, which is the same in JSON.
#[must_use]
pub fn message(n: u64) -> String {
    let (some, more) = (mixed(n, 0), mixed(n, 4));
    let (user, millis, port) = (user(n), millis(n), 1_024 + more % 60_000);
    let address = format!("10.{}.{}.{}:{port}", more % 4, more >> 8 & 255, more >> 16 & 255);
    let mut text = match more >> 24 & 7 {
        0 | 1 => format!("request {n} of user {user} answered with {} in {millis} ms, client {address}", status(n)),
        2 | 3 => format!(
            "GET /api/v2/orders/{}/items?page={} from {address}: {} bytes in {millis} ms",
            some >> 32,
            more >> 28 & 15,
            more >> 32 & 0xf_ffff
        ),
        4 => format!("session {some:016x} of user {user} renewed for {} s from {address}", more >> 32 & 0xffff),
        5 => format!(
            "statement {:08x} on shard {} took {millis}.{} ms, {} rows, connection {address}",
            some as u32,
            more >> 32 & 63,
            more >> 40 & 511,
            more >> 50
        ),
        6 => format!(
            "order {} placed by user {user}: {} items, {}.{:02} EUR, invoice INV-{:08}",
            some >> 32,
            1 + (more >> 32 & 7),
            more >> 40 & 1_023,
            some % 100,
            more >> 38
        ),
        _ => format!("retry {} of job {more:016x} after {millis} ms: {address} refused it", 1 + (some >> 40 & 7)),
    };
    if n.is_multiple_of(3) {
        text.push_str(": payment accepted");
    }
    if n % 1_000_003 == 7 {
        text.push(' ');
        text.push_str(RARE_WORD);
    }
    text
}

/// The metadata of event `n`, as JSON.
#[must_use]
pub fn metadata(n: u64) -> String {
    format!(
        r#"{{"userId":{},"requestId":"{}","http":{{"method":"GET","status":{}}},"durationMs":{},"region":"eu-{}"}}"#,
        user(n),
        request_id(n),
        status(n),
        millis(n),
        mixed(n, 0) >> 60 & 3
    )
}
