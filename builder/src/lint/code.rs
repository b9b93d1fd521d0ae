//! Every code of a finding, with its name and what it means.

use serde::{Deserialize, Serialize};
use std::fmt;

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The record is rejected.
    Error,
    /// The record is kept.
    Warning,
}

impl Severity {
    /// The word used in the store and the API.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
        }
    }
}

macro_rules! codes {
    ($($(#[doc = $doc:literal])+ $variant:ident => $name:literal),+ $(,)?) => {
        /// What was found.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
        pub enum Code { $($(#[doc = $doc])+ #[serde(rename = $name)] $variant),+ }

        impl Code {
            /// Every code.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// The name used in files, the store and the API.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $name),+ }
            }

            /// What it means, in a sentence.
            pub fn description(self) -> &'static str {
                match self { $(Self::$variant => concat!($($doc),+).trim()),+ }
            }
        }
    };
}

codes! {
    /// Not well-formed JSON (RFC 8259).
    JsonSyntax => "E_JSON_SYNTAX",
    /// Bytes are not valid UTF-8.
    Utf8 => "E_UTF8",
    /// The file starts with a byte-order mark.
    Bom => "E_BOM",
    /// Nested deeper than 128 levels.
    Depth => "E_DEPTH",
    /// One record is larger than the reader holds in memory.
    TooLarge => "E_TOO_LARGE",
    /// The file cannot be read to its end, or its compressed form is damaged.
    Read => "E_READ",
    /// The top level is not an array.
    NotArray => "E_NOT_ARRAY",
    /// A value has the wrong JSON type.
    WrongType => "E_WRONG_TYPE",
    /// A required key is absent; the pointer names the absent key.
    MissingField => "E_MISSING_FIELD",
    /// One object holds a key twice.
    DuplicateKey => "E_DUP_KEY",
    /// A relation names an item_id that no item has.
    DanglingItem => "E_DANGLING_ITEM",
    /// Two items of one record share item_id.
    DuplicateItemId => "E_DUP_ITEM_ID",
    /// Two records share img_id.
    DuplicateImgId => "E_DUP_IMG_ID",
    /// item1 equals item2.
    SelfRelation => "E_SELF_RELATION",
    /// A label is empty after removing white space and default-ignorable code points.
    EmptyLabel => "E_EMPTY_LABEL",
    /// A predicate is empty after trimming.
    EmptyRelation => "E_EMPTY_RELATION",
    /// img_id is empty.
    EmptyImgId => "E_EMPTY_IMG_ID",
    /// An integer id is negative or above u64.
    IdRange => "E_ID_RANGE",
    /// A label, attribute or predicate holds a C0 control character, or any text a NUL.
    ControlChar => "E_CONTROL_CHAR",
    /// name is absolute or has a .. component.
    UnsafeName => "E_UNSAFE_NAME",
    /// No relations: LAION-SG's own loader drops such a record, Diptych keeps it.
    NoRelations => "W_NO_RELATIONS",
    /// No items: nothing to draw.
    NoItems => "W_NO_ITEMS",
    /// global_item_id repeats inside a record.
    DuplicateGlobalId => "W_DUP_GLOBAL_ID",
    /// The same (item1, relation, item2) twice.
    DuplicateTriple => "W_DUP_TRIPLE",
    /// Empty attribute.
    EmptyAttribute => "W_EMPTY_ATTRIBUTE",
    /// Repeated attribute in an item.
    DuplicateAttribute => "W_DUP_ATTRIBUTE",
    /// Two labels differ only by Unicode normal form.
    LabelsEqualAfterNfc => "W_LABELS_EQUAL_AFTER_NFC",
    /// Bidirectional control character.
    BidiControl => "W_BIDI_CONTROL",
    /// Leading or trailing white space.
    UntrimmedLabel => "W_UNTRIMMED_LABEL",
    /// Label above 256 characters.
    LongLabel => "W_LONG_LABEL",
    /// One order is said both ways: a left of b, b left of a.
    Contradiction => "W_CONTRADICTION",
    /// Two opposite relations of one pair: a left of b, a right of b. A note.
    OppositeRelations => "W_OPPOSITE_RELATIONS",
    /// An item in no relation, in a graph that has relations. A note.
    IsolatedItem => "W_ISOLATED_ITEM",
    /// The question that follows was asked before in the same words.
    DuplicateQuestion => "W_DUP_QUESTION",
    /// Words that no answerer can judge.
    Unanswerable => "W_UNANSWERABLE",
    /// More tokens than a text encoder reads.
    PromptTooLong => "W_PROMPT_TOO_LONG",
}

impl Code {
    /// Whether the finding rejects its record.
    pub fn is_error(self) -> bool {
        self.severity() == Severity::Error
    }

    /// Error or warning, by the code's first letter.
    pub fn severity(self) -> Severity {
        if self.as_str().starts_with('E') { Severity::Error } else { Severity::Warning }
    }

    /// The code of this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|code| code.as_str() == name)
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
