//! What is asked of a graph's images: table `question`.

use serde_json::Value;
use sqlx::PgConnection;
use uuid::Uuid;

use super::graph::array_literal;
use crate::Result;

/// A question as it is stored; `kind` is `entity`, `attribute` or `relation`.
#[derive(Clone, Debug)]
pub struct Question {
    pub graph_id: Uuid,
    /// Of its wording: [`crate::question::TEMPLATE_VERSION`] when it was written.
    pub template_version: String,
    /// 1-based, topological.
    pub question_id: i32,
    pub kind: String,
    pub category: String,
    pub text: String,
    pub tuple: String,
    pub parents: Vec<i32>,
    pub target: Value,
}

/// Adds those that are not there yet, of any number of graphs at once. Questions are a function of the graph and of the
/// wording's version: those that are there are the same.
pub async fn insert_many(conn: &mut PgConnection, questions: &[Question]) -> Result<u64> {
    let graph_ids: Vec<Uuid> = questions.iter().map(|one| one.graph_id).collect();
    let templates: Vec<&str> = questions.iter().map(|one| &*one.template_version).collect();
    let question_ids: Vec<i32> = questions.iter().map(|one| one.question_id).collect();
    let kinds: Vec<&str> = questions.iter().map(|one| &*one.kind).collect();
    let categories: Vec<&str> = questions.iter().map(|one| &*one.category).collect();
    let texts: Vec<&str> = questions.iter().map(|one| &*one.text).collect();
    let tuples: Vec<&str> = questions.iter().map(|one| &*one.tuple).collect();
    // UNNEST takes an array of arrays apart down to its numbers, so the inner ones travel as text.
    let parents: Vec<String> =
        questions.iter().map(|one| array_literal(one.parents.iter().map(ToString::to_string))).collect();
    let targets: Vec<String> = questions.iter().map(|one| one.target.to_string()).collect();
    let done = sqlx::query!(
        "INSERT INTO question (graph_id, question_id, kind, category, text, tuple, parents, target, template_version)
         SELECT graph_id, question_id, kind::question_kind, category, text, tuple, parents::integer[], target::json,
                template_version
         FROM UNNEST($1::uuid[], $2::integer[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[], $8::text[],
                     $9::text[])
              AS t (graph_id, question_id, kind, category, text, tuple, parents, target, template_version)
         ON CONFLICT ON CONSTRAINT question_pkey DO NOTHING",
        &graph_ids,
        &question_ids,
        &kinds as &[&str],
        &categories as &[&str],
        &texts as &[&str],
        &tuples as &[&str],
        &parents,
        &targets,
        &templates as &[&str],
    )
    .execute(conn)
    .await?;
    Ok(done.rows_affected())
}

/// Of these graphs, by graph and number; of a graph that is not asked in the present wording yet, in an earlier one.
pub async fn of_graphs(conn: &mut PgConnection, graph_ids: &[Uuid]) -> Result<Vec<Question>> {
    Ok(sqlx::query_as!(
        Question,
        r#"SELECT graph_id, template_version, question_id, kind::text AS "kind!", category, text, tuple, parents, target
           FROM question q
           WHERE graph_id = ANY ($1) AND template_version = (
               SELECT o.template_version FROM question o WHERE o.graph_id = q.graph_id
               ORDER BY (o.template_version = $2) DESC, o.template_version DESC LIMIT 1)
           ORDER BY graph_id, question_id"#,
        graph_ids,
        crate::question::TEMPLATE_VERSION,
    )
    .fetch_all(conn)
    .await?)
}

/// Graphs of the store whose questions are not written yet, in the present wording.
pub async fn missing(conn: &mut PgConnection, graph_ids: &[Uuid]) -> Result<Vec<Uuid>> {
    Ok(sqlx::query_scalar!(
        r#"SELECT g.id FROM graph g
           WHERE g.id = ANY ($1) AND NOT EXISTS (
               SELECT FROM question q WHERE q.graph_id = g.id AND q.template_version = $2)"#,
        graph_ids,
        crate::question::TEMPLATE_VERSION,
    )
    .fetch_all(conn)
    .await?)
}
