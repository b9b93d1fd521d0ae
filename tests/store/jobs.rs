//! Jobs: states, leases, events.

use std::time::Duration;

use crate::database::TestDatabase;
use anyhow::{Context, Result};
use builder::Error;
use builder::store::checkpoint::{self, CheckpointFile};
use builder::store::job::{self, NewJob};
use builder::store::state::JobState;
use builder::store::{job_event, job_metric, setting};
use serde_json::{Value, json};
use sqlx::postgres::PgListener;

fn new_job(key: Option<&str>) -> NewJob {
    NewJob {
        state: JobState::Queued,
        spec: json!({"max_steps": 3}),
        pairing_id: None,
        total: 3,
        unit: "steps".to_owned(),
        idempotency_key: key.map(str::to_owned),
        request: json!({"max_steps": 3}),
    }
}

#[tokio::test]
async fn a_key_makes_one_job_of_many_requests() -> Result<()> {
    let database = TestDatabase::new().await?;
    let mut conn = database.pool.acquire().await?;
    let (first, is_new) = job::insert(&mut conn, &new_job(Some("k"))).await?;
    assert!(is_new);
    let (again, is_new) = job::insert(&mut conn, &new_job(Some("k"))).await?;
    assert_eq!((again.id, is_new), (first.id, false));
    let other = NewJob { request: json!({"max_steps": 4}), ..new_job(Some("k")) };
    assert!(matches!(job::insert(&mut conn, &other).await, Err(Error::Conflict { .. })));
    let (second, _) = job::insert(&mut conn, &new_job(None)).await?;
    assert_ne!(second.id, first.id);
    assert_eq!(job::list(&mut conn, &[], 10, None).await?.total, 2);
    assert_eq!(job::list(&mut conn, &[JobState::Paused], 10, None).await?.total, 0);
    drop(conn);
    database.close().await
}

#[tokio::test]
async fn the_job_of_a_dead_worker_is_found_again() -> Result<()> {
    let database = TestDatabase::new().await?;
    let mut conn = database.pool.acquire().await?;
    let (new, _) = job::insert(&mut conn, &new_job(None)).await?;
    assert_eq!(job::unclaimed(&mut conn).await?, [new.id]);
    let (short, long) = (Duration::from_millis(200), Duration::from_secs(60));
    assert!(job::claim(&mut conn, new.id, "one", short).await?);
    assert!(!job::claim(&mut conn, new.id, "two", long).await?);
    assert!(job::unclaimed(&mut conn).await?.is_empty());
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(job::unclaimed(&mut conn).await?, [new.id], "its lease ran out");
    assert!(job::claim(&mut conn, new.id, "two", long).await?);
    assert!(!job::heartbeat(&mut conn, new.id, "one", long).await?, "the first must let go");
    assert!(job::heartbeat(&mut conn, new.id, "two", long).await?);

    assert!(job::update_state(&mut conn, new.id, &[JobState::Queued], JobState::Preparing).await?);
    assert!(!job::update_state(&mut conn, new.id, &[JobState::Queued], JobState::Cancelled).await?, "too late");
    assert!(job::update_state(&mut conn, new.id, &[JobState::Preparing], JobState::Running).await?);
    assert!(job::fail(&mut conn, new.id, &json!({"message": "no"})).await?);
    assert!(!job::fail(&mut conn, new.id, &json!({"message": "again"})).await?);
    let failed = job::find(&mut conn, new.id).await?.context("no job")?;
    assert_eq!((failed.state, failed.worker, failed.attempt), (JobState::Failed, None, 2));
    assert!(failed.started_at.is_some() && failed.finished_at.is_some());
    assert!(job::unclaimed(&mut conn).await?.is_empty());
    drop(conn);
    database.close().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_are_gapless_and_announced() -> Result<()> {
    let database = TestDatabase::new().await?;
    let mut conn = database.pool.acquire().await?;
    let (new, _) = job::insert(&mut conn, &new_job(None)).await?;
    let mut listener = PgListener::connect(&database.url).await?;
    listener.listen(job_event::CHANNEL).await?;
    let writers: Vec<_> = (0..8)
        .map(|writer| {
            let pool = database.pool.clone();
            tokio::spawn(async move {
                let mut conn = pool.acquire().await?;
                for n in 0..5 {
                    job_event::append(&mut conn, new.id, "note", &json!({"writer": writer, "n": n})).await?;
                }
                anyhow::Ok(())
            })
        })
        .collect();
    for writer in writers {
        writer.await??;
    }
    let events = job_event::list_after(&mut conn, new.id, 0, 100).await?;
    let sequences: Vec<i64> = events.iter().map(|event| event.sequence).collect();
    assert_eq!(sequences, (1..=41).collect::<Vec<_>>(), "the state it began in, and forty notes");
    assert_eq!(job_event::list_after(&mut conn, new.id, 39, 100).await?.len(), 2);
    for sequence in 2..=41 {
        let heard = tokio::time::timeout(Duration::from_secs(10), listener.recv()).await??;
        let payload: Value = serde_json::from_str(heard.payload())?;
        assert_eq!(
            (payload["job_id"].as_str(), payload["sequence"].as_i64()),
            (Some(&*new.id.to_string()), Some(sequence))
        );
    }
    drop(listener);
    drop(conn);
    database.close().await
}

#[tokio::test]
async fn curves_checkpoints_and_settings() -> Result<()> {
    let database = TestDatabase::new().await?;
    let mut conn = database.pool.acquire().await?;
    let (new, _) = job::insert(&mut conn, &new_job(None)).await?;
    let steps: Vec<(i32, Value)> = (1..=10).map(|step| (step, json!({"loss": step}))).collect();
    job_metric::upsert_many(&mut conn, new.id, &steps).await?;
    job_metric::upsert_many(&mut conn, new.id, &[(10, json!({"loss": 0}))]).await?;
    let listed = job_metric::list(&mut conn, new.id, 2, 4).await?;
    assert_eq!(listed.iter().map(|one| one.step).collect::<Vec<_>>(), [4, 8, 10]);
    assert_eq!(listed[2].metrics, json!({"loss": 0}));
    assert_eq!(job_metric::delete_after(&mut conn, new.id, 6).await?, 4);

    let file = |blob: &str| CheckpointFile { name: "unet.safetensors".into(), blob: blob.to_owned(), bytes: 5 };
    checkpoint::upsert(&mut conn, new.id, 5, &[file("a"), file("b")]).await?;
    checkpoint::upsert(&mut conn, new.id, 10, &[file("c")]).await?;
    let latest = checkpoint::latest(&mut conn, new.id).await?.context("no checkpoint")?;
    assert_eq!((latest.step, latest.bytes, &latest.files.0), (10, 5, &vec![file("c")]));
    assert!(checkpoint::names_blob(&mut conn, "b").await?);
    checkpoint::delete(&mut conn, new.id, 5).await?;
    assert!(!checkpoint::names_blob(&mut conn, "b").await?);

    setting::put(&mut conn, "demo", &json!({"b": 1, "a": 2})).await?;
    setting::put(&mut conn, "demo", &json!({"b": 2, "a": 2})).await?;
    assert_eq!(setting::get(&mut conn, "demo").await?, Some(json!({"b": 2, "a": 2})));
    setting::delete(&mut conn, "demo").await?;
    assert_eq!(setting::get(&mut conn, "demo").await?, None);
    drop(conn);
    database.close().await
}
