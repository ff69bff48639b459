//! Which routing policy chooses whose way, by the names of slots beside `routing`: `sticky` is the slot `routing/sticky`. Whether
//! a policy of a name is there is not known here.

use std::collections::{BTreeMap, BTreeSet};

use host_plugin::SlotName;
use serde_json::{Value, json};

use super::settings::structured;

/// The word that stands for every policy.
const ALL: &str = "all";

/// Who chooses the way of which requests. What is not said is chosen by the slot `routing`.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Routing {
    /// For models of which nothing else is said.
    pub default: Option<String>,
    /// By a model's name. Wins over its `model.yaml`.
    pub models: BTreeMap<String, String>,
    /// What a request may ask for.
    pub requests: AllowedPolicies,
}

/// The policies that a request may ask for.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub enum AllowedPolicies {
    /// Whatever is plugged in.
    #[default]
    All,
    /// These. Empty for none.
    Only(BTreeSet<String>),
}

impl AllowedPolicies {
    /// Whether a request may ask for a policy.
    pub fn allows(&self, name: &str) -> bool {
        match self {
            Self::All => true,
            Self::Only(names) => names.contains(name),
        }
    }

    /// As the config would say it.
    pub(super) fn shown(&self) -> Value {
        match self {
            Self::All => json!(ALL),
            Self::Only(names) => json!(names),
        }
    }
}

/// Whether a slot beside `routing` may have this name.
pub fn is_policy_name(name: &str) -> bool {
    SlotName::parse(&format!("routing/{name}")).is_ok()
}

pub(super) fn policy(field: &mut Option<String>, value: &Value) -> Result<(), String> {
    *field = Some(name(value).ok_or("it must be the name of a routing policy, such as sticky for the slot routing/sticky")?);
    Ok(())
}

pub(super) fn by_model(field: &mut BTreeMap<String, String>, value: &Value) -> Result<(), String> {
    let expected = "it must name a routing policy for each model, such as digits: sticky";
    let Value::Object(entries) = structured(value) else { return Err(expected.to_owned()) };
    *field = entries.into_iter().map(|(model, policy)| Some((model, name(&policy)?))).collect::<Option<_>>().ok_or(expected)?;
    Ok(())
}

pub(super) fn allowed(field: &mut AllowedPolicies, value: &Value) -> Result<(), String> {
    let expected = "it must be all, or a list of routing policies such as [sticky, weighted]";
    *field = match structured(value) {
        Value::String(word) if word == ALL => AllowedPolicies::All,
        Value::Array(names) => AllowedPolicies::Only(names.iter().map(name).collect::<Option<_>>().ok_or(expected)?),
        _ => return Err(expected.to_owned()),
    };
    Ok(())
}

fn name(value: &Value) -> Option<String> {
    value.as_str().filter(|name| is_policy_name(name)).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn policies_are_read_by_name_and_what_is_none_is_refused() {
        let mut routing = Routing::default();
        assert_eq!(policy(&mut routing.default, &json!("sticky")), Ok(()));
        assert_eq!(by_model(&mut routing.models, &json!({"digits": "weighted"})), Ok(()));
        assert_eq!(allowed(&mut routing.requests, &json!(r#"["sticky"]"#)), Ok(()));
        let models = BTreeMap::from([("digits".to_owned(), "weighted".to_owned())]);
        let requests = AllowedPolicies::Only(BTreeSet::from(["sticky".to_owned()]));
        assert_eq!(routing, Routing { default: Some("sticky".into()), models, requests });
        assert!(policy(&mut routing.default, &json!("routing/sticky")).is_err_and(|reason| reason.contains("routing/sticky")));
        assert!(by_model(&mut routing.models, &json!({"digits": 7})).is_err_and(|reason| reason.contains("digits: sticky")));
        assert!(allowed(&mut routing.requests, &json!("sticky")).is_err_and(|reason| reason.contains("[sticky, weighted]")));
    }

    #[test]
    fn what_is_allowed_is_shown_as_it_is_read() {
        for value in [json!("all"), json!([]), json!(["a", "b"])] {
            let mut read = AllowedPolicies::All;
            assert_eq!(allowed(&mut read, &value), Ok(()));
            assert_eq!(read.shown(), value);
            assert_eq!(read.allows("a"), value != json!([]));
        }
    }
}
