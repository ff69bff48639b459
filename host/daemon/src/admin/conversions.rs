//! What the command line asks about conversions, and of them.

use axum::{
    Json, Router,
    extract::{Path as Segment, RawQuery, State},
    routing::{get, post},
};
use host_wire::admin::{self, ArtefactQuery, ConversionQuery, ConvertQuery};

use super::{AdminDoor, blocking};
use crate::{
    api::read_query,
    convert::Conversions,
    error::{Error, Fault},
};

type Answered<T> = Result<Json<T>, Error>;

/// Every route about conversions.
pub(super) fn routes() -> Router<AdminDoor> {
    Router::new()
        .route("/models/{model}/convert", post(convert))
        .route("/conversions/{number}", get(show))
        .route("/conversions/{number}/cancel", post(cancel))
        .route("/artefacts", get(artefacts))
}

fn of(door: &AdminDoor) -> Result<Conversions, Error> {
    let none = || Fault::NotOffered { what: "conversion", instead: "this host is a device; ask its central" }.into();
    door.service.conversions().cloned().ok_or_else(none)
}

/// Begins one in the background.
async fn convert(State(door): State<AdminDoor>, Segment(name): Segment<String>, RawQuery(query): RawQuery) -> Answered<admin::Conversion> {
    let query: ConvertQuery = read_query(query.as_deref())?;
    let (model, conversions) = (door.service.model(&name, None)?, of(&door)?);
    Ok(Json(conversions.begin(model, &query)?))
}

async fn show(State(door): State<AdminDoor>, Segment(number): Segment<u64>, RawQuery(query): RawQuery) -> Answered<admin::Conversion> {
    let query: ConversionQuery = read_query(query.as_deref())?;
    Ok(Json(of(&door)?.show(number, query.from)?))
}

async fn cancel(State(door): State<AdminDoor>, Segment(number): Segment<u64>) -> Answered<admin::Conversion> {
    Ok(Json(of(&door)?.cancel(number)?))
}

async fn artefacts(State(door): State<AdminDoor>, RawQuery(query): RawQuery) -> Answered<Vec<admin::Artefact>> {
    let query: ArtefactQuery = read_query(query.as_deref())?;
    let conversions = of(&door)?;
    blocking(move || conversions.list(query.model.as_deref())).await
}
