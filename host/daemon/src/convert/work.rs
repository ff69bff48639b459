//! What a conversion does: finds out which ranges are wanted, binds each shard to each bucket, has the tool convert what is not there
//! yet, keeps the results, and has the model planned again.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::ExitStatus,
    sync::Arc,
    time::Duration,
};

use host_core::{cluster::Converted, ids::ModelId, shard::BlockRange, units::Bytes};
use host_engine::{Artefact, Digest, Engines, LoadOptions, Shard, map_file};
use tokio_util::sync::CancellationToken;

use super::{
    Conversions,
    child::{self, ChildLimits, Ended},
    fault::ConversionFault,
    job::Job,
    npy::to_npy,
    tool::{Files, Tool, shapes_text},
    words::Bucket,
};
use crate::{
    config::Conversion,
    control::Control,
    error::{Error, Fault},
    models::Model,
    stage_fault::StageFault,
    store::{ArtefactRecord, Store},
};

/// The engine that tells what a shard's answers are.
const ENGINE: &str = "tract";
/// Lines of a tool that failed which are repeated in the reason.
const LAST_LINES: usize = 5;

/// What is to be converted.
#[derive(Debug)]
pub(super) struct Order {
    pub(super) model: Arc<Model>,
    pub(super) tool: Tool,
    /// None for those that a plan gives to such accelerators.
    pub(super) ranges: Option<BTreeSet<BlockRange>>,
    pub(super) buckets: Vec<Bucket>,
    pub(super) check: bool,
}

impl Conversions {
    /// Does all of it. What was made before something failed is kept and used.
    pub(super) async fn convert(&self, job: &Arc<Job>, order: Order) -> Result<(), Error> {
        let ranges = match order.ranges.clone() {
            Some(ranges) => ranges,
            None => self.wanted(job).await?,
        };
        let names: Vec<String> = ranges.iter().map(ToString::to_string).collect();
        job.say(format!("converting {} of {} for {} with {}", names.join(", "), job.model, job.target, order.tool.name()));
        let folder = Folder::make(&self.0.folder, job.number)?;
        let outcome = self.convert_all(job, &order, &ranges, &folder).await;
        let (made, kept) = job.counts();
        if made > 0 {
            self.tell(&job.model).await?;
        }
        outcome?;
        job.say(format!("{made} artefacts made, {kept} were there already"));
        Ok(())
    }

    async fn convert_all(&self, job: &Arc<Job>, order: &Order, ranges: &BTreeSet<BlockRange>, folder: &Folder) -> Result<(), Error> {
        for &range in ranges {
            let (model, buckets) = (order.model.clone(), order.buckets.clone());
            let (shard, bounds) = blocking(move || {
                let (shard, _) = model.shard(range)?;
                let bounds = buckets.iter().map(|bucket| shard.bound(bucket)).collect::<Result<Vec<_>, _>>()?;
                Ok((shard, bounds))
            })
            .await?;
            let mut done: BTreeSet<String> = BTreeSet::new();
            for bound in bounds {
                let shapes = shapes_text(&bound.inputs);
                // Buckets that differ in lengths which this shard does not have are one.
                if done.insert(shapes.clone()) {
                    self.convert_one(job, order, &shard, bound, shapes, folder).await?;
                }
            }
        }
        Ok(())
    }

    async fn convert_one(&self, job: &Arc<Job>, order: &Order, shard: &Arc<Shard>, bound: Shard, bucket: String, folder: &Folder) -> Result<(), Error> {
        if job.cancel.is_cancelled() {
            return Err(ConversionFault::Cancelled.into());
        }
        let target = job.target.to_string();
        let (store, digest, wanted) = (self.0.store.clone(), shard.digest, target.clone());
        let known = blocking(move || store.artefacts_of(digest, &wanted)).await?.into_iter().find(|record| record.bucket == bucket);
        if let Some(record) = known {
            let store = self.0.store.clone();
            match blocking(move || store.artefact(&record)).await {
                Ok(_) => {
                    job.count_kept();
                    job.say(format!("{} {bucket}: is there already", shard.id));
                    return Ok(());
                }
                Err(error) => job.say(format!("{} {bucket}: is made anew: {error}", shard.id)),
            }
        }
        job.say(format!("{} {bucket}: …", shard.id));
        let files = folder.files(job, &bound, order.check).await?;
        self.run(job, order, shard, &bound, &files).await?;
        let (store, tool, shard, limit) = (self.0.store.clone(), order.tool.name(), shard.clone(), self.0.config.conversion.artefact_bytes_max);
        let line = blocking(move || {
            let data = taken(&files.output, &tool, &shard, limit)?;
            let record = ArtefactRecord {
                id: shard.id.clone(),
                shard: shard.digest,
                target,
                digest: Digest::of(&data),
                bytes: Bytes(data.len() as u64),
                description: Artefact::description(&bound.inputs, &bound.outputs)?,
                made_at_ms: 0,
                bucket,
            };
            let line = format!("{} {}: sha256:{}, {}", record.id, record.bucket, record.digest, record.bytes);
            store.put_artefact(record, &data)?;
            Ok(line)
        });
        job.say(line.await?);
        job.count_made();
        Ok(())
    }

