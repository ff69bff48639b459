//! What the command line asks about join tokens.

use axum::{
    Json, Router,
    extract::{ConnectInfo, RawQuery, State},
    routing::{get, post},
};
use host_wire::admin::{self, RevokeQuery, TokenQuery};

use super::{AdminDoor, Caller, blocking};
use crate::{api::read_query, error::Error};

type Answered<T> = Result<Json<T>, Error>;

/// Every route about join tokens.
pub(super) fn routes() -> Router<AdminDoor> {
    Router::new().route("/tokens", get(list).post(create)).route("/tokens/revoke", post(revoke))
}

async fn list(State(door): State<AdminDoor>) -> Answered<Vec<admin::Token>> {
    blocking(move || door.tokens.list()).await
}

async fn create(State(door): State<AdminDoor>, ConnectInfo(Caller(who)): ConnectInfo<Caller>, RawQuery(query): RawQuery) -> Answered<admin::NewToken> {
    let query: TokenQuery = read_query(query.as_deref())?;
    blocking(move || door.tokens.create(&who, &query)).await
}

async fn revoke(State(door): State<AdminDoor>, ConnectInfo(Caller(who)): ConnectInfo<Caller>, RawQuery(query): RawQuery) -> Answered<admin::Token> {
    let query: RevokeQuery = read_query(query.as_deref())?;
    blocking(move || door.tokens.revoke(&who, &query.id)).await
}
