//! The binary `diptych`; everything is in the library, where tests reach it.

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Milliseconds for which freed memory is kept for the next allocation before the system gets it back. A step of
/// training frees its gradients and asks for as much again in the next; pages that came back from the system
/// meanwhile have to be cleared first, which can take longer than the step. Mimalloc's own second is too short.
const PURGE_DELAY: std::ffi::c_long = 10_000;

fn main() -> std::process::ExitCode {
    if std::env::var_os("MIMALLOC_PURGE_DELAY").is_none() {
        keep_freed_memory();
    }
    // Before anything else makes threads: the trainer shares the cores out itself.
    models::threads::keep_candle_single_threaded();
    server::cli::main()
}

#[expect(unsafe_code, reason = "mimalloc's options have no safe interface")]
fn keep_freed_memory() {
    // `mi_option_purge_delay` of mimalloc.h, which the crate's list leaves out.
    const OPTION: libmimalloc_sys::mi_option_t = 15;
    // SAFETY: the number is that of an option of the bundled version, and options may be set at any time.
    unsafe { libmimalloc_sys::mi_option_set(OPTION, PURGE_DELAY) }
}
