//! Which program converts for which target, and how it is called.

use std::path::{Path, PathBuf};

use host_engine::{Dimension, Shard, TensorSpec};
use serde_json::json;

use super::{fault::ConversionFault, target::Target};
use crate::config::Conversion;

/// The program that calls rknn-toolkit2.
const RKNN_SCRIPT: &str = include_str!("with_rknn.py");
/// What it ends with where the toolkit is not there.
const NO_TOOL_CODE: i32 = 69;
const RKNN_INSTALL: &str =
    "install rknn-toolkit2 into a Python of its own (python3 -m venv DIR; DIR/bin/pip install rknn-toolkit2) and set conversion.rknn.python to DIR/bin/python";
const ATC_INSTALL: &str = "install Ascend's CANN toolkit, which has it, and set conversion.ascend.atc to its path";

/// A converter.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Tool {
    /// What the config names instead of the vendor's.
    Command(Vec<String>),
    /// rknn-toolkit2, through Python.
    Rknn { python: PathBuf, chip: String },
    /// Ascend's atc.
    Atc { program: PathBuf, chip: String },
}

/// Files of one call, all in one folder.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Files {
    pub(super) folder: PathBuf,
    /// The shard as ONNX with fixed shapes.
    pub(super) model: PathBuf,
    /// Where the result is expected.
    pub(super) output: PathBuf,
    /// Where golden answers are, if the result is to be checked.
    pub(super) answers: Option<PathBuf>,
}

impl Tool {
    /// The tool for a target; none where devices convert for themselves. Fails where the program is not on this machine.
    pub(super) fn of(target: &Target, config: &Conversion) -> Result<Option<Self>, ConversionFault> {
        let (command, own) = match target {
            Target::Rknn(chip) => (&config.rknn_command, Some(Self::Rknn { python: config.rknn_python.clone(), chip: chip.clone() })),
            Target::Ascend(chip) => (&config.ascend_command, Some(Self::Atc { program: config.ascend_atc.clone(), chip: chip.clone() })),
            Target::TensorRt => (&config.tensorrt_command, None),
        };
        let tool = if command.is_empty() { own } else { Some(Self::Command(command.clone())) };
        tool.map(|tool| tool.proved(target.family())).transpose()
    }

    fn proved(self, family: &str) -> Result<Self, ConversionFault> {
        let (program, install) = match &self {
            Self::Command(words) => {
                (words.first().map(PathBuf::from).unwrap_or_default(), format!("let conversion.{family}.command begin with a program that is"))
            }
            Self::Rknn { python, .. } => (python.clone(), RKNN_INSTALL.to_owned()),
            Self::Atc { program, .. } => (program.clone(), ATC_INSTALL.to_owned()),
        };
        let path = std::env::var_os("PATH").unwrap_or_default();
        let mut places: Box<dyn Iterator<Item = PathBuf>> = match program.components().count() {
            1 => Box::new(std::env::split_paths(&path).map(|folder| folder.join(&program))),
            _ => Box::new(std::iter::once(program.clone())),
        };
        if places.any(|place| place.is_file()) {
            return Ok(self);
        }
        Err(ConversionFault::NoTool { tool: format!("`{}`", program.display()), install })
    }

    /// What people call it.
    pub(super) fn name(&self) -> String {
        match self {
            Self::Command(words) => words.first().cloned().unwrap_or_default(),
            Self::Rknn { .. } => "rknn-toolkit2".to_owned(),
            Self::Atc { .. } => "atc".to_owned(),
        }
    }

    /// Whether it can run what it made.
    pub(super) fn simulates(&self) -> bool {
        matches!(self, Self::Rknn { .. })
    }

    /// What a failure means, if it is that the tool is not there.
    pub(super) fn missing(&self, code: Option<i32>, said: &str) -> Option<ConversionFault> {
        let is_missing = matches!(self, Self::Rknn { .. }) && code == Some(NO_TOOL_CODE);
        is_missing.then(|| ConversionFault::NoTool { tool: format!("rknn-toolkit2 ({said})"), install: RKNN_INSTALL.to_owned() })
    }

