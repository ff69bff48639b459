//! Adapters of accelerators whose graphs were converted for fixed shapes: all but their names and what their toolkits take. Each set of
//! shapes is a *bucket*. A run takes the bucket with the least padding, brings the inputs into its shapes, element types and order of
//! axes, and takes the padding off the outputs. [`shapes`](super::shapes) says where padding changes nothing; where it would, a
//! request must have just the length of a bucket, and is refused in words if it has not.

use std::{collections::BTreeMap, fmt};

use super::{
    Attribute, ElementType, EngineError, EngineErrorKind, EngineInfo, Fit, Level, Offer, Refusal, Roles, TensorInfo, log,
    operations::{Operations, Port, ShardInfo},
    shapes::{Axes, Lengths, Shapes, is_float, text, within},
};

/// The attribute by which an engine says why nothing can be loaded with it here.
const UNUSABLE: &str = "unusable";
/// The attribute, of engines and settings, that names the chip.
const TARGET: &str = "target";
/// The attribute by which an offer says what shards must be converted for that are to run there.
const NEEDS_ARTEFACTS: &str = "needs-artefacts";
/// NHWC of NCHW, and back.
const TO_CHANNELS_LAST: [u32; 4] = [0, 2, 3, 1];
const TO_CHANNELS_FIRST: [u32; 4] = [0, 3, 1, 2];

/// A kind of accelerator.
#[derive(Clone, Copy, Debug)]
pub struct Accelerator {
    /// As engines and offers name it.
    pub kind: &'static str,
    /// Engines that drive it, the first choice first.
    pub engines: &'static [&'static str],
    /// Those of them that load nothing but what was converted, for targets `NAME:CHIP`.
    pub converted: &'static [&'static str],
    /// Operators of which its toolkit's documents say that it takes them, sorted.
    pub operators: &'static [&'static str],
    /// Whose document that is.
    pub toolkit: &'static str,
}

/// In which order the engine's graphs have the axes of pictures.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Layout {
    /// As the shard declares them if its shape fits so, and with the channels last if it fits that only.
    #[default]
    Fitting,
    /// Always as the shard declares them.
    Declared,
    /// Always with the channels last, where there are four axes.
    ChannelsLast,
}

impl Layout {
    /// Reads `nchw` or `nhwc`; the error lists them.
    pub fn read(name: Option<&str>) -> Result<Self, String> {
        match name {
            None => Ok(Self::Fitting),
            Some("nchw") => Ok(Self::Declared),
            Some("nhwc") => Ok(Self::ChannelsLast),
            Some(other) => Err(format!("layout is `{other}`, there are nchw, nhwc")),
        }
    }
}

/// What an adapter was configured with.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// The only engine to use; without it those of the accelerator, in their order.
    pub engine: Option<String>,
    /// Passed to the engine when it loads.
    pub options: Vec<Attribute>,
    /// The order of axes.
    pub layout: Layout,
    /// Symbols of which somebody knows that the model masks them, whatever the rules say.
    pub masked: Vec<String>,
    /// Lengths of symbols to pad to, for engines whose graphs leave them open and that compile anew for each length.
    pub buckets: Vec<BTreeMap<String, u32>>,
    /// What offers say beside what engines say of themselves.
    pub attributes: Vec<Attribute>,
}

/// Drives a shard on an accelerator.
pub struct Converted<E: Operations> {
    engine: E,
    accelerator: Accelerator,
    settings: Settings,
    loaded: Option<Loaded<E::Graph>>,
}

struct Loaded<G> {
    graph: G,
    shapes: Shapes,
    buckets: Vec<Bucket>,
}

/// One set of shapes that the graph was made for.
#[derive(Clone, Debug)]
struct Bucket {
    /// In the order in which the graph takes them.
    ports: Vec<BucketPort>,
    lengths: Lengths,
}

#[derive(Clone, Debug)]
struct BucketPort {
    /// Index of the shard's input.
    input: usize,
    element_type: ElementType,
    channels_last: bool,
}

impl<E: Operations> fmt::Debug for Converted<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Converted").field("accelerator", &self.accelerator.kind).field("settings", &self.settings).finish_non_exhaustive()
    }
}

