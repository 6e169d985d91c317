//! One rule for case-insensitive search in every store.
//!
//! Databases fold case by their locale or only in ASCII. A search must return the same result on every store, so the
//! rule lives here; stores may use their own functions only to narrow down the candidates.

/// Folds the case of a text: maps every character to lower, to upper and to lower case again, by the Unicode tables,
/// independent of locale and position in the word. So `STRASSE` and `STRAẞE` equal `straße`, and `ΣΑΣ` equals `σας`.
#[must_use]
pub fn fold(text: &str) -> String {
    let mut folded = String::with_capacity(text.len());
    fold_into(text, &mut folded);
    folded
}

/// Appends a text in folded case, as [`fold`] returns it.
pub fn fold_into(text: &str, folded: &mut String) {
    if text.is_ascii() {
        let begin = folded.len();
        folded.push_str(text);
        if let Some(added) = folded.get_mut(begin..) {
            added.make_ascii_lowercase();
        }
        return;
    }
    folded.extend(text.chars().flat_map(char::to_lowercase).flat_map(char::to_uppercase).flat_map(char::to_lowercase));
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn letters_that_differ_only_in_case_fold_to_the_same_text() {
        for (one, other) in [
            ("STRASSE", "straße"),
            ("STRAẞE", "straße"),
            ("ΣΑΣ", "σας"),
            ("ÉCOLE", "école"),
            ("\u{212a}", "k"),
            ("ſ", "S"),
        ] {
            assert_eq!(fold(one), fold(other), "{one} {other}");
        }
        assert_ne!(fold("a"), fold("ä"));
    }

    /// Searches rely on it: in folded text, any other ASCII character stands where it stood before.
    #[test]
    fn characters_beyond_ascii_fold_to_ascii_letters_at_most() {
        for char in char::MIN..=char::MAX {
            let folded = fold(char.encode_utf8(&mut [0; 4]));
            assert!(char.is_ascii() || folded.chars().all(|to| !to.is_ascii() || to.is_ascii_alphabetic()), "{char:?}");
        }
    }

    proptest! {
        #[test]
        fn folding_twice_changes_nothing_for_ascii_and_upper_and_lower_case_meet(text in "[ -~]{0,40}") {
            prop_assert_eq!(fold(&fold(&text)), fold(&text));
            prop_assert_eq!(fold(&text.to_uppercase()), fold(&text.to_lowercase()));
        }
    }
}
