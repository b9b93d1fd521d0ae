//! Reads LAION-SG files record by record, in memory bounded by the largest record.
//!
//! A file is a JSON array of records, or JSON lines; either may be gzipped (told by its first bytes,
//! not by its name). Which of the two it is follows from the name, since `x.json` promises one JSON
//! document to every other reader too:
//!
//! | name (without `.gz`) | read as |
//! | --- | --- |
//! | `*.jsonl`, `*.ndjson` | JSON lines |
//! | `*.json` | an array; anything else is an error |
//! | any other, standard input | JSON lines if the first character is `{`, else an array |
//!
//! A record that is bad in itself is rejected alone. In JSON lines that holds for syntax errors too; in
//! an array nothing after a syntax error can be trusted, so there it ends the file, and the records
//! before it stand.

mod strict_json;

use crate::lint::{self, Code, Fault, Finding};
use crate::scene_graph::SceneGraph;
use flate2::bufread::MultiGzDecoder;
use serde_json::Value;
use sha2::{Digest, Sha256};
use std::collections::{HashSet, VecDeque};
use std::io::{self, BufRead, BufReader, Cursor, Read};
use std::path::Path;
use strict_json::{Unreadable, parse};

/// Deepest nesting that is read, the outer array included.
const MAX_DEPTH: usize = 128;
/// Largest record, in bytes. A parsed one takes up to a hundred times its text.
const MAX_RECORD_BYTES: usize = 4 << 20;
/// How much of a file that is no array is looked at, in bytes.
const MAX_OTHER_BYTES: u64 = 4 << 20;

/// What the reader makes of one record, or of the file as a whole.
#[derive(Debug)]
pub enum Record {
    /// A good record; its findings are warnings.
    Graph {
        /// Index in the file.
        record: u64,
        /// What it says.
        graph: Box<SceneGraph>,
        /// The text of the record.
        raw: String,
        /// Warnings.
        findings: Vec<Finding>,
    },
    /// A record that was rejected, or a fault of the file.
    Rejected {
        /// Index in the file; none for a fault of the file.
        record: Option<u64>,
        /// The text of the record, as far as it is text.
        raw: String,
        /// At least one error.
        findings: Vec<Finding>,
    },
}

impl Record {
    /// What was found in the record.
    pub fn findings(&self) -> &[Finding] {
        match self {
            Self::Graph { findings, .. } | Self::Rejected { findings, .. } => findings,
        }
    }
}

/// How the records of a file lie in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// One JSON array.
    Array,
    /// One record a line.
    Lines,
    /// To be told from the first character.
    Unknown,
}

impl Format {
    /// The format that a file's name promises.
    pub fn of_name(file: &str) -> Self {
        let name = file.to_ascii_lowercase();
        let name = Path::new(name.strip_suffix(".gz").unwrap_or(&name));
        match name.extension().and_then(|extension| extension.to_str()) {
            Some("json") => Self::Array,
            Some("jsonl" | "ndjson") => Self::Lines,
            _ => Self::Unknown,
        }
    }
}

/// Reads a file whose format follows from its name; the name is repeated in every finding.
///
/// Never fails as a whole: what cannot be read is a [`Record::Rejected`] without a record number.
pub fn read<'a>(reader: impl BufRead + Send + 'a, file: &str) -> Records<'a> {
    read_as(reader, file, Format::of_name(file))
}

/// Reads a file of a known format.
pub fn read_as<'a>(reader: impl BufRead + Send + 'a, file: &str, format: Format) -> Records<'a> {
    let mut records = Records {
        reader: Box::new(io::empty()),
        file: file.to_owned(),
        state: State::Done,
        next_record: 0,
        line: 1,
        img_ids: HashSet::new(),
        pending: VecDeque::new(),
        convert: None,
    };
    match records.open(Box::new(reader), format) {
        Ok(state) => records.state = state,
        Err(fault) => records.reject_file(fault),
    }
    records
}

