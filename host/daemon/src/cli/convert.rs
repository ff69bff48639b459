//! `host model convert` and `host model artefacts`.

use std::time::Duration;

use clap::Args;
use host_core::units::Bytes;
use host_wire::admin::{Artefact, ArtefactQuery, Conversion, ConversionQuery, ConvertQuery};

use super::{Global, client::Admin, run::stop_signal, screen::Screen};
use crate::error::{Error, Fault};

/// Between two looks at how far a conversion is.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// Digits of a digest that a table shows.
const DIGEST_DIGITS: usize = 12;

#[derive(Debug, Args)]
pub(super) struct ConvertArgs {
    /// Its name
    model: String,
    /// rknn:CHIP, such as rknn:rk3588, ascend:CHIP, such as ascend:Ascend310P3, or tensorrt
    #[arg(long = "for", value_name = "TARGET")]
    target: String,
    /// Lengths of open dimensions, such as batch=1,sequence=64,128; every combination is converted
    #[arg(long, value_name = "NAME=N,N")]
    buckets: Option<String>,
    /// Blocks of each shard, such as 0..3,3..7 [default: as a plan gives them to such accelerators]
    #[arg(long, value_name = "A..B,B..C")]
    ranges: Option<String>,
    /// Run each result in the tool's simulator and compare it with the shard
    #[arg(long)]
    check: bool,
}

/// Begins a conversion on the host and follows it. The first signal cancels it.
pub(super) async fn convert(global: &Global, screen: &mut Screen, args: ConvertArgs) -> Result<(), Error> {
    let admin = Admin::find(global)?;
    let stop = stop_signal()?;
    let query = ConvertQuery { target: args.target, buckets: args.buckets, ranges: args.ranges, check: args.check };
    let begun: Conversion = admin.post(&format!("/models/{}/convert", args.model), &query, Vec::new()).await?;
    let path = format!("/conversions/{}", begun.number);
    let (mut lines, mut from, mut cancelled) = (Vec::new(), 0, false);
    let ended = loop {
        let now: Conversion = admin.query(&path, &ConversionQuery { from }).await?;
        from = now.next;
        if screen.is_json() {
            lines.extend(now.lines.iter().cloned());
        } else {
            now.lines.iter().try_for_each(|line| screen.line(line))?;
        }
        if now.state != "running" {
            break now;
        }
        tokio::select! {
            () = tokio::time::sleep(LOOK_EVERY) => {}
            () = stop.cancelled(), if !cancelled => {
                cancelled = true;
                let _: Conversion = admin.post(&format!("{path}/cancel"), &(), Vec::new()).await?;
            }
        }
    };
    if ended.state != "done" {
        return Err(Fault::Answer { message: ended.reason }.into());
    }
    if screen.is_json() { screen.json(&Conversion { lines, ..ended }) } else { Ok(()) }
}

/// Lists what there is, of one model or of all.
pub(super) async fn artefacts(global: &Global, screen: &mut Screen, model: Option<String>) -> Result<(), Error> {
    let artefacts: Vec<Artefact> = Admin::find(global)?.query("/artefacts", &ArtefactQuery { model }).await?;
    if screen.is_json() {
        return screen.json(&artefacts);
    }
    let row = |artefact: &Artefact| {
        [
            format!("{}@{}[{}..{})", artefact.model, artefact.version, artefact.start, artefact.end),
            artefact.target.clone(),
            Bytes(artefact.bytes).to_string(),
            artefact.digest.chars().take(DIGEST_DIGITS).collect(),
            artefact.bucket.clone(),
        ]
    };
    let rows: Vec<[String; 5]> = artefacts.iter().map(row).collect();
    screen.table(["shard", "for", "size", "sha256", "bucket"], &rows)
}
