//! The questions of DPG-Bench's CSV form, read row by row; what is wrong with a row is told, and the rest stands.

use std::collections::{HashMap, HashSet};
use std::io::{Read, Write};
use std::path::Path;

use csv::{ByteRecord, ReaderBuilder};

use super::Mode;
use super::run::item_key;
use crate::question::derive;
use crate::scene_graph::SceneGraph;
use crate::score::attribute_binding::MAX_PHRASES;
use crate::{Error, Result};

/// The columns of `dpg_bench.csv`, in its order.
pub const COLUMNS: [&str; 9] = [
    "item_id",
    "text",
    "keywords",
    "proposition_id",
    "dependency",
    "category_broad",
    "category_detailed",
    "tuple",
    "question_natural_language",
];
/// Those that the score is made of.
const NEEDED: [&str; 5] = ["item_id", "proposition_id", "dependency", "tuple", "question_natural_language"];

/// One question about the image of an item.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileQuestion {
    /// Its number in the item; parents are named by it.
    pub proposition_id: i64,
    /// Numbers of the questions without whose yes this one does not count; none where the file says 0.
    pub parents: Vec<i64>,
    /// "attribute - color (bus, red)".
    pub tuple: String,
    /// "Is the bus red?"
    pub text: String,
    /// Line of the file; 0 for a question that follows from a graph.
    pub line: u64,
}

/// The questions of one item, in row order.
#[derive(Clone, Debug)]
pub struct Item {
    /// Name of the item: an image's file name up to its first dot.
    pub item_id: String,
    /// In row order.
    pub questions: Vec<FileQuestion>,
    /// Why no image of the item can be scored, if so.
    pub fault: Option<String>,
}

/// One thing wrong with one row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RowFault {
    /// Line of the file at which the row begins; 1 is the header.
    pub line: u64,
    /// The row's item, as far as it could be read.
    pub item_id: String,
    /// The column.
    pub field: &'static str,
    /// What is wrong.
    pub message: String,
    /// Whether the item cannot be scored for it.
    pub fatal: bool,
}

/// The questions of many items.
#[derive(Clone, Debug, Default)]
pub struct QuestionFile {
    /// In file order.
    pub items: Vec<Item>,
    /// In file order.
    pub faults: Vec<RowFault>,
    /// Whether the questions follow from graphs, so that one item may have several numbered images.
    pub of_graphs: bool,
    by_id: HashMap<String, usize>,
    /// By the keys of the graphs' own image names, where one name is one graph's.
    by_name: HashMap<String, usize>,
}

impl QuestionFile {
    /// Reads a file.
    ///
    /// # Errors
    /// The file cannot be read, or lacks a column. Faults of rows are in [`Self::faults`].
    pub fn open(path: &Path, mode: Mode) -> Result<Self> {
        Self::read(fs_err::File::open(path)?, &path.to_string_lossy(), mode)
    }

