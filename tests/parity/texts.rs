//! Strings for the tokenizer, the same as those of `texts.py`, in the same order.

use std::collections::HashSet;

use serde_json::Value;

use super::root;

const SYNTHETIC: usize = 2500;
/// First code point and number of code points.
const POOLS: [(u32, u64); 32] = [
    (0x61, 26),
    (0x41, 26),
    (0x20, 1),
    (0x20, 1),
    (0x30, 10),
    (0x21, 15),
    (0x09, 5),
    (0x20, 95),
    (0xA0, 96),
    (0x100, 128),
    (0x300, 112),
    (0x370, 144),
    (0x400, 256),
    (0x5D0, 27),
    (0x600, 256),
    (0x900, 128),
    (0xE00, 128),
    (0x1E00, 256),
    (0x2000, 112),
    (0x20A0, 32),
    (0x2100, 80),
    (0x2190, 112),
    (0x2600, 256),
    (0x3040, 192),
    (0x4E00, 1024),
    (0xAC00, 1024),
    (0xFB00, 7),
    (0xFE00, 16),
    (0xFF00, 240),
    (0x1_F300, 768),
    (0x1_F900, 256),
    (0x1_D400, 256),
];
const SPECIAL: [&str; 14] = [
    "<|endoftext|>",
    "<|startoftext|>",
    "'s",
    "'ll",
    "don't",
    "</w>",
    "\r\n",
    "\u{200d}",
    "\u{fe0f}",
    "e\u{301}",
    "İ",
    "ß",
    "!!",
    "...",
];

/// All strings.
pub(super) fn texts() -> Vec<String> {
    let mut texts = shared();
    texts.extend(synthetic());
    texts
}

fn shared() -> Vec<String> {
    let data = root("../shared/data");
    let mut texts = Vec::new();
    for name in ["dpg_bench/prompts.jsonl", "t2i_compbench/val_prompts.jsonl"] {
        for line in fs_err::read_to_string(data.join(name)).unwrap().lines() {
            let record: Value = serde_json::from_str(line).unwrap();
            texts.push(record["prompt"].as_str().unwrap().to_owned());
        }
    }
    let mut seen = HashSet::new();
    let table = fs_err::read_to_string(data.join("dpg_bench/dsg1k_questions.csv")).unwrap();
    texts.extend(second_column(&table).into_iter().skip(1).filter(|text| seen.insert(text.clone())));
    for name in
        ["derived/dsg1k_graphs", "derived/factual_vg_image_unions", "real/factual_vg_regions", "real/vg_regions_2785"]
    {
        let file = data.join(format!("scene_graphs/{name}.json"));
        let graphs: Vec<Value> = serde_json::from_slice(&fs_err::read(file).unwrap()).unwrap();
        texts.extend(graphs.iter().map(|graph| graph["caption_ori"].as_str().unwrap().to_owned()));
    }
    texts
}

/// The second field of each row of a CSV table with quotes.
fn second_column(table: &str) -> Vec<String> {
    let (mut rows, mut field, mut column, mut quoted) = (Vec::new(), String::new(), 0, false);
    let mut letters = table.chars().peekable();
    while let Some(letter) = letters.next() {
        match letter {
            '"' if quoted && letters.peek() == Some(&'"') => {
                field.push('"');
                letters.next();
            }
            '"' => quoted = !quoted,
            ',' | '\n' if !quoted => {
                if column == 1 {
                    rows.push(field.trim_end_matches('\r').to_owned());
                }
                field.clear();
                column = if letter == ',' { column + 1 } else { 0 };
            }
            _ => field.push(letter),
        }
    }
    rows
}

/// SplitMix64.
pub(super) struct Random(pub(super) u64);

impl Random {
    pub(super) fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let z = self.0;
        let z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (z ^ (z >> 31)) % n
    }
}

fn synthetic() -> Vec<String> {
    let mut random = Random(7);
    let mut text = || {
        let mut text = String::new();
        for _ in 0..random.below(12) {
            if random.below(6) == 0 {
                text.push_str(SPECIAL[random.below(SPECIAL.len() as u64) as usize]);
                continue;
            }
            let (first, count) = POOLS[random.below(POOLS.len() as u64) as usize];
            for _ in 0..=random.below(6) {
                text.extend(char::from_u32(first + random.below(count) as u32));
            }
        }
        text
    };
    (0..SYNTHETIC).map(|_| text()).collect()
}
