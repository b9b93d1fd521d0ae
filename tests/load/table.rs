//! What was measured, as a table for docs/api.md.

#[derive(Default)]
pub struct Table {
    rows: Vec<Row>,
}

struct Row {
    what: String,
    figures: String,
    reach: Option<(String, bool)>,
}

impl Table {
    /// Milliseconds; `most`: what the 95th percentile must stay below.
    pub fn times(&mut self, what: &str, mut times: Vec<f64>, most: Option<f64>) {
        times.sort_by(f64::total_cmp);
        let at =
            |share: f64| times.get(((times.len() as f64 - 1.0) * share).round() as usize).copied().unwrap_or(f64::NAN);
        self.rows.push(Row {
            what: what.to_owned(),
            figures: format!("{:.0} / {:.0} / {:.0} ms", at(0.5), at(0.95), at(1.0)),
            reach: most.map(|most| (format!("p95 < {most:.0} ms"), at(0.95) < most)),
        });
    }

    pub fn at_least(&mut self, what: &str, figure: f64, least: f64) {
        self.row(what, format!("{figure:.0}"), format!("≥ {least:.0}"), figure >= least);
    }

    pub fn row(&mut self, what: &str, figures: String, reach: String, is_met: bool) {
        self.rows.push(Row { what: what.to_owned(), figures, reach: Some((reach, is_met)) });
    }

    pub fn is_met(&self) -> bool {
        self.rows.iter().all(|row| row.reach.as_ref().is_none_or(|reach| reach.1))
    }

    pub fn print(&self) {
        println!("| what | median / p95 / most | reach | met |\n| --- | --- | --- | --- |");
        for Row { what, figures, reach } in &self.rows {
            let (reach, met) = reach.as_ref().map_or(("", ""), |(reach, met)| (reach, if *met { "yes" } else { "no" }));
            println!("| {what} | {figures} | {reach} | {met} |");
        }
    }
}