    /// Reads CSV text with a header; `name` is repeated in errors.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn read(reader: impl Read, name: &str, mode: Mode) -> Result<Self> {
        let mut reader = ReaderBuilder::new().flexible(true).has_headers(false).from_reader(reader);
        let mut record = ByteRecord::new();
        let failed = |error: csv::Error| Error::Format(format!("{name}: {error}"));
        if !reader.read_byte_record(&mut record).map_err(failed)? {
            return Err(Error::Format(format!(
                "{name}: the file is empty; it needs a header with {}",
                NEEDED.join(", ")
            )));
        }
        let columns = Columns::of(&record).map_err(|column| {
            Error::Format(format!(
                "{name}: line 1: there is no column `{column}`; a DPG-Bench file has {}",
                COLUMNS.join(", ")
            ))
        })?;
        let mut builder = Builder::new(mode);
        let mut index = 0_u64;
        while reader.read_byte_record(&mut record).map_err(failed)? {
            let line = record.position().map_or(0, csv::Position::line);
            builder.row(&columns, &record, index, line);
            index += 1;
        }
        Ok(builder.finish())
    }

    /// The questions that follow from graphs; an item is named by its graph's `img_id`.
    pub fn of_graphs<'g>(graphs: impl IntoIterator<Item = &'g SceneGraph>) -> Self {
        Self::of_graphs_by(graphs, |graph| {
            let dag = derive(graph);
            let questions = dag.questions().map(|question| FileQuestion {
                proposition_id: i64::from(question.id),
                parents: question.parents.iter().map(|&parent| i64::from(parent)).collect(),
                tuple: question.tuple.clone(),
                text: question.text.clone(),
                line: 0,
            });
            questions.collect()
        })
    }

    /// One question a noun phrase, as in T2I-CompBench's attribute binding: "red bus?" for each of the first eight items
    /// of a graph.
    pub fn of_phrases<'g>(graphs: impl IntoIterator<Item = &'g SceneGraph>) -> Self {
        Self::of_graphs_by(graphs, |graph| {
            let phrase = |(object, number): (usize, i64)| FileQuestion {
                proposition_id: number,
                parents: Vec::new(),
                tuple: format!("entity - whole ({})", graph.item_text(object)),
                text: format!("{}?", graph.item_text(object)),
                line: 0,
            };
            (0..graph.num_objects()).zip(1..).take(MAX_PHRASES).map(phrase).collect()
        })
    }

    fn of_graphs_by<'g>(
        graphs: impl IntoIterator<Item = &'g SceneGraph>,
        ask: impl Fn(&SceneGraph) -> Vec<FileQuestion>,
    ) -> Self {
        let mut by_name: HashMap<String, Option<usize>> = HashMap::new();
        let items = graphs.into_iter().enumerate().map(|(position, graph)| {
            let name = graph.name.rsplit(['/', '\\']).next().unwrap_or_default();
            let known = by_name.entry(item_key(name).to_owned()).or_insert(Some(position));
            *known = known.filter(|&other| other == position);
            Item { item_id: graph.img_id.clone(), questions: ask(graph), fault: None }
        });
        let file = Self::of_items(items.collect(), Vec::new());
        let by_name = by_name.into_iter().filter_map(|(name, position)| Some((name, position?))).collect();
        Self { of_graphs: true, by_name, ..file }
    }

    /// The item whose graph names this image as its own.
    pub fn item_of_image(&self, key: &str) -> Option<&Item> {
        self.by_name.get(key).map(|&position| &self.items[position])
    }

    /// The item of this name.
    pub fn item(&self, item_id: &str) -> Option<&Item> {
        self.by_id.get(item_id).map(|&position| &self.items[position])
    }

    /// Number of questions.
    pub fn num_questions(&self) -> usize {
        self.items.iter().map(|item| item.questions.len()).sum()
    }

    /// Writes the questions in the same form, so that others can answer them.
    ///
    /// # Errors
    /// The writer fails.
    pub fn write(&self, out: impl Write, text_of: impl Fn(&str) -> String) -> Result<()> {
        let mut writer = csv::Writer::from_writer(out);
        let failed = |error: csv::Error| Error::Format(format!("writing the questions: {error}"));
        writer.write_record(COLUMNS).map_err(failed)?;
        for item in &self.items {
            let text = text_of(&item.item_id);
            for question in &item.questions {
                let (l2, arguments) = question.tuple.split_once('(').unwrap_or((&question.tuple, ""));
                let (broad, detailed) = l2.trim().split_once(" - ").unwrap_or((l2.trim(), ""));
                let parents: Vec<String> = question.parents.iter().map(i64::to_string).collect();
                let dependency = if parents.is_empty() { "0".to_owned() } else { parents.join(",") };
                let row = [
                    &item.item_id,
                    text.as_str(),
                    arguments.trim_end_matches(')'),
                    &question.proposition_id.to_string(),
                    &dependency,
                    broad,
                    detailed,
                    &question.tuple,
                    &question.text,
                ];
                writer.write_record(row).map_err(failed)?;
            }
        }
        writer.flush()?;
        Ok(())
    }

    fn of_items(items: Vec<Item>, faults: Vec<RowFault>) -> Self {
        let by_id = items.iter().enumerate().map(|(position, item)| (item.item_id.clone(), position)).collect();
        Self { items, faults, of_graphs: false, by_id, by_name: HashMap::new() }
    }
}

