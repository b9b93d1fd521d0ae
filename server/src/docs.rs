//! `/api/docs`: the OpenAPI document as a page, without anything from elsewhere.

use axum::extract::Path;
use axum::http::header;
use axum::response::{Html, IntoResponse, Response};

use crate::embedded_web::page_headers;
use crate::problem::{self, Problem};

const PAGE: &str = include_str!("docs/docs.html");
const SCRIPT: &str = include_str!("docs/docs.js");
const STYLE: &str = include_str!("docs/docs.css");

/// The page itself; it fetches the document.
pub async fn page() -> Response {
    let rows: String = problem::kinds()
        .map(|(code, status, title)| {
            format!("<tr id=\"problem-{code}\"><td>{status}</td><td><code>{code}</code></td><td>{title}</td></tr>\n")
        })
        .collect();
    let mut response = Html(PAGE.replace("<!-- problems -->", &rows)).into_response();
    page_headers(&mut response);
    response
}

/// What the page needs.
pub async fn file(Path(name): Path<String>) -> Response {
    let (media_type, content) = match name.as_str() {
        "docs.js" => ("text/javascript; charset=utf-8", SCRIPT),
        "docs.css" => ("text/css; charset=utf-8", STYLE),
        _ => return Problem::new("no_such_route", format!("nothing is at /api/docs/{name}")).into_response(),
    };
    let mut response = ([(header::CONTENT_TYPE, media_type)], content).into_response();
    page_headers(&mut response);
    response
}
