//! `host model`.

use std::{fs, path::PathBuf};

use clap::Subcommand;
use host_core::units::{Bytes, Millis};
use host_engine::{Kind, generate};
use host_wire::{
    admin::{Model, ModelQuery, Plan, ShardEngine, SplitQuery},
    oip::TensorMetadata,
};

use super::{Global, client::Admin, convert, plan, screen::Screen};
use crate::error::{Error, Fault};

#[derive(Debug, Subcommand)]
pub(super) enum ModelCommand {
    /// List loaded models
    List,
    /// Show one model
    Show {
        /// Its name, or NAME@VERSION
        model: String,
        /// Measure each engine on the shards that this host holds, where that was not done before
        #[arg(long)]
        measure: bool,
        /// Threads that a run may use in that
        #[arg(long, requires = "measure")]
        threads: Option<u32>,
    },
    /// Write a model's shards as files
    Split {
        /// Its name
        model: String,
        /// Blocks before which it is cut, such as 2,5
        #[arg(long)]
        cuts: String,
        /// Folder that gets the files
        #[arg(long)]
        folder: PathBuf,
    },
    /// Convert a model's shards for accelerators that do not take them as they are
    Convert(convert::ConvertArgs),
    /// List what shards were converted to
    Artefacts {
        /// Of this model alone: its name, or NAME@VERSION
        model: Option<String>,
    },
    /// Show where a model is
    Plan {
        /// Its name
        model: String,
    },
    /// Write a model with seeded weights into a models folder, to try or measure with
    Generate {
        /// mlp, cnn, mobilenet, resnet50, encoder, decoder, encoder-int8 or decoder-int4
        kind: String,
        /// Models folder that gets NAME/1/model.onnx
        #[arg(long, default_value = "models")]
        folder: PathBuf,
        /// Name of the model [default: the kind]
        #[arg(long)]
        name: Option<String>,
        /// The same seed gives the same weights
        #[arg(long, default_value_t = 0)]
        seed: u64,
    },
}

pub(super) async fn model(global: &Global, screen: &mut Screen, command: ModelCommand) -> Result<(), Error> {
    match command {
        ModelCommand::List => {
            let models: Vec<Model> = Admin::find(global)?.get("/models").await?;
            if screen.is_json() { screen.json(&models) } else { list(screen, &models) }
        }
        ModelCommand::Show { model, measure, threads } => {
            let query = ModelQuery { measure, threads };
            let model: Model = Admin::find(global)?.query(&format!("/models/{model}"), &query).await?;
            if screen.is_json() { screen.json(&model) } else { show(screen, &model) }
        }
        ModelCommand::Plan { model } => {
            let plan: Plan = Admin::find(global)?.get("/plan").await?;
            let plan = Plan { models: plan.models.into_iter().filter(|planned| planned.name == model).collect(), ..plan };
            if plan.models.is_empty() {
                return Err(Fault::UnknownModel { name: model }.into());
            }
            if screen.is_json() { screen.json(&plan) } else { plan::show(screen, &plan, |_| true) }
        }
        ModelCommand::Split { model, cuts, folder } => {
            let folder = std::path::absolute(&folder).map_err(|error| file_fault("find", &folder, error))?;
            fs::create_dir_all(&folder).map_err(|error| file_fault("make", &folder, error))?;
            let query = SplitQuery { cuts, folder: folder.display().to_string() };
            let files: Vec<String> = Admin::find(global)?.post(&format!("/models/{model}/split"), &query, Vec::new()).await?;
            if screen.is_json() { screen.json(&files) } else { files.iter().try_for_each(|file| screen.line(file)) }
        }
        ModelCommand::Convert(args) => convert::convert(global, screen, args).await,
        ModelCommand::Artefacts { model } => convert::artefacts(global, screen, model).await,
        ModelCommand::Generate { kind, folder, name, seed } => write(screen, &kind, &folder, name.as_deref(), seed),
    }
}

