//! The OpenAPI 3.1 document: written by the code, kept in `server/openapi.json`, served under `/api/v1/openapi.json`.

use utoipa::OpenApi as _;
use utoipa::openapi::OpenApi;

use crate::problem::{Document, Place};

/// The octets of a file, which generators of clients would otherwise take for a list of numbers.
#[derive(utoipa::ToSchema)]
#[schema(value_type = String, format = Binary)]
pub struct Octets(#[expect(dead_code, reason = "stands in the document alone")] Vec<u8>);

/// A file as browsers and generated clients upload it.
#[derive(utoipa::ToSchema)]
pub struct UploadForm {
    /// The first file is taken, whatever its field is called.
    #[schema(value_type = String, format = Binary)]
    #[expect(dead_code, reason = "stands in the document alone")]
    file: Vec<u8>,
}

#[derive(utoipa::OpenApi)]
#[openapi(
    info(
        title = "Diptych",
        description = "Scene graphs, the pictures made of them, what is right in each picture, pairs of a better and a \
                       worse one, and the training jobs that learn from them. Errors are RFC 9457 problem documents that \
                       name every fault with a JSON pointer. Lists come in pages: give `next_cursor` as `cursor`.",
        license(name = "Apache-2.0", identifier = "Apache-2.0"),
    ),
    servers((url = "/", description = "This service")),
    components(schemas(Document, Place)),
    tags(
        (name = "graphs", description = "Scene graphs and the files they came from"),
        (name = "candidates", description = "Pictures of graphs"),
        (name = "scores", description = "Questions, answers and what is computed from them"),
        (name = "pairs", description = "Better and worse pictures of the same graph"),
        (name = "votes", description = "What people say of two pictures"),
        (name = "jobs", description = "Training"),
        (name = "evaluations", description = "The trained model against its reference"),
        (name = "exchange", description = "Data out, as files"),
        (name = "models", description = "Model folders"),
        (name = "access", description = "Tokens, the log of who did what, and who is told of events"),
        (name = "service", description = "The service itself"),
    )
)]
struct Head;

/// What stands above the paths.
pub fn head() -> OpenApi {
    Head::openapi()
}

/// The last touches that no attribute makes.
pub fn finish(mut document: OpenApi) -> OpenApi {
    env!("CARGO_PKG_VERSION").clone_into(&mut document.info.version);
    document
}

/// The document as it stands in `server/openapi.json`.
pub fn text() -> Result<String, serde_json::Error> {
    let document = crate::router::document();
    let mut text = serde_json::to_string_pretty(&finish(document))?;
    text.push('\n');
    Ok(text)
}

#[cfg(test)]
mod tests {
    /// Regenerate with `cargo run --release --bin diptych -- openapi > server/openapi.json`.
    #[test]
    fn the_document_in_git_is_the_codes() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/openapi.json");
        let text = super::text().unwrap();
        if std::env::var_os("UPDATE_OPENAPI").is_some() {
            fs_err::write(path, &text).unwrap();
        }
        let kept = fs_err::read_to_string(path).unwrap_or_default();
        assert!(
            kept == text,
            "server/openapi.json is stale; run `UPDATE_OPENAPI=1 cargo test --release -p server openapi`, \
             then `npm run types` in web/"
        );
    }
}
