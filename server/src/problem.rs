//! What a caller is told when a request fails: RFC 9457 `application/problem+json`. The only place where an error of the
//! domain becomes a status code, and where a failure of ours is logged.

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use builder::Error;
use builder::error::Fault;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// The type of a handler's result.
pub type Result<T> = std::result::Result<T, Problem>;

/// An answer that is not what was asked for. Kept boxed: results are moved about a lot, failures seldom.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem(Box<Document>);

/// The body of every answer with a status of 400 and above.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = Problem)]
pub struct Document {
    /// What kind of problem this is: a reference into the API's own documentation, stable.
    #[serde(rename = "type")]
    #[schema(format = "uri-reference", example = "/api/docs#problem-invalid_fields")]
    pub kind: String,
    /// The kind in words, the same for every occurrence.
    #[schema(example = "The request has faults")]
    pub title: String,
    /// The HTTP status.
    #[schema(example = 422, minimum = 400, maximum = 599)]
    pub status: u16,
    /// The kind as one word, stable, for programs.
    #[schema(example = "invalid_fields")]
    pub code: String,
    /// What happened this time.
    #[schema(example = "/max_steps: is a whole number from 1 to 10000000")]
    pub detail: String,
    /// Every fault of the request at once.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<Place>,
}

/// One fault of a request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Place {
    /// RFC 6901 pointer into the body, or `/NAME` of a query parameter; "" is the whole.
    #[schema(example = "/max_steps")]
    pub pointer: String,
    /// What is expected there.
    #[schema(example = "is a whole number from 1 to 10000000")]
    pub detail: String,
}

/// Code, status and title of every kind of problem. Conflicts of the domain bring their own code.
const KINDS: &[(&str, StatusCode, &str)] = &[
    ("malformed_json", StatusCode::BAD_REQUEST, "The body is not JSON"),
    ("malformed_query", StatusCode::BAD_REQUEST, "A query parameter cannot be read"),
    ("malformed_header", StatusCode::BAD_REQUEST, "A header cannot be read"),
    ("malformed_body", StatusCode::BAD_REQUEST, "The body broke off or cannot be read"),
    ("cross_origin", StatusCode::FORBIDDEN, "Another site may not do this"),
    ("not_found", StatusCode::NOT_FOUND, "There is no such thing"),
    ("no_such_route", StatusCode::NOT_FOUND, "There is no such address"),
    ("method_not_allowed", StatusCode::METHOD_NOT_ALLOWED, "This address does not take this method"),
    ("timeout", StatusCode::REQUEST_TIMEOUT, "The request took too long"),
    ("conflict", StatusCode::CONFLICT, "What is there forbids it"),
    ("precondition_failed", StatusCode::PRECONDITION_FAILED, "What is there is not what was seen"),
    ("precondition_required", StatusCode::PRECONDITION_REQUIRED, "The change does not say what it changes"),
    ("range_not_satisfiable", StatusCode::RANGE_NOT_SATISFIABLE, "The file is shorter than the range"),
    ("unauthenticated", StatusCode::UNAUTHORIZED, "The request carries no valid token"),
    ("forbidden", StatusCode::FORBIDDEN, "The token does not allow it"),
    ("rate_limited", StatusCode::TOO_MANY_REQUESTS, "Too many requests"),
    ("too_large", StatusCode::PAYLOAD_TOO_LARGE, "The body is too large"),
    ("unsupported_media_type", StatusCode::UNSUPPORTED_MEDIA_TYPE, "This media type is not read here"),
    ("invalid_fields", StatusCode::UNPROCESSABLE_ENTITY, "The request has faults"),
    ("internal", StatusCode::INTERNAL_SERVER_ERROR, "The service failed"),
    ("unavailable", StatusCode::SERVICE_UNAVAILABLE, "The service is stopping or its store is away"),
];

impl Problem {
    /// A problem of the kind `code`.
    pub fn new(code: &str, detail: impl Into<String>) -> Self {
        let known = KINDS.iter().find(|(name, ..)| *name == code);
        let (status, title) =
            known.map_or((StatusCode::INTERNAL_SERVER_ERROR, "The service failed"), |kind| (kind.1, kind.2));
        Self::with(status, title, code, detail.into())
    }

    /// The request has these faults.
    pub fn faults(faults: &[Fault]) -> Self {
        Self::invalid("invalid_fields", faults)
    }

    /// The query has these faults.
    pub fn query_faults(faults: &[Fault]) -> Self {
        Self::invalid("malformed_query", faults)
    }