/// Opens and reads a file.
///
/// # Errors
/// The file cannot be opened.
pub fn read_file(path: &Path) -> io::Result<Records<'static>> {
    let reader = BufReader::with_capacity(1 << 17, fs_err::File::open(path)?);
    Ok(read(reader, &path.to_string_lossy()))
}

/// The records of a file, one at a time.
pub struct Records<'a> {
    reader: Box<dyn BufRead + Send + 'a>,
    file: String,
    state: State,
    next_record: u64,
    /// Line of the file that is read next, from 1.
    line: u64,
    /// First half of the SHA-256 of each accepted img_id: 16 bytes a record, however long the names.
    img_ids: HashSet<[u8; 16]>,
    pending: VecDeque<Record>,
    convert: Option<fn(&Value) -> Value>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Before the first element of the array.
    ArrayStart,
    /// After a comma.
    ArrayNext,
    /// `sniffed`: nobody promised lines, so a first line that breaks off is a document instead.
    Lines {
        sniffed: bool,
    },
    Done,
}

/// How the scan of an array's element ended.
enum ElementEnd {
    Comma,
    Bracket,
}

impl Iterator for Records<'_> {
    type Item = Record;

    fn next(&mut self) -> Option<Record> {
        loop {
            if let Some(record) = self.pending.pop_front() {
                return Some(record);
            }
            let outcome = match self.state {
                State::Done => return None,
                State::ArrayStart | State::ArrayNext => self.next_of_array(),
                State::Lines { sniffed } => self.next_of_lines(sniffed),
            };
            if let Err(fault) = outcome {
                self.reject_file(fault);
            }
        }
    }
}

impl<'a> Records<'a> {
    /// Judges what `convert` makes of each record instead of the record itself: other projects' scene graphs.
    pub fn converted(mut self, convert: fn(&Value) -> Value) -> Self {
        self.convert = Some(convert);
        self
    }

    /// Unpacks, checks the encoding, and finds out how the records lie.
    fn open(&mut self, reader: Box<dyn BufRead + Send + 'a>, format: Format) -> Result<State, Fault> {
        let (head, reader) = peek::<2>(reader).map_err(read_fault)?;
        self.reader = if head == [0x1f, 0x8b] {
            Box::new(BufReader::with_capacity(1 << 17, MultiGzDecoder::new(reader)))
        } else {
            reader
        };
        let (head, reader) =
            peek::<4>(std::mem::replace(&mut self.reader, Box::new(io::empty()))).map_err(read_fault)?;
        self.reader = reader;
        if head.starts_with(&[0xff, 0xfe]) || head.starts_with(&[0xfe, 0xff]) || head.contains(&0) {
            return Err(Fault::new(Code::Utf8, "", "the file looks like UTF-16 or UTF-32", "save the file as UTF-8"));
        }
        if head.starts_with(&[0xef, 0xbb, 0xbf]) {
            self.reader.consume(3);
            let fault = Fault::new(Code::Bom, "", "the file starts with a byte-order mark", "save the file without it");
            self.pending.push_back(Record::Rejected {
                record: None,
                raw: String::new(),
                findings: vec![fault.at(&self.file, None)],
            });
        }
        match (format, self.skip_blanks().map_err(read_fault)?) {
            (Format::Lines, _) => Ok(State::Lines { sniffed: false }),
            (Format::Unknown, Some(b'{')) => Ok(State::Lines { sniffed: true }),
            (_, Some(b'[')) => {
                self.reader.consume(1);
                Ok(State::ArrayStart)
            }
            (_, Some(_)) => Err(self.no_array()),
            (_, None) => {
                Err(Fault::new(Code::JsonSyntax, "", "the file is empty", "a file without records is written `[]`"))
            }
        }
    }

