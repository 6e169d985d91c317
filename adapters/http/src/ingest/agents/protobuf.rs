//! The wire format of protocol buffers, read in place (protobuf.dev/programming-guides/encoding).
//!
//! Own code, because a decoder that builds messages takes memory for each: a body of 16 MiB can have eight million
//! empty ones. Fields are handed on as they stand in the body, in any order, and unknown ones can be ignored.

/// The value of a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Value<'a> {
    /// A whole number of up to 64 bits.
    Varint(u64),
    /// Eight bytes.
    Fixed64(u64),
    /// A text, bytes, or a message.
    Bytes(&'a [u8]),
    /// Four bytes.
    Fixed32(u32),
}

/// The bytes are not a protocol buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the body is not a protocol buffer, nothing was accepted")]
pub struct NotProtobuf;

/// The fields of a message: number and value, in the order of the bytes. Ends after the first error.
#[derive(Clone, Copy, Debug)]
pub struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    /// The fields of a message.
    #[must_use]
    pub fn new(message: &'a [u8]) -> Self {
        Self(message)
    }

    /// The last field: of a field that is not repeated, and of alternatives, it is the one that counts.
    ///
    /// # Errors
    /// [`NotProtobuf`].
    pub fn last_field(mut self) -> Result<Option<(u32, Value<'a>)>, NotProtobuf> {
        let mut last = None;
        while !self.0.is_empty() {
            last = Some(self.field().ok_or(NotProtobuf)?);
        }
        Ok(last)
    }

    // Always, so that a caller's `match` reads the field where it stands in the body: the fields of an event are many and short.
    #[inline(always)]
    fn field(&mut self) -> Option<(u32, Value<'a>)> {
        let key = self.varint()?;
        let number = u32::try_from(key >> 3).ok().filter(|number| *number > 0)?;
        let value = match key & 7 {
            0 => Value::Varint(self.varint()?),
            1 => Value::Fixed64(u64::from_le_bytes(self.array()?)),
            2 => {
                let bytes = usize::try_from(self.varint()?).ok()?;
                let (value, rest) = self.0.split_at_checked(bytes)?;
                self.0 = rest;
                Value::Bytes(value)
            }
            5 => Value::Fixed32(u32::from_le_bytes(self.array()?)),
            // Groups are obsolete, and no message of an agent has one.
            _ => return None,
        };
        Some((number, value))
    }

    #[inline]
    fn varint(&mut self) -> Option<u64> {
        // Nearly all keys and lengths.
        if let Some((byte, rest)) = self.0.split_first()
            && *byte < 0x80
        {
            self.0 = rest;
            return Some(u64::from(*byte));
        }
        self.long_varint()
    }

    #[inline(never)]
    fn long_varint(&mut self) -> Option<u64> {
        let mut number = 0;
        for shift in (0..64).step_by(7) {
            let (byte, rest) = self.0.split_first()?;
            self.0 = rest;
            number |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Some(number);
            }
        }
        None
    }

    #[inline]
    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (array, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*array)
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = Result<(u32, Value<'a>), NotProtobuf>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let field = self.field().ok_or(NotProtobuf);
        if field.is_err() {
            self.0 = &[];
        }
        Some(field)
    }
}

/// The messages, texts or bytes of one field.
pub fn repeated(message: &[u8], number: u32) -> impl Iterator<Item = Result<&[u8], NotProtobuf>> {
    Fields::new(message).filter_map(move |field| match field {
        Ok((of, Value::Bytes(bytes))) if of == number => Some(Ok(bytes)),
        Ok(_) => None,
        Err(error) => Some(Err(error)),
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn every_type_is_read() {
        let bytes = b"\x08\x96\x01\x11\x01\0\0\0\0\0\0\x80\x1a\x02hi\x25\x02\0\0\0";
        let fields: Result<Vec<_>, _> = Fields::new(bytes).collect();
        let expected = vec![
            (1, Value::Varint(150)),
            (2, Value::Fixed64(1 << 63 | 1)),
            (3, Value::Bytes(b"hi")),
            (4, Value::Fixed32(2)),
        ];
        assert_eq!(fields, Ok(expected));
        assert_eq!(repeated(bytes, 3).collect::<Vec<_>>(), [Ok(&b"hi"[..])]);
    }

    #[test]
    fn bytes_that_are_no_message_are_an_error_and_the_end() {
        for bytes in [
            &b"\x08"[..],
            b"\x0a\x02a",
            b"\x0b",
            b"\x00\x01",
            b"\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
            b"\x09\0",
        ] {
            assert_eq!(Fields::new(bytes).collect::<Vec<_>>(), [Err(NotProtobuf)], "{bytes:?}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_end(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            prop_assert!(Fields::new(&bytes).count() <= bytes.len());
        }
    }
}
