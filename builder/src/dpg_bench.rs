//! DPG-Bench without a store: question files, recorded answers, and the scores that follow from them.
//!
//! Source: TencentQQGYLab/ELLA at 3c228f1, `dpg_bench/compute_dpg_bench.py`. [`Mode::Reference`] gives the published
//! script's figure, its known faults included; [`Mode::Corrected`] mends them:
//!
//! | | reference | corrected |
//! | --- | --- | --- |
//! | first question of the file | lost | kept |
//! | rows of one item in several places | the last block replaces the earlier ones | all count |
//! | a question whose id came before in its item | replaces the earlier one | its item is not scored |
//! | masking | in place, in row order | until nothing changes |
//! | category scores | of the last crop | of all crops |
//! | an item without an image | left out | scored 0, and said so |
//!
//! In both, an image that cannot be scored (a question without an answer, a malformed row) says why and is left out of
//! the mean. The published script stops the whole run at a dependency that is no number; here its item alone is lost.

pub mod question_file;
pub mod run;

use crate::score::dpg::Masking;

pub use crate::metrics::Mode;

/// The rule by which a mode masks.
pub const fn masking_of(mode: Mode) -> Masking {
    match mode {
        Mode::Reference => Masking::InPlace,
        Mode::Corrected => Masking::Fixpoint,
    }
}

/// DPG-Bench's second level of a question: its tuple before the first bracket ("attribute - color", "global -").
pub fn category_l2(tuple: &str) -> &str {
    tuple.split('(').next().unwrap_or_default().trim()
}

/// DPG-Bench's first level: the second before its first hyphen ("attribute", "global").
pub fn category_l1(category_l2: &str) -> &str {
    category_l2.split('-').next().unwrap_or_default().trim()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn categories_are_cut_as_the_script_cuts_them() {
        for (tuple, l2, l1) in [
            ("attribute - color (bus, red)", "attribute - color", "attribute"),
            ("global - (photo)", "global -", "global"),
            ("global - - (photo)", "global - -", "global"),
            ("relation - non-spatial(a, b (c))", "relation - non-spatial", "relation"),
            ("entity", "entity", "entity"),
            ("", "", ""),
        ] {
            assert_eq!((category_l2(tuple), category_l1(category_l2(tuple))), (l2, l1), "{tuple}");
        }
    }
}