/// Where the columns are that the score is made of.
struct Columns([usize; NEEDED.len()]);

impl Columns {
    /// By the header's names, or the name of the one that is missing.
    fn of(header: &ByteRecord) -> Result<Self, &'static str> {
        let mut positions = [0; NEEDED.len()];
        for (position, name) in positions.iter_mut().zip(NEEDED) {
            let found = header.iter().enumerate().position(|(column, field)| {
                // Spreadsheets put a byte-order mark before the first name.
                let field = if column == 0 { field.strip_prefix(b"\xef\xbb\xbf").unwrap_or(field) } else { field };
                field.trim_ascii() == name.as_bytes()
            });
            *position = found.ok_or(name)?;
        }
        Ok(Self(positions))
    }
}

/// Collects rows into items by the rules of a mode.
struct Builder {
    mode: Mode,
    items: Vec<Item>,
    faults: Vec<RowFault>,
    by_id: HashMap<String, usize>,
    /// Item of the row before.
    previous: Option<String>,
}

impl Builder {
    fn new(mode: Mode) -> Self {
        Self { mode, items: Vec::new(), faults: Vec::new(), by_id: HashMap::new(), previous: None }
    }

    fn row(&mut self, columns: &Columns, record: &ByteRecord, index: u64, line: u64) {
        let mut fields: [&str; NEEDED.len()] = [""; NEEDED.len()];
        let mut broken = Vec::new();
        for ((field, &column), name) in fields.iter_mut().zip(&columns.0).zip(NEEDED) {
            match record.get(column).map(std::str::from_utf8) {
                Some(Ok(text)) => *field = text,
                Some(Err(_)) => broken.push((name, "is not valid UTF-8".to_owned())),
                None => broken.push((name, format!("is missing: the row has {} fields", record.len()))),
            }
        }
        let [item_id, proposition_id, dependency, tuple, text] = fields;
        if item_id.is_empty() && !broken.iter().any(|(name, _)| *name == "item_id") {
            broken.push(("item_id", "is empty".to_owned()));
        }
        // The script skips row 0 as if it were the header, before it looks at anything in it.
        let lost = index == 0 && self.mode == Mode::Reference;
        if lost {
            self.fault(line, item_id, "item_id", "the published script loses the first question of the file", false);
            return;
        }
        let unread: Vec<&str> = broken.iter().map(|(field, _)| *field).collect();
        let failed = |name: &str| unread.contains(&name);
        let number = |text: &str| text.trim().parse::<i64>().ok();
        let proposition = (!failed("proposition_id")).then(|| number(proposition_id)).flatten();
        if proposition.is_none() && !failed("proposition_id") {
            broken.push(("proposition_id", format!("`{proposition_id}` is no integer")));
        }
        let mut parents = Vec::new();
        if !failed("dependency") {
            for part in dependency.split(',') {
                match number(part) {
                    Some(0) => {}
                    Some(parent) => parents.push(parent),
                    None => broken
                        .push(("dependency", format!("`{}` in `{dependency}` is no integer; 0 is none", part.trim()))),
                }
            }
        }
        if text.trim().is_empty() && !failed("question_natural_language") {
            self.fault(line, item_id, "question_natural_language", "is empty", false);
        }
        for (field, message) in &broken {
            self.fault(line, item_id, field, message, true);
        }
        if item_id.is_empty() {
            return;
        }
        let position = self.item_of(item_id, line);
        if let Some((field, message)) = broken.first() {
            let item = &mut self.items[position];
            item.fault.get_or_insert_with(|| format!("line {line}: {field} {message}"));
        }
        // A row without a number is no question; its item is not scored in any case.
        if let Some(proposition_id) = proposition {
            let question =
                FileQuestion { proposition_id, parents, tuple: tuple.to_owned(), text: text.to_owned(), line };
            self.question(position, question);
        }
    }