    async fn run(&self, job: &Arc<Job>, order: &Order, shard: &Shard, bound: &Shard, files: &Files) -> Result<(), Error> {
        let call = Call { tool: &order.tool, settings: &self.0.config.conversion, shard, bound, files };
        call.run(&job.cancel, |line| job.say(line)).await
    }

    /// The ranges that a plan gives to accelerators of this kind, or would give if they were converted; those of the plan in force where
    /// there is no such accelerator, or none that a plan would use.
    async fn wanted(&self, job: &Job) -> Result<BTreeSet<BlockRange>, Error> {
        let (model, target) = (job.model.clone(), job.target.to_string());
        let (problem, planned) = self.0.control.look(|cluster| {
            let has_one =
                cluster.devices().values().any(|record| record.device.offers.iter().any(|offer| offer.needs_artefacts.as_deref() == Some(target.as_str())));
            let shards = cluster.plan().plan().shards().into_iter();
            let planned: BTreeSet<BlockRange> = shards.filter(|(_, shard)| shard.model == model).map(|(_, shard)| shard.range).collect();
            let problem = has_one.then(|| cluster.problem_as_if_converted(&model, &target)).flatten();
            // Which offers are of this kind is known now and may be another thing when the policy has answered.
            (
                problem.map(|problem| (problem.offers.iter().map(|offer| cluster.target_of(&offer.id) == Some(target.as_str())).collect::<Vec<_>>(), problem)),
                planned,
            )
        });
        if let Some((is_such, problem)) = problem {
            let plugins = self.0.plugins.clone();
            let answered = blocking(move || Ok(plugins.allocation().suppose(&problem)?.answer)).await?;
            let stages = answered.into_iter().flat_map(|allocated| allocated.proposal.replicas).flatten();
            let such = stages.filter(|stage| is_such.get(stage.offer as usize) == Some(&true));
            let ranges: BTreeSet<BlockRange> = such.filter_map(|stage| BlockRange::new(stage.start, stage.end).ok()).collect();
            if !ranges.is_empty() {
                return Ok(ranges);
            }
        }
        if planned.is_empty() { Err(ConversionFault::NoPlan { model: job.model.clone() }.into()) } else { Ok(planned) }
    }
}

/// One shard, bound to one bucket, and the tool that is to convert it.
pub(super) struct Call<'a> {
    pub(super) tool: &'a Tool,
    pub(super) settings: &'a Conversion,
    pub(super) shard: &'a Shard,
    pub(super) bound: &'a Shard,
    pub(super) files: &'a Files,
}

impl Call<'_> {
    /// Runs the tool; `say` gets each line that it prints.
    pub(super) async fn run(&self, cancel: &CancellationToken, mut say: impl FnMut(String) + Send) -> Result<(), Error> {
        let Self { tool, settings, shard, bound, files } = *self;
        let limits = ChildLimits {
            run: Duration::from_millis(settings.run_ms_max),
            memory_bytes_max: settings.memory_bytes_max,
            line_bytes_max: settings.line_bytes_max,
        };
        let words = tool.words(files, bound, settings.check_ratio_max);
        let mut last: Vec<String> = Vec::new();
        let hear = |line: String| {
            if last.len() == LAST_LINES {
                last.remove(0);
            }
            last.push(line.clone());
            say(line);
        };
        let name = tool.name();
        let started = child::run(&words, &files.folder, limits, cancel, hear).await;
        let ended = started.map_err(|error| Error::from(Fault::File { doing: "start", path: name.clone() }).because(error))?;
        let said = last.join("\n");
        let failed = |how: String| ConversionFault::Failed { tool: name.clone(), shard: shard.id.clone(), how, said: said.clone() };
        match ended {
            Ended::Exited(status) if status.success() => Ok(()),
            Ended::Exited(status) => Err(tool.missing(status.code(), &said).unwrap_or_else(|| failed(word(status))).into()),
            Ended::Late => Err(failed(format!("it took longer than conversion.run_ms_max, {} ms", settings.run_ms_max)).into()),
            Ended::Cancelled => Err(ConversionFault::Cancelled.into()),
        }
    }
}

/// What there is for the shards of a model as they are now: its file may have been another one when they were converted. Cuts what is
/// in the index: not for an async thread.
pub(super) fn converted(store: &Store, model: &Model) -> Result<Converted, Error> {
    let mut converted = Converted::new();
    for record in store.artefacts()?.into_iter().filter(|record| record.id.model == model.id) {
        match model.shard(record.id.range) {
            Ok((shard, _)) if shard.digest == record.shard => {
                converted.entry(record.target).or_default().insert(record.id.range);
            }
            Ok(_) => tracing::info!(shard = %record.id, target = record.target, "an artefact was made of another shard of that name, and is not used"),
            Err(error) => tracing::warn!(shard = %record.id, %error, "an artefact is of a shard that cannot be cut, and is not used"),
        }
    }
    Ok(converted)
}

