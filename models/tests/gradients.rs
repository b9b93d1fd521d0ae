//! Every trainable operator: values and gradients against plain candle compositions in f64 and
//! against central finite differences; batch and thread invariance bit for bit.
#![expect(clippy::unwrap_used, reason = "a test")]

use candle_core::{D, DType, Device, Result, Tensor, Var};
use models::ops::{self, Activation, Padding};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

type Op<'a> = &'a dyn Fn(&[Tensor]) -> Result<Tensor>;

fn random(seed: u64, shape: &[usize]) -> Tensor {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let values: Vec<f32> = (0..shape.iter().product()).map(|_| rng.random_range(-1.0..1.0)).collect();
    Tensor::from_vec(values, shape, &Device::Cpu).unwrap()
}

fn values(t: &Tensor) -> Vec<f32> {
    t.flatten_all().unwrap().to_vec1::<f32>().unwrap()
}

fn bits(t: &Tensor) -> Vec<u32> {
    values(t).into_iter().map(f32::to_bits).collect()
}

fn image(t: &Tensor, i: usize) -> Tensor {
    t.narrow(0, i, 1).unwrap()
}

/// The value, and the gradient of Σ op(args) · cotangent for every argument.
fn run(op: Op, args: &[Tensor], cotangent: &Tensor) -> (Tensor, Vec<Tensor>) {
    let vars: Vec<Var> = args.iter().map(|a| Var::from_tensor(a).unwrap()).collect();
    let tensors: Vec<Tensor> = vars.iter().map(|v| v.as_tensor().clone()).collect();
    let y = op(&tensors).unwrap();
    let grads = (&y * cotangent).unwrap().sum_all().unwrap().backward().unwrap();
    let grads = tensors.iter().map(|t| grads.get(t).expect("an argument has no gradient").clone()).collect();
    (y.detach(), grads)
}

fn assert_close(what: &str, ours: &Tensor, theirs: &Tensor, tolerance: f32) {
    assert_eq!(ours.dims(), theirs.dims(), "{what}: shape");
    let (ours, theirs) = (values(ours), values(theirs));
    let scale = theirs.iter().fold(1e-3_f32, |m, v| m.max(v.abs()));
    for (i, (a, b)) in ours.iter().zip(&theirs).enumerate() {
        assert!((a - b).abs() <= tolerance * scale, "{what}: element {i} is {a}, should be {b} (scale {scale})");
    }
}

/// The whole battery for one operator and one set of arguments. `batched`: which arguments have the
/// image as their first dimension.
fn check(what: &str, op: Op, reference: Op, args: &[Tensor], batched: &[bool]) {
    let cotangent = random(99, op(args).unwrap().dims());
    let (y, grads) = run(op, args, &cotangent);
    check_reference(what, op, reference, args, &cotangent, &y, &grads);
    check_differences(what, op, args, &cotangent, &grads);

    // one image alone gives the bits that it gives in the batch
    for i in 0..y.dim(0).unwrap() {
        let single: Vec<Tensor> =
            args.iter().zip(batched).map(|(a, b)| if *b { image(a, i) } else { a.clone() }).collect();
        let (y1, grads1) = run(op, &single, &image(&cotangent, i));
        assert_eq!(bits(&y1), bits(&image(&y, i)), "{what}: image {i} alone differs");
        for (a, _) in batched.iter().enumerate().filter(|(_, b)| **b) {
            let whole = image(&grads[a], i);
            assert_eq!(bits(&grads1[a]), bits(&whole), "{what}: gradient {a} of image {i} alone differs");
        }
    }

    // nor does the number of threads matter
    for threads in [1, 2, 3, 5] {
        let (y2, grads2) = ops::with_threads(threads, || run(op, args, &cotangent));
        assert_eq!(bits(&y), bits(&y2), "{what}: {threads} threads");
        for (a, b) in grads.iter().zip(&grads2) {
            assert_eq!(bits(a), bits(b), "{what}: gradients with {threads} threads");
        }
    }

    // a frozen argument gets no gradient, and the others keep theirs
    for frozen in 0..if args.len() > 1 { args.len() } else { 0 } {
        let vars: Vec<Var> = args.iter().map(|a| Var::from_tensor(a).unwrap()).collect();
        let tensors: Vec<Tensor> = vars
            .iter()
            .enumerate()
            .map(|(i, v)| if i == frozen { v.as_detached_tensor() } else { v.as_tensor().clone() })
            .collect();
        let store = (op(&tensors).unwrap() * &cotangent).unwrap().sum_all().unwrap().backward().unwrap();
        assert!(store.get(&tensors[frozen]).is_none(), "{what}: frozen argument {frozen} has a gradient");
        for (i, t) in tensors.iter().enumerate().filter(|(i, _)| *i != frozen) {
            assert_eq!(bits(store.get(t).unwrap()), bits(&grads[i]), "{what}: gradient {i} with {frozen} frozen");
        }
    }
}

