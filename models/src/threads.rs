//! Who may use the cores: shards of a batch, each on a thread of its own, not the operators inside them.

/// Keeps candle's own element-wise operators on the thread that calls them.
///
/// Candle spreads even an addition over a pool of spinning threads; inside data-parallel shards these pools fight over
/// the same cores, and a step takes four times as long. Call this first thing in `main`, before any thread runs.
#[expect(unsafe_code, reason = "setting the environment is sound while the process has one thread")]
pub fn keep_candle_single_threaded() {
    if std::env::var_os("CANDLE_NUM_THREADS").is_none() {
        // SAFETY: the contract of this function: no other thread exists yet that could read the environment.
        unsafe { std::env::set_var("CANDLE_NUM_THREADS", "1") };
    }
}