    /// Position of the row's item, which a mode may begin anew.
    fn item_of(&mut self, item_id: &str, line: u64) -> usize {
        let continues = self.previous.as_deref() == Some(item_id);
        self.previous = Some(item_id.to_owned());
        let known = self.by_id.get(item_id).copied();
        match known {
            Some(position) if continues => position,
            Some(position) => {
                let message = match self.mode {
                    Mode::Reference => {
                        "the item's rows are not together: the published script forgets the earlier ones"
                    }
                    Mode::Corrected => "the item's rows are not together; they were put together",
                };
                self.fault(line, item_id, "item_id", message, false);
                if self.mode == Mode::Reference {
                    self.items[position].questions.clear();
                    self.items[position].fault = None;
                }
                position
            }
            None => {
                self.items.push(Item { item_id: item_id.to_owned(), questions: Vec::new(), fault: None });
                self.by_id.insert(item_id.to_owned(), self.items.len() - 1);
                self.items.len() - 1
            }
        }
    }

    fn question(&mut self, position: usize, question: FileQuestion) {
        let item = &mut self.items[position];
        let earlier = item.questions.iter().position(|other| other.proposition_id == question.proposition_id);
        let Some(earlier) = earlier else {
            item.questions.push(question);
            return;
        };
        let message = format!("{} was given at line {} already", question.proposition_id, item.questions[earlier].line);
        let (line, item_id) = (question.line, item.item_id.clone());
        let fatal = self.mode == Mode::Corrected;
        if fatal {
            item.fault.get_or_insert_with(|| format!("line {line}: proposition_id {message}"));
        } else {
            item.questions[earlier] = question;
        }
        self.fault(line, &item_id, "proposition_id", &message, fatal);
    }

    fn fault(&mut self, line: u64, item_id: &str, field: &'static str, message: &str, fatal: bool) {
        self.faults.push(RowFault { line, item_id: item_id.to_owned(), field, message: message.to_owned(), fatal });
    }

