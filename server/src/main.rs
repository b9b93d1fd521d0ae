//! The binary `diptych`; everything is in the library, where tests reach it.

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    // Before anything else makes threads: the trainer shares the cores out itself.
    models::threads::keep_candle_single_threaded();
    server::cli::main()
}