/// Against the composition, computed in f64; and what the operator does in f64, where it is composed
/// of candle's own as it is on other devices.
fn check_reference(
    what: &str,
    op: Op,
    reference: Op,
    args: &[Tensor],
    cotangent: &Tensor,
    y: &Tensor,
    grads: &[Tensor],
) {
    let wide = |t: &Tensor| t.to_dtype(DType::F64).unwrap();
    let narrow = |t: &Tensor| t.to_dtype(DType::F32).unwrap();
    let args: Vec<Tensor> = args.iter().map(wide).collect();
    let (expected, expected_grads) = run(reference, &args, &wide(cotangent));
    assert_close(what, y, &narrow(&expected), 1e-5);
    for (i, (ours, theirs)) in grads.iter().zip(&expected_grads).enumerate() {
        assert_close(&format!("{what}: gradient of argument {i}"), ours, &narrow(theirs), 1e-5);
    }
    let (fallback, fallback_grads) = run(op, &args, &wide(cotangent));
    assert_close(&format!("{what}, composed"), &narrow(&fallback), &narrow(&expected), 1e-6);
    for (i, (ours, theirs)) in fallback_grads.iter().zip(&expected_grads).enumerate() {
        assert_close(&format!("{what}, composed: gradient of argument {i}"), &narrow(ours), &narrow(theirs), 1e-6);
    }
}

/// Against central differences, for some elements of each argument.
fn check_differences(what: &str, op: Op, args: &[Tensor], cotangent: &Tensor, grads: &[Tensor]) {
    let cotangent = values(cotangent);
    let loss = |args: &[Tensor]| -> f64 {
        values(&op(args).unwrap()).iter().zip(&cotangent).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum()
    };
    let mut rng = ChaCha8Rng::seed_from_u64(5);
    for (i, arg) in args.iter().enumerate() {
        let gradient = values(&grads[i]);
        let scale = gradient.iter().fold(1e-2_f32, |m, v| m.max(v.abs()));
        for _ in 0..6 {
            let at = rng.random_range(0..arg.elem_count());
            let eps = 2e-2_f32;
            let shifted = |by: f32| {
                let mut moved = values(arg);
                moved[at] += by;
                let mut args = args.to_vec();
                args[i] = Tensor::from_vec(moved, arg.shape(), &Device::Cpu).unwrap();
                loss(&args)
            };
            // of fourth order: a step large enough for f32 is then small enough for the curvature
            let near = shifted(eps) - shifted(-eps);
            let far = shifted(2. * eps) - shifted(-2. * eps);
            let slope = ((8. * near - far) / (12. * f64::from(eps))) as f32;
            let ours = gradient[at];
            assert!(
                (slope - ours).abs() <= 2e-3 * scale,
                "{what}: argument {i} element {at}: gradient {ours}, finite difference {slope} (scale {scale})"
            );
        }
    }
}

fn naive_conv(x: &Tensor, w: &Tensor, b: Option<&Tensor>, stride: usize, p: Padding) -> Result<Tensor> {
    let x = x.pad_with_zeros(2, p.top, p.bottom)?.pad_with_zeros(3, p.left, p.right)?;
    let (n, c, height, width) = x.dims4()?;
    let (_, _, kernel_height, kernel_width) = w.dims4()?;
    let (rows, columns) = ((height - kernel_height) / stride + 1, (width - kernel_width) / stride + 1);
    let every = |first: usize, count: usize| {
        let index: Vec<u32> = (0..count).map(|i| (i * stride + first) as u32).collect();
        Tensor::new(index, &Device::Cpu)
    };
    let mut parts = Vec::new();
    for ky in 0..kernel_height {
        for kx in 0..kernel_width {
            let seen = x.index_select(&every(ky, rows)?, 2)?.index_select(&every(kx, columns)?, 3)?;
            let seen = seen.reshape((n, c, rows * columns))?.contiguous()?;
            let tap = w.narrow(2, ky, 1)?.narrow(3, kx, 1)?.squeeze(3)?.squeeze(2)?;
            parts.push(tap.broadcast_left(n)?.contiguous()?.matmul(&seen)?);
        }
    }
    let y = Tensor::stack(&parts, 0)?.sum(0)?.reshape((n, (), rows, columns))?;
    match b {
        Some(b) => y.broadcast_add(&b.reshape((1, (), 1, 1))?),
        None => Ok(y),
    }
}