/// What was converted of a shard for a target, with its bytes.
pub fn artefacts(store: &Store, shard: &Shard, target: &str) -> Result<Vec<Artefact>, Error> {
    let records = store.artefacts_of(shard.digest, target)?;
    if records.is_empty() {
        return Err(ConversionFault::Missing { shard: shard.id.clone(), target: target.to_owned() }.into());
    }
    records.iter().map(|record| store.artefact(record)).collect()
}

/// The working folder of a conversion, gone when it ends.
pub(super) struct Folder(PathBuf);

impl Folder {
    pub(super) fn make(all: &Path, number: u64) -> Result<Self, Error> {
        let path = all.join(number.to_string());
        fs::create_dir_all(&path).map_err(|error| file_error("make the folder", &path, error))?;
        Ok(Self(path))
    }

    /// Where it is.
    pub(super) fn path(&self) -> &Path {
        &self.0
    }

    /// Writes what the tool reads.
    async fn files(&self, job: &Job, bound: &Shard, check: bool) -> Result<Files, Error> {
        let (folder, bound, extension) = (self.0.clone(), bound.clone(), job.target.extension());
        blocking(move || {
            let files = Files {
                model: folder.join("shard.onnx"),
                output: folder.join(format!("made.{extension}")),
                answers: check.then(|| folder.join("answers")),
                folder,
            };
            // Of the shard before.
            let _ = fs::remove_file(&files.output);
            fs::write(&files.model, &bound.file).map_err(|error| file_error("write", &files.model, error))?;
            if let Some(answers) = &files.answers {
                write_answers(answers, &bound)?;
            }
            Ok(files)
        })
        .await
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.0) {
            tracing::warn!(folder = %self.0.display(), %error, "what a conversion has left could not be removed");
        }
    }
}

/// Seeded inputs and what the built-in engine makes of them.
fn write_answers(folder: &Path, bound: &Shard) -> Result<(), Error> {
    let engines = Engines::default();
    let mut graph = engines.load(ENGINE, bound, &LoadOptions::default())?;
    let answers = bound.answers(graph.as_mut())?;
    // Those of the bucket before may be more.
    let _ = fs::remove_dir_all(folder);
    fs::create_dir_all(folder).map_err(|error| file_error("make the folder", folder, error))?;
    for (kind, tensors) in [("input", &answers.inputs), ("output", &answers.outputs)] {
        for (index, tensor) in tensors.iter().enumerate() {
            let path = folder.join(format!("{kind}_{index}.npy"));
            let unknown = || Error::from(StageFault::UnknownDatatype { datatype: tensor.element_type().to_string() });
            let bytes = to_npy(tensor).ok_or_else(unknown)?;
            fs::write(&path, bytes).map_err(|error| file_error("write", &path, error))?;
        }
    }
    Ok(())
}

/// The bytes that a tool wrote. They are mapped: the folder is this conversion's own, and nothing writes to it any more.
pub(super) fn taken(output: &Path, tool: &str, shard: &Shard, bytes_max: u64) -> Result<bytes::Bytes, Error> {
    let bytes = fs::metadata(output).map_or(0, |metadata| metadata.len());
    let (tool, shard) = (tool.to_owned(), shard.id.clone());
    match bytes {
        0 => Err(ConversionFault::NothingWritten { tool, shard }.into()),
        bytes if bytes > bytes_max => Err(ConversionFault::TooLarge { tool, shard, bytes: Bytes(bytes), bytes_max: Bytes(bytes_max) }.into()),
        _ => Ok(map_file(output)?),
    }
}

fn word(status: ExitStatus) -> String {
    use std::os::unix::process::ExitStatusExt as _;
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("it ended with {code}"),
        (None, Some(signal)) => format!("signal {signal} ended it"),
        (None, None) => "it ended".to_owned(),
    }
}

pub(super) fn file_error(doing: &'static str, path: &Path, error: std::io::Error) -> Error {
    Error::from(Fault::File { doing, path: path.display().to_string() }).because(error)
}

/// Runs what computes or waits for a disk on a thread of its own.
pub(super) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T, Error> + Send + 'static) -> Result<T, Error> {
    tokio::task::spawn_blocking(work).await.map_err(|error| Error::from(StageFault::Thread { reason: error.to_string() }))?
}

impl Conversions {
    /// Has the cluster plan with what there is of a model now.
    async fn tell(&self, id: &ModelId) -> Result<(), Error> {
        let control: &Arc<Control> = &self.0.control;
        let Some(model) = control.loaded_models().into_iter().find(|model| model.id == *id) else { return Ok(()) };
        let (store, id) = (self.0.store.clone(), id.clone());
        let converted = blocking(move || converted(&store, &model)).await?;
        self.ask(host_core::cluster::Event::Converted { model: id, converted }).await
    }
}
