//! Every route, once: what is routed is documented, and the other way round. Only the pages and the documentation itself
//! stand outside.

use std::time::Duration;

use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, Uri, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::{Json, Router, routing};
use tower::ServiceBuilder;
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::compression::CompressionLayer;
use tower_http::request_id::{MakeRequestUuid, PropagateRequestIdLayer, SetRequestIdLayer};
use tower_http::set_header::SetResponseHeaderLayer;
use tower_http::trace::TraceLayer;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::api::{
    agreement, candidates, collections, demo, edits, evaluations, exports, frechet_distances, generations, graphs,
    health, imports, inversions, jobs, metric_networks, models, pairing_comparison, pairings, questions, score_runs,
    scorers, tokens, votes, webhooks,
};
use crate::auth;
use crate::problem::Problem;
use crate::state::AppState;
use crate::{docs, embedded_web, extract, openapi, unchanged};

/// Everything under `/api/v1` that is done within seconds.
fn quick() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(health::show_health))
        .routes(routes!(demo::show_demo, demo::start_demo))
        .routes(routes!(graphs::find_graph))
        .routes(routes!(graphs::list_graph_candidates))
        .routes(routes!(edits::edit_graphs))
        .routes(routes!(edits::set_graph_tags))
        .routes(routes!(edits::revise_graph))
        .routes(routes!(edits::list_graph_revisions))
        .routes(routes!(edits::list_edits))
        .routes(routes!(edits::undo_edit))
        .routes(routes!(collections::list_collections, collections::create_collection))
        .routes(routes!(collections::find_collection, collections::update_collection, collections::delete_collection))
        .routes(routes!(exports::list_exports, exports::create_export))
        .routes(routes!(exports::find_export))
        .routes(routes!(candidates::find_candidate))
        .routes(routes!(candidates::find_candidate_image))
        .routes(routes!(candidates::list_candidate_scores))
        .routes(routes!(candidates::list_candidate_answers))
        .routes(routes!(generations::list_generations, generations::create_generation))
        .routes(routes!(generations::find_generation))
        .routes(routes!(score_runs::list_score_runs, score_runs::create_score_run))
        .routes(routes!(score_runs::find_score_run))
        .routes(routes!(score_runs::list_score_failures))
        .routes(routes!(metric_networks::list_metric_networks))
        .routes(routes!(frechet_distances::list_frechet_distances, frechet_distances::create_frechet_distance))
        .routes(routes!(frechet_distances::find_frechet_distance))
        .routes(routes!(agreement::show_agreement))
        .routes(routes!(agreement::show_retest))
        .routes(routes!(pairings::preview_pairing))
        .routes(routes!(pairings::list_pairings, pairings::create_pairing))
        .routes(routes!(pairings::find_pairing))
        .routes(routes!(pairing_comparison::compare_pairings))
        .routes(routes!(votes::list_votes, votes::create_vote))
        .routes(routes!(votes::show_vote_queue))
        .routes(routes!(votes::show_vote_agreement))
        .routes(routes!(votes::find_vote, votes::delete_vote))
        .routes(routes!(imports::find_import))
        .routes(routes!(inversions::list_inversions, inversions::create_inversion))
        .routes(routes!(inversions::find_inversion))
        .routes(routes!(inversions::find_inversion_image))
        .routes(routes!(models::list_models))
        .routes(routes!(jobs::list_jobs, jobs::create_job))
        .routes(routes!(jobs::find_job))
        .routes(routes!(jobs::list_job_events))
        .routes(routes!(jobs::list_job_metrics))
        .routes(routes!(jobs::list_job_samples))
        .routes(routes!(jobs::find_job_sample))
        .routes(routes!(jobs::list_job_checkpoints))
        .routes(routes!(jobs::list_job_artifacts))
        .routes(routes!(jobs::find_job_artifact))
        .routes(routes!(jobs::cancel_job))
        .routes(routes!(jobs::pause_job))
        .routes(routes!(jobs::resume_job))
        .routes(routes!(jobs::save_job))
        .routes(routes!(jobs::sample_job))
        .routes(routes!(evaluations::list_evaluations))
        .routes(routes!(evaluations::find_evaluation))
        .routes(routes!(evaluations::list_evaluation_images))
        .routes(routes!(evaluations::find_evaluation_image))
        .routes(routes!(tokens::list_tokens, tokens::create_token))
        .routes(routes!(tokens::find_token, tokens::revoke_token))
        .routes(routes!(tokens::create_session, tokens::end_session))
        .routes(routes!(tokens::list_audit))
        .routes(routes!(webhooks::list_webhooks, webhooks::create_webhook))
        .routes(routes!(webhooks::find_webhook, webhooks::delete_webhook))
        .routes(routes!(webhooks::list_deliveries))
}

/// Lists that many ask for again and again, and that follow from the store alone.
fn lists() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(graphs::list_graphs))
        .routes(routes!(questions::list_questions))
        .routes(routes!(scorers::list_scorers))
        .routes(routes!(imports::list_imports))
        .routes(routes!(imports::list_rejects))
        .routes(routes!(pairings::list_pairs))
}

/// What may take as long as its upload.
fn slow() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(imports::create_import))
        .layer(DefaultBodyLimit::disable())
        .routes(routes!(exports::find_export_file))
}

/// The API's document as the code has it.
pub fn document() -> utoipa::openapi::OpenApi {
    api(lists()).1
}

/// The API without its outer layers, and its document.
fn api(lists: OpenApiRouter<AppState>) -> (Router<AppState>, utoipa::openapi::OpenApi) {
    let quick = quick().merge(lists).layer(middleware::from_fn(no_store));
    OpenApiRouter::with_openapi(openapi::head()).nest("/api/v1", quick.merge(slow())).split_for_parts()
}