#[test]
fn conv2d() {
    let one = Padding::symmetric(1);
    let none = Padding::symmetric(0);
    let down = Padding::asymmetric(0, 1, 0, 1);
    // images, channels, height, width, outputs, kernel, stride, padding
    let cases = [
        (3, 5, 6, 9, 7, 3, 1, one),
        (5, 8, 8, 8, 16, 3, 1, one),
        (9, 3, 4, 4, 5, 3, 1, one),
        (2, 4, 16, 16, 6, 3, 1, one),
        (2, 2, 33, 21, 3, 3, 1, one),
        (3, 6, 8, 8, 4, 3, 2, one),
        (3, 6, 9, 7, 4, 3, 2, down),
        (2, 3, 40, 38, 4, 3, 2, down),
        (5, 6, 4, 4, 9, 1, 1, none),
        (3, 6, 9, 9, 5, 1, 1, none),
        (3, 6, 9, 9, 5, 1, 2, none),
        (2, 3, 7, 8, 2, 2, 1, Padding::asymmetric(0, 1, 1, 0)),
        (2, 3, 5, 6, 2, 3, 1, Padding::symmetric(3)),
        (2, 64, 4, 4, 3, 3, 1, one),
        (3, 1, 3, 3, 1, 3, 1, none),
        (2, 130, 8, 8, 66, 3, 1, one),
        // large enough for Winograd's way: even and odd sizes, wider than one pass, with and without zeros around
        (9, 20, 4, 4, 33, 3, 1, one),
        (2, 17, 33, 21, 18, 3, 1, one),
        (2, 16, 16, 16, 24, 3, 1, one),
        (1, 16, 20, 70, 16, 3, 1, one),
        (2, 16, 9, 10, 17, 3, 1, none),
        (2, 16, 9, 10, 17, 3, 1, down),
        (2, 16, 5, 6, 16, 3, 1, Padding::symmetric(3)),
        (2, 16, 7, 8, 16, 3, 1, Padding::asymmetric(2, 1, 0, 2)),
    ];
    for (n, c, h, w, o, k, stride, padding) in cases {
        let what = format!("conv2d {n}x{c}x{h}x{w} to {o}, kernel {k}, stride {stride}, {padding:?}");
        let x = random(1, &[n, c, h, w]);
        let weight = (random(2, &[o, c, k, k]) * (1. / ((c * k * k) as f64).sqrt())).unwrap();
        let bias = random(3, &[o]);
        check(
            &what,
            &|a| ops::conv2d(&a[0], &a[1], Some(&a[2]), stride, padding),
            &|a| naive_conv(&a[0], &a[1], Some(&a[2]), stride, padding),
            &[x.clone(), weight.clone(), bias],
            &[true, false, false],
        );
        check(
            &what,
            &|a| ops::conv2d(&a[0], &a[1], None, stride, padding),
            &|a| naive_conv(&a[0], &a[1], None, stride, padding),
            &[x, weight],
            &[true, false],
        );
    }
}

#[test]
fn linear() {
    let sizes = [(1, 1, 1), (1, 7, 5), (2, 3, 1), (4, 16, 16), (9, 33, 17), (5, 700, 40), (6, 1300, 3)];
    for (rows, inputs, outputs) in sizes {
        let what = format!("linear {rows}x3x{inputs} to {outputs}");
        let x = random(1, &[rows, 3, inputs]);
        let weight = (random(2, &[outputs, inputs]) * (1. / (inputs as f64).sqrt())).unwrap();
        let naive = |x: &Tensor, w: &Tensor| {
            let (n, m, i) = x.dims3()?;
            x.reshape((n * m, i))?.matmul(&w.t()?)?.reshape((n, m, ()))
        };
        check(
            &what,
            &|a| ops::linear(&a[0], &a[1], Some(&a[2])),
            &|a| naive(&a[0], &a[1])?.broadcast_add(&a[2]),
            &[x.clone(), weight.clone(), random(3, &[outputs])],
            &[true, false, false],
        );
        check(&what, &|a| ops::linear(&a[0], &a[1], None), &|a| naive(&a[0], &a[1]), &[x, weight], &[true, false]);
        // one row an image, where a matrix–vector product would be
        check(
            &what,
            &|a| ops::linear(&a[0], &a[1], None),
            &|a| a[0].matmul(&a[1].t()?),
            &[random(4, &[rows, inputs]), random(5, &[outputs, inputs])],
            &[true, false],
        );
    }
}

