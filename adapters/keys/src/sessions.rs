//! Sessions of browsers, sealed with a secret that the processes of one Spillway share.
//!
//! Invariant: a session has no secret of a key in it. A thief loses it with the key, or after
//! [`SESSION_DURATION`].

use std::path::Path;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use domain::access::KeyId;
use domain::ports::{Clock, SESSION_DURATION, SessionSealer};
use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::rand::{SecureRandom, SystemRandom};

use crate::file::{FileError, read};

/// Bytes of a secret.
const SECRET_BYTES: usize = 32;
/// Longest text that is looked at: a session has 59 characters.
const SESSION_CHARACTERS_MAX: usize = 64;
/// What the secrets are used for, so that nothing else that they may seal is taken for a session.
const PURPOSE: &[u8] = b"session of spillway 1";

/// Seals sessions.
pub struct Sessions {
    /// The first one seals; all of them open.
    secrets: Vec<LessSafeKey>,
    random: SystemRandom,
    clock: Arc<dyn Clock>,
}

impl Sessions {
    /// With a secret of this process alone; `None` if the operating system has no random numbers.
    #[must_use]
    pub fn of_this_process(clock: Arc<dyn Clock>) -> Option<Self> {
        let random = SystemRandom::new();
        let mut secret = [0; SECRET_BYTES];
        random.fill(&mut secret).ok()?;
        Some(Self { secrets: vec![sealing_key(&secret)?], random, clock })
    }

    /// With the secrets in a file: one in base64 in each line.
    ///
    /// # Errors
    /// The file cannot be used.
    pub fn open(path: &Path, clock: Arc<dyn Clock>) -> Result<Self, FileError> {
        let bytes = read(path)?;
        let mut secrets = Vec::new();
        for (index, line) in bytes.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii).enumerate() {
            if !line.is_empty() {
                let secret = STANDARD.decode(line).ok().and_then(|secret| sealing_key(&secret));
                secrets.push(secret.ok_or_else(|| syntax(index + 1, "not 32 bytes in base64"))?);
            }
        }
        if secrets.is_empty() {
            return Err(syntax(1, "there is no secret: write the output of openssl rand -base64 32 into it"));
        }
        Ok(Self { secrets, random: SystemRandom::new(), clock })
    }
}

fn sealing_key(secret: &[u8]) -> Option<LessSafeKey> {
    UnboundKey::new(&CHACHA20_POLY1305, secret).ok().map(LessSafeKey::new)
}

fn syntax(line: usize, message: &str) -> FileError {
    FileError::Syntax { line, message: message.to_owned() }
}

impl SessionSealer for Sessions {
    fn seal(&self, key: KeyId) -> Option<String> {
        let ends = self.clock.now().checked_add(SESSION_DURATION)?;
        let mut content = ends.unix_micros().to_be_bytes().to_vec();
        content.extend_from_slice(key.to_string().as_bytes());
        // Random: at a session a second, two are alike in 10⁸ years with a probability of one in 10⁵.
        let mut nonce = [0; NONCE_LEN];
        self.random.fill(&mut nonce).ok()?;
        let unique = Nonce::assume_unique_for_key(nonce);
        self.secrets.first()?.seal_in_place_append_tag(unique, Aad::from(PURPOSE), &mut content).ok()?;
        Some(URL_SAFE_NO_PAD.encode([nonce.as_slice(), content.as_slice()].concat()))
    }

    fn unseal(&self, session: &str) -> Option<KeyId> {
        if session.len() > SESSION_CHARACTERS_MAX {
            return None;
        }
        let bytes = URL_SAFE_NO_PAD.decode(session).ok()?;
        let (nonce, sealed) = bytes.split_first_chunk::<NONCE_LEN>()?;
        let content = self.secrets.iter().find_map(|secret| {
            let mut sealed = sealed.to_vec();
            let unique = Nonce::assume_unique_for_key(*nonce);
            let content = secret.open_in_place(unique, Aad::from(PURPOSE), &mut sealed).ok()?;
            Some(content.to_vec())
        })?;
        let (ends, key) = content.split_first_chunk::<8>()?;
        if i64::from_be_bytes(*ends) <= self.clock.now().unix_micros() {
            return None;
        }
        std::str::from_utf8(key).ok()?.parse().ok()
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use domain::access::KeyText;
    use proptest::prelude::*;
    use testkit::clock_at;

    use super::*;

    fn key() -> KeyId {
        KeyText::from_random(&[10; 40]).expect("enough bytes").id()
    }

    /// Sessions at a time, with secrets of these bytes.
    fn sessions(time: &str, secrets: &[u8]) -> Sessions {
        let secrets = secrets.iter().map(|byte| sealing_key(&[*byte; SECRET_BYTES]).expect("32 bytes")).collect();
        Sessions { secrets, random: SystemRandom::new(), clock: Arc::new(clock_at(time)) }
    }

    #[test]
    fn a_session_lasts_twelve_hours_wherever_its_secret_is_known() {
        let session = sessions("2026-01-01T00:00:00Z", &[1]).seal(key()).expect("sealed");
        let read = |time: &str, secrets: &[u8]| sessions(time, secrets).unseal(&session);
        assert_eq!(session.len(), 59);
        assert_eq!(read("2026-01-01T11:59:59Z", &[1]), Some(key()));
        assert_eq!(read("2026-01-01T12:00:00Z", &[1]), None);
        assert_eq!(read("2026-01-01T00:00:00Z", &[2, 1]), Some(key()), "a new secret, and the old one");
        assert_eq!(read("2026-01-01T00:00:00Z", &[2]), None);
    }

    #[test]
    fn a_session_that_was_changed_is_none() {
        let sessions = sessions("2026-01-01T00:00:00Z", &[1]);
        let session = sessions.seal(key()).expect("sealed");
        assert_ne!(sessions.seal(key()).expect("sealed"), session);
        for position in 0..session.len() {
            let mut changed = session.clone().into_bytes();
            changed[position] = if changed[position] == b'A' { b'B' } else { b'A' };
            let changed = String::from_utf8(changed).expect("text");
            assert_eq!(sessions.unseal(&changed), None, "{changed}");
        }
    }

    #[test]
    fn the_secrets_are_read_from_a_file_that_others_cannot_read() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("secrets");
        let open = |content: &str, mode| {
            std::fs::write(&path, content).expect("written");
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).expect("changed");
            let opened = Sessions::open(&path, Arc::new(clock_at("2026-01-01T00:00:00Z")));
            opened.map(|sessions| sessions.secrets.len()).map_err(|error| error.to_string())
        };
        let secret = STANDARD.encode([7; SECRET_BYTES]);
        assert_eq!(open(&format!("{secret}\n"), 0o600), Ok(1));
        assert_eq!(open(&format!("{secret}\r\n\n{secret}"), 0o640), Ok(2));
        assert!(open(&secret, 0o644).is_err_and(|error| error.contains("chmod")));
        assert!(open("", 0o600).is_err_and(|error| error.contains("openssl rand -base64 32")));
        let wrong = open(&format!("{secret}\n{}", &secret[1..]), 0o600).expect_err("too short");
        assert!(wrong.contains("line 2") && !wrong.contains(&secret[1..]), "{wrong}");
    }

    proptest! {
        #[test]
        fn any_text_is_read_without_a_panic(text in "[A-Za-z0-9_-]{0,70}|.{0,20}") {
            prop_assert_eq!(sessions("2026-01-01T00:00:00Z", &[1]).unseal(&text), None);
        }
    }
}
