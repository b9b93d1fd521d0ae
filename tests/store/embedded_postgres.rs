//! The embedded server survives what happens to processes.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use server::embedded_postgres::{self, EmbeddedPostgres};
use sqlx::{Connection, PgConnection};
use tokio::process::Command;

/// Names the data folder to the copy of this test program that [`hold`] is.
const HOLD: &str = "DIPTYCH_TEST_HOLD";

async fn write_row(server: &EmbeddedPostgres) -> Result<i64> {
    let mut connection = PgConnection::connect(&server.url).await?;
    sqlx::query("CREATE TABLE IF NOT EXISTS kept (n integer)").execute(&mut connection).await?;
    sqlx::query("INSERT INTO kept VALUES (1)").execute(&mut connection).await?;
    let count = sqlx::query_scalar("SELECT count(*) FROM kept").fetch_one(&mut connection).await?;
    connection.close().await?;
    Ok(count)
}

fn pid_file(server: &EmbeddedPostgres) -> std::path::PathBuf {
    server.folder().join("postmaster.pid")
}

fn pid(server: &EmbeddedPostgres) -> Result<String> {
    let text = fs_err::read_to_string(pid_file(server))?;
    Ok(text.lines().next().context("an empty postmaster.pid")?.to_owned())
}

async fn kill(pid: &str) -> Result<()> {
    ensure!(Command::new("kill").args(["-9", pid]).status().await?.success(), "kill -9 {pid}");
    Ok(())
}

/// A folder that an unprivileged user can reach, which the default temporary one is not for root everywhere.
fn data_folder() -> Result<tempfile::TempDir> {
    let folder = tempfile::Builder::new().prefix("diptych-test-").tempdir_in("/tmp")?;
    use std::os::unix::fs::PermissionsExt;
    fs_err::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755))?;
    Ok(folder)
}

#[tokio::test]
async fn a_killed_server_starts_again_with_everything_that_was_committed() -> Result<()> {
    let data = data_folder()?;
    let server = embedded_postgres::start(data.path()).await?;
    assert_eq!(write_row(&server).await?, 1);
    kill(&pid(&server)?).await?;
    drop(server);

    let server = embedded_postgres::start(data.path()).await?;
    assert_eq!(write_row(&server).await?, 2);

    // The same, and the process id is somebody else's by now: one that Postgres would believe.
    kill(&pid(&server)?).await?;
    let mut sleeper = sleeper_of_owner(&server.folder())?;
    let text = fs_err::read_to_string(pid_file(&server))?;
    let rest = text.split_once('\n').context("a short postmaster.pid")?.1;
    let stranger = sleeper.id().context("the sleeper ended")?;
    fs_err::write(pid_file(&server), format!("{stranger}\n{rest}"))?;
    drop(server);
    let server = embedded_postgres::start(data.path()).await?;
    assert_eq!(write_row(&server).await?, 3);
    sleeper.kill().await?;

    let file = pid_file(&server);
    server.stop().await?;
    assert!(!file.exists());
    Ok(())
}

fn sleeper_of_owner(cluster: &Path) -> Result<tokio::process::Child> {
    use std::os::unix::fs::MetadataExt;
    let owner = fs_err::metadata(cluster)?;
    let mut command = Command::new("sleep");
    command.arg("60").current_dir("/").kill_on_drop(true);
    if fs_err::metadata("/proc/self")?.uid() != owner.uid() {
        command.uid(owner.uid()).gid(owner.gid());
    }
    Ok(command.spawn()?)
}

#[tokio::test]
async fn two_users_share_a_server_and_the_last_one_stops_it() -> Result<()> {
    let data = data_folder()?;
    let (first, second) = tokio::join!(embedded_postgres::start(data.path()), embedded_postgres::start(data.path()));
    let (first, second) = (first?, second?);
    assert_eq!(first.url, second.url);
    assert_eq!(pid(&first)?, pid(&second)?);
    first.stop().await?;
    assert_eq!(write_row(&second).await?, 1);
    let file = pid_file(&second);
    second.stop().await?;
    assert!(!file.exists());
    Ok(())
}

/// Not a test by itself: the process that is killed in the next one.
#[tokio::test]
async fn hold() -> Result<()> {
    let Ok(data) = std::env::var(HOLD) else { return Ok(()) };
    let server = embedded_postgres::start(Path::new(&data)).await?;
    write_row(&server).await?;
    fs_err::write(Path::new(&data).join("held"), "")?;
    std::future::pending::<()>().await;
    Ok(())
}

#[tokio::test]
async fn the_server_of_a_killed_process_is_adopted() -> Result<()> {
    let data = data_folder()?;
    let mut holder = Command::new(std::env::current_exe()?)
        .args(["--exact", "embedded_postgres::hold"])
        .env(HOLD, data.path())
        .kill_on_drop(true)
        .spawn()?;
    let since = Instant::now();
    while !data.path().join("held").exists() {
        ensure!(since.elapsed() < Duration::from_secs(60), "the holder did not start");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    holder.kill().await?;

    let server = embedded_postgres::start(data.path()).await?;
    assert_eq!(write_row(&server).await?, 2);
    let file = pid_file(&server);
    server.stop().await?;
    assert!(!file.exists(), "the adopted server stops with its last user");
    Ok(())
}

#[tokio::test]
async fn a_path_too_long_for_a_socket_and_not_reachable_for_others_works() -> Result<()> {
    let outer = tempfile::Builder::new().prefix("diptych-test-").tempdir_in("/tmp")?; // mode 0700
    let data = outer.path().join("a rather long 'name' ".repeat(8).trim());
    let server = embedded_postgres::start(&data).await?;
    assert_eq!(write_row(&server).await?, 1);
    let cluster = server.folder();
    server.stop().await?;
    if !cluster.starts_with(outer.path()) {
        fs_err::remove_dir_all(cluster.parent().context("a cluster without a folder")?)?;
    }
    Ok(())
}

#[tokio::test]
async fn a_cluster_of_a_missing_major_version_is_named() -> Result<()> {
    let data = data_folder()?;
    let cluster = data.path().join("postgres/cluster");
    fs_err::create_dir_all(&cluster)?;
    fs_err::write(cluster.join("PG_VERSION"), "9\n")?;
    let error = embedded_postgres::start(data.path()).await.err().context("it started")?;
    assert!(error.to_string().contains("no PostgreSQL 9 "), "{error}");
    Ok(())
}