fn naive_norm(x: &Tensor, eps: f64) -> Result<Tensor> {
    let centred = x.broadcast_sub(&x.mean_keepdim(D::Minus1)?)?;
    let variance = centred.sqr()?.mean_keepdim(D::Minus1)?;
    centred.broadcast_div(&(variance + eps)?.sqrt()?)
}

#[test]
fn group_norm() {
    let sizes = [(3, 6, vec![3, 5], 2), (4, 32, vec![4, 4], 8), (2, 8, vec![17], 4), (2, 4, vec![40, 33], 1)];
    for (n, c, area, groups) in sizes {
        for activation in [Activation::None, Activation::Silu] {
            let mut shape = vec![n, c];
            shape.extend(&area);
            let x = ((random(1, &shape) * 2.).unwrap() + 0.5).unwrap();
            check(
                &format!("group_norm {shape:?} in {groups}, {activation:?}"),
                &|a| ops::group_norm(&a[0], &a[1], &a[2], groups, 1e-5, activation),
                &|a| {
                    let mut one = vec![1; a[0].rank()];
                    one[1] = c;
                    let y = naive_norm(&a[0].reshape((a[0].dim(0)?, groups, ()))?, 1e-5)?
                        .reshape(a[0].shape())?
                        .broadcast_mul(&a[1].reshape(one.as_slice())?)?
                        .broadcast_add(&a[2].reshape(one.as_slice())?)?;
                    if activation == Activation::Silu { &y / (y.neg()?.exp()? + 1.)? } else { Ok(y) }
                },
                &[x, random(2, &[c]), random(3, &[c])],
                &[true, false, false],
            );
        }
    }
}

#[test]
fn layer_norm() {
    for (n, rows, width) in [(3, 5, 7), (2, 33, 64), (2, 3, 130)] {
        check(
            &format!("layer_norm {n}x{rows}x{width}"),
            &|a| ops::layer_norm(&a[0], &a[1], &a[2], 1e-5),
            &|a| naive_norm(&a[0], 1e-5)?.broadcast_mul(&a[1])?.broadcast_add(&a[2]),
            &[random(1, &[n, rows, width]), random(2, &[width]), random(3, &[width])],
            &[true, false, false],
        );
    }
}

fn naive_softmax(x: &Tensor) -> Result<Tensor> {
    let raised = x.exp()?;
    raised.broadcast_div(&raised.sum_keepdim(D::Minus1)?)
}

#[test]
fn attention() {
    // images, queries, keys, heads, width of a head, causal
    let cases = [
        (2, 5, 7, 2, 3, false),
        (3, 16, 16, 2, 16, false),
        (2, 64, 77, 3, 8, false),
        (2, 77, 77, 2, 8, true),
        (2, 150, 150, 1, 5, true),
        (2, 130, 33, 2, 20, false),
        (2, 1, 9, 2, 4, false),
        (2, 9, 1, 2, 4, false),
        (2, 6, 4, 1, 1, true),
    ];
    for (n, queries, keys, heads, head, causal) in cases {
        let width = heads * head;
        let scale = 1. / (head as f64).sqrt();
        check(
            &format!("attention {n}x{queries}x{keys}, {heads} heads of {head}, causal {causal}"),
            &|a| ops::attention(&a[0], &a[1], &a[2], heads, scale, causal),
            &|a| {
                let n = a[0].dim(0)?;
                let split = |x: &Tensor| x.reshape((n, (), heads, head))?.transpose(1, 2)?.contiguous();
                let (q, k, v) = (split(&a[0])?, split(&a[1])?, split(&a[2])?);
                let mut scores = (q.matmul(&k.t()?.contiguous()?)? * scale)?;
                if causal {
                    let hidden = |i, j| if j > i { -1e9 } else { 0. };
                    let mask: Vec<f64> = (0..queries).flat_map(|i| (0..keys).map(move |j| hidden(i, j))).collect();
                    scores = scores.broadcast_add(&Tensor::from_vec(mask, (queries, keys), &Device::Cpu)?)?;
                }
                naive_softmax(&scores)?.matmul(&v)?.transpose(1, 2)?.reshape((n, queries, width))
            },
            &[random(1, &[n, queries, width]), random(2, &[n, keys, width]), random(3, &[n, keys, width])],
            &[true, true, true],
        );
    }
}