    /// There is no `what` of this id.
    pub fn not_found(what: &'static str, id: impl ToString) -> Self {
        Error::not_found(what, id).into()
    }

    /// The body as it is sent.
    pub fn document(&self) -> &Document {
        &self.0
    }

    /// The status that it is sent with.
    pub fn status(&self) -> StatusCode {
        StatusCode::from_u16(self.0.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }

    fn invalid(code: &str, faults: &[Fault]) -> Self {
        let mut problem = Self::new(code, Error::Invalid(faults.to_vec()).to_string());
        problem.0.errors = faults
            .iter()
            .map(|fault| Place { pointer: fault.pointer.clone(), detail: fault.message.clone() })
            .collect();
        problem
    }

    fn with(status: StatusCode, title: &str, code: &str, detail: String) -> Self {
        Self(Box::new(Document {
            kind: format!("/api/docs#problem-{code}"),
            title: title.to_owned(),
            status: status.as_u16(),
            code: code.to_owned(),
            detail,
            errors: Vec::new(),
        }))
    }

    /// A failure of ours: the log has the reason, the caller only its kind.
    fn internal(error: &Error) -> Self {
        tracing::error!(error = builder::task::error_text(error), "request failed");
        Self::new("internal", "The reason is in the service's log, under this request's id.")
    }
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        match &error {
            Error::NotFound { .. } => Self::new("not_found", error.to_string()),
            Error::Conflict { code, message } => {
                Self::with(StatusCode::CONFLICT, "What is there forbids it", code, message.clone())
            }
            // The one part of a query that only the store can read; no body has it.
            Error::Invalid(faults) if faults.iter().all(|fault| fault.pointer == "/cursor") => {
                Self::query_faults(faults)
            }
            Error::Invalid(faults) => Self::faults(faults),
            Error::Stopped => Self::new("unavailable", "The service is stopping; ask again in a moment."),
            Error::Store(sqlx::Error::PoolTimedOut | sqlx::Error::PoolClosed) => {
                tracing::error!(error = builder::task::error_text(&error), "no connection to the store");
                Self::new("unavailable", "The store does not answer; ask again in a moment.")
            }
            _ => Self::internal(&error),
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = self.status();
        let mut response = (status, Json(*self.0)).into_response();
        let media_type = HeaderValue::from_static("application/problem+json");
        response.headers_mut().insert(header::CONTENT_TYPE, media_type);
        response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        response
    }
}

/// Every kind of problem as `(code, status, title)`, for the documentation.
pub fn kinds() -> impl Iterator<Item = (&'static str, u16, &'static str)> {
    KINDS.iter().map(|(code, status, title)| (*code, status.as_u16(), *title))
}

/// Declares, for an operation, that any failure is a problem document.
pub struct Problems;

impl utoipa::IntoResponses for Problems {
    fn responses() -> std::collections::BTreeMap<String, utoipa::openapi::RefOr<utoipa::openapi::response::Response>> {
        use utoipa::openapi::{ContentBuilder, Ref, ResponseBuilder};
        let body = ContentBuilder::new().schema(Some(Ref::from_schema_name("Problem"))).build();
        let response =
            ResponseBuilder::new().description("A problem").content("application/problem+json", body).build();
        [("default".to_owned(), response.into())].into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_fault_is_told_with_its_pointer() {
        let faults = vec![Fault::new("/a", "is a number"), Fault::new("/b/0", "is a text")];
        let problem = Problem::from(Error::Invalid(faults));
        assert_eq!(problem.status(), StatusCode::UNPROCESSABLE_ENTITY);
        let pointers: Vec<&str> = problem.document().errors.iter().map(|place| place.pointer.as_str()).collect();
        assert_eq!(pointers, ["/a", "/b/0"]);
    }

    #[test]
    fn the_inside_stays_inside() {
        let problem = Problem::from(Error::Thread("secret".to_owned()));
        assert_eq!(problem.status(), StatusCode::INTERNAL_SERVER_ERROR);
        assert!(!serde_json::to_string(problem.document()).unwrap().contains("secret"));
    }

    #[test]
    fn a_conflict_keeps_its_own_code() {
        let problem = Problem::from(Error::conflict("duplicate_pairing", "it is frozen already"));
        assert_eq!((problem.status(), problem.document().code.as_str()), (StatusCode::CONFLICT, "duplicate_pairing"));
    }
}
