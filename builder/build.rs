//! `sqlx::migrate!` bakes the migrations in, but does not by itself notice a new file.

fn main() {
    println!("cargo:rerun-if-changed=../migrations");
}
