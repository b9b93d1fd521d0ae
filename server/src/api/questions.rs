//! What is asked of every candidate of a graph.

use axum::Json;
use axum::extract::State;
use builder::store;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use crate::extract::Query;
use crate::page::List;
use crate::problem::{Problems, Result};
use crate::state::AppState;

/// A yes/no question about a picture of a graph.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = Question)]
pub struct QuestionResponse {
    /// Of its wording; answers to another wording are of another version of their answerer.
    #[schema(example = "1")]
    pub template_version: String,
    /// Within its graph, from 1; parents have smaller numbers.
    pub question_id: i32,
    /// `entity`, `attribute` or `relation`.
    #[schema(example = "attribute")]
    pub kind: String,
    /// In the words of DPG-Bench.
    #[schema(example = "attribute - color")]
    pub category: String,
    /// The question.
    #[schema(example = "Is the circle red?")]
    pub text: String,
    /// Its short form.
    pub tuple: String,
    /// Questions that must be answered with yes for this one to count.
    pub parents: Vec<i32>,
    /// Which object, attribute or relation of the graph it is about, by position.
    pub target: Value,
}

impl From<store::question::Question> for QuestionResponse {
    fn from(question: store::question::Question) -> Self {
        let store::question::Question {
            graph_id: _,
            template_version,
            question_id,
            kind,
            category,
            text,
            tuple,
            parents,
            target,
        } = question;
        Self { template_version, question_id, kind, category, text, tuple, parents, target }
    }
}

/// Which questions.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct QuestionQuery {
    /// The graph whose questions are asked for.
    pub graph_id: Uuid,
}

/// The questions of one graph, parents first.
#[utoipa::path(get, path = "/questions", tag = "scores", params(QuestionQuery),
    responses((status = 200, description = "All of them; none before the first score run",
        body = List<QuestionResponse>), Problems))]
pub async fn list_questions(
    State(state): State<AppState>,
    Query(query): Query<QuestionQuery>,
) -> Result<Json<List<QuestionResponse>>> {
    let questions = store::question::of_graphs(&mut *state.connection().await?, &[query.graph_id]).await?;
    Ok(Json(List::whole(questions.into_iter().map(QuestionResponse::from).collect())))
}
