//! Training: the optimizer, data-parallel gradients, learning-rate schedules.

pub mod data_parallel;
pub mod learning_rate;
pub mod optimizer;
