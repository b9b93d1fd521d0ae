//! Runs the pre-training without the server: `cargo run --release -p builder --example pretrain -- DIR [SCALE]`.
#![expect(clippy::unwrap_used, reason = "an example")]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() {
    models::threads::keep_candle_single_threaded();
    let mut arguments = std::env::args().skip(1);
    let output = arguments.next().unwrap().into();
    let scale = arguments.next().map_or(1.0, |s| s.parse().unwrap());
    let only = arguments.next().map(|s| match s.as_str() {
        "vae" => builder::pretrain::Stage::Vae,
        "text" => builder::pretrain::Stage::Text,
        "unet" => builder::pretrain::Stage::Unet,
        "measure" => builder::pretrain::Stage::Measure,
        _ => builder::pretrain::Stage::SceneGraphEncoder,
    });
    let settings = builder::pretrain::PretrainSettings { output, seed: 0, scale, only };
    builder::pretrain::run(&settings, &mut |p| {
        eprintln!("{} {}/{} loss {:.5} {:.0} s", p.stage, p.step, p.steps, p.loss, p.seconds);
    })
    .unwrap();
}