/// The whole service.
pub fn router(state: AppState) -> Router {
    let keeps = middleware::from_fn_with_state(state.clone(), unchanged::layer);
    let (api, document) = api(lists().layer(keeps));
    let document = openapi::finish(document);
    let seconds = Duration::from_secs(state.limits.seconds);
    let show_document = routing::get(move || {
        let document = document.clone();
        async move { Json(document) }
    });
    let request_id = HeaderName::from_static("x-request-id");
    let layers = ServiceBuilder::new()
        .layer(SetRequestIdLayer::new(request_id.clone(), MakeRequestUuid))
        .layer(TraceLayer::new_for_http().make_span_with(span))
        .layer(PropagateRequestIdLayer::new(request_id))
        .layer(SetResponseHeaderLayer::if_not_present(
            header::X_CONTENT_TYPE_OPTIONS,
            HeaderValue::from_static("nosniff"),
        ))
        .layer(SetResponseHeaderLayer::if_not_present(header::REFERRER_POLICY, HeaderValue::from_static("same-origin")))
        // What is not a page is nothing to show; pages and pictures say their own policy.
        .layer(SetResponseHeaderLayer::if_not_present(
            header::CONTENT_SECURITY_POLICY,
            HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'"),
        ))
        .layer(CompressionLayer::new())
        .layer(CatchPanicLayer::custom(panicked))
        .layer(middleware::from_fn_with_state(seconds, in_time))
        .layer(middleware::from_fn(same_origin))
        .layer(middleware::from_fn_with_state(state.clone(), auth::guard))
        .layer(DefaultBodyLimit::max(state.limits.body_bytes));
    api.route("/api/v1/openapi.json", show_document)
        .route("/api/docs", routing::get(docs::page))
        .route("/api/docs/{file}", routing::get(docs::file))
        .route("/jobs", routing::get(jobs_page).post(jobs::create_job))
        .fallback(embedded_web::serve)
        .method_not_allowed_fallback(method_not_allowed)
        .layer(layers)
        .with_state(state)
}

/// `/jobs` is a page and, for programs, the same as `/api/v1/jobs`.
async fn jobs_page(
    state: State<AppState>,
    uri: Uri,
    headers: HeaderMap,
    page: Result<extract::Query<crate::page::PageQuery>, Problem>,
) -> Response {
    let accept = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if accept.contains("text/html") {
        return embedded_web::serve(uri, headers).await;
    }
    match page {
        Ok(page) => jobs::list_jobs(state, page).await.into_response(),
        Err(problem) => problem.into_response(),
    }
}

async fn method_not_allowed(method: Method, uri: Uri) -> Problem {
    Problem::new("method_not_allowed", format!("{} does not take {method}", uri.path()))
}

/// Facts change; only pictures are kept by whoever fetched them, and those say so themselves.
async fn no_store(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    response.headers_mut().entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    response
}

/// Gives up on a request that takes too long; uploads have as long as they need.
async fn in_time(State(limit): State<Duration>, request: Request, next: Next) -> Response {
    let uploads = request.method() == Method::POST && request.uri().path() == "/api/v1/imports";
    if uploads {
        return next.run(request).await;
    }
    match tokio::time::timeout(limit, next.run(request)).await {
        Ok(response) => response,
        Err(_) => Problem::new("timeout", format!("it took more than {} s", limit.as_secs())).into_response(),
    }
}

/// A page of another site, open in the same browser, may not change anything here.
async fn same_origin(request: Request, next: Next) -> Response {
    if !request.method().is_safe() && !is_same_origin(request.headers()) {
        return Problem::new("cross_origin", "the request comes from a page of another origin").into_response();
    }
    next.run(request).await
}

fn is_same_origin(headers: &HeaderMap) -> bool {
    let text = |name: HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
    if let Some(site) = text(HeaderName::from_static("sec-fetch-site")) {
        return matches!(site, "same-origin" | "none");
    }
    match (text(header::ORIGIN), text(header::HOST)) {
        // Not a browser.
        (None, _) => true,
        (Some(origin), Some(host)) => origin.split_once("://").is_some_and(|(_, place)| place == host),
        (Some(_), None) => false,
    }
}

fn span(request: &Request) -> tracing::Span {
    let id = request.headers().get("x-request-id").and_then(|value| value.to_str().ok()).unwrap_or_default();
    tracing::info_span!("request", method = %request.method(), path = request.uri().path(), id)
}

fn panicked(payload: Box<dyn std::any::Any + Send>) -> Response {
    let text = payload.downcast_ref::<&str>().map(|text| (*text).to_owned());
    let text = text.or_else(|| payload.downcast_ref::<String>().cloned()).unwrap_or_default();
    tracing::error!(panic = text, "a handler panicked");
    Problem::new("internal", "The reason is in the service's log, under this request's id.").into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_of_other_sites_change_nothing() {
        for (headers, expected) in [
            (vec![], true),
            (vec![("sec-fetch-site", "same-origin")], true),
            (vec![("sec-fetch-site", "none")], true),
            (vec![("sec-fetch-site", "same-site")], false),
            (vec![("sec-fetch-site", "cross-site")], false),
            (vec![("origin", "http://127.0.0.1:8080"), ("host", "127.0.0.1:8080")], true),
            (vec![("origin", "http://evil.example"), ("host", "127.0.0.1:8080")], false),
            (vec![("origin", "null"), ("host", "127.0.0.1:8080")], false),
        ] {
            let headers: HeaderMap =
                headers.into_iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect();
            assert_eq!(is_same_origin(&headers), expected, "{headers:?}");
        }
    }
}
