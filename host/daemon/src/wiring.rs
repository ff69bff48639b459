//! Which tensor of a request, or of the stage before, feeds which input of a shard, and where its outputs go.

use std::sync::Arc;

use host_engine::{Shard, Tensor, TensorSpec};

use crate::{error::Error, stage_fault::StageFault};

/// Where an input of a shard comes from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Feed {
    /// The activation that the stage before sent.
    Border,
    /// An input of the request, by position in the model's inputs.
    Input(usize),
}

/// Where an output of a shard goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Yield {
    /// To the next stage.
    Border,
    /// To the client, by position in the model's outputs.
    Output(usize),
}

/// The wiring of one shard of one model.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Wiring {
    feeds: Vec<Feed>,
    yields: Vec<Yield>,
}

/// What a request has become after some stages.
#[derive(Clone, Debug, Default)]
pub struct Progress {
    /// What the last stage sent on; none before the first stage and after the last.
    pub border: Option<Tensor>,
    /// Outputs of the model that are known, by position.
    pub outputs: Vec<(usize, Tensor)>,
}

impl Wiring {
    /// Finds every input and output of a shard among its borders and the model's own inputs and outputs.
    pub fn of(shard: &Shard, inputs: &[TensorSpec], outputs: &[TensorSpec]) -> Result<Self, Error> {
        let position = |specs: &[TensorSpec], name: &str| specs.iter().position(|spec| spec.name == name);
        let unknown = |name: &str| Error::from(StageFault::UnknownTensor { shard: shard.id.clone(), tensor: name.to_owned() });
        let feed = |spec: &TensorSpec| match () {
            () if shard.border_in.as_deref() == Some(&spec.name) => Ok(Feed::Border),
            () => position(inputs, &spec.name).map(Feed::Input).ok_or_else(|| unknown(&spec.name)),
        };
        let yielded = |spec: &TensorSpec| match () {
            () if shard.border_out.as_deref() == Some(&spec.name) => Ok(Yield::Border),
            () => position(outputs, &spec.name).map(Yield::Output).ok_or_else(|| unknown(&spec.name)),
        };
        Ok(Self { feeds: shard.inputs.iter().map(feed).collect::<Result<_, _>>()?, yields: shard.outputs.iter().map(yielded).collect::<Result<_, _>>()? })
    }

    /// The wiring that another host found: for each input and output of the shard its position among the model's, none for
    /// the border.
    pub fn given(feeds: &[Option<usize>], yields: &[Option<usize>]) -> Self {
        let feed = |feed: &Option<usize>| feed.map_or(Feed::Border, Feed::Input);
        let yielded = |yielded: &Option<usize>| yielded.map_or(Yield::Border, Yield::Output);
        Self { feeds: feeds.iter().map(feed).collect(), yields: yields.iter().map(yielded).collect() }
    }

    /// The inputs of the model that the shard reads, by position; none for the border, in the shard's declared order.
    pub fn feeds(&self) -> Vec<Option<usize>> {
        self.feeds.iter().map(|feed| if let Feed::Input(position) = feed { Some(*position) } else { None }).collect()
    }

    /// The outputs of the model that the shard makes, by position; none for the border, in the shard's declared order.
    pub fn yields(&self) -> Vec<Option<usize>> {
        self.yields.iter().map(|yielded| if let Yield::Output(position) = yielded { Some(*position) } else { None }).collect()
    }

    /// The inputs of the model that the shard reads, by position.
    pub fn reads(&self) -> Arc<[usize]> {
        self.feeds().into_iter().flatten().collect()
    }

    /// The shard's inputs in its declared order. Tensors are shared, not copied.
    pub fn gather(&self, inputs: &[Option<Tensor>], progress: &mut Progress) -> Result<Vec<Tensor>, Error> {
        let border = progress.border.take();
        let feed = |feed: &Feed| match feed {
            Feed::Border => border.clone().ok_or_else(|| StageFault::NothingSent { what: "the activation of the stage before" }.into()),
            Feed::Input(index) => inputs.get(*index).cloned().flatten().ok_or_else(|| StageFault::NothingSent { what: "an input of the request" }.into()),
        };
        self.feeds.iter().map(feed).collect()
    }

    /// Takes the shard's outputs, in its declared order.
    pub fn scatter(&self, tensors: Vec<Tensor>, progress: &mut Progress) -> Result<(), Error> {
        if tensors.len() != self.yields.len() {
            return Err(StageFault::OutputCount { expected: self.yields.len(), found: tensors.len() }.into());
        }
        for (yielded, tensor) in self.yields.iter().zip(tensors) {
            match yielded {
                Yield::Border => progress.border = Some(tensor),
                Yield::Output(index) => progress.outputs.push((*index, tensor)),
            }
        }
        Ok(())
    }
}