    /// Looks at what only a whole item can tell: parents that are no questions of it.
    fn finish(mut self) -> QuestionFile {
        for item in &mut self.items {
            let known: HashSet<i64> = item.questions.iter().map(|question| question.proposition_id).collect();
            for question in &item.questions {
                let mut fault = |message: String, fatal: bool| {
                    if fatal {
                        item.fault.get_or_insert_with(|| format!("line {}: dependency {message}", question.line));
                    }
                    self.faults.push(RowFault {
                        line: question.line,
                        item_id: item.item_id.clone(),
                        field: "dependency",
                        message,
                        fatal,
                    });
                };
                for parent in &question.parents {
                    if *parent == question.proposition_id {
                        fault(format!("{parent} is the question itself; it masks nothing"), false);
                    } else if !known.contains(parent) {
                        fault(format!("{parent} is no question of the item"), true);
                    }
                }
            }
        }
        self.faults.sort_by_key(|fault| fault.line);
        QuestionFile::of_items(self.items, self.faults)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: &str = "item_id,text,keywords,proposition_id,dependency,category_broad,category_detailed,tuple,question_natural_language\n";

    fn read(rows: &str, mode: Mode) -> QuestionFile {
        QuestionFile::read(format!("{HEADER}{rows}").as_bytes(), "q.csv", mode).unwrap()
    }

    /// "line field fatal" of every fault.
    fn told(file: &QuestionFile) -> Vec<String> {
        file.faults.iter().map(|fault| format!("{} {} {}", fault.line, fault.field, fault.fatal)).collect()
    }

    const ROWS: &str = "a,t,k,1,0,entity,whole,entity - whole (x),Is there x?\n\
        a,\"t,\nt\",k,2,\" 1 , 0\",attribute,color,\"attribute - color (x, red)\",Is x red?\n\
        b,t,k,1,0,entity,whole,entity - whole (y),Is there y?\n";

    #[test]
    fn columns_are_found_by_name_and_lines_are_the_files() {
        let file = read(ROWS, Mode::Corrected);
        assert_eq!(file.faults, []);
        assert_eq!(file.item("a").unwrap().questions[1].parents, [1]);
        assert_eq!(file.item("b").unwrap().questions[0].line, 5);
        let other = QuestionFile::read(
            "\u{FEFF}tuple,dependency,question_natural_language,proposition_id,item_id\r\ne (x),0,?,7,a\r\n".as_bytes(),
            "q",
            Mode::Corrected,
        )
        .unwrap();
        assert_eq!(other.item("a").unwrap().questions[0].proposition_id, 7);
    }

    #[test]
    fn the_reference_loses_the_first_question_and_with_it_its_children() {
        let file = read(ROWS, Mode::Reference);
        assert_eq!(told(&file), ["2 item_id false", "3 dependency true"]);
        assert!(file.item("a").unwrap().fault.as_ref().unwrap().contains("line 3"));
        assert!(file.item("b").unwrap().fault.is_none());
    }

    #[test]
    fn malformed_rows_are_told_one_by_one() {
        let rows = "a,,,1,\"5, background\",,,e (x),?\na,,,one,0,,,e (x),?\nb,,,1\nc,,,1,0,,,e (x),?\nc,,,1,0,,,e (x),?\n,,,1,0,,,e (x),?\nd,,,1,1,,,e (x),?\nd,,,2,,,,e (x), \n";
        let file = read(rows, Mode::Corrected);
        let expected = [
            "2 dependency true",
            "2 dependency true",
            "3 proposition_id true",
            "4 dependency true",
            "4 tuple true",
            "4 question_natural_language true",
            "6 proposition_id true",
            "7 item_id true",
            "8 dependency false",
            "9 question_natural_language false",
            "9 dependency true",
        ];
        assert_eq!(told(&file), expected);
        assert!(["a", "b", "c", "d"].iter().all(|item| file.item(item).unwrap().fault.is_some()));
        let mut bytes = format!("{HEADER}a,,,1,0,,,e (x),").into_bytes();
        bytes.push(0xff);
        let file = QuestionFile::read(&bytes[..], "q", Mode::Corrected).unwrap();
        assert_eq!(told(&file), ["2 question_natural_language true"]);
    }

    #[test]
    fn scattered_rows_are_put_together_or_forgotten() {
        let rows = "z,,,1,0,,,e (x),?\na,,,1,0,,,e (x),?\nb,,,1,0,,,e (x),?\na,,,2,0,,,e (x),?\n";
        assert_eq!(read(rows, Mode::Corrected).item("a").unwrap().questions.len(), 2);
        let reference = read(rows, Mode::Reference);
        assert_eq!(reference.item("a").unwrap().questions[0].proposition_id, 2);
        assert_eq!(reference.item("a").unwrap().questions.len(), 1);
        assert!(reference.item("z").is_none());
    }

    #[test]
    fn a_missing_column_is_an_error_that_names_it() {
        let error = QuestionFile::read("item_id,tuple\n".as_bytes(), "q.csv", Mode::Corrected).unwrap_err().to_string();
        assert!(error.contains("q.csv") && error.contains("`proposition_id`"), "{error}");
        assert!(QuestionFile::read("".as_bytes(), "q.csv", Mode::Corrected).is_err());
    }

    #[test]
    fn what_is_written_is_read_again() {
        let file = read(ROWS, Mode::Corrected);
        let mut bytes = Vec::new();
        file.write(&mut bytes, |_| "a \"text\"".to_owned()).unwrap();
        let again = QuestionFile::read(&bytes[..], "q", Mode::Corrected).unwrap();
        let plain = |file: &QuestionFile| -> Vec<_> {
            file.items
                .iter()
                .flat_map(|item| item.questions.clone())
                .map(|q| (q.proposition_id, q.parents, q.tuple, q.text))
                .collect()
        };
        assert_eq!(plain(&again), plain(&file));
    }
}
