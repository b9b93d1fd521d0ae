//! Scores, and the pairs that are frozen from them.

use std::time::{Duration, Instant};

use crate::database::TestDatabase;
use anyhow::{Context, Result};
use builder::Error;
use builder::question::TEMPLATE_VERSION;
use builder::store::candidate::ScoredBy;
use builder::store::pairing::{self, Pair};
use builder::store::score_card::{self, Scope};
use builder::store::state::Split;
use builder::store::{answer, candidate, question};
use serde_json::json;

use crate::graphs::{add_candidates, add_graphs};

fn metrics() -> Vec<String> {
    ["dpg", "attribute", "spatial", "three_in_one"].map(str::to_owned).to_vec()
}

/// The design's size: 2,785 graphs of four candidates. It loads in well under 100 ms on an idle machine.
#[tokio::test]
async fn all_scores_of_eleven_thousand_candidates_load_at_once() -> Result<()> {
    let database = TestDatabase::new().await?;
    let ids = add_graphs(&database.pool, 2785).await?;
    let mut conn = database.pool.acquire().await?;
    let generation_id = add_candidates(&mut conn, &ids).await?;
    sqlx::query("ANALYZE").execute(&mut *conn).await?;
    let mut best = Duration::MAX;
    for _ in 0..5 {
        let started = Instant::now();
        let scores = score_card::graph_scores(&mut conn, &metrics(), &Scope::default()).await?;
        best = best.min(started.elapsed());
        assert_eq!(scores.len(), 2785);
        assert!(scores.iter().all(|one| one.candidates.len() == 4));
        assert!(scores.iter().flat_map(|one| &one.candidates).all(|(_, scores)| scores.len() == 4));
    }
    println!("11,140 candidates of four metrics in {best:?}");
    assert!(best < Duration::from_millis(500), "{best:?}");

    let scope = |split| Scope { split: Some(split), generation_id: Some(generation_id), answerer: None };
    let train = score_card::graph_scores(&mut conn, &metrics(), &scope(Split::Train)).await?.len();
    let held_out = score_card::graph_scores(&mut conn, &metrics(), &scope(Split::HeldOut)).await?.len();
    assert_eq!(train + held_out, 2785);
    assert!(held_out > 2785 / 10 && held_out < 2785 * 3 / 10, "{held_out}");
    let other = Scope { answerer: Some(("other".to_owned(), "1".to_owned())), ..Scope::default() };
    assert!(score_card::graph_scores(&mut conn, &metrics(), &other).await?.is_empty());
    drop(conn);
    database.close().await
}

#[tokio::test]
async fn the_same_pairs_are_frozen_once() -> Result<()> {
    let database = TestDatabase::new().await?;
    let ids = add_graphs(&database.pool, 10).await?;
    let mut conn = database.pool.acquire().await?;
    add_candidates(&mut conn, &ids).await?;
    let candidates = candidate::of_graphs(&mut conn, &ids).await?;
    let pairs: Vec<Pair> = candidates
        .chunks(4)
        .map(|four| Pair {
            graph_id: four[0].graph_id,
            winner_id: four[0].id,
            loser_id: four[3].id,
            winner_score: 1.0,
            loser_score: 0.5,
            margin: 0.5,
        })
        .collect();
    let policy = json!({"weights": {"dpg": 1.0}});
    let (first, is_new) = pairing::insert(&mut conn, "first", &policy, "h", &pairs).await?;
    assert!(is_new);
    assert_eq!((first.num_pairs, first.num_graphs, first.mean_margin), (10, 10, 0.5));
    let (second, is_new) = pairing::insert(&mut conn, "second", &policy, "h", &pairs).await?;
    assert!(!is_new);
    assert_eq!((second.id, &*second.name), (first.id, "first"));
    assert_eq!(pairing::pairs(&mut conn, first.id).await?, pairs);
    let page = pairing::list_pairs(&mut conn, first.id, 4, None).await?;
    let next = pairing::list_pairs(&mut conn, first.id, 200, page.next_cursor.as_deref()).await?;
    assert_eq!((page.items.len(), next.items.len(), next.items[0].position, next.total), (4, 6, 4, 10));

    // All or nothing: a pair that cannot be leaves no pairing behind.
    let bad = [pairs[0].clone(), Pair { loser_id: builder::id::new(), ..pairs[1].clone() }];
    let error = pairing::insert(&mut conn, "bad", &policy, "other", &bad).await.err().context("it was frozen")?;
    assert!(matches!(error, Error::Conflict { code: "in_frozen_pairing", .. }), "{error:?}");
    assert_eq!(pairing::list(&mut conn, 10, None).await?.total, 1);
    drop(conn);
    database.close().await
}

