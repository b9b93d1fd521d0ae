//! What an OpenAI-compatible server replies to a question.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::answer::AnswerValue;
use crate::endpoint::shortened;

/// What the model said.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Given {
    pub value: AnswerValue,
    /// Of a yes.
    pub probability: f32,
    pub prompt_tokens: u64,
    pub completion_tokens: u64,
    /// From asking to having it.
    #[serde(default)]
    pub seconds: Option<f32>,
}

/// A chat completion, strictly: one word, yes or no. Another word is a refusal; anything else is an error.
pub(super) fn read_reply(text: &[u8]) -> Result<Given, String> {
    let reply: Value =
        serde_json::from_slice(text).map_err(|error| format!("the reply is no JSON: {error}: {}", shortened(text)))?;
    let choice = reply.pointer("/choices/0").ok_or_else(|| format!("the reply has no choice: {}", shortened(text)))?;
    let content = choice.pointer("/message/content").and_then(Value::as_str);
    let content = content.ok_or_else(|| format!("the reply has no message: {}", shortened(text)))?;
    let word = content.trim().trim_end_matches('.').to_lowercase();
    let (value, certain) = match word.as_str() {
        "yes" => (AnswerValue::Yes, 1.0),
        "no" => (AnswerValue::No, 0.0),
        _ => (AnswerValue::CannotAnswer, 0.5),
    };
    let probability =
        if value == AnswerValue::CannotAnswer { certain } else { probability_of_yes(choice).unwrap_or(certain) };
    let count = |key: &str| reply.pointer(&format!("/usage/{key}")).and_then(Value::as_u64).unwrap_or_default();
    Ok(Given {
        value,
        probability,
        prompt_tokens: count("prompt_tokens"),
        completion_tokens: count("completion_tokens"),
        seconds: None,
    })
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
        let reply = |content: &str| {
            json!({"choices": [{"message": {"content": content}}], "usage": {"prompt_tokens": 7, "completion_tokens": 1}}).to_string()
        };
        for (content, value) in [
            ("yes", AnswerValue::Yes),
            (" No.\n", AnswerValue::No),
            ("YES", AnswerValue::Yes),
            ("yes, there is", AnswerValue::CannotAnswer),
            ("", AnswerValue::CannotAnswer),
            ("not sure", AnswerValue::CannotAnswer),
        ] {
            let given = read_reply(reply(content).as_bytes()).unwrap();
            assert_eq!((given.value, given.prompt_tokens), (value, 7), "{content}");
        }
        for broken in ["", "{", "[]", "{\"choices\": []}", "{\"choices\": [{\"message\": {\"content\": null}}]}"] {
            assert!(read_reply(broken.as_bytes()).is_err(), "{broken}");
        }
    }

    #[test]
    fn probabilities_are_those_of_yes_and_no_alone() {
        let tokens = json!([{"token": "Yes", "logprob": 0.3_f64.ln()}, {"token": " no", "logprob": 0.1_f64.ln()}, {"token": "The", "logprob": -1.0}]);
        let reply =
            json!({"choices": [{"message": {"content": "Yes"}, "logprobs": {"content": [{"top_logprobs": tokens}]}}]})
                .to_string();
        assert!((read_reply(reply.as_bytes()).unwrap().probability - 0.75).abs() < 1e-6);
    }
}