    /// The program and its arguments. `ratio` is the largest difference that a check accepts.
    pub(super) fn words(&self, files: &Files, bound: &Shard, ratio: f64) -> Vec<String> {
        let text = |path: &Path| path.display().to_string();
        let (model, output) = (text(&files.model), text(&files.output));
        match self {
            Self::Command(words) => {
                let filled = |word: &String| word.replace("{model}", &model).replace("{output}", &output).replace("{shapes}", &shapes_text(&bound.inputs));
                words.iter().map(filled).collect()
            }
            Self::Rknn { python, chip } => {
                let shapes = bound.inputs.iter().map(|spec| json!({ "name": spec.name, "shape": lengths(spec) })).collect::<Vec<_>>();
                let shapes = json!(shapes).to_string();
                let mut words = vec![text(python), "-c".into(), RKNN_SCRIPT.into()];
                for (name, value) in [("--model", &model), ("--output", &output), ("--chip", chip), ("--shapes", &shapes)] {
                    words.extend([name.to_owned(), value.clone()]);
                }
                if let Some(answers) = &files.answers {
                    words.extend(["--check".to_owned(), text(answers), "--ratio".to_owned(), ratio.to_string()]);
                }
                words
            }
            Self::Atc { program, chip } => {
                let shapes = bound.inputs.iter().map(|spec| format!("{}:{}", spec.name, joined(spec, ","))).collect::<Vec<_>>().join(";");
                // atc puts `.om` behind what it is told.
                let output = text(&files.output.with_extension(""));
                // 5 is its number for ONNX.
                let options = ["--framework=5".to_owned(), format!("--model={model}"), format!("--output={output}"), format!("--soc_version={chip}")];
                [text(program)].into_iter().chain(options).chain([format!("--input_shape={shapes}")]).collect()
            }
        }
    }
}

/// The shapes of a bucket, as people and commands read them: `ids:1x64;mask:1x64`.
pub(super) fn shapes_text(specs: &[TensorSpec]) -> String {
    specs.iter().map(|spec| format!("{}:{}", spec.name, joined(spec, "x"))).collect::<Vec<_>>().join(";")
}

fn joined(spec: &TensorSpec, between: &str) -> String {
    lengths(spec).iter().map(usize::to_string).collect::<Vec<_>>().join(between)
}

fn lengths(spec: &TensorSpec) -> Vec<usize> {
    // A bound shard has no open ones.
    spec.shape.iter().filter_map(Dimension::fixed).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files() -> Files {
        Files { folder: "/w".into(), model: "/w/shard.onnx".into(), output: "/w/made.om".into(), answers: None }
    }

    fn bound() -> Shard {
        let id = host_core::ids::ModelId { name: host_core::ids::ModelName::parse("tiny").expect("a name"), version: 1 };
        let model = host_engine::generate(&host_engine::Kind::named("mlp").expect("a kind"), 1).expect("a sound graph");
        let inspection = host_engine::inspect(&model, id).expect("it has blocks");
        host_engine::split(&inspection, &[]).expect("whole")[0].bound(&std::collections::BTreeMap::new()).expect("only its batch is open")
    }

    #[test]
    fn each_tool_is_called_in_its_own_words() {
        let (files, bound) = (files(), bound());
        let shape = shapes_text(&bound.inputs);
        let command = Tool::Command(["wrap", "{model}", "--to={output}", "{shapes}"].map(str::to_owned).to_vec());
        assert_eq!(command.words(&files, &bound, 0.1), ["wrap".to_owned(), "/w/shard.onnx".into(), "--to=/w/made.om".into(), shape.clone()]);
        let atc = Tool::Atc { program: "atc".into(), chip: "Ascend310P3".into() }.words(&files, &bound, 0.1);
        assert_eq!(atc[..5], ["atc", "--framework=5", "--model=/w/shard.onnx", "--output=/w/made", "--soc_version=Ascend310P3"]);
        assert_eq!(atc[5], format!("--input_shape={}:{}", bound.inputs[0].name, joined(&bound.inputs[0], ",")));
        let rknn = Tool::Rknn { python: "python3".into(), chip: "rk3588".into() };
        let words = rknn.words(&Files { answers: Some("/w/answers".into()), ..files }, &bound, 0.1);
        assert_eq!((words[0].as_str(), words[1].as_str(), &words[words.len() - 2..]), ("python3", "-c", &["--ratio".to_owned(), "0.1".to_owned()][..]));
        assert!(rknn.simulates() && !command.simulates());
    }

    #[test]
    fn a_program_that_is_not_there_is_named_with_how_to_get_it() {
        let config = Conversion { rknn_python: "/nowhere/python".into(), ascend_atc: "no-such-atc".into(), ..Conversion::default() };
        let said = |target: &str| Tool::of(&Target::parse(target).expect("a target"), &config).expect_err("it is not there").to_string();
        let rknn = said("rknn:rk3588");
        assert!(rknn.starts_with("`/nowhere/python` is not on this machine: ") && rknn.contains("conversion.rknn.python"), "{rknn}");
        assert!(said("ascend:Ascend310P3").contains("conversion.ascend.atc"));
        assert_eq!(Tool::of(&Target::TensorRt, &config), Ok(None));
        let command = Conversion { rknn_command: vec!["/nowhere/convert".into()], ..config.clone() };
        let missing = Tool::of(&Target::Rknn("rk3588".into()), &command).expect_err("it is not there").to_string();
        assert!(missing.contains("/nowhere/convert") && missing.contains("conversion.rknn.command"), "{missing}");
        let command = Conversion { rknn_command: vec!["/bin/sh".into()], ..config };
        assert!(Tool::of(&Target::Rknn("rk3588".into()), &command).expect("there").is_some(), "a command goes before the tool");
    }
}
