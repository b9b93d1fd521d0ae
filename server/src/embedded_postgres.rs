//! A real Postgres of our own: a private cluster in the data folder, on a unix socket, as an unprivileged user.
//!
//! Several processes may use one data folder. Each holds a shared lock on `users.lock` while it lives; starting and
//! stopping happen under an exclusive lock on `start.lock`; whoever leaves last stops the server. Locks of the kernel die
//! with their process, so a SIGKILL leaves none behind: the server lives on then, and the next start adopts it.
//!
//! A server that was killed itself leaves `postmaster.pid`. Postgres looks after that, unless the process id belongs to
//! another process by now or to a zombie; then we put an impossible id in its place. We never delete the file: Postgres
//! reads in it which shared memory to look at, to be sure that no backend of the old server is still writing.

use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use sha2::{Digest, Sha256};
use sqlx::postgres::{PgConnectOptions, PgSslMode};
use sqlx::{ConnectOptions, PgConnection};
use tokio::process::Command;

use self::account::Account;
use self::binaries::Binaries;

mod account;
mod binaries;

/// Role and database.
const NAME: &str = "diptych";
/// A socket's path may have 107 bytes; `/.s.PGSQL.5432.lock` is appended to this.
const MAX_SOCKET_FOLDER: usize = 85;
/// Above every process id that Linux (2^22) and macOS (99,999) hand out.
const IMPOSSIBLE_PID: i32 = i32::MAX - 1;
/// How long a server may take to come up, recovery after a crash included.
const START_TIMEOUT: Duration = Duration::from_secs(120);
/// How long backends of a killed server may take to notice.
const LINGER_TIMEOUT: Duration = Duration::from_secs(30);

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(
        "no PostgreSQL {wanted} was found: neither on PATH nor in /usr/lib/postgresql/*/bin{npm}. Install it (Debian: \
         `apt-get install postgresql`), or set DATABASE_URL to a server of yours"
    )]
    NoBinaries { wanted: String, npm: String },
    #[error("{program} failed: {output}")]
    Program { program: String, output: String },
    #[error("running {program}")]
    Run { program: String, source: std::io::Error },
    #[error("{0} belongs to somebody else; remove it or choose another data folder")]
    Foreign(PathBuf),
    #[error("started by root, and there is neither a user `postgres` nor `nobody` to run the database as")]
    NoAccount,
    #[error("the database did not come up in {} s; see {}", START_TIMEOUT.as_secs(), log.display())]
    Timeout { log: PathBuf },
    #[error("speaking to the embedded database")]
    Database(#[from] sqlx::Error),
    #[error(transparent)]
    Io(#[from] std::io::Error),
}

type Result<T, E = Error> = std::result::Result<T, E>;

/// A running server that this process uses.
#[derive(Debug)]
pub struct EmbeddedPostgres {
    /// For `builder::store::connect`.
    pub url: String,
    place: Place,
    binaries: Binaries,
    users: std::fs::File,
}

/// Where the cluster is, and whose it is.
#[derive(Clone, Debug)]
struct Place {
    /// Holds everything below.
    root: PathBuf,
    account: Account,
}

impl Place {
    fn cluster(&self) -> PathBuf {
        self.root.join("cluster")
    }

    fn log(&self) -> PathBuf {
        self.root.join("log")
    }

    /// In the root if that is short enough, else in /tmp.
    fn socket(&self) -> PathBuf {
        let folder = self.root.join("socket");
        if folder.as_os_str().len() <= MAX_SOCKET_FOLDER {
            return folder;
        }
        PathBuf::from(format!("/tmp/diptych-{}", short_hash(&self.root)))
    }
}

/// Starts the cluster of this data folder, making it first if there is none, or joins the one that runs.
///
/// # Errors
/// When there are no binaries (of the major version that made the cluster), or the server does not come up; the error says
/// what to do or where the log is.
pub async fn start(data: &Path) -> Result<EmbeddedPostgres> {
    let place = find_place(data)?;
    let guard = lock_exclusively(&place.root.join("start.lock")).await?;
    let made_by = major_version(&place.cluster())?;
    let binaries = binaries::find(&place.root, &place.account, made_by).await?;
    if made_by.is_none() {
        initialise(&place, &binaries).await?;
    }
    let socket = match running(&place).await? {
        Some(socket) => socket,
        None => launch(&place, &binaries).await?,
    };
    ensure_database(&socket).await?;
    let users = open_lock(&place.root.join("users.lock"))?;
    users.lock_shared()?;
    drop(guard);
    let url = format!("postgres://{NAME}@localhost/{NAME}?host={}", percent_encoded(&socket));
    Ok(EmbeddedPostgres { url, place, binaries, users })
}

impl EmbeddedPostgres {
    /// Lets go; stops the server unless another process uses it. Close your connections before. Without this call (after a
    /// kill, or a drop) the server goes on until the last user of a later start has left.
    ///
    /// # Errors
    /// When the server refuses to stop.
    pub async fn stop(self) -> Result<()> {
        let _guard = lock_exclusively(&self.place.root.join("start.lock")).await?;
        self.users.unlock()?;
        if self.users.try_lock().is_err() {
            return Ok(());
        }
        let cluster = self.place.cluster();
        let mut command = self.binaries.command("pg_ctl", &self.place.account);
        command.arg("stop").arg("-D").arg(&cluster).args(["-m", "fast", "-w", "-t", "60"]);
        match run(&mut command).await {
            // Killed by somebody else meanwhile.
            Err(_) if running(&self.place).await?.is_none() => Ok(()),
            other => other,
        }
    }

    /// The folder of the cluster's files, for messages.
    pub fn folder(&self) -> PathBuf {
        self.place.cluster()
    }
}

/// The data folder, unless root started us and the unprivileged user cannot get there.
fn find_place(data: &Path) -> Result<Place> {
    fs_err::create_dir_all(data)?;
    let data = fs_err::canonicalize(data)?;
    let mut root = data.join("postgres");
    let account = Account::for_cluster(&root)?;
    if account.is_other() && !account.can_reach(&data)? {
        root = PathBuf::from("/var/lib/diptych").join(short_hash(&data));
        if fs_err::create_dir_all(&root).is_err() {
            root = PathBuf::from(format!("/tmp/diptych-data-{}", short_hash(&data)));
        }
        tracing::warn!(
            "the user {} cannot reach {}, so the database is in {}",
            account.name(),
            data.display(),
            root.display()
        );
    }
    let account = Account::for_cluster(&root)?;
    own_folder(&root, &account, 0o755)?;
    let root = fs_err::canonicalize(&root)?;
    Ok(Place { root, account })
}

/// Makes a folder of the account's with this mode; refuses one that is neither its nor ours.
fn own_folder(folder: &Path, account: &Account, mode: u32) -> Result<()> {
    let ours = account::own_uid()?;
    match fs_err::symlink_metadata(folder) {
        Ok(found) if !found.is_dir() || (found.uid() != account.uid() && found.uid() != ours) => {
            return Err(Error::Foreign(folder.to_path_buf()));
        }
        Ok(_) => {}
        Err(_) => fs_err::create_dir_all(folder)?,
    }
    account.own(folder)?;
    Ok(fs_err::set_permissions(folder, std::fs::Permissions::from_mode(mode))?)
}

fn major_version(cluster: &Path) -> Result<Option<u32>> {
    match fs_err::read_to_string(cluster.join("PG_VERSION")) {
        Ok(text) => Ok(text.trim().split('.').next().and_then(|major| major.parse().ok())),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Makes the cluster beside its place and moves it there when it is complete.
async fn initialise(place: &Place, binaries: &Binaries) -> Result<()> {
    tracing::info!(version = binaries.version, "making a database cluster in {}", place.cluster().display());
    let unfinished = place.root.join("cluster.new");
    if unfinished.exists() {
        fs_err::remove_dir_all(&unfinished)?;
    }
    let mut command = binaries.command("initdb", &place.account);
    command.arg("-D").arg(&unfinished).args(["-U", NAME, "--encoding=UTF8", "--locale=C"]);
    command.args(["--auth-local=trust", "--auth-host=reject"]);
    run(&mut command).await?;
    let main = unfinished.join("postgresql.conf");
    let text = fs_err::read_to_string(&main)?;
    fs_err::write(&main, text + "\ninclude_if_exists = 'diptych.conf'\n")?;
    Ok(fs_err::rename(&unfinished, place.cluster())?)
}

/// The socket folder of this cluster's server, when it runs and answers; waits for one that is just starting or stopping.
async fn running(place: &Place) -> Result<Option<PathBuf>> {
    let cluster = place.cluster();
    let deadline = Instant::now() + START_TIMEOUT;
    loop {
        let Some((pid, socket)) = read_pid_file(&cluster)? else { return Ok(None) };
        if let Some(socket) = socket
            && answers(&socket, &cluster).await
        {
            return Ok(Some(socket));
        }
        if !is_server_of(pid, &cluster).await {
            return Ok(None);
        }
        if Instant::now() > deadline {
            return Err(Error::Timeout { log: place.log() });
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Process id and socket folder, from `postmaster.pid`.
fn read_pid_file(cluster: &Path) -> Result<Option<(i32, Option<PathBuf>)>> {
    let text = match fs_err::read_to_string(cluster.join("postmaster.pid")) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let lines: Vec<&str> = text.lines().collect();
    let pid = lines.first().and_then(|line| line.trim().parse().ok()).unwrap_or(IMPOSSIBLE_PID);
    let socket = lines.get(4).filter(|line| !line.is_empty()).map(PathBuf::from);
    Ok(Some((pid, socket)))
}

async fn answers(socket: &Path, cluster: &Path) -> bool {
    let Ok(mut connection) = connect(socket, "postgres").await else { return false };
    let shown: sqlx::Result<String> = sqlx::query_scalar("SHOW data_directory").fetch_one(&mut connection).await;
    shown.is_ok_and(|folder| Path::new(&folder) == cluster)
}

/// Whether this process lives, is no zombie, and is the server of this cluster (which has it as working directory).
async fn is_server_of(pid: i32, cluster: &Path) -> bool {
    let process = PathBuf::from(format!("/proc/{pid}"));
    if Path::new("/proc/self/stat").exists() {
        let Ok(stat) = fs_err::read_to_string(process.join("stat")) else { return false };
        let state = stat.rsplit(')').next().and_then(|rest| rest.trim_start().chars().next());
        let folder = fs_err::read_link(process.join("cwd"));
        return !matches!(state, Some('Z' | 'X') | None) && folder.is_ok_and(|folder| folder == cluster);
    }
    let listed = Command::new("ps").args(["-o", "stat=,command=", "-p", &pid.to_string()]).output().await;
    listed.is_ok_and(|found| {
        let line = String::from_utf8_lossy(&found.stdout).into_owned();
        !line.trim_start().starts_with('Z') && line.contains("postgres") && line.contains(&*cluster.to_string_lossy())
    })
}

/// Starts the server and returns the folder of its socket.
async fn launch(place: &Place, binaries: &Binaries) -> Result<PathBuf> {
    let (cluster, socket) = (place.cluster(), place.socket());
    own_folder(&socket, &place.account, 0o700)?;
    fs_err::write(cluster.join("diptych.conf"), settings(&socket))?;
    let deadline = Instant::now() + LINGER_TIMEOUT;
    loop {
        disarm_pid_file(&cluster, &place.account)?;
        remove_socket_lock(&socket)?;
        let mut command = binaries.command("pg_ctl", &place.account);
        command.arg("start").arg("-D").arg(&cluster).arg("-l").arg(place.log());
        command.args(["-s", "-w", "-t", &START_TIMEOUT.as_secs().to_string()]);
        let outcome = run(&mut command).await;
        match outcome {
            Ok(()) => return Ok(socket),
            // Backends of a killed server still hold its memory; they notice its end within moments.
            Err(_) if Instant::now() < deadline && last_lines(&place.log()).contains("shared memory block") => {
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
            Err(Error::Program { program, output }) => {
                let output = format!("{output}\n{}", last_lines(&place.log()));
                return Err(Error::Program { program, output: output.trim().to_owned() });
            }
            Err(other) => return Err(other),
        }
    }
}

/// Removes the socket's own lock, which a killed server leaves: while its process is a zombie, or its id is used again,
/// Postgres would believe it.
fn remove_socket_lock(socket: &Path) -> Result<()> {
    match fs_err::remove_file(socket.join(".s.PGSQL.5432.lock")) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error.into()),
        _ => Ok(()),
    }
}

/// Puts an impossible process id into the lock file of a server that is known not to run.
fn disarm_pid_file(cluster: &Path, account: &Account) -> Result<()> {
    let file = cluster.join("postmaster.pid");
    let Some((pid, _)) = read_pid_file(cluster)? else { return Ok(()) };
    tracing::warn!(pid, "the database was not stopped cleanly; it recovers by itself");
    let text = fs_err::read_to_string(&file)?;
    let rest = text.split_once('\n').map_or("", |(_, rest)| rest);
    let replaced = cluster.join("postmaster.pid.new");
    fs_err::write(&replaced, format!("{IMPOSSIBLE_PID}\n{rest}"))?;
    fs_err::set_permissions(&replaced, std::fs::Permissions::from_mode(0o600))?;
    account.own(&replaced)?;
    Ok(fs_err::rename(&replaced, &file)?)
}

/// For a small machine, without giving up what makes a commit survive a power cut.
fn settings(socket: &Path) -> String {
    format!(
        "# Written at each start.\n\
         listen_addresses = ''\n\
         unix_socket_directories = '{}'\n\
         unix_socket_permissions = 0700\n\
         max_connections = 100\n\
         shared_buffers = 128MB\n\
         work_mem = 16MB\n\
         maintenance_work_mem = 64MB\n\
         fsync = on\n\
         synchronous_commit = on\n\
         wal_level = minimal\n\
         max_wal_senders = 0\n\
         max_wal_size = 1GB\n\
         checkpoint_timeout = 15min\n\
         random_page_cost = 1.1\n\
         # Queries here are short; compiling them, or sharing them out over a container's small /dev/shm, costs more.\n\
         jit = off\n\
         autovacuum_naptime = 10s\n\
         max_parallel_workers_per_gather = 0\n\
         timezone = 'UTC'\n\
         log_timezone = 'UTC'\n",
        socket.display().to_string().replace('\'', "''")
    )
}

async fn ensure_database(socket: &Path) -> Result<()> {
    let mut connection = connect(socket, "postgres").await?;
    let exists: bool = sqlx::query_scalar("SELECT EXISTS (SELECT FROM pg_database WHERE datname = $1)")
        .bind(NAME)
        .fetch_one(&mut connection)
        .await?;
    if !exists {
        sqlx::query("CREATE DATABASE diptych").execute(&mut connection).await?;
    }
    Ok(())
}

async fn connect(socket: &Path, database: &str) -> sqlx::Result<PgConnection> {
    PgConnectOptions::new_without_pgpass()
        .socket(socket)
        .port(5432)
        .username(NAME)
        .database(database)
        .ssl_mode(PgSslMode::Disable)
        .connect()
        .await
}

async fn run(command: &mut Command) -> Result<()> {
    let program = command.as_std().get_program().to_string_lossy().into_owned();
    let done = command.output().await.map_err(|source| Error::Run { program: program.clone(), source })?;
    if done.status.success() {
        return Ok(());
    }
    let output =
        [&*done.stdout, &*done.stderr].map(|bytes| String::from_utf8_lossy(bytes).trim().to_owned()).join("\n");
    Err(Error::Program { program, output: output.trim().to_owned() })
}

fn open_lock(file: &Path) -> Result<std::fs::File> {
    Ok(fs_err::OpenOptions::new().create(true).truncate(false).write(true).open(file)?.into_parts().0)
}

async fn lock_exclusively(file: &Path) -> Result<std::fs::File> {
    let lock = open_lock(file)?;
    while lock.try_lock().is_err() {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Ok(lock)
}

fn last_lines(log: &Path) -> String {
    let text = fs_err::read(log).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(10)..].join("\n")
}

fn short_hash(path: &Path) -> String {
    let digest = Sha256::digest(path.as_os_str().as_encoded_bytes());
    digest[..6].iter().map(|byte| format!("{byte:02x}")).collect()
}

fn percent_encoded(path: &Path) -> String {
    let bytes = path.as_os_str().as_encoded_bytes().iter();
    bytes
        .map(|&byte| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'/' => char::from(byte).to_string(),
            _ => format!("%{byte:02X}"),
        })
        .collect()
}
