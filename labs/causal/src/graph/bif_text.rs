//! Writes a discrete network in the Bayesian Interchange Format.

use std::fmt::Write as _;

use super::bif::{BifNetwork, BifVariable, in_word};
use crate::LabError;

/// Writes a network so that [`super::read_bif`] reads the same. A table of the wrong length, a parent
/// that does not exist and a name with a quotation mark are refused.
pub fn write_bif(network: &BifNetwork) -> Result<String, LabError> {
    let mut out = format!("network {} {{\n}}\n", name(&network.name, "name")?);
    let mut line = |text: std::fmt::Arguments<'_>| {
        out.write_fmt(text)
            .expect("writing to a string cannot fail");
    };
    for (position, variable) in network.variables.iter().enumerate() {
        let field = format!("variables[{position}]");
        let states = names(&variable.states, &field)?;
        let count = variable.states.len();
        let own = name(&variable.name, &field)?;
        line(format_args!(
            "variable {own} {{\n  type discrete [ {count} ] {{ {states} }};\n}}\n"
        ));
    }
    for (position, variable) in network.variables.iter().enumerate() {
        let field = format!("variables[{position}]");
        let parents = parents_of(network, variable, &field)?;
        let given: Vec<String> = parents.iter().map(|parent| parent.name.clone()).collect();
        let bar = if given.is_empty() { "" } else { " | " };
        let (own, given) = (name(&variable.name, &field)?, names(&given, &field)?);
        line(format_args!("probability ( {own}{bar}{given} ) {{\n"));
        if let Some(table) = &variable.table {
            for row in rows(variable, &parents, table, &field)? {
                line(format_args!("  {row};\n"));
            }
        }
        line(format_args!("}}\n"));
    }
    Ok(out)
}

fn parents_of<'a>(
    network: &'a BifNetwork,
    variable: &BifVariable,
    field: &str,
) -> Result<Vec<&'a BifVariable>, LabError> {
    let find = |&parent: &usize| {
        let found = network.variables.get(parent);
        found.ok_or_else(|| LabError::invalid(format!("{field}.parents"), "no such variable"))
    };
    variable.parents.iter().map(find).collect()
}

/// One line for each configuration of the parents.
fn rows(
    variable: &BifVariable,
    parents: &[&BifVariable],
    table: &[f64],
    field: &str,
) -> Result<Vec<String>, LabError> {
    let configurations: usize = parents.iter().map(|parent| parent.states.len()).product();
    if table.len() != configurations.saturating_mul(variable.states.len()) || table.is_empty() {
        let message = "its length is not that of the states and configurations";
        return Err(LabError::invalid(format!("{field}.table"), message));
    }
    let lines = table.chunks_exact(variable.states.len()).enumerate();
    lines
        .map(|(place, row)| {
            let numbers: Vec<String> = row.iter().map(|number| format!("{number:?}")).collect();
            let numbers = numbers.join(", ");
            if parents.is_empty() {
                return Ok(format!("table {numbers}"));
            }
            let mut rest = place;
            let mut states = Vec::with_capacity(parents.len());
            for parent in parents.iter().rev() {
                states.push(parent.states[rest % parent.states.len()].clone());
                rest /= parent.states.len();
            }
            states.reverse();
            Ok(format!("({}) {numbers}", names(&states, field)?))
        })
        .collect()
}

/// A name as BIF has it: in quotation marks unless it is one plain word.
fn name(text: &str, field: &str) -> Result<String, LabError> {
    if text.contains('"') || text.chars().any(char::is_control) {
        return Err(LabError::invalid(
            field,
            "a name in BIF holds no quotation mark and no control character",
        ));
    }
    let plain = !text.is_empty() && !text.contains('/') && text.chars().all(in_word);
    Ok(if plain {
        text.to_owned()
    } else {
        format!("\"{text}\"")
    })
}

fn names(list: &[String], field: &str) -> Result<String, LabError> {
    let list: Result<Vec<String>, LabError> = list.iter().map(|text| name(text, field)).collect();
    Ok(list?.join(", "))
}
