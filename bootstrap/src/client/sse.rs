//! Server-Sent Events (WHATWG HTML, section 9.2.6) from chunks of bytes.
//!
//! * A line and the data of a block have at most [`BLOCK_BYTES_MAX`] bytes.

use std::mem;

/// Maximum bytes of a block: an event has at most 1 MB, which escapes of JSON can make six times as long.
const BLOCK_BYTES_MAX: usize = 8 * 1024 * 1024;

/// A block of the stream. Its id is where to resume, also if it has no data.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Block {
    /// The last id so far; empty before the first one.
    pub id: String,
    /// Its name; empty for events without one.
    pub name: String,
    /// Its data; empty if it has none.
    pub data: String,
}

/// A block is longer than allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an event of the stream has more than {max} bytes", max = BLOCK_BYTES_MAX)]
pub struct TooLong;

/// Reads blocks.
#[derive(Debug, Default)]
pub struct BlockReader {
    /// The line in progress.
    line: Vec<u8>,
    /// Whether the last byte was a CR, which a LF may follow.
    after_cr: bool,
    /// Whether a first line was read, which may begin with a byte order mark.
    begun: bool,
    /// The block in progress.
    block: Block,
    has_lines: bool,
}

impl BlockReader {
    /// Reads the next bytes, and returns the blocks that they complete.
    ///
    /// # Errors
    /// A block is longer than allowed.
    pub fn read(&mut self, bytes: &[u8]) -> Result<Vec<Block>, TooLong> {
        let mut blocks = Vec::new();
        for byte in bytes {
            let after_cr = mem::replace(&mut self.after_cr, *byte == b'\r');
            match byte {
                b'\n' if after_cr => {}
                b'\n' | b'\r' => {
                    let line = mem::take(&mut self.line);
                    blocks.extend(self.end_of_line(&String::from_utf8_lossy(&line)));
                }
                other => self.line.push(*other),
            }
            if self.line.len() + self.block.data.len() > BLOCK_BYTES_MAX {
                return Err(TooLong);
            }
        }
        Ok(blocks)
    }

    fn end_of_line(&mut self, line: &str) -> Option<Block> {
        let line = if mem::replace(&mut self.begun, true) { line } else { line.trim_start_matches('\u{feff}') };
        if line.is_empty() {
            let has_lines = mem::replace(&mut self.has_lines, false);
            let id = self.block.id.clone();
            let mut block = mem::replace(&mut self.block, Block { id, ..Block::default() });
            if block.data.ends_with('\n') {
                block.data.pop();
            }
            return has_lines.then_some(block);
        }
        let (name, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match name {
            "data" => {
                self.block.data.push_str(value);
                self.block.data.push('\n');
            }
            "event" => value.clone_into(&mut self.block.name),
            "id" if !value.contains('\0') => value.clone_into(&mut self.block.id),
            // Comments and unknown fields.
            _ => return None,
        }
        self.has_lines = true;
        None
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn block(id: &str, name: &str, data: &str) -> Block {
        Block { id: id.to_owned(), name: name.to_owned(), data: data.to_owned() }
    }

    #[test]
    fn blocks_are_read_as_the_standard_says() {
        for (text, blocks) in [
            ("id: 7\ndata: {\"a\":1}\n\n", vec![block("7", "", "{\"a\":1}")]),
            (
                "id: 7\nevent: missed\ndata: {\"events\":3}\n\nid: 8\n\n",
                vec![block("7", "missed", "{\"events\":3}"), block("8", "", "")],
            ),
            ("\u{feff}id:7\r\n\r\ndata:a\rdata\rdata:  b\r\r", vec![block("7", "", ""), block("7", "", "a\n\n b")]),
            (": comment\n\nretry: 5\n\n\n\n", vec![]),
            ("data: unfinished\n", vec![]),
        ] {
            assert_eq!(BlockReader::default().read(text.as_bytes()).as_ref(), Ok(&blocks), "{text:?}");
        }
    }

    #[test]
    fn blocks_are_bounded() {
        let mut reader = BlockReader::default();
        assert_eq!(reader.read("x".repeat(BLOCK_BYTES_MAX + 1).as_bytes()), Err(TooLong));
        let mut reader = BlockReader::default();
        let line = format!("data:{}\n", "x".repeat(BLOCK_BYTES_MAX / 2));
        assert_eq!(reader.read(line.as_bytes()), Ok(vec![]));
        assert_eq!(reader.read(line.as_bytes()), Err(TooLong));
    }

    proptest! {
        #[test]
        fn the_chunks_do_not_matter(text in "(id: [0-9]\n|data: [a-zä]{0,3}\r\n|event: x\r|:\n|\n|\r\n|\r){0,30}", at in 1_usize..9) {
            let whole = BlockReader::default().read(text.as_bytes()).unwrap();
            let mut reader = BlockReader::default();
            let parts: Vec<Block> = text.as_bytes().chunks(at).flat_map(|chunk| reader.read(chunk).unwrap()).collect();
            prop_assert_eq!(parts, whole);
        }
    }
}
