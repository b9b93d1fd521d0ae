//! What the tables of work have in common: a state, how far it is, and how it ended.

/// Functions of a table by its name: any of `update_state`, `fail`, `set_progress`.
macro_rules! task_row {
    ($table:literal: $($function:ident),+) => { $(task_row!(@$function $table);)+ };
    (@update_state $table:literal) => {
        /// Compare-and-set; false when the state was none of `from`. Sets the times that belong to `to`.
        pub async fn update_state(
            conn: &mut sqlx::PgConnection,
            id: uuid::Uuid,
            from: &[$crate::store::state::TaskState],
            to: $crate::store::state::TaskState,
        ) -> $crate::Result<bool> {
            let from: Vec<String> = from.iter().map(ToString::to_string).collect();
            let done = sqlx::query!(
                "UPDATE " + $table + " SET state = $3,
                     started_at = CASE WHEN $3 = 'running'::task_state THEN coalesce(started_at, now()) ELSE started_at END,
                     finished_at = CASE WHEN $3 IN ('succeeded', 'failed', 'cancelled') THEN now() END
                 WHERE id = $1 AND state::text = ANY ($2)",
                id,
                &from,
                to as $crate::store::state::TaskState,
            )
            .execute(conn)
            .await?;
            Ok(done.rows_affected() == 1)
        }
    };
    (@fail $table:literal) => {
        /// Ends an unfinished one with its reason.
        pub async fn fail(
            conn: &mut sqlx::PgConnection,
            id: uuid::Uuid,
            error: &serde_json::Value,
        ) -> $crate::Result<bool> {
            let done = sqlx::query!(
                "UPDATE " + $table + " SET state = 'failed', error = $2, finished_at = now()
                 WHERE id = $1 AND state IN ('queued', 'running')",
                id,
                error,
            )
            .execute(conn)
            .await?;
            Ok(done.rows_affected() == 1)
        }
    };
    (@set_progress $table:literal) => {
        pub async fn set_progress(
            conn: &mut sqlx::PgConnection,
            id: uuid::Uuid,
            done: i64,
            total: i64,
        ) -> $crate::Result<()> {
            sqlx::query!("UPDATE " + $table + " SET done = $2, total = $3 WHERE id = $1", id, done, total)
                .execute(conn)
                .await?;
            Ok(())
        }
    };
}

pub(super) use task_row;
