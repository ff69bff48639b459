//! Plans in the store: each with why it was made and what was expected of it, and which allocation policy wants it so.

use host_core::plan::CheckedPlan;
use host_wire::admin;
use rusqlite::{Connection, OptionalExtension, Row, params, types::Type};
use serde::{Serialize, de::DeserializeOwned};

use super::{
    Store,
    records::{signed, unsigned},
};
use crate::error::Error;

/// What makes the table of version 3 that of version 4. Both columns are JSON.
pub(super) const FROM_VERSION_3: &str = "
ALTER TABLE plan ADD COLUMN policy TEXT;
ALTER TABLE plan ADD COLUMN expected TEXT;
";

impl Store {
    /// Keeps a plan, why it was made and what is expected of it, and forgets the oldest ones.
    pub fn record_plan(&self, plan: &CheckedPlan, reason: &str, expected: Vec<admin::ExpectedModel>) -> Result<(), Error> {
        let (plan, reason, kept_max) = (admin::Plan::from(plan.plan()), reason.to_owned(), self.inner.limits.plans_kept_max);
        self.inner.writer.write("keep the plan", move |connection| put(connection, &plan, &reason, &expected, kept_max))
    }

    /// Notes that the newest plan is what this allocation policy wants.
    pub fn endorse_plan(&self, policy: admin::PlanPolicy) -> Result<(), Error> {
        self.inner.writer.write("note whose plan it is", move |connection| endorse(connection, &policy))
    }

    /// The allocation policy that was asked about all of a plan last.
    pub fn plan_policy(&self) -> Result<Option<admin::PlanPolicy>, Error> {
        self.inner.writer.write("read whose plan it is", policy)
    }

    /// The newest plans, newest first. What they changed is not kept, because it can be seen.
    pub fn plans(&self, count_max: u32) -> Result<Vec<admin::PlanRecord>, Error> {
        self.inner.writer.write("read plans", move |connection| plans(connection, count_max))
    }
}

fn put(connection: &Connection, plan: &admin::Plan, reason: &str, expected: &[admin::ExpectedModel], kept_max: u32) -> rusqlite::Result<()> {
    let (json, expected, number) = (written(plan)?, written(&expected)?, signed(plan.number));
    let sql = "INSERT OR REPLACE INTO plan (number, reason, json, expected) VALUES (?1, ?2, ?3, ?4)";
    connection.prepare_cached(sql)?.execute(params![number, reason, json, expected])?;
    connection.prepare_cached("DELETE FROM plan WHERE number <= ?1")?.execute(params![number - i64::from(kept_max)])?;
    Ok(())
}

fn endorse(connection: &Connection, policy: &admin::PlanPolicy) -> rusqlite::Result<()> {
    let sql = "UPDATE plan SET policy = ?1 WHERE number = (SELECT MAX(number) FROM plan)";
    connection.prepare_cached(sql)?.execute(params![written(policy)?])?;
    Ok(())
}

fn policy(connection: &Connection) -> rusqlite::Result<Option<admin::PlanPolicy>> {
    let sql = "SELECT policy FROM plan WHERE policy IS NOT NULL ORDER BY number DESC LIMIT 1";
    connection.prepare_cached(sql)?.query_row([], |row| parsed(0, &row.get::<_, String>(0)?)).optional()
}

fn plans(connection: &Connection, count_max: u32) -> rusqlite::Result<Vec<admin::PlanRecord>> {
    let read = |row: &Row<'_>| {
        let plan = parsed(2, &row.get::<_, String>(2)?)?;
        let policy = row.get::<_, Option<String>>(3)?.map(|json| parsed(3, &json)).transpose()?;
        let expected = row.get::<_, Option<String>>(4)?.map(|json| parsed(4, &json)).transpose()?.unwrap_or_default();
        Ok(admin::PlanRecord { made_at_ms: unsigned(row.get(0)?), reason: row.get(1)?, policy, expected, changes: Vec::new(), plan })
    };
    let mut statement = connection.prepare_cached("SELECT made_at_ms, reason, json, policy, expected FROM plan ORDER BY number DESC LIMIT ?1")?;
    statement.query_map(params![count_max], read)?.collect()
}

fn written(value: &impl Serialize) -> rusqlite::Result<String> {
    serde_json::to_string(value).map_err(|error| rusqlite::Error::ToSqlConversionFailure(error.into()))
}

fn parsed<T: DeserializeOwned>(column: usize, json: &str) -> rusqlite::Result<T> {
    serde_json::from_str(json).map_err(|error| rusqlite::Error::FromSqlConversionFailure(column, Type::Text, error.into()))
}
