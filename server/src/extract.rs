//! What handlers take out of a request, with every fault told as a problem document.

use axum::RequestExt;
use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::http::{HeaderMap, header, request::Parts};
use builder::error::Fault;
use builder::job::Fields;
use serde::de::DeserializeOwned;
use serde_json::Value;
use uuid::Uuid;

use crate::problem::{Problem, Result};

/// A request body that reports all its faults at once.
pub trait Body: Sized {
    /// Reads it field by field, noting in `faults` what is wrong; the result counts only when nothing was noted.
    fn read(value: &Value, faults: &mut Vec<Fault>) -> Option<Self>;
}

impl Body for Value {
    fn read(value: &Value, _: &mut Vec<Fault>) -> Option<Self> {
        Some(value.clone())
    }
}

/// A JSON body. An empty body counts as `{}`.
#[derive(Debug)]
pub struct Json<T>(pub T);

impl<S: Send + Sync, T: Body> FromRequest<S> for Json<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, _: &S) -> Result<Self> {
        let is_json = media_type_is_json(request.headers());
        let bytes: Bytes = request.extract().await.map_err(|rejection: BytesRejection| {
            if rejection.status() == axum::http::StatusCode::PAYLOAD_TOO_LARGE {
                Problem::new("too_large", "The body is larger than this address takes.")
            } else {
                Problem::new("malformed_body", "The body broke off.")
            }
        })?;
        if bytes.is_empty() {
            return from_value(&Value::Object(serde_json::Map::new())).map(Self);
        }
        if !is_json {
            return Err(Problem::new("unsupported_media_type", "The body is read as application/json only."));
        }
        let value: Value =
            serde_json::from_slice(&bytes).map_err(|error| Problem::new("malformed_json", error.to_string()))?;
        let mut faults = Vec::new();
        find_nul(&value, &mut String::new(), &mut faults);
        if !faults.is_empty() {
            return Err(Problem::faults(&faults));
        }
        from_value(&value).map(Self)
    }
}

/// The store's text has no U+0000, and nothing that is named has one either.
fn find_nul(value: &Value, pointer: &mut String, faults: &mut Vec<Fault>) {
    let mut step = |segment: &str, value: Option<&Value>| {
        let length = pointer.len();
        pointer.push('/');
        pointer.push_str(&builder::lint::pointer_segment(segment));
        match value {
            Some(value) => find_nul(value, pointer, faults),
            None => faults.push(Fault::new(&*pointer, NUL)),
        }
        pointer.truncate(length);
    };
    match value {
        Value::String(text) if text.contains('\0') => faults.push(Fault::new(&*pointer, NUL)),
        Value::Array(items) => items.iter().enumerate().for_each(|(index, item)| step(&index.to_string(), Some(item))),
        Value::Object(fields) => {
            for (key, field) in fields {
                step(key, if key.contains('\0') { None } else { Some(field) });
            }
        }
        _ => {}
    }
}

/// Faults of a query that are told at once; nobody reads more.
const MOST_FAULTS: usize = 50;
const NUL: &str = "contains the character U+0000";

/// Reads `value`, or tells every fault.
pub fn from_value<T: Body>(value: &Value) -> Result<T> {
    let mut faults = Vec::new();
    let read = T::read(value, &mut faults);
    match read {
        Some(read) if faults.is_empty() => Ok(read),
        _ => Err(Problem::faults(&faults)),
    }
}

fn media_type_is_json(headers: &HeaderMap) -> bool {
    let Some(value) = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()) else { return false };
    let essence = value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    essence == "application/json" || (essence.starts_with("application/") && essence.ends_with("+json"))
}

/// The query string. Unknown parameters are faults: a misspelt filter must not list everything.
#[derive(Debug)]
pub struct Query<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned + Send> FromRequestParts<S> for Query<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self> {
        let pairs = parts.uri.query().unwrap_or_default().split('&');
        let nul = pairs.filter(|pair| pair.contains("%00")).map(|pair| pair.split('=').next().unwrap_or_default());
        let nul: Vec<Fault> = nul.map(|name| Fault::new(format!("/{name}"), NUL)).collect();
        if !nul.is_empty() {
            return Err(Problem::query_faults(&nul));
        }
        parse_query(parts.uri.query().unwrap_or_default()).map(Self).map_err(|faults| Problem::query_faults(&faults))
    }
}