    /// What is wrong with a file that starts like no array.
    fn no_array(&mut self) -> Fault {
        let mut bytes = Vec::new();
        if let Err(error) = (&mut self.reader).take(MAX_OTHER_BYTES).read_to_end(&mut bytes) {
            return read_fault(error);
        }
        match parse(&bytes) {
            // What was cut off here has gone on as one document so far.
            Err(Unreadable::Json(error)) if !(error.is_eof() && bytes.len() as u64 == MAX_OTHER_BYTES) => {
                let mut fault = syntax_fault(&error, 1);
                if error.to_string().starts_with("trailing characters") && bytes.trim_ascii_start().starts_with(b"{") {
                    fault.suggestion =
                        "JSON lines are read from a file named `*.jsonl`; otherwise put the records in one array";
                }
                fault
            }
            Err(Unreadable::Utf8) => utf8_fault(),
            _ => Fault::new(Code::NotArray, "", "the top level is not an array", "put the records in an array"),
        }
    }

    fn reject_file(&mut self, fault: Fault) {
        self.state = State::Done;
        let findings = vec![fault.at(&self.file, None)];
        self.pending.push_back(Record::Rejected { record: None, raw: String::new(), findings });
    }

    fn next_of_array(&mut self) -> Result<(), Fault> {
        if self.skip_blanks().map_err(read_fault)? == Some(b']') && self.state == State::ArrayStart {
            self.reader.consume(1);
            return self.end_of_array();
        }
        let line = self.line;
        let mut bytes = Vec::new();
        let end = self.scan_element(&mut bytes)?;
        let (value, duplicates) = parse(&bytes).map_err(|error| error.fault(line))?;
        self.judge(bytes, &value, &duplicates);
        self.state = State::ArrayNext;
        match end {
            ElementEnd::Comma => Ok(()),
            ElementEnd::Bracket => self.end_of_array(),
        }
    }

    fn end_of_array(&mut self) -> Result<(), Fault> {
        self.state = State::Done;
        match self.skip_blanks().map_err(read_fault)? {
            None => Ok(()),
            Some(_) => Err(Fault::new(
                Code::JsonSyntax,
                "",
                format!("something follows the array at line {}", self.line),
                "end the file with the array",
            )),
        }
    }

    /// Collects one element of the array and consumes what ends it. Looks at strings and brackets only;
    /// the parser sees to the rest.
    fn scan_element(&mut self, bytes: &mut Vec<u8>) -> Result<ElementEnd, Fault> {
        let (mut depth, mut in_string, mut escaped) = (0_usize, false, false);
        loop {
            let buffer = self.reader.fill_buf().map_err(read_fault)?;
            if buffer.is_empty() {
                return Err(Fault::new(
                    Code::JsonSyntax,
                    "",
                    format!("the file breaks off at line {}", self.line),
                    "fetch the file again: it is not complete",
                ));
            }
            let mut end = None;
            let mut length = 0;
            for &byte in buffer {
                length += 1;
                if byte == b'\n' {
                    self.line += 1;
                }
                if in_string {
                    match byte {
                        _ if escaped => escaped = false,
                        b'\\' => escaped = true,
                        b'"' => in_string = false,
                        _ => {}
                    }
                    continue;
                }
                match byte {
                    b'"' => in_string = true,
                    b'{' | b'[' => depth += 1,
                    b',' if depth == 0 => end = Some(ElementEnd::Comma),
                    b']' if depth == 0 => end = Some(ElementEnd::Bracket),
                    b'}' | b']' => depth = depth.saturating_sub(1),
                    _ => {}
                }
                if end.is_some() || depth >= MAX_DEPTH {
                    break;
                }
            }
            if depth >= MAX_DEPTH {
                return Err(depth_fault(self.line));
            }
            bytes.extend_from_slice(&buffer[..length - usize::from(end.is_some())]);
            self.reader.consume(length);
            if bytes.len() > MAX_RECORD_BYTES {
                return Err(large_fault());
            }
            if let Some(end) = end {
                return Ok(end);
            }
        }
    }

