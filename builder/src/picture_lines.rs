//! JSON lines that say something of one picture each, as somebody wrote them down: `{"image": "bus.png", …}`. `image` is a
//! file name (a path is as good as the name at its end), or the id of a candidate.

use std::collections::HashMap;
use std::io::BufRead;
use std::path::Path;

use serde_json::Value;

use crate::scene_graph::sha256_hex;
use crate::{Error, Result};

/// What a file says, by picture.
pub(crate) struct PictureLines<T> {
    of_picture: HashMap<String, T>,
    version: String,
}

impl<T> PictureLines<T> {
    /// Reads a file; `parse` reads what a line says beside its `image`.
    ///
    /// # Errors
    /// The file cannot be read, or a line of it is wrong: file, line and field are named.
    pub(crate) fn open(path: &Path, parse: impl Fn(&Value) -> Result<T, String>) -> Result<Self> {
        let name = path.display().to_string();
        Self::read(std::io::BufReader::new(fs_err::File::open(path)?), &name, parse)
    }

    /// As [`Self::open`], of a file called `name`.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub(crate) fn read(reader: impl BufRead, name: &str, parse: impl Fn(&Value) -> Result<T, String>) -> Result<Self> {
        let mut of_picture = HashMap::new();
        let mut content = Vec::new();
        for (line, bytes) in (1..).zip(reader.split(b'\n')) {
            let bytes = bytes?;
            content.extend_from_slice(&bytes);
            content.push(b'\n');
            if bytes.trim_ascii().is_empty() {
                continue;
            }
            let wrong = |message: String| Error::Format(format!("{name}:{line}: {message}"));
            let value: Value = serde_json::from_slice(&bytes).map_err(|error| wrong(format!("no JSON: {error}")))?;
            let image = image_of(&value).map_err(wrong)?;
            let said = parse(&value).map_err(wrong)?;
            if of_picture.insert(image.clone(), said).is_some() {
                return Err(wrong(format!("image: an earlier line says what is in {image}")));
            }
        }
        Ok(Self { of_picture, version: sha256_hex(&content)[..16].to_owned() })
    }

    /// Changes with the file.
    pub(crate) fn version(&self) -> &str {
        &self.version
    }

    /// What is said of a picture.
    ///
    /// # Errors
    /// `Format` where nothing is.
    pub(crate) fn of(&self, image: &str) -> Result<&T> {
        self.of_picture.get(image).ok_or_else(|| Error::Format(format!("no line of the file is about {image}")))
    }
}

fn image_of(value: &Value) -> Result<String, String> {
    match &value["image"] {
        Value::String(image) if !image.is_empty() => {
            Ok(image.rsplit(['/', '\\']).next().unwrap_or_default().to_owned())
        }
        Value::Null => Err("image: is missing".to_owned()),
        other => Err(format!("image: must be a file name, not {other}")),
    }
}
