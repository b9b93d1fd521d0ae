//! Rows for tests to look at.
