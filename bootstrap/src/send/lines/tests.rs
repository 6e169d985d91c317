//! Tests of the lines of an input.

use proptest::prelude::*;
use tokio::io::AsyncWriteExt;
use tokio::time::timeout;

use super::*;

fn line(text: &str, number: u64, offset: u64) -> Line {
    Line { text: text.into(), number, offset, cut_bytes: 0 }
}

async fn read(input: &[u8]) -> Vec<Line> {
    let (mut lines, mut read) = (Lines::new(input, None), Vec::new());
    while let Some(line) = lines.next().await.unwrap() {
        read.push(line);
    }
    read
}

#[tokio::test]
async fn lines_end_with_either_line_end_or_the_input() {
    assert_eq!(read(b"").await, []);
    assert_eq!(read(b"a\r\n\nbcd").await, [line("a", 1, 0), line("", 2, 3), line("bcd", 3, 4)]);
    assert_eq!(read(b"a\n").await, [line("a", 1, 0)]);
}

#[tokio::test]
async fn a_line_that_is_too_long_is_cut_and_the_rest_is_counted() {
    let longest = vec![b'x'; LINE_BYTES_MAX];
    let input = [&longest[..], b"\n", &longest, b"yz\r\n", b"ok"].concat();
    let read = read(&input).await;
    let sizes: Vec<_> = read.iter().map(|line| (line.text.len(), line.cut_bytes, line.number)).collect();
    assert_eq!(sizes, [(LINE_BYTES_MAX, 0, 1), (LINE_BYTES_MAX, 3, 2), (2, 0, 3)]);
    assert_eq!(read[2].offset, 2 * LINE_BYTES_MAX as u64 + 5);
}

#[tokio::test]
async fn a_byte_order_mark_is_not_part_of_a_line() {
    let read = read(b"\xEF\xBB\xBFa\n\xEF\xBB\xBFb").await;
    assert_eq!(read, [line("a", 1, 0), line("\u{feff}b", 2, 5)]);
}

#[tokio::test]
async fn holes_are_skipped_and_no_line_is_lost() {
    let hole = "\0".repeat(HOLE_BYTES_MIN);
    let large = "\0".repeat(100_000);
    for (input, expected) in [
        (format!("{large}a\nb\n"), vec![line("a", 1, 0), line("b", 2, 100_002)]),
        (format!("a\n{large}b\n"), vec![line("a", 1, 0), line("b", 2, 2)]),
        (format!("a\nb{hole}c\n"), vec![line("a", 1, 0), line("b", 2, 2), line("c", 2, 19)]),
        (format!("a\n{large}"), vec![line("a", 1, 0)]),
        (format!("a{hole}\nb"), vec![line("a", 1, 0), line("b", 2, 18)]),
        (format!("a{hole}"), vec![line("a", 1, 0)]),
        ("\0a\0b\0\0\n".to_owned(), vec![line("a\0b\0\0", 1, 0)]),
        (format!("a\0b{hole}c\0"), vec![line("a\0b", 1, 0), line("c\0", 1, 19)]),
        (large.clone(), vec![]),
    ] {
        assert_eq!(read(input.as_bytes()).await, expected, "{}", input.len());
    }
}

#[tokio::test]
async fn a_hole_in_a_pipe_does_not_end_it() {
    let (mut writer, reader) = tokio::io::duplex(64);
    let mut lines = Lines::new(reader, None);
    let write = async {
        for part in [&b"a\n"[..], &[0; 4_096], b"b\n\xFF\xFE\0\0c\n"] {
            writer.write_all(part).await.unwrap();
        }
        drop(writer);
    };
    let read = async {
        let mut texts = Vec::new();
        while let Some(line) = lines.next().await.unwrap() {
            texts.push(line.text);
        }
        texts
    };
    let ((), texts) = tokio::join!(write, read);
    assert_eq!(texts, [&b"a"[..], b"b", b"\xFF\xFE\0\0c"]);
}

#[tokio::test]
async fn a_cancelled_read_loses_nothing() {
    let (mut writer, reader) = tokio::io::duplex(64);
    let mut lines = Lines::new(reader, None);
    writer.write_all(b"half ").await.unwrap();
    tokio::select! {
        biased;
        line = lines.next() => panic!("{line:?}"),
        () = std::future::ready(()) => {}
    }
    writer.write_all(b"a line\n").await.unwrap();
    assert_eq!(lines.next().await.unwrap(), Some(line("half a line", 1, 0)));
}

