//! Registry settings of several files made into one, as containerd 2.x merges them: later files win, key by key
//! (`mergeConfig`, `cmd/containerd/server/config/config.go@v2.0.11`:432; arrays are replaced).
//!
//! containerd 1.x merges nothing inside a plugin's section, so there is nothing here for it.

use std::collections::HashMap;
use std::rc::Rc;

use super::registry::{HostConfig, Mirror, Registry, Tls};
use crate::finding::Placed;

/// The settings of `layers` together, the last one on top.
pub fn merge(layers: &[&Rc<Registry>]) -> Rc<Registry> {
    let [first, rest @ ..] = layers else {
        return Rc::default();
    };
    if rest.is_empty() {
        return Rc::clone(first);
    }
    let mut merged = Registry::clone(first);
    let mut mirrors = index(&merged.mirrors, |mirror| &mirror.name.value);
    let mut configs = index(&merged.configs, |config| &config.name.value);
    let mut auths = index(&merged.auths, |entry| &entry.name.value);
    for layer in rest {
        if layer.config_path.is_some() || layer.cleared_config_path.is_some() {
            merged.config_path.clone_from(&layer.config_path);
            merged
                .cleared_config_path
                .clone_from(&layer.cleared_config_path);
        }
        for mirror in &layer.mirrors {
            let known = mirrors.get(&mirror.name.value);
            match known.and_then(|index| merged.mirrors.get_mut(*index)) {
                Some(below) => merge_mirror(below, mirror),
                None => {
                    mirrors.insert(mirror.name.value.clone(), merged.mirrors.len());
                    merged.mirrors.push(mirror.clone());
                }
            }
        }
        for config in &layer.configs {
            let known = configs.get(&config.name.value);
            match known.and_then(|index| merged.configs.get_mut(*index)) {
                Some(below) => merge_config(below, config),
                None => {
                    configs.insert(config.name.value.clone(), merged.configs.len());
                    merged.configs.push(config.clone());
                }
            }
        }
        for entry in &layer.auths {
            let known = auths.get(&entry.name.value);
            match known.and_then(|index| merged.auths.get_mut(*index)) {
                Some(below) => below.credentials.extend(entry.credentials.clone()),
                None => {
                    auths.insert(entry.name.value.clone(), merged.auths.len());
                    merged.auths.push(entry.clone());
                }
            }
        }
        merged.headers.extend(layer.headers.clone());
        merged.kept.extend(layer.kept.iter().cloned());
    }
    Rc::new(merged)
}

fn index<T>(entries: &[T], name: impl Fn(&T) -> &String) -> HashMap<String, usize> {
    entries
        .iter()
        .enumerate()
        .map(|(index, entry)| (name(entry).clone(), index))
        .collect()
}

fn merge_mirror(below: &mut Mirror, above: &Mirror) {
    if above.endpoint_key.is_some() {
        below.endpoints.clone_from(&above.endpoints);
        below.endpoint_key.clone_from(&above.endpoint_key);
    }
    below.unknown.extend(above.unknown.iter().cloned());
}

fn merge_config(below: &mut HostConfig, above: &HostConfig) {
    match (&mut below.tls, &above.tls) {
        (Some(below), Some(above)) => merge_tls(below, above),
        (none @ None, Some(above)) => *none = Some(above.clone()),
        (_, None) => {}
    }
    if let Some(above) = &above.auth {
        below.auth.get_or_insert_default().extend(above.clone());
    }
    below.has_more |= above.has_more;
}

fn merge_tls(below: &mut Tls, above: &Tls) {
    for key in &above.keys {
        // A key with an empty string is there, and clears what is below.
        let same = |other: &Placed<String>| other.value.eq_ignore_ascii_case(&key.value);
        match key.value.to_ascii_lowercase().as_str() {
            "ca_file" => below.ca_file.clone_from(&above.ca_file),
            "cert_file" => below.cert_file.clone_from(&above.cert_file),
            "key_file" => below.key_file.clone_from(&above.key_file),
            _ => below.skip_verify.clone_from(&above.skip_verify),
        }
        below.keys.retain(|other| !same(other));
        below.keys.push(key.clone());
    }
    below.unknown.extend(above.unknown.iter().cloned());
}