fn list(screen: &mut Screen, models: &[Model]) -> Result<(), Error> {
    let row = |model: &Model| {
        let state = if model.ready { "ready" } else { "not ready" };
        [
            format!("{}@{}", model.name, model.version),
            state.to_owned(),
            model.blocks.to_string(),
            Bytes(model.weight_bytes).to_string(),
            tensors(&model.inputs),
            tensors(&model.outputs),
        ]
    };
    let rows: Vec<[String; 6]> = models.iter().map(row).collect();
    screen.table(["model", "state", "blocks", "weights", "inputs", "outputs"], &rows)
}

fn show(screen: &mut Screen, model: &Model) -> Result<(), Error> {
    let cuts = if model.blocks > 1 { format!("before each of the blocks 1 to {}", model.blocks - 1) } else { "nowhere".to_owned() };
    let lines = [
        ("model", format!("{}@{}, {}", model.name, model.version, if model.ready { "ready" } else { "not ready" })),
        ("blocks", format!("{}, may be cut {cuts}", model.blocks)),
        ("weights", Bytes(model.weight_bytes).to_string()),
        ("batch", if model.max_batch_size > 0 { format!("1 to {}", model.max_batch_size) } else { "as its shapes say".to_owned() }),
        ("inputs", tensors(&model.inputs)),
        ("outputs", tensors(&model.outputs)),
        ("labels", model.labels.join(", ")),
    ];
    lines.iter().try_for_each(|(name, value)| screen.line(&format!("{name:8}  {value}")))?;
    if model.engines.is_empty() {
        return Ok(());
    }
    screen.line("")?;
    let rows: Vec<[String; 8]> = model.engines.iter().map(engine_row).collect();
    screen.table(["blocks", "engine", "version", "threads", "run", "memory", "load", "difference"], &rows)
}

/// The last column says by how much the answers differ, or why the engine is not taken.
fn engine_row(row: &ShardEngine) -> [String; 8] {
    let named = |rest: [String; 4]| {
        let [run, memory, load, last] = rest;
        [row.blocks.clone(), row.engine.clone(), row.version.clone(), row.threads.to_string(), run, memory, load, last]
    };
    match &row.figures {
        Some(figures) => named([
            Millis(figures.run_ms).to_string(),
            Bytes(figures.memory_bytes).to_string(),
            Millis(figures.load_ms).to_string(),
            format!("{:.1e}", figures.difference),
        ]),
        None => named(["-".into(), "-".into(), "-".into(), format!("refused: {}", row.refusal.as_deref().unwrap_or("it does not say why"))]),
    }
}

fn tensors(tensors: &[TensorMetadata]) -> String {
    tensors.iter().map(|tensor| format!("{} {}{:?}", tensor.name, tensor.datatype, tensor.shape)).collect::<Vec<_>>().join(", ")
}

fn write(screen: &mut Screen, kind: &str, folder: &std::path::Path, name: Option<&str>, seed: u64) -> Result<(), Error> {
    let unknown = || Error::from(Fault::Usage { reason: format!("kind `{kind}` is not known, there are {}", Kind::NAMES.join(", ")) });
    let graph = generate(&Kind::named(kind).ok_or_else(unknown)?, seed)?;
    let name = host_core::ids::ModelName::parse(name.unwrap_or(kind))?;
    let version = folder.join(name.as_str()).join("1");
    fs::create_dir_all(&version).map_err(|error| file_fault("make", &version, error))?;
    let (file, manifest) = (version.join("model.onnx"), folder.join(name.as_str()).join("model.yaml"));
    let bytes = graph.to_bytes()?;
    fs::write(&file, &bytes).map_err(|error| file_fault("write", &file, error))?;
    let text = format!("# Made by `host model generate {kind} --seed {seed}`: it computes what models of its kind do, and knows nothing.\n");
    fs::write(&manifest, text).map_err(|error| file_fault("write", &manifest, error))?;
    screen.line(&format!("{} ({})", file.display(), Bytes(bytes.len() as u64)))
}

fn file_fault(doing: &'static str, path: &std::path::Path, error: std::io::Error) -> Error {
    Error::from(Fault::File { doing, path: path.display().to_string() }).because(error)
}
