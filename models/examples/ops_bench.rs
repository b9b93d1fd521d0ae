//! GFLOP/s of the operators at the shapes that matter, beside the matrix product's own peak.
//! `cargo run --release -p models --example ops_bench [threads]`

use std::time::Instant;

use candle_core::{Device, Result, Tensor, Var};
use models::ops::{self, Activation};

/// Seconds of the fastest of several runs.
fn best(mut work: impl FnMut() -> Result<()>) -> Result<f64> {
    work()?;
    let mut best = f64::INFINITY;
    let begin = Instant::now();
    while begin.elapsed().as_secs_f64() < 0.3 {
        let start = Instant::now();
        work()?;
        best = best.min(start.elapsed().as_secs_f64());
    }
    Ok(best)
}

fn var(shape: &[usize]) -> Result<Tensor> {
    Ok(Var::randn(0_f32, 0.1, shape, &Device::Cpu)?.as_tensor().clone())
}

/// Times forward, and forward with backward. `work`: floating-point operations forward.
fn report(name: &str, work: f64, args: &[Tensor], op: impl Fn(&[Tensor]) -> Result<Tensor>) -> Result<()> {
    let frozen: Vec<Tensor> = args.iter().map(Tensor::detach).collect();
    let y = op(&frozen)?;
    let cotangent = Tensor::randn(0_f32, 1., y.shape(), &Device::Cpu)?;
    let forward = best(|| op(&frozen).map(drop))?;
    let both = best(|| (op(args)? * &cotangent)?.sum_all()?.backward().map(drop))?;
    let other = best(|| {
        let y = Var::from_tensor(&y)?;
        (y.as_tensor() * &cotangent)?.sum_all()?.backward().map(drop)
    })?;
    let backward = (both - other - forward).max(1e-9);
    println!(
        "{name:<34} forward {:8.3} ms {:6.1} GFLOP/s   backward {:8.3} ms {:6.1} GFLOP/s",
        forward * 1e3,
        work / forward * 1e-9,
        backward * 1e3,
        2. * work / backward * 1e-9
    );
    Ok(())
}

fn main() -> Result<()> {
    let threads = std::env::args().nth(1).and_then(|t| t.parse().ok()).unwrap_or(1);
    ops::divide_no_candle_operator();
    println!("{threads} thread(s)");
    ops::with_threads(threads, || {
        report(
            "linear 1024 x 1024 to 1024",
            2. * 1024_f64.powi(3),
            &[var(&[1024, 1024])?, var(&[1024, 1024])?],
            |a| ops::linear(&a[0], &a[1], None),
        )?;
        for (n, c, h, o, k, stride) in [
            (16, 128, 8, 128, 3, 1),
            (1, 128, 8, 128, 3, 1),
            (16, 256, 4, 256, 3, 1),
            (16, 256, 4, 128, 3, 1),
            (16, 64, 8, 64, 3, 1),
            (16, 4, 8, 64, 3, 1),
            (16, 128, 8, 256, 1, 1),
            (16, 256, 4, 256, 1, 1),
            (16, 128, 8, 128, 3, 2),
            (4, 16, 64, 16, 3, 1),
            (4, 32, 32, 32, 3, 1),
            (4, 64, 16, 64, 3, 1),
            (4, 3, 64, 16, 3, 1),
            (4, 16, 64, 3, 3, 1),
            (1, 320, 32, 320, 3, 1),
            (1, 64, 64, 64, 3, 1),
        ] {
            let out = (h - 1) / stride + 1;
            let work = 2. * (n * out * out * o * c * k * k) as f64;
            let args = [var(&[n, c, h, h])?, var(&[o, c, k, k])?, var(&[o])?];
            report(&format!("conv {k}x{k}/{stride} {n}x{c}x{h}x{h} to {o}"), work, &args, |a| {
                ops::conv2d(&a[0], &a[1], Some(&a[2]), stride, k / 2)
            })?;
        }
        for (rows, i, o) in [(16 * 64, 128, 128), (16 * 64, 128, 1024), (16 * 77, 128, 128), (16, 128, 512)] {
            let args = [var(&[rows, i])?, var(&[o, i])?, var(&[o])?];
            report(&format!("linear {rows} x {i} to {o}"), 2. * (rows * i * o) as f64, &args, |a| {
                ops::linear(&a[0], &a[1], Some(&a[2]))
            })?;
        }
        for (n, q, m, heads, head) in [
            (16, 64, 64, 4, 32),
            (16, 16, 16, 8, 32),
            (16, 64, 77, 4, 32),
            (1, 1024, 1024, 8, 40),
            (1, 4096, 4096, 1, 64),
        ] {
            let work = 4. * (n * q * m * heads * head) as f64;
            let args = [var(&[n, q, heads * head])?, var(&[n, m, heads * head])?, var(&[n, m, heads * head])?];
            report(&format!("attention {n}x{q}x{m}, {heads} x {head}"), work, &args, |a| {
                ops::attention(&a[0], &a[1], &a[2], heads, 0.2, false)
            })?;
        }
        println!("per element (FLOP counted as 1):");
        let elements = (16 * 128 * 64) as f64;
        let args = [var(&[16, 128, 8, 8])?, var(&[128])?, var(&[128])?];
        report("group_norm + silu 16x128x8x8", elements, &args, |a| {
            ops::group_norm(&a[0], &a[1], &a[2], 32, 1e-5, Activation::Silu)
        })?;
        let args = [var(&[4, 16, 64, 64])?, var(&[16])?, var(&[16])?];
        report("group_norm + silu 4x16x64x64", 4. * 16. * 4096., &args, |a| {
            ops::group_norm(&a[0], &a[1], &a[2], 8, 1e-5, Activation::Silu)
        })?;
        let args = [var(&[16, 64, 128])?, var(&[128])?, var(&[128])?];
        report("layer_norm 16x64x128", elements, &args, |a| ops::layer_norm(&a[0], &a[1], &a[2], 1e-5))?;
        report("geglu 16x64x1024", elements * 4., &[var(&[16, 64, 1024])?], |a| ops::geglu(&a[0]))?;
        report("silu 16x64x128", elements, &[var(&[16, 64, 128])?], |a| ops::silu(&a[0]))?;
        report("upsample 16x128x4x4", elements, &[var(&[16, 128, 4, 4])?], |a| ops::upsample_nearest2x(&a[0]))
    })
}
