//! Topologies, pressures and requests for routing policies: whole and broken replicas, segments that may be entered in the
//! middle, models without any, up to a thousand segments.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    sync::Arc,
};

use host_core::{
    decision::Reply,
    device::Pressures,
    error::Error as Broken,
    link::{Links, Speed},
    plan::Stage,
    policy::Answer,
    shard::BlockRange,
    topology::{PressureTable, RouteRequest, RoutingSnapshot, Segment, ServedModel, Topology, TopologyDevice},
    units::{Bytes, Millis},
};

use super::{
    Examination, PolicySuite, Source, Suite, Way, examine_policy,
    source::{device_id, model_id, offer_id},
};
use crate::{
    error::Error,
    policies,
    program::Program,
    world::{RoutingPolicy, Warm},
};

/// A topology, the pressures that follow on it, and requests that are asked after each.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Arena {
    pub topology: Topology,
    /// Each names every device, as the host's do.
    pub pressures: Vec<Vec<(u32, Pressures)>>,
    pub requests: Vec<RouteRequest>,
}

impl Suite for RoutingPolicy {
    type Context = ();
    type Input = Arena;

    fn context() -> Result<(), Error> {
        Ok(())
    }

    fn generate(source: &mut Source, _context: &(), number: u32) -> Result<Arena, Broken> {
        let replicas_max = match number % 20 {
            0 => 1,
            1..=15 => 6,
            16..=18 => 32,
            _ => 256,
        };
        arena(source, replicas_max)
    }

    fn examine(program: &Program<Self>, _context: &(), input: &Arena, elder: Option<(&mut Warm<Self>, u32)>) -> Examination {
        examine_policy(program, input, &["route"], elder)
    }

    fn smaller(input: &Arena) -> Vec<Arena> {
        smaller(input)
    }

    fn render(input: &Arena) -> String {
        render(input)
    }
}

impl PolicySuite for RoutingPolicy {
    fn answers(warm: &mut Warm<Self>, input: &Arena, way: Way) -> Vec<Answer<Reply>> {
        let topology = Arc::new(Topology { number: way.number, ..input.topology.clone() });
        let numbered = (1_u64..).zip(&input.pressures).map(|(number, devices)| Arc::new(PressureTable { number, devices: devices.clone() }));
        let mut tables: Vec<Arc<PressureTable>> = std::iter::once(Arc::default()).chain(numbered).collect();
        if way.short {
            tables.drain(..tables.len() - 1);
        }
        let mut answers = Vec::new();
        for pressures in tables {
            let snapshot = RoutingSnapshot { topology: topology.clone(), pressures };
            let mut ask =
                |request: &RouteRequest| policies::route(warm, &snapshot, request).map(|answer| answer.map(|path| Reply::Path(path.segments().to_vec())));
            let mut asked: Vec<Answer<Reply>> =
                if way.short { input.requests.iter().rev().map(&mut ask).collect() } else { input.requests.iter().map(&mut ask).collect() };
            if way.short {
                asked.reverse();
            }
            answers.extend(asked);
            if warm.failed() {
                break;
            }
        }
        answers
    }

    fn decoy() -> Result<Arena, Broken> {
        arena(&mut Source::of(u64::MAX, 7), 3)
    }

    fn judge(_program: &Program<Self>, input: &Arena, answers: &[Answer<Reply>], seen: &mut Examination) {
        for (index, answer) in answers.iter().enumerate() {
            let Some(request) = input.requests.get(index % input.requests.len().max(1)) else { continue };
            let Some(model) = input.topology.models.get(request.model as usize) else { continue };
            if let Ok(Err(refusal)) = answer {
                seen.refusal(refusal, model.segments.len());
                // One refusal of a possible request makes the input one that was refused.
                seen.possible = Some(seen.possible == Some(true) || reachable(model));
            }
        }
        if !seen.refused {
            seen.possible = Some(true);
        } else if seen.possible != Some(true) {
            // All that was refused could only be refused.
            seen.refused = false;
        }
    }
}

