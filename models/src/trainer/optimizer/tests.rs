//! Both rules against the reference's numbers, in one pass and by tensor operations, and an exact resume.

use super::*;
use candle_core::Var;

fn vars() -> VarMap {
    let var = |values: Vec<f32>, shape: &[usize]| {
        Var::from_tensor(&Tensor::from_vec(values, shape, &Device::Cpu).unwrap()).unwrap()
    };
    [
        ("matrix".to_owned(), var(vec![0.5, -0.2, 0.1, 0.3, 0.8, -0.6], &[2, 3])),
        ("kernel".to_owned(), var((1..=8).map(|i| i as f32 / 10.0).collect(), &[1, 2, 2, 2])),
        ("vector".to_owned(), var(vec![1.0, -1.0, 0.25], &[3])),
    ]
    .into()
}

fn gradients(vars: &VarMap, factor: f64) -> Gradients {
    const VALUES: [(&str, &[f32]); 3] = [
        ("matrix", &[0.1, -0.4, 0.2, 0.05, 0.3, -0.1]),
        ("kernel", &[0.3, 0.1, -0.2, 0.4, 0.01, 0.02, -0.03, 0.04]),
        ("vector", &[0.1, -0.2, 0.0]),
    ];
    let of = |(name, values): (&str, &[f32])| {
        let gradient = Tensor::from_slice(values, vars[name].shape(), &Device::Cpu).unwrap();
        (name.to_owned(), (gradient * factor).unwrap())
    };
    VALUES.into_iter().map(of).collect()
}

fn values(tensor: &Tensor) -> Vec<f32> {
    tensor.flatten_all().unwrap().to_vec1().unwrap()
}

fn rules() -> [Box<dyn Rule>; 2] {
    [Box::new(AdamW { weight_decay: 0.01 }), Box::new(Adafactor { weight_decay: 0.01 })]
}

/// The numbers are those of torch's `AdamW` and of the formulas of transformers' `Adafactor.step`, line by line in Python's
/// doubles, with lr = 0.1 and weight decay 0.01, for two steps, the second against the first (see the commits for the scripts).
#[test]
fn two_steps_of_a_matrix_a_kernel_and_a_vector() {
    for in_one_pass in [true, false] {
        for (rule, golden) in rules().into_iter().zip([ADAMW, ADAFACTOR]) {
            let vars = vars();
            let mut optimizer = Optimizer::placed(rule, &vars, 0.0, in_one_pass).unwrap();
            optimizer.step(&gradients(&vars, 1.0), 0.1).unwrap();
            optimizer.step(&gradients(&vars, -0.5), 0.1).unwrap();
            for (name, expected) in golden {
                for (found, expected) in values(&vars[name]).iter().zip(expected) {
                    assert!((found - expected).abs() < 2e-6, "{name}: {found}, should be {expected}");
                }
            }
        }
    }
}

const ADAMW: [(&str, &[f32]); 3] = [
    ("matrix", &[0.372_466_8, -0.073_066_5, -0.026_733_6, 0.172_866_6, 0.671_867_1, -0.472_266_9]),
    ("kernel", &[-0.026_733_6, 0.073_066_5, 0.425_934, 0.272_666_7, 0.372_466_9, 0.472_267, 0.825_134_4, 0.671_867_1]),
    ("vector", &[0.871_467_3, -0.871_467_3, 0.249_500_3]),
];

const ADAFACTOR: [(&str, &[f32]); 3] = [
    ("matrix", &[0.462_308_2, -0.166_781_6, 0.063_107_8, 0.273_140_4, 0.763_169_5, -0.572_540_7]),
    (
        "kernel",
        &[0.051_335_4, 0.185_473_2, 0.322_246_8, 0.359_243_1, 0.472_951_5, 0.561_961_8, 0.733_549_1, 0.765_451_2],
    ),
    ("vector", &[0.964_371_9, -0.964_371_9, 0.249_500_3]),
];

/// Values, moments and average are the same either way, and a parameter that is slowed down is so in both.
#[test]
fn tensor_operations_do_what_the_pass_over_the_values_does() {
    for (one, other) in rules().into_iter().zip(rules()) {
        let ends = [(one, true), (other, false)].map(|(rule, in_one_pass)| {
            let vars = vars();
            let mut optimizer = Optimizer::placed(rule, &vars, 0.9, in_one_pass).unwrap();
            optimizer.slow_down("kernel", 0.25);
            (0..20).for_each(|step| optimizer.step(&gradients(&vars, f64::from(step).cos()), 0.01).unwrap());
            (optimizer.state().unwrap(), optimizer.averaged().unwrap())
        });
        let [(state, average), (other_state, other_average)] = ends;
        for (ours, theirs) in [(state, other_state), (average, other_average)] {
            assert!(ours.keys().eq(theirs.keys()));
            for (name, tensor) in ours.iter().filter(|(name, _)| *name != "step") {
                for (a, b) in values(tensor).iter().zip(values(&theirs[name])) {
                    assert!((a - b).abs() < 1e-6 * a.abs().max(1.0), "{name}: {a} and {b}");
                }
            }
        }
    }
}

#[test]
fn a_restored_optimizer_goes_on_bit_for_bit() {
    for in_one_pass in [true, false] {
        for (rule, again) in rules().into_iter().zip(rules()) {
            let first_moment = rule.moments(&[2, 3])[0].0;
            let straight = vars();
            let steps = |optimizer: &mut Optimizer, vars: &VarMap, steps: std::ops::Range<i32>| {
                steps.for_each(|step| optimizer.step(&gradients(vars, f64::from(step).cos()), 0.01).unwrap());
            };
            let mut optimizer = Optimizer::placed(rule, &straight, 0.9, in_one_pass).unwrap();
            steps(&mut optimizer, &straight, 0..3);
            let state = optimizer.state().unwrap();
            steps(&mut optimizer, &straight, 3..6);

            let resumed = vars();
            let mut again = Optimizer::placed(again, &resumed, 0.9, in_one_pass).unwrap();
            again.restore(&state).unwrap();
            steps(&mut again, &resumed, 3..6);
            let ends = [&optimizer, &again].map(|one| (one.averaged().unwrap(), one.state().unwrap()));
            for name in straight.keys() {
                assert_eq!(values(&straight[name]), values(&resumed[name]));
                assert_eq!(values(&ends[0].0[name]), values(&ends[1].0[name]));
            }
            assert_eq!(again.step_count(), 6);
            let mut damaged = state;
            damaged.remove(&format!("{first_moment}/matrix"));
            assert!(again.restore(&damaged).is_err());
        }
    }
}