    fn next_of_lines(&mut self, sniffed: bool) -> Result<(), Fault> {
        let line = self.line;
        let mut bytes = Vec::new();
        let length =
            (&mut self.reader).take(MAX_RECORD_BYTES as u64 + 1).read_until(b'\n', &mut bytes).map_err(read_fault)?;
        self.line += 1;
        if length == 0 {
            self.state = State::Done;
            if self.next_record == 0 {
                return Err(Fault::new(
                    Code::JsonSyntax,
                    "",
                    "the file is empty",
                    "a file without records is written `[]`",
                ));
            }
            return Ok(());
        }
        if bytes.len() > MAX_RECORD_BYTES {
            skip_line(&mut self.reader).map_err(read_fault)?;
            self.reject_record(Vec::new(), vec![large_fault()]);
            return Ok(());
        }
        bytes.truncate(bytes.trim_ascii_end().len());
        if bytes.is_empty() {
            return Ok(());
        }
        match parse(&bytes) {
            Ok((value, duplicates)) => self.judge(bytes, &value, &duplicates),
            Err(Unreadable::Json(error)) if sniffed && self.next_record == 0 && error.is_eof() => {
                return Err(Fault::new(
                    Code::NotArray,
                    "",
                    "the top level is not an array",
                    "put the record in an array, or on one line",
                ));
            }
            Err(error) => self.reject_record(bytes, vec![error.fault(line)]),
        }
        Ok(())
    }

    /// Accepts or rejects a record that could be parsed.
    fn judge(&mut self, bytes: Vec<u8>, value: &Value, duplicates: &[String]) {
        let converted = self.convert.map(|convert| convert(value));
        let value = converted.as_ref().unwrap_or(value);
        let mut faults = lint::check(value);
        faults.extend(duplicates.iter().map(|pointer| {
            Fault::new(Code::DuplicateKey, pointer.as_str(), "the object holds this key twice", "keep one of the two")
        }));
        if faults.iter().any(|fault| fault.code.is_error()) {
            return self.reject_record(bytes, faults);
        }
        let graph = SceneGraph::from_checked(value);
        if !self.img_ids.insert(half_hash(&graph.img_id)) {
            let message = format!("img_id `{}` is taken by an earlier record", graph.img_id);
            faults.push(Fault::new(Code::DuplicateImgId, "/img_id", message, "name the records of a file differently"));
            return self.reject_record(bytes, faults);
        }
        faults.extend(lint::content::check(&graph));
        let record = self.next_record;
        self.next_record += 1;
        let findings = faults.into_iter().map(|fault| fault.at(&self.file, Some(record))).collect();
        let raw = converted.map_or_else(|| into_text(bytes), |value| value.to_string());
        self.pending.push_back(Record::Graph { record, graph: Box::new(graph), raw, findings });
    }

    fn reject_record(&mut self, bytes: Vec<u8>, faults: Vec<Fault>) {
        let record = Some(self.next_record);
        self.next_record += 1;
        let findings = faults.into_iter().map(|fault| fault.at(&self.file, record)).collect();
        self.pending.push_back(Record::Rejected { record, raw: into_text(bytes), findings });
    }

    /// Skips JSON's white space; what comes next, if anything does.
    fn skip_blanks(&mut self) -> io::Result<Option<u8>> {
        loop {
            let buffer = self.reader.fill_buf()?;
            let blanks = buffer.iter().take_while(|byte| matches!(byte, b' ' | b'\t' | b'\r' | b'\n')).count();
            let next = buffer.get(blanks).copied();
            let end = buffer.is_empty();
            self.line += buffer[..blanks].iter().filter(|&&byte| byte == b'\n').count() as u64;
            self.reader.consume(blanks);
            if next.is_some() || end {
                return Ok(next);
            }
        }
    }
}

/// The first bytes of a reader (fewer at its end), and a reader that still gives them.
fn peek<'a, const N: usize>(
    mut reader: Box<dyn BufRead + Send + 'a>,
) -> io::Result<(Vec<u8>, Box<dyn BufRead + Send + 'a>)> {
    let mut head = Vec::with_capacity(N);
    (&mut reader).take(N as u64).read_to_end(&mut head)?;
    Ok((head.clone(), Box::new(Cursor::new(head).chain(reader))))
}

