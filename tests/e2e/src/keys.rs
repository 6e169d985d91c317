//! Access keys and certificates for tests.

use std::path::{Path, PathBuf};
use std::process::Command;

use adapter_webhook::HttpsFiles;
use serde_json::Value;

use crate::{Answer, Http, output};

/// The file of the keys of a program under test.
pub struct KeysFile {
    binary: String,
    path: PathBuf,
}

impl KeysFile {
    /// The file that `spillway all` finds in its data directory.
    #[must_use]
    pub fn of(binary: &str, data_dir: &Path) -> Self {
        Self { binary: binary.to_owned(), path: data_dir.join("keys.toml") }
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Creates a key with these options. Returns its text.
    #[must_use]
    pub fn create(&self, options: &[&str]) -> String {
        noted(self.run(&[&["create"], options].concat()))
    }

    /// Rotates a key with these options. Returns the text of the new one.
    #[must_use]
    pub fn rotate(&self, key: &str, options: &[&str]) -> String {
        noted(self.run(&[&["rotate", id_of(key)], options].concat()))
    }

    /// Revokes a key.
    pub fn revoke(&self, key: &str) {
        self.run(&["revoke", id_of(key)]);
    }

    /// Makes keys that end at `future` end in 2020: the command refuses to create a key that is over.
    pub fn expire(&self, future: &str) {
        let text = std::fs::read_to_string(&self.path).expect("the file");
        assert!(text.contains(future), "{text}");
        std::fs::write(&self.path, text.replace(future, "2020-01-01T00:00:00Z")).expect("written");
    }

    /// Replaces the hash of a key, so that its text is one with a wrong secret.
    pub fn change_secret(&self, key: &str) {
        let text = std::fs::read_to_string(&self.path).expect("the file");
        let (before, entry) = text.split_once(&format!("id = \"{}\"", id_of(key))).expect("the key");
        let (_, hash) = entry.split_once("sha256:").expect("its hash");
        let (hash, _) = hash.split_at(64);
        let entry = entry.replacen(hash, &"0".repeat(64), 1);
        std::fs::write(&self.path, format!("{before}id = \"{}\"{entry}", id_of(key))).expect("written");
    }

    fn run(&self, arguments: &[&str]) -> String {
        let mut command = Command::new(&self.binary);
        command.arg("key").args(arguments).arg("--keys-file").arg(&self.path);
        // The settings of the directory of a test are not those of the program.
        let ended = command.current_dir(self.path.parent().expect("a directory")).output().expect("it runs");
        output::keep(output::LOGS, &ended.stderr);
        assert!(ended.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&ended.stderr));
        String::from_utf8(ended.stdout).expect("text").trim().to_owned()
    }
}

/// A key whose secret nobody may say.
fn noted(key: String) -> String {
    output::keep(output::SECRETS, secret_of(&key).as_bytes());
    key
}

/// The id of a key.
#[must_use]
pub fn id_of(key: &str) -> &str {
    key.get(4..12).expect("a key")
}

/// The secret of a key, which nothing but its owner may have.
#[must_use]
pub fn secret_of(key: &str) -> &str {
    key.get(13..).expect("a key")
}

/// A client with a key.
#[derive(Clone)]
pub struct Keyed {
    http: Http,
    authorization: String,
}

impl Keyed {
    /// A client with this key.
    #[must_use]
    pub fn new(http: &Http, key: &str) -> Self {
        Self { http: http.clone(), authorization: format!("Bearer {key}") }
    }

    /// The header with the key.
    #[must_use]
    pub fn header(&self) -> (&str, &str) {
        ("authorization", &self.authorization)
    }

    /// Gets a path.
    pub async fn get(&self, path: &str) -> Answer {
        self.http.send("GET", path, &[self.header()], "").await
    }

    /// Posts an event, or a batch of them.
    pub async fn post(&self, body: &Value, headers: &[(&str, &str)]) -> Answer {
        let path = if body.is_array() { "/api/logs/batch" } else { "/api/logs" };
        let own = [self.header(), ("content-type", "application/json")];
        self.http.send("POST", path, &[&own, headers].concat(), body.to_string()).await
    }

    /// The messages of the newest events that it may read, in the order of their text.
    pub async fn messages(&self) -> Vec<String> {
        let page = self.get("/api/logs?limit=1000").await.json();
        let message = |event: &Value| event["message"].as_str().map(str::to_owned);
        let mut messages: Vec<_> = page["events"].as_array().expect("events").iter().filter_map(message).collect();
        messages.sort_unstable();
        messages
    }
}

/// A file of `certificates/`: the authority, the pair of a server on this machine, of a gateway, or of a stranger with a
/// certificate of the same authority; or a pair whose certificate ended in 2021.
#[must_use]
pub fn certificate(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("certificates").join(format!("{name}.pem"))
}

/// The files of a client that trusts the authority and shows this certificate, if any.
#[must_use]
pub fn client_files(shown: Option<&str>) -> HttpsFiles {
    let pair = shown.map(|name| (certificate(name), certificate(name)));
    HttpsFiles { ca: Some(certificate("authority")), client: pair }
}
