//! `host metrics`.

use super::{Global, client::Admin, screen::Screen};
use crate::error::Error;

/// The text of Prometheus whatever the output: it is made for programs and read by people.
pub(super) async fn metrics(global: &Global, screen: &mut Screen) -> Result<(), Error> {
    let text = Admin::find(global)?.text("/metrics").await?;
    screen.line(text.trim_end())
}