fn skip_line(reader: &mut dyn BufRead) -> io::Result<()> {
    loop {
        let buffer = reader.fill_buf()?;
        let (length, found) = match buffer.iter().position(|&byte| byte == b'\n') {
            Some(position) => (position + 1, true),
            None => (buffer.len(), buffer.is_empty()),
        };
        reader.consume(length);
        if found {
            return Ok(());
        }
    }
}

fn half_hash(text: &str) -> [u8; 16] {
    let mut half = [0; 16];
    half.copy_from_slice(&Sha256::digest(text)[..16]);
    half
}

fn into_text(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned())
}

fn read_fault(error: io::Error) -> Fault {
    Fault::new(
        Code::Read,
        "",
        format!("reading the file: {error}"),
        "fetch the file again: it is damaged or not complete",
    )
}

fn utf8_fault() -> Fault {
    Fault::new(Code::Utf8, "", "the bytes are not valid UTF-8", "save the file as UTF-8")
}

fn depth_fault(line: u64) -> Fault {
    Fault::new(
        Code::Depth,
        "",
        format!("nested deeper than {MAX_DEPTH} levels at line {line}"),
        "a record needs four levels",
    )
}

fn large_fault() -> Fault {
    Fault::new(Code::TooLarge, "", format!("a record is larger than {} MiB", MAX_RECORD_BYTES >> 20), "split the graph")
}

fn syntax_fault(error: &serde_json::Error, first_line: u64) -> Fault {
    let line = first_line + (error.line() as u64).saturating_sub(1);
    let message = error.to_string();
    // serde_json ends its messages with a place in the record; the file's line is of more use.
    let what = message.split(" at line ").next().unwrap_or_default();
    Fault::new(Code::JsonSyntax, "", format!("{what} at line {line}, column {}", error.column()), "correct the JSON")
}

