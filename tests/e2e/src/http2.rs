//! Frames of HTTP/2, written byte by byte (RFC 9113 and, for headers, RFC 7541): for clients that do what no library does.

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt};

/// What a client sends first, without its SETTINGS.
pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Types of frames.
pub mod kind {
    /// DATA.
    pub const DATA: u8 = 0;
    /// HEADERS.
    pub const HEADERS: u8 = 1;
    /// RST_STREAM.
    pub const RST_STREAM: u8 = 3;
    /// SETTINGS.
    pub const SETTINGS: u8 = 4;
    /// PING.
    pub const PING: u8 = 6;
    /// CONTINUATION.
    pub const CONTINUATION: u8 = 9;
}

/// Most bytes in a frame, unless the receiver allows more.
pub const FRAME_BYTES_MAX: usize = 16 * 1024;
/// The flag of the last frame of a stream.
pub const END_STREAM: u8 = 0x1;
/// The flag of the last frame of a header block.
pub const END_HEADERS: u8 = 0x4;

/// A frame.
#[must_use]
pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("a short payload").to_be_bytes();
    let mut frame = vec![length[1], length[2], length[3], kind, flags];
    frame.extend_from_slice(&stream.to_be_bytes());
    frame.extend_from_slice(payload);
    frame
}

/// SETTINGS with these values.
#[must_use]
pub fn settings(values: &[(u16, u32)]) -> Vec<u8> {
    let payload = values.iter().flat_map(|(id, value)| [&id.to_be_bytes()[..], &value.to_be_bytes()].concat());
    frame(kind::SETTINGS, 0, 0, &payload.collect::<Vec<u8>>())
}

/// A header field that stands for itself, and that the receiver keeps if it is `indexed`.
#[must_use]
pub fn field(name: &str, value: &str, indexed: bool) -> Vec<u8> {
    let mut field = vec![if indexed { 0x40 } else { 0 }];
    for text in [name, value] {
        write_length(&mut field, text.len());
        field.extend_from_slice(text.as_bytes());
    }
    field
}

/// The length of a text without Huffman coding: a number with a prefix of seven bits.
fn write_length(buffer: &mut Vec<u8>, length: usize) {
    if length < 127 {
        buffer.push(u8::try_from(length).expect("small"));
        return;
    }
    buffer.push(127);
    let mut rest = length - 127;
    while rest > 127 {
        buffer.push(u8::try_from(rest & 127).expect("seven bits") | 128);
        rest >>= 7;
    }
    buffer.push(u8::try_from(rest).expect("seven bits"));
}

/// The header block of an export of OTLP logs over gRPC.
#[must_use]
pub fn export_headers() -> Vec<u8> {
    [
        (":method", "POST"),
        (":scheme", "http"),
        (":path", "/opentelemetry.proto.collector.logs.v1.LogsService/Export"),
        (":authority", "localhost"),
        ("content-type", "application/grpc"),
        ("te", "trailers"),
    ]
    .into_iter()
    .flat_map(|(name, value)| field(name, value, false))
    .collect()
}

/// A message as gRPC has it, without compression, whose length may be a lie.
#[must_use]
pub fn message(length: u32, bytes: &[u8]) -> Vec<u8> {
    [&[0][..], &length.to_be_bytes(), bytes].concat()
}

/// A whole call on a stream.
#[must_use]
pub fn call(stream: u32, bytes: &[u8]) -> Vec<u8> {
    let length = u32::try_from(bytes.len()).expect("a short message");
    let mut call = frame(kind::HEADERS, END_HEADERS, stream, &export_headers());
    let message = message(length, bytes);
    let mut parts = message.chunks(FRAME_BYTES_MAX).peekable();
    while let Some(part) = parts.next() {
        let flags = if parts.peek().is_none() { END_STREAM } else { 0 };
        call.extend(frame(kind::DATA, flags, stream, part));
    }
    call
}

/// Reads frames until one ends this stream.
///
/// # Errors
/// The connection ends before that.
pub async fn read_to_end_of(connection: &mut (impl AsyncRead + Unpin), stream: u32) -> io::Result<()> {
    loop {
        let mut head = [0; 9];
        connection.read_exact(&mut head).await?;
        let [a, b, c, kind, flags, id @ ..] = head;
        let mut payload = vec![0; usize::try_from(u32::from_be_bytes([0, a, b, c])).unwrap_or(usize::MAX)];
        connection.read_exact(&mut payload).await?;
        let has_end = matches!(kind, kind::HEADERS | kind::DATA) && flags & END_STREAM != 0;
        let was_reset = kind == kind::RST_STREAM;
        if u32::from_be_bytes(id) == stream && (has_end || was_reset) {
            return Ok(());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_those_of_the_standard() {
        assert_eq!(frame(kind::PING, 1, 0, b"12345678"), b"\x00\x00\x08\x06\x01\x00\x00\x00\x0012345678");
        assert_eq!(settings(&[(4, 0)]), b"\x00\x00\x06\x04\x00\x00\x00\x00\x00\x00\x04\x00\x00\x00\x00");
        assert_eq!(field("a", "bc", true), b"\x40\x01a\x02bc");
        // 1337 is 127 and 1210, which is 58 and 9 times 128.
        let mut length = Vec::new();
        write_length(&mut length, 1_337);
        assert_eq!(length, [127, 0xba, 0x09]);
    }
}
