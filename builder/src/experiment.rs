//! An experiment: the same question asked of several trainings, each with several seeds, on the same graphs and candidates.
//!
//! A TOML file declares it ([`plan`]); [`crate::task::experiment`] runs it with the store and the queue that everything else
//! uses; [`table`] turns what the runs left into one table with standard errors.

pub mod plan;
pub mod table;

pub use plan::{DataPlan, ExperimentPlan, RunPlan, Trial};