/// Whether any path covers the model.
fn reachable(model: &ServedModel) -> bool {
    let mut reached = vec![false; model.blocks as usize + 1];
    reached[0] = true;
    for block in 0..model.blocks {
        if !reached[block as usize] {
            continue;
        }
        for segment in &model.segments {
            let range = segment.range();
            let enters = range.start() == block || (segment.divisible && range.contains(block));
            if let Some(reached) = reached.get_mut(range.end() as usize).filter(|_| enters) {
                *reached = true;
            }
        }
    }
    reached.last().copied().unwrap_or(false)
}

/// Up to three models in at most so many replicas of up to four stages.
pub(crate) fn arena(source: &mut Source, replicas_max: u32) -> Result<Arena, Broken> {
    let devices = source.between(1, replicas_max.clamp(2, 24));
    let mut models = Vec::new();
    for name in ["generated-a", "generated-b", "generated-c"].into_iter().take(source.pick(&[1, 1, 2, 3])) {
        models.push(model(source, name, replicas_max, devices)?);
    }
    let sites = source.pick(&[1, 2]);
    let topology = Topology {
        number: 2,
        devices: (0..devices).map(|device| Ok(TopologyDevice { id: device_id(device)?, site: device % sites })).collect::<Result<_, Broken>>()?,
        links: links(source, devices)?,
        models,
        ..Topology::default()
    };
    let pressures = (0..source.between(0, 2)).map(|_| (0..devices).map(|device| (device, pressure(source))).collect()).collect();
    let requests = (0..source.between(1, 6)).map(|_| request(source, &topology)).collect();
    Ok(Arena { topology, pressures, requests })
}

fn model(source: &mut Source, name: &str, replicas_max: u32, devices: u32) -> Result<ServedModel, Broken> {
    let blocks = source.between(1, 12);
    let divisible = source.once_in(6);
    let alike = source.once_in(3);
    let mut segments: Vec<Segment> = Vec::new();
    let none = source.once_in(15);
    for replica in 0..source.between(u32::from(!none), replicas_max) {
        let stages = source.between(1, blocks.min(4));
        let missing = if source.once_in(8) { Some(source.between(0, stages - 1)) } else { None };
        for position in (0..stages).filter(|position| Some(*position) != missing) {
            let device = source.between(0, devices - 1);
            let range = BlockRange::new(position * blocks / stages, (position + 1) * blocks / stages)?;
            let run = Millis(if alike { 1.0 } else { source.pick(&[0.0, 0.01, 1.0, 1.0, 250.0]) * (1.0 + source.unit()) });
            segments.push(Segment { stage: Stage { offer: offer_id(device, "cpu")?, range }, device, replica, position, run, divisible });
        }
    }
    let borders = (0..blocks).map(|_| Bytes(source.pick(&[0, 64, 200_000]))).collect();
    Ok(ServedModel { id: model_id(name)?, blocks, borders, segments })
}

fn links(source: &mut Source, devices: u32) -> Result<Links, Broken> {
    let mut measured = BTreeMap::new();
    for from in 0..if source.once_in(2) { devices.min(4) } else { 0 } {
        let to = source.between(0, devices - 1);
        measured.insert((device_id(from)?, device_id(to)?), source.pick(&[Speed::FREE, Speed::BETWEEN_SITES]));
    }
    Ok(Links { measured, ..Links::default() })
}

fn pressure(source: &mut Source) -> Pressures {
    let mut ratio = || source.pick(&[0.0, 0.1, 0.5, 0.5, 0.99, 1.0]);
    Pressures { cpu: ratio(), memory: ratio(), accelerator: ratio(), bandwidth: ratio(), latency: Millis(source.pick(&[0.0, 0.2, 40.0])) }
}

