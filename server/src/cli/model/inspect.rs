//! `diptych model inspect`: what a folder holds and what it lacks.

use std::path::PathBuf;

use clap::Args;
use models::inspect::{self, Component};

use super::super::{Global, Told, output};

/// List a model folder's components, their parameters and precision, and what is missing
///
/// Reads configurations and the headers of weight files, not the weights. The exit code is 1 where something is missing
/// or does not fit.
#[derive(Debug, Args)]
#[command(after_help = "Example:  diptych model inspect --json models/tiny")]
pub(crate) struct Inspect {
    /// A folder in diffusers' layout
    #[arg(value_name = "DIR")]
    folder: PathBuf,
}

impl Inspect {
    pub(crate) fn run(self, global: &Global) -> anyhow::Result<()> {
        let report = inspect::folder(&self.folder)?;
        if global.json {
            output::json(&report)?;
        } else {
            output::line(&format!("{}: {}", self.folder.display(), report.pipeline))?;
            for component in &report.components {
                output::line(&describe(component))?;
            }
            output::line(&format!("{} parameters", report.parameters))?;
            for missing in &report.missing {
                output::note(&format!("missing: {missing}"));
            }
        }
        if report.is_whole() { Ok(()) } else { Err(Told.into()) }
    }
}

/// `unet  UNet2DConditionModel  12345 parameters  F16`, and its faults below.
fn describe(component: &Component) -> String {
    let Component { name, class, parameters, precision, faults, .. } = component;
    let size = parameters
        .map_or_else(String::new, |parameters| format!(" {parameters:>12} parameters  {}", precision.join(" + ")));
    let faults: String = faults.iter().map(|fault| ["\n    fault: ", fault.as_str()].concat()).collect();
    format!("  {name:<20} {class:<30}{size}{faults}")
}
