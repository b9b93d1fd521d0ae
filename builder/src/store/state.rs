//! The SQL enums that are not words of another domain file.

use serde::{Deserialize, Serialize};

pub use crate::scene_graph::Split;

macro_rules! words {
    ($(#[$meta:meta])* $name:ident = $sql:literal { $($variant:ident = $word:literal),+ $(,)? }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, sqlx::Type, Serialize, Deserialize)]
        #[sqlx(type_name = $sql, rename_all = "snake_case")]
        #[serde(rename_all = "snake_case")]
        pub enum $name { $($variant),+ }

        impl $name {
            pub const ALL: &[Self] = &[$(Self::$variant),+];

            /// The word in SQL, JSON and the API.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word),+ }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl std::str::FromStr for $name {
            type Err = crate::Error;

            fn from_str(word: &str) -> crate::Result<Self> {
                Self::ALL.iter().copied().find(|one| one.as_str() == word).ok_or_else(|| {
                    crate::Error::invalid("", format!("{word:?} is none of {}", [$($word),+].join(", ")))
                })
            }
        }
    };
}

words! {
    /// Of work that has no richer states: generations, score runs, evaluations, ingests.
    TaskState = "task_state" {
        Queued = "queued", Running = "running", Succeeded = "succeeded", Failed = "failed", Cancelled = "cancelled",
    }
}

impl TaskState {
    pub fn is_final(self) -> bool {
        matches!(self, Self::Succeeded | Self::Failed | Self::Cancelled)
    }
}

words! {
    /// Of a training job. Which may follow which is the business of `builder::job`.
    JobState = "job_state" {
        Validating = "validating", Queued = "queued", Preparing = "preparing", Running = "running",
        Pausing = "pausing", Paused = "paused", Succeeded = "succeeded", Failed = "failed",
        Cancelling = "cancelling", Cancelled = "cancelled",
    }
}

impl JobState {
    pub fn is_final(self) -> bool {
        matches!(self, Self::Succeeded | Self::Failed | Self::Cancelled)
    }
}

words! {
    /// Which timestep the network is told during an inversion: that of the state it makes (the released script), or that of
    /// the state it looks at (as the paper reads).
    InverseLabel = "inverse_label" { Destination = "destination", Source = "source" }
}

impl From<InverseLabel> for models::scheduler::InverseLabel {
    fn from(label: InverseLabel) -> Self {
        match label {
            InverseLabel::Destination => Self::Destination,
            InverseLabel::Source => Self::Source,
        }
    }
}

words! {
    /// Which of the two compared models made an evaluation's image.
    EvaluationRole = "evaluation_role" { Base = "base", Trained = "trained" }
}

words! {
    /// Whether an evaluation judges a job or only chooses its checkpoint.
    EvaluationKind = "evaluation_kind" { Final = "final", Progress = "progress" }
}

words! {
    /// What a person says of two candidates shown beside each other.
    VoteChoice = "vote_choice" {
        Left = "left", Right = "right", BothGood = "both_good", BothBad = "both_bad", Skip = "skip",
    }
}

/// From the SQL type `split`, read as text.
pub(super) fn split(word: &str) -> crate::Result<Split> {
    [Split::Train, Split::HeldOut].into_iter().find(|split| split.as_str() == word).ok_or_else(|| crate::Error::Row {
        table: "graph",
        column: "split",
        message: format!("{word:?}"),
    })
}