impl<E: Operations> Converted<E> {
    /// An adapter that has loaded nothing.
    pub fn new(accelerator: Accelerator, settings: Settings) -> Self {
        Self { engine: E::default(), accelerator, settings, loaded: None }
    }

    /// What it computes with.
    pub fn engine(&self) -> &E {
        &self.engine
    }

    /// Engines that can be used, the first choice first. Says in the log what there is and why something cannot be used.
    fn engines(&self, say: impl Fn(Level, String)) -> Vec<EngineInfo> {
        let there = self.engine.engines();
        let mut usable = Vec::new();
        for name in self.accelerator.engines.iter().filter(|name| self.settings.engine.as_deref().is_none_or(|wanted| wanted == **name)) {
            let Some(info) = there.iter().find(|info| info.name == **name && info.accelerator == self.accelerator.kind) else {
                say(Level::Info, format!("engine {name} is not in this host"));
                continue;
            };
            match info.attributes.iter().find(|(name, _)| name == UNUSABLE) {
                Some((_, reason)) => say(Level::Warn, format!("engine {name} cannot be used: {reason}")),
                None => {
                    say(Level::Info, format!("engine {name} {} with {} bytes of memory", info.version, info.memory_bytes));
                    usable.push(info.clone());
                }
            }
        }
        usable
    }

    /// One offer for the accelerator, whichever of its engines loads a shard in the end.
    pub fn probe(&self) -> Vec<Offer> {
        let engines = self.engines(|level, line| log(level, &line));
        let Some(first) = engines.first() else { return Vec::new() };
        let most = |figure: fn(&EngineInfo) -> f64| engines.iter().map(figure).fold(0.0, f64::max);
        let mut attributes: Vec<Attribute> = Vec::new();
        for info in &engines {
            attributes.extend([("engine".to_owned(), info.name.clone()), ("engine-version".to_owned(), info.version.clone())]);
            attributes.extend(info.attributes.iter().cloned());
        }
        attributes.extend(self.settings.attributes.iter().cloned());
        attributes.extend(self.needed(&engines).map(|target| (NEEDS_ARTEFACTS.to_owned(), target)));
        vec![Offer {
            accelerator: self.accelerator.kind.to_owned(),
            memory_pool: 0,
            memory_bytes: first.memory_bytes,
            weight_factor: most(|info| info.weight_factor),
            fixed_bytes: most(|info| info.fixed_bytes),
            element_types: first.element_types.clone(),
            roles: Roles::HEAD | Roles::BODY | Roles::TAIL,
            attributes,
        }]
    }

    /// What shards must be converted for, where no engine takes others. A chip that nobody names is left out: nothing is converted for
    /// that, so the host plans without the offer and says so.
    fn needed(&self, engines: &[EngineInfo]) -> Option<String> {
        let first = engines.first()?;
        if !engines.iter().all(|info| self.accelerator.converted.contains(&info.name.as_str())) {
            return None;
        }
        let chip = self.settings.attributes.iter().chain(&first.attributes).find(|(name, _)| name == TARGET).map(|(_, chip)| chip.to_lowercase());
        if chip.is_none() {
            log(Level::Warn, &format!("engine {} does not say which chip it drives: set `{TARGET}`, or nothing is planned for it", first.name));
        }
        Some(chip.map_or_else(|| first.name.clone(), |chip| format!("{}:{chip}", first.name)))
    }

    /// Loads a shard with the first engine that takes it; a refusal says of each why it does not.
    pub fn load(&mut self, shard: &E::ShardFile, offer: u32) -> Result<Fit, Refusal> {
        let engines = self.engines(|_, _| ());
        if offer != 0 || engines.is_empty() {
            return Err(Refusal::because(format!("offer {offer} does not exist, there are {}", engines.len().min(1))));
        }
        let info = self.engine.describe(shard);
        let mut refused: Option<Refusal> = None;
        for engine in &engines {
            match self.load_with(engine, shard, &info) {
                Ok((loaded, fit)) => {
                    self.loaded = Some(loaded);
                    return Ok(fit);
                }
                Err(refusal) => {
                    refused = Some(match refused {
                        Some(before) => Refusal { reason: format!("{}; {}", before.reason, refusal.reason), ..before },
                        None => refusal,
                    });
                }
            }
        }
        Err(refused.unwrap_or_else(|| Refusal::because("no engine was asked")))
    }