/// Reads a query string.
///
/// # Errors
/// Every parameter at fault, or the first [`MOST_FAULTS`].
pub fn parse_query<T: DeserializeOwned>(query: &str) -> std::result::Result<T, Vec<Fault>> {
    let mut faults: Vec<Fault> = Vec::new();
    let mut pairs: Vec<&str> = query.split('&').filter(|one| !one.is_empty()).collect();
    loop {
        match parse(&pairs) {
            Ok(query) if faults.is_empty() => return Ok(query),
            Ok(_) => return Err(faults),
            // Without the parameter at fault, the next one shows.
            Err(fault) => {
                let name = fault.pointer.trim_start_matches('/').to_owned();
                let before = pairs.len();
                pairs.retain(|pair| pair.split('=').next() != Some(&name));
                // A parameter taken out for its fault is not missing.
                if faults.iter().any(|known| known.pointer == fault.pointer) {
                    return Err(faults);
                }
                faults.push(fault);
                if pairs.len() == before || faults.len() == MOST_FAULTS {
                    return Err(faults);
                }
            }
        }
    }
}

/// A word of a query string, with everything but letters and digits as `%XX`.
pub fn encode(word: &str) -> String {
    word.bytes().fold(String::new(), |mut text, byte| {
        if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) {
            text.push(char::from(byte));
        } else {
            text.push_str(&format!("%{byte:02X}"));
        }
        text
    })
}

/// Reads these `name=value` pairs, or gives the first fault.
fn parse<T: DeserializeOwned>(pairs: &[&str]) -> std::result::Result<T, Fault> {
    let whole = |text: String| Fault::new("", text);
    let address = format!("/?{}", pairs.join("&")).parse().map_err(|_| whole("is no query".to_owned()))?;
    let rejection = match axum::extract::Query::<T>::try_from_uri(&address) {
        Ok(query) => return Ok(query.0),
        Err(rejection) => rejection,
    };
    let text = rejection.body_text();
    let text = text.strip_prefix("Failed to deserialize query string: ").unwrap_or(&text);
    if let Some((name, message)) = text.split_once(": ") {
        return Err(Fault::new(format!("/{name}"), message));
    }
    // A field that is missing or there twice has no place of its own, and is named in the message.
    match text.split('`').nth(1) {
        Some(name) => Err(Fault::new(format!("/{name}"), text)),
        None => Err(whole(text.to_owned())),
    }
}

/// A finite number, for a query.
pub fn finite<'de, D: serde::Deserializer<'de>>(deserializer: D) -> std::result::Result<Option<f64>, D::Error> {
    let number = <Option<f64> as serde::Deserialize>::deserialize(deserializer)?;
    if number.is_some_and(|number| !number.is_finite()) {
        return Err(serde::de::Error::custom("is not a finite number"));
    }
    Ok(number)
}

/// An id in the path. What is not an id names nothing, so it is not found.
#[derive(Clone, Copy, Debug)]
pub struct Id(pub Uuid);

impl<S: Send + Sync> FromRequestParts<S> for Id {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self> {
        let axum::extract::Path(text) = axum::extract::Path::<String>::from_request_parts(parts, state)
            .await
            .map_err(|rejection| Problem::new("not_found", rejection.body_text()))?;
        Uuid::parse_str(&text)
            .map(Self)
            .map_err(|_| Problem::new("not_found", format!("{text:?} is the id of nothing")))
    }
}

/// One UUID that may be missing.
pub fn optional_uuid(fields: &mut Fields<'_>, key: &str, faults: &mut Vec<Fault>) -> Option<Uuid> {
    let value = fields.take(key)?;
    let id = value.as_str().and_then(|text| Uuid::parse_str(text).ok());
    if id.is_none() {
        faults.push(Fault::new(fields.pointer(key), "is a UUID"));
    }
    id
}

/// A list of UUIDs that may be missing.
pub fn optional_uuids(fields: &mut Fields<'_>, key: &str, most: usize, faults: &mut Vec<Fault>) -> Option<Vec<Uuid>> {
    let value = fields.take(key)?;
    let pointer = fields.pointer(key);
    let Some(items) = value.as_array() else {
        faults.push(Fault::new(pointer, "is a list of UUIDs"));
        return None;
    };
    if items.len() > most {
        faults.push(Fault::new(pointer, format!("has at most {most} entries")));
        return None;
    }
    let mut ids = Vec::with_capacity(items.len());
    for (index, item) in items.iter().enumerate() {
        match item.as_str().and_then(|text| Uuid::parse_str(text).ok()) {
            Some(id) => ids.push(id),
            None => faults.push(Fault::new(format!("{pointer}/{index}"), "is a UUID")),
        }
    }
    Some(ids)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_is_known_by_its_essence() {
        for (value, expected) in [
            ("application/json", true),
            ("application/json; charset=utf-8", true),
            ("Application/merge-patch+json", true),
            ("text/json", false),
            ("application/jsonp", false),
        ] {
            let headers: HeaderMap = [(header::CONTENT_TYPE, value.parse().unwrap())].into_iter().collect();
            assert_eq!(media_type_is_json(&headers), expected, "{value}");
        }
    }
}
