//! `report`: an attestation, read by the controls of a rule.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use runpack_cli::attestation::AttestationOptions;
use runpack_cli::{Context, Exit, Failure};
use runpack_enterprise::report::{Report, RuleSet};

use super::attest::StampOptions;
use crate::keys;

/// Read an attestation by the controls of a rule
///
/// Each control says what it asks for, what was seen, where in the attestation that stands and how it is known. No report
/// says that a law or rule is complied with.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  runpack-enterprise report attestation.json --rule sec-17a-4 --manifest pack/manifest.json \\
      --trusted-key signer.pub.pem --out report.html
  runpack-enterprise report attestation.json --rule eu-ai-act --pack-id sha256:9f2c... \\
      --trusted-key signer.pub.pem --as oscal --out results.json")]
pub(crate) struct ReportCommand {
    #[command(flatten)]
    attestation: AttestationOptions,
    /// sec-17a-4, finra-4511, cftc-1-31 or eu-ai-act
    #[arg(long, value_name = "RULE", value_parser = parse_rule)]
    rule: RuleSet,
    /// What to write
    #[arg(long = "as", value_name = "FORM", default_value = "html")]
    form: Form,
    /// Where to write it, a file that is not there [default: standard output]
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    #[command(flatten)]
    stamps: StampOptions,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Form {
    /// A page for people
    Html,
    /// The report as JSON
    Json,
    /// OSCAL assessment results
    Oscal,
}

fn parse_rule(text: &str) -> Result<RuleSet, String> {
    text.parse()
        .map_err(|error: runpack_enterprise::report::UnknownRuleSet| error.to_string())
}

impl ReportCommand {
    pub(super) fn run(self, context: &Context) -> Result<Exit, Failure> {
        let attestation = self.attestation.verify(&keys::trusted(context)?)?;
        let stamp = self.stamps.verify(&attestation)?;
        let report = Report::new(&attestation, self.rule, stamp);
        let bytes = match self.form {
            Form::Html => report.to_html().into_bytes(),
            Form::Json => report.to_json(),
            Form::Oscal => report.to_oscal(),
        };
        match self.out {
            Some(path) => {
                crate::write_new(&path, &bytes)?;
                let path = path.to_string_lossy();
                context
                    .output
                    .print(&format!("the report is written: {path}\n"))?;
            }
            None => context.output.print(&String::from_utf8_lossy(&bytes))?,
        }
        Ok(Exit::Success)
    }
}