fn request(source: &mut Source, topology: &Topology) -> RouteRequest {
    let model = source.between(0, u32::try_from(topology.models.len().saturating_sub(1)).unwrap_or(0));
    let segments = topology.models.get(model as usize).map_or(0, |model| model.segments.len());
    let loads: &[u32] = source.pick(&[&[0][..], &[0, 1, 2, 3], &[0, 0, 0, 50], &[0x7fff_ffff]]);
    RouteRequest {
        model,
        ordinal: source.pick(&[0, 1, 2, 3, 1000, 0x7fff_ffff]),
        random: source.pick(&[0.0, 0.5, 1.0 - f64::EPSILON]) * source.unit(),
        sequence_key: source.pick(&[0, 0, 1, 0x7fff_ffff]),
        input: Bytes(source.pick(&[0, 64, 600_000])),
        outstanding: (0..segments).map(|_| source.pick(loads)).collect(),
    }
}

/// One model in so many whole replicas of two stages on 16 devices: what latency is measured on.
pub(crate) fn replicas(count: u32, number: u32) -> Result<Topology, Broken> {
    let segment = |replica: u32, position: u32| -> Result<Segment, Broken> {
        let stage = Stage { offer: offer_id(replica % 16, "cpu")?, range: BlockRange::new(position, position + 1)? };
        Ok(Segment { stage, device: replica % 16, replica, position, run: Millis(1.0 + f64::from(replica % 7)), divisible: false })
    };
    let segments = (0..count).flat_map(|replica| [segment(replica, 0), segment(replica, 1)]).collect::<Result<_, _>>()?;
    Ok(Topology {
        number,
        models: vec![ServedModel { id: model_id("generated")?, blocks: 2, borders: vec![Bytes(1024); 2], segments }],
        devices: (0..16).map(|device| Ok(TopologyDevice { id: device_id(device)?, site: 0 })).collect::<Result<_, Broken>>()?,
        ..Topology::default()
    })
}

fn smaller(input: &Arena) -> Vec<Arena> {
    let mut found = Vec::new();
    for gone in 0..input.requests.len() {
        let mut smaller = input.clone();
        smaller.requests.remove(gone);
        found.extend((!smaller.requests.is_empty()).then_some(smaller));
    }
    for gone in 0..input.pressures.len() {
        let mut smaller = input.clone();
        smaller.pressures.remove(gone);
        found.push(smaller);
    }
    for model in 0..input.topology.models.len() {
        found.extend(without_model(input, model));
        let count = input.topology.models[model].segments.len();
        let segments = &input.topology.models[model].segments;
        let replicas: BTreeSet<u32> = segments.iter().map(|segment| segment.replica).collect();
        found.push(with_segments(input, model, |index| index < count / 2));
        found.push(with_segments(input, model, |index| index >= count / 2));
        // Beyond some dozens, one by one is slower than it is worth.
        found.extend(replicas.iter().take(64).map(|gone| with_segments(input, model, |index| segments[index].replica != *gone)));
        found.extend((0..input.topology.models[model].blocks).filter_map(|gone| without_block(input, model, gone)));
        found.extend((0..count.min(64)).map(|gone| with_segments(input, model, |index| index != gone)));
    }
    let simpler: [fn(&mut Arena); 7] = [
        |arena| arena.topology.links = Links::default(),
        |arena| arena.topology.models.iter_mut().flat_map(|model| &mut model.segments).for_each(|segment| segment.device = 0),
        |arena| arena.topology.devices.iter_mut().for_each(|device| device.site = 0),
        |arena| arena.requests.iter_mut().for_each(|request| request.outstanding.iter_mut().for_each(|count| *count = 0)),
        |arena| arena.requests.iter_mut().for_each(|request| (request.ordinal, request.random) = (0, 0.0)),
        |arena| arena.requests.iter_mut().for_each(|request| (request.sequence_key, request.input) = (0, Bytes(0))),
        |arena| arena.topology.models.iter_mut().flat_map(|model| &mut model.segments).for_each(|segment| segment.run = Millis(1.0)),
    ];
    for simplify in simpler {
        let mut simple = input.clone();
        simplify(&mut simple);
        found.push(simple);
    }
    found.retain(|smaller| smaller != input);
    found
}

