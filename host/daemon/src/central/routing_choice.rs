//! Which routing policy chooses the way of a request: the one that the request asks for, where the config allows it, else the
//! one that the config or the model's `model.yaml` names. Pure; asked by the central when a request comes.

use std::sync::Arc;

use crate::{
    config::{AllowedPolicies, Routing},
    error::{Error, Fault, listed},
    models::Model,
};

/// Most characters of a name that is repeated in an error.
const NAME_CHARACTERS_MAX: usize = 80;

/// The slot beside `routing` that answers for a model, by name; none for `routing` itself. `stated` is what the `model.yaml`
/// names, `bound` gives the policies that are plugged in. What a request asks for must be there and allowed. A policy that the
/// config names was there at the start; where it has been taken out since, `routing` answers.
pub fn choose(config: &Routing, model: &str, stated: Option<&str>, asked: Option<&str>, bound: impl FnOnce() -> Vec<String>) -> Result<Option<String>, Error> {
    let configured = configured(config, model, stated);
    if asked.is_none() && configured.is_none() {
        return Ok(None);
    }
    let bound = bound();
    let Some(asked) = asked else { return Ok(configured.map(str::to_owned).filter(|name| bound.contains(name))) };
    known("routing policy", asked, &bound)?;
    match &config.requests {
        AllowedPolicies::Only(allowed) if !config.requests.allows(asked) => {
            Err(Fault::RoutingNotAllowed { name: asked.to_owned(), allowed: allowed.iter().cloned().collect() }.into())
        }
        _ => Ok(Some(asked.to_owned())),
    }
}

/// Refuses a name that no policy has, with those that there are.
pub fn known(what: &'static str, name: &str, known: &[String]) -> Result<(), Error> {
    if known.iter().any(|known| known == name) {
        return Ok(());
    }
    Err(Fault::Unknown { what, name: name.chars().take(NAME_CHARACTERS_MAX).collect(), known: listed(known) }.into())
}

/// Refuses a config that names a policy which is not plugged in, and leaves out the models whose `model.yaml` does.
pub fn check(config: &Routing, models: Vec<Arc<Model>>, bound: &[String]) -> Result<Vec<Arc<Model>>, Error> {
    let default = config.default.iter().map(|name| ("routing".to_owned(), name));
    let named = config.models.iter().map(|(model, name)| (format!("routing_models.{model}"), name));
    let fault = |(key, name): (String, &String)| known("routing policy", name, bound).err().map(|error| format!("{key}: {error}"));
    let faults: Vec<String> = default.chain(named).filter_map(fault).collect();
    if !faults.is_empty() {
        return Err(Fault::Config { faults }.into());
    }
    let is_sound = |model: &Arc<Model>| match model.manifest.routing.as_deref().map(|name| known("routing policy", name, bound)) {
        Some(Err(error)) if !config.models.contains_key(model.id.name.as_str()) => {
            tracing::error!(model = %model.id, %error, "the model could not be loaded");
            false
        }
        _ => true,
    };
    Ok(models.into_iter().filter(is_sound).collect())
}

fn configured<'a>(config: &'a Routing, model: &str, stated: Option<&'a str>) -> Option<&'a str> {
    config.models.get(model).map(String::as_str).or(stated).or(config.default.as_deref())
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::*;

    fn bound() -> Vec<String> {
        ["least-loaded", "sticky", "weighted"].map(str::to_owned).to_vec()
    }

    fn chosen(config: &Routing, stated: Option<&str>, asked: Option<&str>) -> Result<Option<String>, String> {
        choose(config, "digits", stated, asked, bound).map_err(|error| error.to_string())
    }

    fn some(name: &str) -> Result<Option<String>, String> {
        Ok(Some(name.to_owned()))
    }

    #[test]
    fn the_request_wins_over_the_config_that_over_the_model_and_that_over_the_default() {
        let mut config = Routing::default();
        assert_eq!(chosen(&config, None, None), Ok(None));
        config.default = Some("least-loaded".into());
        assert_eq!(chosen(&config, None, None), some("least-loaded"));
        assert_eq!(chosen(&config, Some("sticky"), None), some("sticky"));
        config.models = BTreeMap::from([("digits".into(), "weighted".into()), ("mlp".into(), "sticky".into())]);
        assert_eq!(chosen(&config, Some("sticky"), None), some("weighted"));
        assert_eq!(chosen(&config, Some("sticky"), Some("least-loaded")), some("least-loaded"));
    }

    #[test]
    fn a_request_may_ask_for_what_is_there_and_allowed_and_is_told_what_that_is() {
        let mut config = Routing::default();
        assert_eq!(chosen(&config, None, Some("best")), Err("routing policy `best` does not exist, there are least-loaded, sticky, weighted".into()));
        config.requests = AllowedPolicies::Only(BTreeSet::from(["sticky".into(), "weighted".into()]));
        assert_eq!(chosen(&config, None, Some("sticky")), some("sticky"));
        let refused = "routing policy `least-loaded` may not be asked for, routing_requests allows sticky, weighted";
        assert_eq!(chosen(&config, None, Some("least-loaded")), Err(refused.into()));
        config.requests = AllowedPolicies::Only(BTreeSet::new());
        assert_eq!(chosen(&config, None, Some("sticky")), Err("routing policy `sticky` may not be asked for, routing_requests allows none".into()));
    }

    #[test]
    fn a_policy_that_was_taken_out_leaves_its_models_to_the_default_slot() {
        let config = Routing { default: Some("mine".into()), ..Routing::default() };
        assert_eq!(chosen(&config, None, None), Ok(None));
        assert_eq!(chosen(&config, Some("sticky"), None), some("sticky"));
    }

    #[test]
    fn a_config_that_names_what_is_not_there_is_refused_with_every_key() {
        let config = Routing { default: Some("mine".into()), models: BTreeMap::from([("mlp".into(), "best".into())]), ..Routing::default() };
        let error = check(&config, Vec::new(), &["sticky".to_owned()]).expect_err("neither is there").to_string();
        let lines =
            "routing: routing policy `mine` does not exist, there are sticky\nrouting_models.mlp: routing policy `best` does not exist, there are sticky";
        assert_eq!(error, lines);
        assert!(check(&Routing::default(), Vec::new(), &[]).is_ok());
    }
}