#[tokio::test]
async fn questions_answers_and_what_is_still_unscored() -> Result<()> {
    let database = TestDatabase::new().await?;
    let ids = add_graphs(&database.pool, 2).await?;
    let mut conn = database.pool.acquire().await?;
    add_candidates(&mut conn, &ids).await?;
    let new = |question_id, parents: &[i32]| question::Question {
        graph_id: ids[0],
        template_version: TEMPLATE_VERSION.to_owned(),
        question_id,
        kind: "entity".to_owned(),
        category: "entity - whole".to_owned(),
        text: "Is there a cat?".to_owned(),
        tuple: "entity - whole (cat)".to_owned(),
        parents: parents.to_vec(),
        target: json!({"entity": {"object": 0}}),
    };
    let questions = [new(1, &[]), new(2, &[1]), new(3, &[1, 2])];
    assert_eq!(question::insert_many(&mut conn, &questions).await?, 3);
    assert_eq!(question::insert_many(&mut conn, &questions).await?, 0);
    assert_eq!(question::missing(&mut conn, &ids).await?, [ids[1]]);
    let stored = question::of_graphs(&mut conn, &ids).await?;
    assert_eq!((stored.len(), stored[2].parents.as_slice(), stored[0].kind.as_str()), (3, &[1, 2][..], "entity"));
    assert!(question::insert_many(&mut conn, &[new(4, &[4])]).await.is_err(), "its own parent");

    // In an earlier wording it was asked something else; what is asked now is shown.
    let earlier = question::Question { template_version: "0".to_owned(), text: "A cat?".to_owned(), ..new(1, &[]) };
    assert_eq!(question::insert_many(&mut conn, std::slice::from_ref(&earlier)).await?, 1);
    let stored = question::of_graphs(&mut conn, &ids).await?;
    assert_eq!((stored.len(), stored[0].text.as_str()), (3, "Is there a cat?"));
    let other = question::Question { graph_id: ids[1], ..earlier };
    question::insert_many(&mut conn, &[other]).await?;
    assert_eq!(question::missing(&mut conn, &ids).await?, [ids[1]]);
    assert_eq!(question::of_graphs(&mut conn, &ids[1..]).await?[0].text, "A cat?");

    let candidates = candidate::of_graphs(&mut conn, &ids[..1]).await?;
    let mut new = answer::Answer {
        candidate_id: candidates[0].id,
        question_id: 1,
        answerer: "shapes".to_owned(),
        answerer_version: "1".to_owned(),
        value: "yes".to_owned(),
        probability: 1.0,
        latency_ms: Some(2.5),
    };
    answer::upsert_many(&mut conn, std::slice::from_ref(&new)).await?;
    new.value = "cannot_answer".to_owned();
    answer::upsert_many(&mut conn, std::slice::from_ref(&new)).await?;
    let stored = answer::of_candidates(&mut conn, &[candidates[0].id]).await?;
    assert_eq!((stored.len(), stored[0].value.as_str()), (1, "cannot_answer"));

    // Everything is scored by shapes 1 and nothing by shapes 2.
    let by = |answerer_version, metric| ScoredBy { answerer: "shapes", answerer_version, metric };
    assert!(candidate::unscored(&mut conn, None, by("1", None), None, 100).await?.is_empty());
    let first = candidate::unscored(&mut conn, None, by("2", None), None, 5).await?;
    let after = first.last().map(|one| (one.graph_id, one.id));
    let second = candidate::unscored(&mut conn, None, by("2", None), after, 5).await?;
    assert_eq!((first.len(), second.len()), (5, 3));
    // A metric that came later is still to be computed.
    for (metric, left) in [("dpg", 0), ("dpg_reference", 8)] {
        assert_eq!(candidate::count_unscored(&mut conn, None, by("1", Some(metric))).await?, left, "{metric}");
    }
    drop(conn);
    database.close().await
}
