//! The inputs: files, pipes and standard input.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::fs::File;
use tokio::io::AsyncRead;

use super::event_id::FileId;
use super::lines::Lines;

/// The file name that means standard input.
const STDIN: &str = "-";

/// A file, or standard input.
pub struct Input {
    /// Name for display.
    pub name: Arc<str>,
    /// Source of its events.
    pub source: String,
    /// `None` means standard input.
    path: Option<PathBuf>,
}

/// An opened input.
pub struct Opened {
    /// Its lines.
    pub lines: Lines<Box<dyn AsyncRead + Unpin>>,
    /// The identity that makes its lines recognisable as repeats; pipes have none.
    pub file: Option<FileId>,
}

impl Input {
    /// The inputs of these names, or standard input.
    #[must_use]
    pub fn all(files: &[PathBuf], source: Option<&String>) -> Vec<Self> {
        let stdin = [PathBuf::from(STDIN)];
        let paths = if files.is_empty() { &stdin[..] } else { files };
        paths.iter().map(|path| Self::new(path, source.cloned())).collect()
    }

    fn new(path: &Path, source: Option<String>) -> Self {
        if path.as_os_str() == STDIN {
            let source = source.unwrap_or_else(|| "stdin".to_owned());
            return Self { name: "standard input".into(), source, path: None };
        }
        let name = path.display().to_string().into();
        let stem = || path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        Self { name, source: source.unwrap_or_else(stem), path: Some(path.to_owned()) }
    }

    /// Whether it is standard input.
    #[must_use]
    pub fn is_stdin(&self) -> bool {
        self.path.is_none()
    }

    /// Its name without directories.
    #[must_use]
    pub fn short_name(&self) -> &str {
        self.path.as_ref().and_then(|path| path.file_name()?.to_str()).unwrap_or(&self.name)
    }

    /// Opens the input.
    ///
    /// # Errors
    /// The file does not exist or cannot be read.
    pub async fn open(&self) -> io::Result<Opened> {
        let Some(path) = &self.path else {
            return Ok(Opened { lines: Lines::new(Box::new(tokio::io::stdin())), file: None });
        };
        let reader = File::open(path).await?;
        let file = FileId::of(&reader.metadata().await?);
        Ok(Opened { lines: Lines::new(Box::new(reader)), file })
    }
}

/// The total size of all inputs, if all are files: pipes have no size.
pub async fn bytes_total(inputs: &[Input]) -> Option<u64> {
    let mut total = 0;
    for input in inputs {
        match tokio::fs::metadata(input.path.as_ref()?).await {
            Ok(metadata) if metadata.is_file() => total += metadata.len(),
            Ok(_) => return None,
            // Reported when the input is opened.
            Err(_) => {}
        }
    }
    Some(total)
}
