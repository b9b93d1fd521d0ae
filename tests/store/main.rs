//! The store on a real Postgres, and the Postgres that we run ourselves.

mod blobs;
mod database;
mod embedded_postgres;
mod graph_index;
mod graphs;
mod ingest;
mod jobs;
mod scores;
