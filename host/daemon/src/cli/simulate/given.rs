//! Reads a plan that is simulated as it is.

use std::{fs, path::Path};

use host_core::{
    plan::Plan,
    simulate::{GivenPlan, Scenario},
};
use host_wire::admin;

use crate::error::{Error, Fault};

/// Largest file; a plan for the largest fleet is far smaller.
const FILE_BYTES_MAX: u64 = 64 << 20;

/// What `host plan show -o json` printed, held against the fleet: it must place each of its models, on its devices. Models of the plan
/// that the fleet does not name are left out.
pub(super) fn read(file: &Path, scenario: &Scenario) -> Result<GivenPlan, Error> {
    let path = || file.display().to_string();
    let fault = |error: std::io::Error| Error::from(Fault::File { doing: "read", path: path() }).because(error);
    let wrong = |reason: String| Error::from(Fault::Config { faults: vec![format!("{}: {reason}", path())] });
    let size = fs::metadata(file).map_err(fault)?.len();
    if size > FILE_BYTES_MAX {
        return Err(wrong(format!("it has {size} bytes, a plan has at most {FILE_BYTES_MAX}")));
    }
    let stated: admin::Plan = serde_json::from_slice(&fs::read(file).map_err(fault)?).map_err(|error| wrong(error.to_string()))?;
    let plan = Plan::try_from(stated).map_err(|error| wrong(error.to_string()))?;
    GivenPlan::new(plan, scenario).map_err(wrong)
}
