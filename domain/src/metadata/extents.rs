//! Where the large objects and arrays of a JSON text are, so that a walk into them does not read everything in them at each
//! level again, only to find their ends.
//!
//! Constraint: the text is JSON.

use std::marker::PhantomData;

use super::plain::text_bytes;

/// Shorter values are read instead.
const BYTES_MIN: usize = 1_024;
/// Values that are nested deeper are read instead. This bounds the memory: each of these levels has at most one value for
/// [`BYTES_MIN`] of the text.
const DEPTH_MAX: usize = 8;

/// The places of the large objects and arrays of one text.
#[derive(Debug)]
pub struct Extents<'a> {
    /// The addresses at which they begin, ascending, and their lengths in bytes.
    extents: Vec<(usize, usize)>,
    text: PhantomData<&'a str>,
}

impl<'a> Extents<'a> {
    /// Those within a value, of which this is the JSON text.
    #[must_use]
    pub fn of(text: &'a str) -> Self {
        let json = text.as_bytes();
        let (mut depth, mut at, mut begins) = (0_usize, 0, [0; DEPTH_MAX]);
        let mut extents = Vec::new();
        while let Some(byte) = json.get(at) {
            match byte {
                b'"' => {
                    at += text_bytes(json.get(at..).unwrap_or_default());
                    continue;
                }
                b'{' | b'[' => {
                    if let Some(begin) = begins.get_mut(depth) {
                        *begin = at;
                    }
                    depth += 1;
                }
                b'}' | b']' => {
                    depth = depth.saturating_sub(1);
                    let large = begins.get(depth).map(|begin| (*begin, at + 1 - begin));
                    extents.extend(large.filter(|(_, bytes)| *bytes >= BYTES_MIN));
                }
                _ => {}
            }
            at += 1;
        }
        extents.sort_unstable();
        let first = address(text);
        extents.iter_mut().for_each(|(begin, _)| *begin += first);
        Self { extents, text: PhantomData }
    }

    /// The length in bytes of the value that a part of the text begins with, if it is a large one.
    pub(super) fn bytes(&self, part: &'a str) -> Option<usize> {
        let place = self.extents.binary_search_by_key(&address(part), |(begin, _)| *begin).ok()?;
        self.extents.get(place).map(|(_, bytes)| *bytes)
    }
}

fn address(text: &str) -> usize {
    text.as_ptr().addr()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metadata::JsonValue;

    /// All values, as their JSON text.
    fn all<'a>(value: JsonValue<'a>, extents: Option<&Extents<'a>>, found: &mut Vec<&'a str>) {
        found.push(value.json());
        match extents {
            Some(with) => {
                value.members_with(with).for_each(|(_, value)| all(value, extents, found));
                value.elements_with(with).for_each(|value| all(value, extents, found));
            }
            None => {
                value.members().for_each(|(_, value)| all(value, extents, found));
                value.elements().for_each(|value| all(value, extents, found));
            }
        }
    }

    #[test]
    fn a_walk_finds_the_same_values() {
        let long = format!("[{}7]", "\"]}\\\"\",{ } ,".repeat(BYTES_MIN / 8));
        let nested = format!("{}{long}{}", "[[{\"a\":".repeat(DEPTH_MAX), "}] , 1 ]".repeat(DEPTH_MAX));
        let json = format!(" {{ \"a\" : [{long} , {{}}, {nested}], \"b\\\"\":{nested},\"c\":{{\"d\":{long} }} }} ");
        let value = JsonValue::new(&json);
        let extents = Extents::of(value.json());
        assert!(extents.extents.len() > 2 * DEPTH_MAX && extents.extents.is_sorted());
        let (mut expected, mut found) = (Vec::new(), Vec::new());
        all(value, None, &mut expected);
        all(value, Some(&extents), &mut found);
        assert_eq!(found, expected);
        assert!(Extents::of("[{}]").extents.is_empty());
    }
}