    fn load_with(&self, engine: &EngineInfo, shard: &E::ShardFile, info: &ShardInfo) -> Result<(Loaded<E::Graph>, Fit), Refusal> {
        let because = |reason: String| Refusal::because(format!("engine {}: {reason}", engine.name));
        has_room(engine, info)?;
        takes_types(engine, info).map_err(because)?;
        let graph = self.engine.load(&engine.name, shard, &self.settings.options).map_err(|error| because(self.explained(&error, info)))?;
        let shapes = Shapes::new(&info.inputs, &info.outputs, &self.settings.masked);
        let made = self.engine.buckets(&graph);
        let buckets = made.iter().map(|infos| bucket(&shapes, infos, self.settings.layout)).collect::<Result<Vec<_>, _>>().map_err(because)?;
        let buckets: Vec<Bucket> = buckets.into_iter().flat_map(|bucket| self.closed(bucket)).collect();
        let named = buckets.iter().map(|bucket| text(&bucket.lengths)).collect::<Vec<_>>().join("; ");
        let attributes = vec![("engine".to_owned(), engine.name.clone()), ("engine-version".to_owned(), engine.version.clone()), ("buckets".to_owned(), named)];
        let fit = Fit { memory_bytes: self.engine.memory_bytes(&graph), attributes };
        Ok((Loaded { graph, shapes, buckets }, fit))
    }

    /// An engine's reason, with the operators that may be behind it. None of them is behind memory that is used up.
    fn explained(&self, error: &EngineError, info: &ShardInfo) -> String {
        let message = &error.message;
        let unknown: Vec<&str> = info.operators.iter().map(String::as_str).filter(|name| self.accelerator.operators.binary_search(name).is_err()).collect();
        if unknown.is_empty() || error.kind == EngineErrorKind::Exhausted {
            return message.clone();
        }
        format!("{message}; {} does not list operator {}", self.accelerator.toolkit, unknown.join(", "))
    }

    /// What a bucket leaves open, in the lengths that the configuration names.
    fn closed(&self, bucket: Bucket) -> Vec<Bucket> {
        let with = |lengths: &BTreeMap<String, u32>| {
            let lengths = lengths.iter().map(|(symbol, length)| (symbol.clone(), *length)).chain(bucket.lengths.clone()).collect();
            Bucket { lengths, ..bucket.clone() }
        };
        let closed: Vec<Bucket> = self.settings.buckets.iter().map(with).collect();
        if closed.is_empty() { vec![bucket] } else { closed }
    }

    /// Computes the shard. Tensors come and go in the shard's declared order.
    pub fn run(&self, inputs: Vec<E::Tensor>) -> Result<Vec<E::Tensor>, EngineError> {
        let Loaded { graph, shapes, buckets } = self.loaded.as_ref().ok_or_else(|| invalid("no shard is loaded".to_owned()))?;
        if inputs.len() != shapes.inputs.len() {
            return Err(invalid(format!("{} inputs came, the shard declares {}", inputs.len(), shapes.inputs.len())));
        }
        let came: Vec<Vec<Option<u32>>> = inputs.iter().map(|input| self.engine.shape(input).into_iter().map(Some).collect()).collect();
        let lengths = shapes.bind(&came).map_err(invalid)?;
        let known: Vec<Lengths> = buckets.iter().map(|bucket| bucket.lengths.clone()).collect();
        let bucket = &buckets[shapes.choose(&lengths, &known).map_err(invalid)?];
        let fitting = Fitting { engine: &self.engine, shapes, lengths: &lengths, bucket };
        let mut inputs: Vec<Option<E::Tensor>> = inputs.into_iter().map(Some).collect();
        let prepared = bucket.ports.iter().map(|port| fitting.prepared(inputs.get_mut(port.input).and_then(Option::take), port)).collect::<Result<_, _>>()?;
        let outputs = self.engine.run(graph, prepared)?;
        if outputs.len() != shapes.outputs.len() {
            return Err(failed(format!("the graph gave {} outputs, the shard declares {}", outputs.len(), shapes.outputs.len())));
        }
        outputs.into_iter().zip(&shapes.outputs).map(|(output, axes)| fitting.finished(output, axes, self.settings.layout)).collect()
    }
}

