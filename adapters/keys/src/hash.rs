//! What needs a cryptographic library: hashes of keys, and new keys.

use domain::access::{KeyHash, KeyText};
use ring::digest::{SHA256, digest};
use ring::rand::{SecureRandom, SystemRandom};

/// Random bytes for one key: more than enough of them become digits.
const RANDOM_BYTES: usize = 256;

/// The hash of a whole key.
pub fn hash_of(key: &KeyText) -> KeyHash {
    let digest = digest(&SHA256, key.reveal().as_bytes());
    let mut bytes = [0; 32];
    bytes.iter_mut().zip(digest.as_ref()).for_each(|(byte, of_digest)| *byte = *of_digest);
    KeyHash::new(bytes)
}

/// A new key; `None` if the operating system has no random numbers.
pub fn new_key() -> Option<KeyText> {
    let mut random = [0; RANDOM_BYTES];
    SystemRandom::new().fill(&mut random).ok()?;
    KeyText::from_random(&random)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn new_keys_differ_and_so_do_their_hashes() {
        let (one, other) = (new_key().expect("a key"), new_key().expect("a key"));
        assert_ne!(one, other);
        assert!(hash_of(&one).equals(&hash_of(&one)) && !hash_of(&one).equals(&hash_of(&other)));
    }

    #[test]
    fn a_hash_is_the_sha_256_of_the_whole_text() {
        let key = KeyText::from_random(&[10; 40]).expect("enough bytes");
        let expected = digest(&SHA256, key.reveal().as_bytes());
        let text = expected.as_ref().iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        assert_eq!(hash_of(&key).to_string(), format!("sha256:{text}"));
    }
}