#[test]
fn attention_survives_large_scores() {
    let q = (random(1, &[1, 4, 8]) * 1000.).unwrap();
    let k = (random(2, &[1, 40, 8]) * 1000.).unwrap();
    let y = ops::attention(&q, &k, &random(3, &[1, 40, 8]), 2, 1., false).unwrap();
    assert!(values(&y).iter().all(|v| v.abs() <= 1.), "{y}");
}

#[test]
fn activations() {
    let x = [(random(1, &[3, 5, 46]) * 4.).unwrap()];
    let logistic = |x: &Tensor, factor: f64| x / ((x * -factor)?.exp()? + 1.)?;
    check("silu", &|a| ops::silu(&a[0]), &|a| logistic(&a[0], 1.), &x, &[true]);
    check("quick_gelu", &|a| ops::quick_gelu(&a[0]), &|a| logistic(&a[0], 1.702), &x, &[true]);
    check("gelu", &|a| ops::gelu(&a[0]), &|a| a[0].gelu_erf(), &x, &[true]);
    check(
        "geglu",
        &|a| ops::geglu(&a[0]),
        &|a| {
            let parts = a[0].chunk(2, D::Minus1)?;
            &parts[0] * parts[1].gelu_erf()?
        },
        &x,
        &[true],
    );
    check("softmax", &|a| ops::softmax(&a[0]), &|a| naive_softmax(&a[0]), &x, &[true]);
}

#[test]
fn upsample_nearest2x() {
    check(
        "upsample_nearest2x",
        &|a| ops::upsample_nearest2x(&a[0]),
        &|a| {
            let (n, c, h, w) = a[0].dims4()?;
            let twice = a[0].reshape(&[n, c, h, 1, w, 1])?.broadcast_as(&[n, c, h, 2, w, 2])?;
            twice.contiguous()?.reshape((n, c, 2 * h, 2 * w))
        },
        &[random(1, &[3, 4, 5, 7])],
        &[true],
    );
}

#[test]
fn views_that_are_not_contiguous() {
    let turned = random(1, &[2, 6, 7, 5]).transpose(2, 3).unwrap();
    let weight = random(2, &[4, 6, 3, 3]);
    let a = ops::conv2d(&turned, &weight, None, 1, 1).unwrap();
    let b = ops::conv2d(&turned.contiguous().unwrap(), &weight, None, 1, 1).unwrap();
    assert_eq!(bits(&a), bits(&b));
    let part = random(3, &[4, 9, 12]).narrow(1, 2, 5).unwrap();
    let a = ops::attention(&part, &part, &part, 3, 1., false).unwrap();
    let whole = part.contiguous().unwrap();
    assert_eq!(bits(&a), bits(&ops::attention(&whole, &whole, &whole, 3, 1., false).unwrap()));
}

#[test]
fn wrong_shapes_are_errors() {
    let t = |shape: &[usize]| random(1, shape);
    assert!(ops::conv2d(&t(&[1, 3, 4, 4]), &t(&[2, 4, 3, 3]), None, 1, 1).is_err());
    assert!(ops::conv2d(&t(&[1, 3, 2, 2]), &t(&[2, 3, 3, 3]), None, 1, 0).is_err());
    assert!(ops::conv2d(&t(&[1, 3, 4, 4]), &t(&[2, 3, 3, 3]), Some(&t(&[3])), 1, 1).is_err());
    assert!(ops::linear(&t(&[2, 3]), &t(&[4, 5]), None).is_err());
    assert!(ops::group_norm(&t(&[1, 6, 2, 2]), &t(&[6]), &t(&[6]), 4, 1e-5, Activation::None).is_err());
    assert!(ops::layer_norm(&t(&[2, 6]), &t(&[5]), &t(&[6]), 1e-5).is_err());
    assert!(ops::attention(&t(&[1, 3, 6]), &t(&[1, 4, 6]), &t(&[1, 5, 6]), 2, 1., false).is_err());
    assert!(ops::attention(&t(&[1, 3, 6]), &t(&[1, 4, 6]), &t(&[1, 4, 6]), 4, 1., false).is_err());
    assert!(ops::geglu(&t(&[2, 5])).is_err());
}