impl Unreadable {
    fn fault(&self, first_line: u64) -> Fault {
        match self {
            Self::Utf8 => utf8_fault(),
            Self::Json(error) if error.to_string().starts_with("recursion limit") => depth_fault(first_line),
            Self::Json(error) => syntax_fault(error, first_line),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::write::GzEncoder;
    use std::io::Write;

    const RECORD: &str = r#"{"img_id":"ID","name":"1.jpg","caption_ori":"","items":[{"item_id":0,"label":"dog, \"[{\\","attributes":[]}],"relations":[]}"#;

    fn record(id: &str) -> String {
        RECORD.replace("ID", id)
    }

    /// "a" for an accepted record, else its errors.
    fn outcome(bytes: &[u8], file: &str) -> Vec<String> {
        read(BufReader::with_capacity(7, bytes), file)
            .map(|record| match record {
                Record::Graph { record, .. } => format!("{record} ok"),
                Record::Rejected { findings, .. } => findings
                    .iter()
                    .filter(|finding| finding.code.is_error())
                    .map(|finding| format!("{} {}", finding.pointer, finding.code))
                    .collect::<Vec<_>>()
                    .join("; "),
            })
            .collect()
    }

    #[test]
    fn arrays_and_lines_zipped_or_not() {
        let array = format!(" [{},\n{} ]\n", record("1"), record("2")).into_bytes();
        let lines = format!("{}\n\n{}\r\n", record("1"), record("2")).into_bytes();
        for (bytes, names) in [(array, ["a.json", "a"]), (lines, ["a.jsonl", "a"])] {
            let mut encoder = GzEncoder::new(Vec::new(), flate2::Compression::fast());
            encoder.write_all(&bytes).unwrap();
            let zipped = encoder.finish().unwrap();
            for name in names {
                assert_eq!(outcome(&bytes, name), ["0 ok", "1 ok"], "{name}");
                assert_eq!(outcome(&zipped, name), ["0 ok", "1 ok"], "{name}");
                assert_eq!(outcome(&zipped[..zipped.len() - 20], name).last().map(String::as_str), Some(" E_READ"));
            }
        }
    }

    #[test]
    fn a_broken_line_is_rejected_alone() {
        let lines = format!("{}\n{{\"img_id\": \n{}\n[1]\n{}", record("1"), record("1"), record("3"));
        assert_eq!(
            outcome(lines.as_bytes(), "x.ndjson"),
            ["0 ok", "/1 E_JSON_SYNTAX", "/2/img_id E_DUP_IMG_ID", "/3 E_WRONG_TYPE", "4 ok"]
        );
        let mut bytes = format!("{}\nx\n{}", record("1"), record("2")).into_bytes();
        let x = bytes.iter().position(|&b| b == b'x').unwrap();
        bytes[x] = 0xff;
        assert_eq!(outcome(&bytes, "x.jsonl"), ["0 ok", "/1 E_UTF8", "2 ok"]);
    }

    #[test]
    fn a_syntax_error_ends_an_array() {
        let array = format!("[{}, {{\"a\" 1}}, {}]", record("1"), record("2"));
        assert_eq!(outcome(array.as_bytes(), "x.json"), ["0 ok", " E_JSON_SYNTAX"]);
        for broken in ["[1,]", "[,]", "[", "[1", "{} {}", "", "]", "[] ]", "{'a':1}"] {
            assert_eq!(
                outcome(broken.as_bytes(), "x.json").last().map(String::as_str),
                Some(" E_JSON_SYNTAX"),
                "{broken}"
            );
        }
    }

    #[test]
    fn a_byte_order_mark_is_reported_and_skipped() {
        let bytes = format!("\u{FEFF}[{}]", record("1"));
        assert_eq!(outcome(bytes.as_bytes(), "x.json"), [" E_BOM", "0 ok"]);
    }

    #[test]
    fn a_repeated_key_rejects_its_record() {
        let twice = record("1")
            .replace("\"attributes\"", "\"label\":\"cat\",\"attributes\"")
            .replace("\"name\"", "\"img_id\":\"2\",\"name\"");
        let array = format!("[{twice},{}]", record("3"));
        assert_eq!(outcome(array.as_bytes(), "x.json"), ["/0/img_id E_DUP_KEY; /0/items/0/label E_DUP_KEY", "1 ok"]);
    }

    #[test]
    fn one_object_is_no_array() {
        let pretty = serde_json::to_string_pretty(&serde_json::from_str::<Value>(&record("1")).unwrap()).unwrap();
        assert_eq!(outcome(pretty.as_bytes(), "-"), [" E_NOT_ARRAY"]);
        assert_eq!(outcome(pretty.as_bytes(), "x.json"), [" E_NOT_ARRAY"]);
        assert_eq!(outcome(record("1").as_bytes(), "-"), ["0 ok"]);
    }

    #[test]
    fn depth_is_limited_everywhere() {
        let deep = |levels: usize| {
            record("1").replace("\"name\"", &format!("\"x\":{}{},\"name\"", "[".repeat(levels), "]".repeat(levels)))
        };
        assert_eq!(outcome(format!("[{}]", deep(126)).as_bytes(), "x.json"), ["0 ok"]);
        assert_eq!(outcome(format!("[{}]", deep(127)).as_bytes(), "x.json"), [" E_DEPTH"]);
        assert_eq!(outcome(format!("{}\n{}", deep(200), record("2")).as_bytes(), "x.jsonl"), ["/0 E_DEPTH", "1 ok"]);
    }

    #[test]
    fn formats_follow_names() {
        for (name, format) in [
            ("a.json", Format::Array),
            ("A.JSON.GZ", Format::Array),
            ("d.b/a.jsonl.gz", Format::Lines),
            ("a.ndjson", Format::Lines),
            ("-", Format::Unknown),
            ("a.gz", Format::Unknown),
        ] {
            assert_eq!(Format::of_name(name), format, "{name}");
        }
    }
}
