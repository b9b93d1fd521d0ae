//! exp, erf and what is made of them, written so that the compiler turns loops over them into SIMD.
//!
//! No fused multiply-add: where the processor lacks it, it would be a library call an element; and
//! a loop's tail must give the bits that its vector body gives.
#![expect(clippy::inline_always, reason = "only inlined does a body get its caller's instruction set")]

/// eˣ, within 2 units in the last place between −87 and 88; clamped outside.
#[inline(always)]
pub fn exp(x: f32) -> f32 {
    // 2^n · e^r with |r| ≤ ln 2 / 2. Adding 1.5 · 2²³ rounds to an integer in the low bits.
    const ROUND: f32 = 12_582_912.;
    let x = x.clamp(-87.3, 88.3);
    let shifted = x * std::f32::consts::LOG2_E + ROUND;
    let n = shifted - ROUND;
    let r = (x - n * 0.693_359_4) - n * -2.121_944_4e-4;
    let mut p = 1.987_569_1e-4;
    p = p * r + 1.398_199_9e-3;
    p = p * r + 8.333_452e-3;
    p = p * r + 4.166_579_6e-2;
    p = p * r + 1.666_666_5e-1;
    p = p * r + 0.5;
    p = p * (r * r) + r + 1.;
    let exponent = (shifted.to_bits().wrapping_sub(ROUND.to_bits()) as i32).wrapping_add(127);
    p * f32::from_bits((exponent as u32) << 23)
}

/// The error function, within 1e-7 absolute (polynomials after N. Juffa, both ≤ 1 ulp with FMA).
#[inline(always)]
pub fn erf(x: f32) -> f32 {
    let t = x.abs();
    let s = x * x;
    let mut far = -1.728_534_7e-5 * t + 3.831_971_3e-4;
    let u = -3.883_964_4e-3 * t + 2.425_462_2e-2;
    far = far * s + u;
    far = far * t - 1.067_778_8e-1;
    far = far * t - 6.348_467e-1;
    far = far * t - 1.287_175_1e-1;
    far = far * t - t;
    // beyond 4 the polynomial leaves its range and erf is 1 to all digits
    let far = if t > 4. { 1. } else { 1. - exp(far) };
    let mut near = -5.967_617e-4;
    near = near * s + 4.991_194e-3;
    near = near * s - 2.676_813_5e-2;
    near = near * s + 1.128_199_3e-1;
    near = near * s - 3.761_253_3e-1;
    near = near * s + 1.283_791_7e-1;
    let near = near * x + x;
    if t > 0.927_734_4 { far.copysign(x) } else { near }
}

/// 1 / (1 + e⁻ˣ).
#[inline(always)]
pub fn sigmoid(x: f32) -> f32 {
    1. / (1. + exp(-x))
}

/// x · sigmoid(x).
#[inline(always)]
pub fn silu(x: f32) -> f32 {
    x * sigmoid(x)
}

/// The derivative of [`silu`].
#[inline(always)]
pub fn silu_slope(x: f32) -> f32 {
    let s = sigmoid(x);
    s * (1. + x * (1. - s))
}

/// x Φ(x), the exact GELU.
#[inline(always)]
pub fn gelu(x: f32) -> f32 {
    x * 0.5 * (1. + erf(x * std::f32::consts::FRAC_1_SQRT_2))
}

/// The derivative of [`gelu`]: Φ(x) + x φ(x).
#[inline(always)]
pub fn gelu_slope(x: f32) -> f32 {
    const DENSITY: f32 = 0.398_942_3;
    0.5 * (1. + erf(x * std::f32::consts::FRAC_1_SQRT_2)) + x * DENSITY * exp(-0.5 * x * x)
}

/// x · sigmoid(1.702 x), CLIP's approximation of GELU.
#[inline(always)]
pub fn quick_gelu(x: f32) -> f32 {
    x * sigmoid(1.702 * x)
}

/// The derivative of [`quick_gelu`].
#[inline(always)]
pub fn quick_gelu_slope(x: f32) -> f32 {
    let s = sigmoid(1.702 * x);
    s * (1. + 1.702 * x * (1. - s))
}

/// Independent partial sums, so that a sum is vectorised and its error stays small.
const LANES: usize = 16;
/// Terms that one lane adds before the lanes are gathered in f64.
const RUN: usize = 64;

/// Sum of `term(a[i], b[i])`: f32 in short runs, f64 over them; the order depends on the length alone.
#[inline(always)]
pub fn sum2(a: &[f32], b: &[f32], term: impl Fn(f32, f32) -> f32) -> f64 {
    let mut total = 0.;
    for (a, b) in a.chunks(LANES * RUN).zip(b.chunks(LANES * RUN)) {
        let mut lanes = [0_f32; LANES];
        let (a, a_rest) = a.as_chunks::<LANES>();
        let (b, b_rest) = b.as_chunks::<LANES>();
        for (a, b) in a.iter().zip(b) {
            for l in 0..LANES {
                lanes[l] += term(a[l], b[l]);
            }
        }
        for (lane, (&a, &b)) in lanes.iter_mut().zip(a_rest.iter().zip(b_rest)) {
            *lane += term(a, b);
        }
        let mut lanes = lanes.map(f64::from);
        let mut width = LANES / 2;
        while width > 0 {
            for l in 0..width {
                lanes[l] += lanes[l + width];
            }
            width /= 2;
        }
        total += lanes[0];
    }
    total
}

/// Sum of `term(a[i])`, as [`sum2`].
#[inline(always)]
pub fn sum(a: &[f32], term: impl Fn(f32) -> f32) -> f64 {
    sum2(a, a, |x, _| term(x))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exp_is_accurate() {
        for i in -86_000..88_000 {
            let x = i as f32 / 1000.;
            let exact = f64::from(x).exp();
            assert!(((f64::from(exp(x)) - exact) / exact).abs() < 2.5e-7, "exp({x}) = {}", exp(x));
        }
        assert!(exp(-1e9) < 1e-37 && exp(f32::NEG_INFINITY) < 1e-37);
    }

    #[test]
    fn erf_is_accurate() {
        // erf by its series and continued fraction would be long; its integral by Simpson is enough
        let mut exact = 0_f64;
        let step = 1e-3;
        let f = |x: f64| (-x * x).exp() * 2. / std::f64::consts::PI.sqrt();
        for i in 0..6000 {
            let x = f64::from(i) * step;
            let here = f64::from(erf(x as f32));
            assert!((here - exact).abs() < 2e-7, "erf({x}) = {here}, not {exact}");
            assert_eq!(erf(-x as f32), -erf(x as f32));
            exact += step / 6. * (f(x) + 4. * f(x + step / 2.) + f(x + step));
        }
    }
}
