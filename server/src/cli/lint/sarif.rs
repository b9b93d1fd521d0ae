//! Findings as a SARIF 2.1.0 document (OASIS), which code hosts and editors show beside the file.

use std::fmt::Write as _;

use builder::lint::{Code, Finding, Severity};
use serde_json::{Value, json};

/// The document as it grows.
#[derive(Default)]
pub(super) struct Log {
    results: Vec<Value>,
}

impl Log {
    /// Adds a finding, if `wanted`; a note is less than a warning.
    pub(super) fn add(&mut self, finding: &Finding, note: bool, wanted: bool) {
        if !wanted {
            return;
        }
        let level = if note { "note" } else { level(finding.severity) };
        let text = if finding.suggestion.is_empty() {
            finding.message.clone()
        } else {
            format!("{} ({})", finding.message, finding.suggestion)
        };
        let rule = Code::ALL.iter().position(|code| *code == finding.code);
        self.results.push(json!({
            "ruleId": finding.code.as_str(),
            "ruleIndex": rule,
            "level": level,
            "message": { "text": text },
            "locations": [{
                "physicalLocation": { "artifactLocation": { "uri": uri(&finding.file) } },
                // JSON has no lines that mean anything; the pointer is the place.
                "logicalLocations": [{ "fullyQualifiedName": finding.pointer, "kind": "member" }],
            }],
            "properties": { "record": finding.record, "pointer": finding.pointer },
        }));
    }

    /// The whole document, with every rule.
    pub(super) fn document(self) -> Value {
        let rules: Vec<Value> = Code::ALL
            .iter()
            .map(|code| {
                json!({
                    "id": code.as_str(),
                    "shortDescription": { "text": code.description() },
                    "defaultConfiguration": { "level": level(code.severity()) },
                })
            })
            .collect();
        json!({
            "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
            "version": "2.1.0",
            "runs": [{
                "tool": { "driver": { "name": "diptych lint", "version": env!("CARGO_PKG_VERSION"), "rules": rules } },
                "columnKind": "unicodeCodePoints",
                "results": self.results,
            }],
        })
    }
}

fn level(severity: Severity) -> &'static str {
    match severity {
        Severity::Error => "error",
        Severity::Warning => "warning",
    }
}

/// A relative reference: what a URI does not allow is percent-encoded.
fn uri(file: &str) -> String {
    let mut uri = String::with_capacity(file.len());
    for byte in file.replace('\\', "/").bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte) {
            uri.push(char::from(byte));
        } else {
            // Writing to a String cannot fail.
            let _ = write!(uri, "%{byte:02X}");
        }
    }
    uri
}
