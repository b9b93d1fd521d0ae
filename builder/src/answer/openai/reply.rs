//! What a model said to a question that is answered with yes or no.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::answer::AnswerValue;
use crate::endpoint::chat::Completion;

/// Its answer.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Word {
    pub value: AnswerValue,
    /// Of a yes.
    pub probability: f32,
}

/// Strictly: one word, yes or no. Another word is a refusal.
pub(super) fn read_word(said: &Completion<'_>) -> Word {
    let word = said.content.trim().trim_end_matches('.').to_lowercase();
    let (value, certain) = match word.as_str() {
        "yes" => (AnswerValue::Yes, 1.0),
        "no" => (AnswerValue::No, 0.0),
        _ => return Word { value: AnswerValue::CannotAnswer, probability: 0.5 },
    };
    Word { value, probability: probability_of_yes(said.choice).unwrap_or(certain) }
}

/// Share of yes among yes and no, over the spellings of the first token; none without probabilities.
fn probability_of_yes(choice: &Value) -> Option<f32> {
    let (mut yes, mut no) = (0.0_f64, 0.0_f64);
    for candidate in choice.pointer("/logprobs/content/0/top_logprobs")?.as_array()? {
        let probability = candidate.get("logprob")?.as_f64()?.exp();
        match candidate.get("token")?.as_str()?.trim().to_lowercase().as_str() {
            "yes" => yes += probability,
            "no" => no += probability,
            _ => {}
        }
    }
    (yes + no > 0.0).then(|| (yes / (yes + no)) as f32)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn only_one_word_is_an_answer() {
        for (content, value) in [
            ("yes", AnswerValue::Yes),
            (" No.\n", AnswerValue::No),
            ("YES", AnswerValue::Yes),
            ("yes, there is", AnswerValue::CannotAnswer),
            ("", AnswerValue::CannotAnswer),
            ("not sure", AnswerValue::CannotAnswer),
        ] {
            let word = read_word(&Completion { choice: &Value::Null, content });
            assert_eq!(word.value, value, "{content}");
        }
    }

    #[test]
    fn probabilities_are_those_of_yes_and_no_alone() {
        let tokens = json!([{"token": "Yes", "logprob": 0.3_f64.ln()}, {"token": " no", "logprob": 0.1_f64.ln()}, {"token": "The", "logprob": -1.0}]);
        let choice = json!({"logprobs": {"content": [{"top_logprobs": tokens}]}});
        let word = read_word(&Completion { choice: &choice, content: "Yes" });
        assert!((word.probability - 0.75).abs() < 1e-6);
    }
}
