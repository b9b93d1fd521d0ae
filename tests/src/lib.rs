//! What end-to-end tests share: the service on a real Postgres, and rows to look at.

pub mod rows;
pub mod test_app;
