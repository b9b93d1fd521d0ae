//! What goes with exported rows: a data card, Croissant metadata, and who the parts belong to.

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::{ExportFormat, ExportRequest, pick_a_pic};
use crate::store::export::ExportFile;

/// What is told of an export.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    /// Of the pairing, or of the format.
    pub name: String,
    /// Hash of the pairing; of formats without one the SHA-256 of the rows.
    pub hash: String,
    pub policy: Option<Value>,
    pub num_rows: i64,
    pub num_ties: i64,
    pub num_graphs: i64,
    /// Name and hash of the models that made the pictures.
    pub models: Vec<(String, String)>,
    /// File and number of graphs.
    pub sources: Vec<(String, i64)>,
    /// RFC 3339.
    pub created_at: String,
}

/// `README.md`, with the front matter that the Hugging Face hub reads.
pub fn card(request: &ExportRequest, facts: &Facts) -> String {
    let mut text = String::from("---\n");
    let _ = writeln!(text, "license: {}", request.license.to_lowercase());
    let _ = writeln!(text, "pretty_name: {}", json!(facts.name));
    text.push_str("task_categories:\n- text-to-image\ntags:\n- preference\n- scene-graph\n");
    if request.format == ExportFormat::PickAPic {
        text.push_str("configs:\n- config_name: default\n  data_files:\n  - split: train\n    path: train-*.parquet\n");
        if facts.num_ties > 0 {
            text.push_str("- config_name: ties\n  data_files:\n  - split: train\n    path: ties-*.parquet\n");
        }
    }
    let _ = write!(text, "---\n\n# {}\n\n", facts.name);
    let what = if request.format.is_of_pairs() { "pairs of a better and a worse picture" } else { "rows" };
    let _ = writeln!(
        text,
        "{} {what} ({} ties, {} scene graphs), exported by Diptych.\n",
        facts.num_rows, facts.num_ties, facts.num_graphs
    );
    let _ = writeln!(text, "- format: `{}`", request.format.as_str());
    let _ = writeln!(text, "- hash of the snapshot: `{}`", facts.hash);
    let _ = writeln!(text, "- exported: {}", facts.created_at);
    let _ = writeln!(text, "- licence: {}; see `LICENSES.md` for the parts", request.license);
    if let Some(policy) = &facts.policy {
        let _ = writeln!(text, "\n## How scores became pairs\n\n```json\n{policy:#}\n```");
    }
    text.push_str("\n## How it was made\n\nScene graphs were sampled by the models below; questions that follow from each graph were asked of each picture, and the ");
    text.push_str(
        "answers became scores. Nobody was asked for a taste: a winner shows more of what its graph says.\n\n",
    );
    for (name, hash) in &facts.models {
        let _ = writeln!(text, "- model {name} (`{hash}`)");
    }
    if request.format == ExportFormat::PickAPic {
        text.push_str("\n## Columns\n\nThose of Pick-a-Pic v2. `label_0` and `label_1` are 1 and 0, in the ties 0.5; which side won alternates with the row. ");
        text.push_str("`jpg_0` and `jpg_1` hold the pictures as they are stored, losslessly (PNG); `user_id` is 0, no person judged.\n\n");
        for (name, kind) in pick_a_pic::columns() {
            let _ = writeln!(text, "- `{name}`: {kind}");
        }
    }
    text.push_str("\n## Limits\n\nPictures of a synthetic world teach nothing about people or places; pictures of imported files are as good as their source.\n");
    text
}

/// `LICENSES.md`.
pub fn licenses(request: &ExportRequest, facts: &Facts) -> String {
    let mut text = format!(
        "# Licences\n\nThe collection as a whole: {}.\n\nIts parts keep the licences of what they come from; Diptych knows \
         the sources, not their terms.\n\n## Scene graphs and captions\n\n",
        request.license
    );
    for (file, count) in &facts.sources {
        let _ = writeln!(text, "- {count} from {file}");
    }
    text.push_str("\n## Pictures\n\n");
    for (name, hash) in &facts.models {
        let _ = writeln!(text, "- made by the model {name} (`{hash}`): the terms of that model");
    }
    if facts.models.is_empty() {
        text.push_str("- none\n");
    }
    text
}

/// `croissant.json`: MLCommons Croissant 1.0.
pub fn croissant(request: &ExportRequest, facts: &Facts, files: &[ExportFile]) -> Value {
    let distribution: Vec<Value> = files
        .iter()
        .map(|file| {
            json!({ "@type": "cr:FileObject", "@id": file.name, "name": file.name, "contentUrl": file.name,
                "contentSize": format!("{} B", file.bytes), "encodingFormat": file.media_type, "sha256": file.sha256 })
        })
        .collect();
    let mut record_sets = Vec::new();
    if request.format == ExportFormat::PickAPic {
        for file in files.iter().filter(|file| file.name.ends_with(".parquet")) {
            let set = file.name.split('-').next().unwrap_or("train");
            let fields: Vec<Value> = pick_a_pic::columns()
                .map(|(name, kind)| {
                    let data_type = match kind {
                        "boolean" => "sc:Boolean",
                        "timestamp" => "sc:DateTime",
                        "binary" => "sc:ImageObject",
                        "double" => "sc:Float",
                        "int64" => "sc:Integer",
                        _ => "sc:Text",
                    };
                    json!({ "@type": "cr:Field", "@id": format!("{set}/{name}"), "name": name, "dataType": data_type,
                        "source": { "fileObject": { "@id": file.name }, "extract": { "column": name } } })
                })
                .collect();
            record_sets.push(json!({ "@type": "cr:RecordSet", "@id": set, "name": set, "field": fields }));
        }
    }
    json!({
        "@context": {
            "@language": "en", "@vocab": "https://schema.org/", "sc": "https://schema.org/",
            "cr": "http://mlcommons.org/croissant/", "rai": "http://mlcommons.org/croissant/RAI/",
            "dct": "http://purl.org/dc/terms/", "citeAs": "cr:citeAs", "column": "cr:column",
            "conformsTo": "dct:conformsTo", "data": {"@id": "cr:data", "@type": "@json"},
            "dataType": {"@id": "cr:dataType", "@type": "@vocab"}, "extract": "cr:extract", "field": "cr:field",
            "fileObject": "cr:fileObject", "fileProperty": "cr:fileProperty", "fileSet": "cr:fileSet",
            "format": "cr:format", "includes": "cr:includes", "isLiveDataset": "cr:isLiveDataset",
            "jsonPath": "cr:jsonPath", "key": "cr:key", "md5": "cr:md5", "parentField": "cr:parentField",
            "path": "cr:path", "recordSet": "cr:recordSet", "references": "cr:references", "regex": "cr:regex",
            "repeated": "cr:repeated", "replace": "cr:replace", "separator": "cr:separator", "source": "cr:source",
            "subField": "cr:subField", "transform": "cr:transform",
            "examples": {"@id": "cr:examples", "@type": "@json"}, "sha256": "cr:sha256",
        },
        "@type": "sc:Dataset", "conformsTo": "http://mlcommons.org/croissant/1.0",
        "name": facts.name, "description": format!("{} rows as {}, exported by Diptych", facts.num_rows, request.format.as_str()),
        "license": request.license, "version": "1.0.0", "identifier": facts.hash, "datePublished": facts.created_at,
        "citeAs": format!("Diptych snapshot {}", facts.hash),
        "distribution": distribution, "recordSet": record_sets,
    })
}
