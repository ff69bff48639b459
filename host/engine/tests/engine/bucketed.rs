//! The golden probe of graphs that were made for fixed lengths, which are not those of the golden inputs.

use host_core::units::Bytes;
use host_engine::{
    ElementType, EncoderSize, Engine, EngineInfo, Engines, Error, Fault, Graph, Kind, LoadOptions, Shard, Tensor, TensorSpec, TractEngine, check_inputs,
    generate, split,
};

use crate::chain::inspected;

/// Takes an encoder at the lengths of its buckets only, with its inputs turned round and of 32 bits, and is off by a part of each answer.
#[derive(Clone, Debug)]
struct Fixed {
    lengths: &'static [usize],
    off: f32,
    half: Option<&'static str>,
}

impl Engine for Fixed {
    fn info(&self) -> EngineInfo {
        let attributes = self.half.map(|when| (EngineInfo::HALF.to_owned(), when.to_owned())).into_iter().collect();
        EngineInfo { name: "fixed".to_owned(), accelerator: "npu".to_owned(), attributes, ..TractEngine.info() }
    }

    fn load(&self, shard: &Shard, _options: &LoadOptions) -> Result<Box<dyn Graph>, Error> {
        let inner = TractEngine.load(shard, &LoadOptions::default())?;
        let bucket = |&length: &usize| inner.inputs().iter().rev().map(|spec| TensorSpec::fixed(&spec.name, ElementType::Int32, &[1, length])).collect();
        let buckets = self.lengths.iter().map(bucket).collect();
        Ok(Box::new(FixedGraph { inner, buckets, off: self.off }))
    }
}

#[derive(Debug)]
struct FixedGraph {
    inner: Box<dyn Graph>,
    buckets: Vec<Vec<TensorSpec>>,
    off: f32,
}

impl Graph for FixedGraph {
    fn inputs(&self) -> &[TensorSpec] {
        self.inner.inputs()
    }

    fn outputs(&self) -> &[TensorSpec] {
        self.inner.outputs()
    }

    fn memory(&self) -> Bytes {
        self.inner.memory()
    }

    fn run(&mut self, inputs: Vec<Tensor>) -> Result<Vec<Tensor>, Error> {
        let Some(bucket) = self.buckets.iter().find(|bucket| check_inputs(bucket, &inputs).is_ok()) else {
            return Err(Error::unsupported("no bucket has these shapes"));
        };
        let smallest = self.buckets.iter().map(|bucket| bucket[0].shape[1].fixed()).min();
        assert_eq!(Some(bucket[0].shape[1].fixed()), smallest, "the smallest one is asked");
        let turned = inputs.iter().rev().map(|input| input.cast(ElementType::Int64)).collect::<Result<_, _>>()?;
        let off = |output: &Tensor| {
            let values: Vec<f32> = output.to_f32().unwrap_or_default().iter().map(|value| value * (1.0 + self.off)).collect();
            Tensor::from_f32(output.shape(), &values)
        };
        self.inner.run(turned)?.iter().map(off).collect()
    }

    fn share(&self) -> Result<Box<dyn Graph>, Error> {
        Ok(Box::new(Self { inner: self.inner.share()?, buckets: self.buckets.clone(), off: self.off }))
    }

    fn buckets(&self) -> Vec<Vec<TensorSpec>> {
        self.buckets.clone()
    }
}

fn encoder() -> Shard {
    let size = EncoderSize { vocabulary: 50, hidden: 32, layers: 2, heads: 4, feed_forward: 64, length_max: 32 };
    let inspection = inspected(&generate(&Kind::Encoder(size), 3).expect("a small encoder"), "encoder").with_golden().expect("golden answers");
    split(&inspection, &[]).expect("the whole model").remove(0)
}

#[test]
fn a_graph_of_other_lengths_is_checked_at_those_of_its_smallest_bucket() {
    let shard = encoder();
    let golden = shard.golden.as_ref().expect("made with golden answers").inputs[0].shape().to_vec();
    assert_eq!(golden, [1, 5], "no bucket below has this length");
    struct Case {
        off: f32,
        half: Option<&'static str>,
        fp16: &'static str,
        is_right: bool,
    }
    let cases = [
        Case { off: 0.0, half: None, fp16: "false", is_right: true },
        Case { off: 0.01, half: None, fp16: "true", is_right: false },
        Case { off: 0.01, half: Some(EngineInfo::ALWAYS), fp16: "false", is_right: true },
        Case { off: 0.01, half: Some("fp16"), fp16: "true", is_right: true },
        Case { off: 0.01, half: Some("fp16"), fp16: "false", is_right: false },
        Case { off: 0.1, half: Some(EngineInfo::ALWAYS), fp16: "true", is_right: false },
        Case { off: f32::NAN, half: Some(EngineInfo::ALWAYS), fp16: "true", is_right: false },
    ];
    for Case { off, half, fp16, is_right } in cases {
        let engines = Engines::new(vec![std::sync::Arc::new(Fixed { lengths: &[16, 8], off, half })]);
        let options = LoadOptions { settings: [("fp16".to_owned(), fp16.to_owned())].into(), ..LoadOptions::default() };
        match engines.load("fixed", &shard, &options) {
            Ok(_) => assert!(is_right, "{off} {half:?} {fp16}"),
            Err(error) => assert!(!is_right && matches!(error.fault(), Fault::Probe { .. }), "{off} {half:?} {fp16}: {error}"),
        }
    }
}