/// The input with some of a model's segments.
fn with_segments(input: &Arena, model: usize, keep: impl Fn(usize) -> bool) -> Arena {
    let mut smaller = input.clone();
    let mut index = 0..;
    smaller.topology.models[model].segments.retain(|_| index.next().is_some_and(&keep));
    for request in smaller.requests.iter_mut().filter(|request| request.model as usize == model) {
        let mut index = 0..;
        request.outstanding.retain(|_| index.next().is_some_and(&keep));
    }
    smaller
}

/// The input with one block of a model less, and without the segments that held nothing else.
fn without_block(input: &Arena, model: usize, gone: u32) -> Option<Arena> {
    let served = input.topology.models.get(model).filter(|model| model.blocks > 1)?;
    let moved = |border: u32| border - u32::from(border > gone);
    let range = |segment: &Segment| BlockRange::new(moved(segment.range().start()), moved(segment.range().end())).ok();
    let ranges: Vec<Option<BlockRange>> = served.segments.iter().map(range).collect();
    let mut smaller = with_segments(input, model, |index| ranges[index].is_some());
    let served = &mut smaller.topology.models[model];
    served.segments.iter_mut().zip(ranges.into_iter().flatten()).for_each(|(segment, range)| segment.stage.range = range);
    served.blocks -= 1;
    served.borders.remove(gone as usize);
    Some(smaller)
}

/// The input without a model that no request asks for.
fn without_model(input: &Arena, gone: usize) -> Option<Arena> {
    if input.requests.iter().any(|request| request.model as usize == gone) {
        return None;
    }
    let mut smaller = input.clone();
    smaller.topology.models.remove(gone);
    smaller.requests.iter_mut().for_each(|request| request.model -= u32::from(gone < request.model as usize));
    Some(smaller)
}

/// The input as an author reads it.
fn render(input: &Arena) -> String {
    let mut text = String::new();
    // Writing to a text cannot fail.
    let _ = writeln!(text, "{} devices, {} measured links", input.topology.devices.len(), input.topology.links.measured.len());
    for (index, model) in input.topology.models.iter().enumerate() {
        let _ = writeln!(text, "model {index}: {}, {} blocks, {} segments", model.id, model.blocks, model.segments.len());
        for (index, segment) in model.segments.iter().enumerate() {
            let kind = if segment.divisible { ", divisible" } else { "" };
            let (range, run) = (segment.range(), segment.run);
            let _ =
                writeln!(text, "  segment {index}: {range} on device {}, replica {} stage {}, {run}{kind}", segment.device, segment.replica, segment.position);
        }
    }
    for table in &input.pressures {
        let cells: Vec<String> =
            table.iter().map(|(device, pressure)| format!("{device}: cpu {} accelerator {}", pressure.cpu, pressure.accelerator)).collect();
        let _ = writeln!(text, "pressures: {}", cells.join(", "));
    }
    for request in &input.requests {
        let RouteRequest { model, ordinal, random, sequence_key, input, outstanding } = request;
        let _ = writeln!(text, "request of model {model}: ordinal {ordinal}, random {random:?}, sequence {sequence_key}, {input}, outstanding {outstanding:?}");
    }
    text.trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn generated_requests_fit_their_models_and_so_do_smaller_ones() {
        let fits = |arena: &Arena| {
            let counts = arena.requests.iter().map(|request| (request.outstanding.len(), arena.topology.models[request.model as usize].segments.len()));
            counts.into_iter().all(|(outstanding, segments)| outstanding == segments)
        };
        for number in 0..200 {
            let input = arena(&mut Source::of(4, number), 6).expect("an arena");
            assert!(fits(&input) && smaller(&input).iter().all(fits), "{number}");
            assert!(input.pressures.iter().all(|table| table.len() == input.topology.devices.len()));
        }
    }

    #[test]
    fn a_path_is_known_to_exist_where_segments_meet() {
        let mut topology = replicas(2, 1).expect("a topology");
        assert!(reachable(&topology.models[0]));
        topology.models[0].segments.retain(|segment| segment.position == 0);
        assert!(!reachable(&topology.models[0]));
    }
}
