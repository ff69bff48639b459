//! The policy against all plans there are, known optima, defects of other systems, and its own promises.

mod changes;
mod defects;
mod generated;
mod larger;
mod small;
mod support;
mod vectors;
