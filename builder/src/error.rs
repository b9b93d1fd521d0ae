//! What can go wrong in the domain and the store, by what the caller can do about it. It knows no HTTP and no exit codes:
//! the server turns it into a problem document in one place.

use std::fmt::Write as _;

pub type Result<T, E = Error> = std::result::Result<T, E>;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The caller named something that is not there.
    #[error("there is no {what} {id}")]
    NotFound { what: &'static str, id: String },

    /// The request is well-formed, but what is there forbids it; `code` is stable, for machines.
    #[error("{message}")]
    Conflict { code: &'static str, message: String },

    /// The request is wrong, in all these places.
    #[error("{}", list(.0))]
    Invalid(Vec<Fault>),

    /// Someone asked us to stop; the work can go on later from what is stored.
    #[error("stopped on request")]
    Stopped,

    /// The database refused, failed or is away.
    #[error("the store failed")]
    Store(#[source] sqlx::Error),

    #[error("the store's schema could not be brought up to date")]
    Migrate(#[from] sqlx::migrate::MigrateError),

    /// A row that the domain holds to be impossible: a bug or a hand in the database.
    #[error("column {column} of table {table} holds what it must not: {message}")]
    Row { table: &'static str, column: &'static str, message: String },

    #[error("blob {key}")]
    Blob {
        key: String,
        #[source]
        source: object_store::Error,
    },

    /// What lies under a blob's key does not hash to it: the storage lost or changed bytes.
    #[error("blob {key} is damaged: its content hashes to {found}")]
    BlobDamaged { key: String, found: String },

    /// The message names the path (`fs_err`).
    #[error(transparent)]
    Io(#[from] std::io::Error),

    /// A model's folder, file, tensor or computation.
    #[error(transparent)]
    Models(models::Error),

    #[error("{context}")]
    Json {
        context: String,
        #[source]
        source: serde_json::Error,
    },

    /// A file from outside is not what it should be; the message names the file and the place in it.
    #[error("{0}")]
    Format(String),

    /// Who answers questions failed; whether the same may succeed later.
    #[error("the answerer: {message}")]
    Answerer { message: String, passing: bool },

    #[error("the queue: {0}")]
    Queue(String),

    /// Bytes that should be a picture are none, or a picture could not be written.
    #[error("the image: {0}")]
    Image(String),

    #[error("a background thread died: {0}")]
    Thread(String),
}

/// One thing wrong with a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// RFC 6901 JSON pointer into the request; "" is the whole.
    pub pointer: String,
    pub message: String,
}

impl Fault {
    pub fn new(pointer: impl Into<String>, message: impl Into<String>) -> Self {
        Self { pointer: pointer.into(), message: message.into() }
    }
}

impl Error {
    #[expect(clippy::needless_pass_by_value, reason = "callers hand an id over as it is")]
    pub fn not_found(what: &'static str, id: impl ToString) -> Self {
        Self::NotFound { what, id: id.to_string() }
    }

    pub fn conflict(code: &'static str, message: impl Into<String>) -> Self {
        Self::Conflict { code, message: message.into() }
    }

    pub fn invalid(pointer: impl Into<String>, message: impl Into<String>) -> Self {
        Self::Invalid(vec![Fault::new(pointer, message)])
    }

    /// Whether the same call may succeed later without anybody changing anything.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Store(source) => match source {
                sqlx::Error::Io(_)
                | sqlx::Error::PoolTimedOut
                | sqlx::Error::PoolClosed
                | sqlx::Error::WorkerCrashed => true,
                // Class 40: serialization failure, deadlock; 53: out of resources; 57: shutdown; 08: connection.
                sqlx::Error::Database(error) => error
                    .code()
                    .is_some_and(|code| ["40", "53", "57", "08"].iter().any(|class| code.starts_with(class))),
                _ => false,
            },
            Self::Blob { source, .. } => !matches!(source, object_store::Error::NotFound { .. }),
            Self::Stopped => true,
            Self::Answerer { passing, .. } => *passing,
            _ => false,
        }
    }
}

/// Constraints whose breach is the caller's business, by name.
const CONSTRAINTS: &[(&str, &str, &str)] = &[
    ("graph_img_id_key", "duplicate_img_id", "another graph has this img_id"),
    ("collection_name_key", "duplicate_name", "another collection has this name"),
    ("collection_graph_collection_id_fkey", "collection_missing", "the collection does not exist"),
    ("export_pairing_id_fkey", "pairing_missing_or_in_use", "an export needs its pairing"),
    ("pairing_hash_key", "duplicate_pairing", "this pairing is frozen already"),
    ("job_idempotency_key_key", "idempotency_key_in_use", "another job was made with this idempotency key"),
    ("job_pairing_id_fkey", "pairing_missing_or_in_use", "a job needs its pairing"),
    ("generation_model_hash_fkey", "model_missing_or_in_use", "a generation needs its model"),
    ("generation_graph_graph_id_fkey", "graph_missing", "one of the graphs does not exist"),
    ("score_run_generation_id_fkey", "generation_missing", "the generation does not exist"),
    ("inversion_candidate_id_fkey", "candidate_missing", "the candidate does not exist"),
    ("frechet_distance_generation_id_fkey", "generation_missing", "the generation does not exist"),
    ("frechet_distance_reference_generation_id_fkey", "generation_missing", "the generation does not exist"),
    ("candidate_graph_id_fkey", "graph_missing", "the graph does not exist"),
    ("candidate_generation_id_fkey", "generation_missing", "the generation does not exist"),
    ("pair_graph_id_fkey", "in_frozen_pairing", "a frozen pairing uses this graph"),
    ("pair_winner_id_fkey", "in_frozen_pairing", "a frozen pairing uses this candidate"),
    ("pair_loser_id_fkey", "in_frozen_pairing", "a frozen pairing uses this candidate"),
];

impl From<sqlx::Error> for Error {
    fn from(source: sqlx::Error) -> Self {
        let constraint = source.as_database_error().and_then(|error| error.constraint());
        match CONSTRAINTS.iter().find(|(name, ..)| Some(*name) == constraint) {
            Some((_, code, message)) => Self::conflict(code, *message),
            None => Self::Store(source),
        }
    }
}

impl From<models::Error> for Error {
    fn from(source: models::Error) -> Self {
        match source {
            // Let go inside a network is let go all the same: the work can go on later.
            models::Error::Stopped => Self::Stopped,
            other => Self::Models(other),
        }
    }
}

fn list(faults: &[Fault]) -> String {
    let mut text = String::new();
    for fault in faults {
        let separator = if text.is_empty() { "" } else { "; " };
        let place = if fault.pointer.is_empty() { String::new() } else { format!("{}: ", fault.pointer) };
        let _ = write!(text, "{separator}{place}{}", fault.message);
    }
    text
}