/// Between what came and one bucket.
struct Fitting<'a, E: Operations> {
    engine: &'a E,
    shapes: &'a Shapes,
    lengths: &'a Lengths,
    bucket: &'a Bucket,
}

impl<E: Operations> Fitting<'_, E> {
    /// An input as the graph takes it.
    fn prepared(&self, input: Option<E::Tensor>, port: &BucketPort) -> Result<E::Tensor, EngineError> {
        let axes = &self.shapes.inputs[port.input];
        let mut tensor = input.ok_or_else(|| failed(format!("the graph takes input `{}` twice", axes.name)))?;
        if self.engine.element_type(&tensor) != port.element_type {
            tensor = self.engine.cast(&tensor, port.element_type)?;
        }
        let (came, there) = (self.engine.shape(&tensor), within(self.lengths, &self.bucket.lengths));
        let shape: Vec<u32> = axes.lengths.iter().zip(&came).map(|(length, came)| length.value(&there).unwrap_or(*came)).collect();
        if shape != came {
            tensor = self.engine.pad(&tensor, &shape, &self.start(axes), 0.0)?;
        }
        if port.channels_last { self.engine.transpose(&tensor, &TO_CHANNELS_LAST) } else { Ok(tensor) }
    }

    /// An output as the shard declares it.
    fn finished(&self, output: E::Tensor, axes: &Axes, layout: Layout) -> Result<E::Tensor, EngineError> {
        let there = within(self.lengths, &self.bucket.lengths);
        let declared: Vec<Option<u32>> = axes.lengths.iter().map(|length| length.value(&there)).collect();
        let mut tensor = output;
        let mut shape = self.engine.shape(&tensor);
        match order(&declared, &shape.iter().copied().map(Some).collect::<Vec<_>>(), layout) {
            Some(false) => {}
            Some(true) => {
                tensor = self.engine.transpose(&tensor, &TO_CHANNELS_FIRST)?;
                shape = self.engine.shape(&tensor);
            }
            None => return Err(failed(format!("output `{}` is {shape:?}, the bucket makes it {}", axes.name, shown(&declared)))),
        }
        let wanted: Vec<u32> = axes.lengths.iter().zip(&shape).map(|(length, there)| length.value(self.lengths).unwrap_or(*there)).collect();
        if wanted != shape {
            tensor = self.engine.crop(&tensor, &wanted, &self.start(axes))?;
        }
        if self.engine.element_type(&tensor) == axes.element_type { Ok(tensor) } else { self.engine.cast(&tensor, axes.element_type) }
    }

    fn start(&self, axes: &Axes) -> Vec<u32> {
        axes.lengths.iter().map(|length| self.shapes.start(length, self.lengths, &self.bucket.lengths)).collect()
    }
}

/// The inputs of a graph as a bucket of the shard, or what of it does not fit the shard.
fn bucket(shapes: &Shapes, infos: &[TensorInfo], layout: Layout) -> Result<Bucket, String> {
    let mut ports = Vec::with_capacity(infos.len());
    let mut bound = vec![None; shapes.inputs.len()];
    for info in infos {
        let found = shapes.inputs.iter().position(|axes| axes.name == info.name);
        let Some(input) = found.filter(|&input| bound[input].is_none()) else {
            return Err(format!("its graph takes `{}`, the shard gives {}", info.name, names(shapes.inputs.iter().map(|axes| &axes.name))));
        };
        let axes = &shapes.inputs[input];
        if !carries(axes.element_type, info.element_type, &axes.name) {
            return Err(format!("its graph takes `{}` as {:?}, which does not hold every {:?}", info.name, info.element_type, axes.element_type));
        }
        let declared: Vec<Option<u32>> = axes.lengths.iter().map(|length| length.value(&Lengths::new())).collect();
        let shape: Vec<Option<u32>> = info.shape.iter().map(|&length| u32::try_from(length).ok()).collect();
        let Some(channels_last) = order(&declared, &shape, layout) else {
            return Err(format!("its graph takes `{}` as {}, the shard declares {}", info.name, shown(&shape), shown(&declared)));
        };
        bound[input] = Some(if channels_last { TO_CHANNELS_FIRST.iter().map(|&axis| shape[axis as usize]).collect() } else { shape });
        ports.push(BucketPort { input, element_type: info.element_type, channels_last });
    }
    let bound = bound.into_iter().zip(&shapes.inputs).map(|(shape, axes)| shape.ok_or_else(|| format!("its graph does not take input `{}`", axes.name)));
    let lengths = shapes.bind(&bound.collect::<Result<Vec<_>, _>>()?)?;
    Ok(Bucket { ports, lengths })
}