#[tokio::test]
async fn what_was_read_is_passed_on_without_reading_more() {
    let hole = "\0".repeat(HOLE_BYTES_MIN);
    let (mut writer, reader) = tokio::io::duplex(1 << 20);
    let mut lines = Lines::new(reader, None);
    assert_eq!(lines.next_read(), None);
    writer.write_all(format!("a\nb\r\n{hole}c{hole}d").as_bytes()).await.unwrap();
    assert_eq!(lines.next_read(), None, "it was not read yet");
    assert_eq!(lines.next().await.unwrap(), Some(line("a", 1, 0)));
    writer.write_all(b"e\n").await.unwrap();
    let rest: Vec<Line> = std::iter::from_fn(|| lines.next_read()).collect();
    assert_eq!(rest, [line("b", 2, 2), line("c", 3, 5), line("d", 3, 38)]);
}

/// An input whose end is reached before each part, as that of a file that grows.
struct Growing(std::collections::VecDeque<io::Result<&'static [u8]>>);

impl AsyncRead for Growing {
    fn poll_read(
        mut self: std::pin::Pin<&mut Self>,
        _context: &mut std::task::Context<'_>,
        buffer: &mut tokio::io::ReadBuf<'_>,
    ) -> std::task::Poll<io::Result<()>> {
        match self.0.pop_front() {
            Some(Ok(part)) => buffer.put_slice(part),
            Some(Err(error)) => return std::task::Poll::Ready(Err(error)),
            None => {}
        }
        std::task::Poll::Ready(Ok(()))
    }
}

fn growing<const N: usize>(parts: [&'static [u8]; N]) -> Growing {
    Growing(parts.into_iter().map(Ok).collect())
}

#[tokio::test(start_paused = true)]
async fn the_end_of_the_last_line_is_awaited() {
    const WAIT: Duration = Duration::from_secs(1);
    let start = Instant::now();
    let mut lines = Lines::new(growing([b"a\nha", b"", b"lf", b"", b" a line\n"]), Some(WAIT));
    assert_eq!(lines.next().await.unwrap(), Some(line("a", 1, 0)));
    assert_eq!(lines.next().await.unwrap(), Some(line("half a line", 2, 2)));
    assert_eq!(start.elapsed(), 2 * GROWTH_CHECK);
    assert_eq!(lines.next().await.unwrap(), None, "a complete line is not waited for");
    assert_eq!(start.elapsed(), 2 * GROWTH_CHECK);

    let start = Instant::now();
    let mut lines = Lines::new(growing([b"half"]), Some(WAIT));
    assert!(timeout(WAIT / 2, lines.next()).await.is_err(), "and a cancelled read does not begin anew");
    assert_eq!(lines.next().await.unwrap(), Some(line("half", 1, 0)));
    assert_eq!(start.elapsed(), WAIT);
}

#[tokio::test]
async fn what_precedes_a_failure_is_passed_on() {
    let parts = [Ok(&b"a\nhalf"[..]), Err(io::ErrorKind::InvalidData.into())];
    let mut lines = Lines::new(Growing(parts.into_iter().collect()), None);
    assert_eq!(lines.next().await.unwrap(), Some(line("a", 1, 0)));
    assert_eq!(lines.next().await.unwrap(), Some(line("half", 2, 2)));
    assert_eq!(lines.next().await.unwrap_err().kind(), io::ErrorKind::InvalidData);
}

proptest! {
    #[test]
    fn every_byte_but_nul_and_the_line_ends_is_in_a_line(
        parts in proptest::collection::vec(prop_oneof![
            Just("\n".to_owned()), Just("\r\n".to_owned()), Just("\0".repeat(40)), "[a-c\0]{0,20}", "\u{e9}{1,3}"
        ], 0..20),
        piece in 1usize..8,
    ) {
        let input = parts.concat();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let lines = runtime.block_on(async {
            let (mut writer, reader) = tokio::io::duplex(piece);
            let write = async { writer.write_all(input.as_bytes()).await.unwrap(); drop(writer) };
            let read = async {
                let (mut lines, mut read) = (Lines::new(reader, None), Vec::new());
                while let Some(line) = lines.next().await.unwrap() {
                    read.push(line);
                }
                read
            };
            tokio::join!(write, read).1
        });
        let text = |bytes: &[u8]| bytes.iter().copied().filter(|byte| !b"\0\r\n".contains(byte)).collect::<Vec<_>>();
        let read: Vec<u8> = lines.iter().flat_map(|line| text(&line.text)).collect();
        prop_assert_eq!(read, text(input.as_bytes()));
        prop_assert!(lines.is_sorted_by(|one, next| one.offset < next.offset && one.number <= next.number));
    }
}
