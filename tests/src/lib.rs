//! What end-to-end tests share: the service on a real Postgres.

pub mod test_app;