/// Whether a shape is the declared one with the channels last, or none if it is neither that nor the declared one. None stands for a
/// length that is not known.
fn order(declared: &[Option<u32>], shape: &[Option<u32>], layout: Layout) -> Option<bool> {
    let same = |one: &Option<u32>, other: &Option<u32>| one.is_none() || other.is_none() || one == other;
    let fits = declared.len() == shape.len() && declared.iter().zip(shape).all(|(one, other)| same(one, other));
    let last = || declared.len() == 4 && shape.len() == 4 && TO_CHANNELS_LAST.iter().zip(shape).all(|(&axis, there)| same(&declared[axis as usize], there));
    match layout {
        Layout::Fitting if fits => Some(false),
        Layout::Fitting => last().then_some(true),
        Layout::ChannelsLast if declared.len() == 4 => last().then_some(true),
        Layout::Declared | Layout::ChannelsLast => fits.then_some(false),
    }
}

fn has_room(engine: &EngineInfo, info: &ShardInfo) -> Result<(), Refusal> {
    let needed = info.weight_bytes * engine.weight_factor + engine.fixed_bytes;
    // No memory of its own: the host knows what there is.
    if engine.memory_bytes <= 0.0 || needed <= engine.memory_bytes {
        return Ok(());
    }
    let reason = format!("engine {}: {} takes {needed:.0} bytes, there are {:.0}", engine.name, info.id, engine.memory_bytes);
    Err(Refusal { short_bytes: needed - engine.memory_bytes, ..Refusal::because(reason) })
}

/// Whether an engine takes each input and output as it is or as something that holds it.
fn takes_types(engine: &EngineInfo, info: &ShardInfo) -> Result<(), String> {
    let taken = |port: &Port| engine.element_types.iter().any(|&there| carries(port.element_type, there, &port.name));
    match info.inputs.iter().chain(&info.outputs).find(|port| !taken(port)) {
        Some(port) => {
            Err(format!("`{}` is {:?}, it takes {}", port.name, port.element_type, names(engine.element_types.iter().map(|there| format!("{there:?}")))))
        }
        None => Ok(()),
    }
}

/// Whether a cast keeps what counts: floats may lose digits, as accelerators that compute with fewer do anyway. Token ids and positions
/// need whole numbers of 32 bits or floats that hold them; masks are 0 and 1. Floats become whole numbers by a scale, which a cast has not.
fn carries(from: ElementType, to: ElementType, name: &str) -> bool {
    if from == to {
        return true;
    }
    let small = from == ElementType::Boolean || name.to_lowercase().contains("mask");
    match (is_float(from), is_float(to)) {
        (true, true) => true,
        (true, false) => false,
        (false, true) => small || matches!(to, ElementType::Fp32 | ElementType::Fp64),
        (false, false) => small || matches!(to, ElementType::Int32 | ElementType::Int64 | ElementType::Uint32 | ElementType::Uint64),
    }
}

fn shown(shape: &[Option<u32>]) -> String {
    format!("[{}]", names(shape.iter().map(|length| length.map_or_else(|| "?".to_owned(), |length| length.to_string()))))
}

fn names(names: impl Iterator<Item = impl ToString>) -> String {
    names.map(|name| name.to_string()).collect::<Vec<_>>().join(", ")
}

fn invalid(message: String) -> EngineError {
    EngineError { kind: EngineErrorKind::Invalid, message }
}

fn failed(message: String) -> EngineError {
    EngineError { kind: EngineErrorKind::Failed, message }
}

#[cfg(test)]
mod tests;
