//! Evaluates the JSON tree of an estimand on a joint distribution of binary variables, by the
//! definition: a sum loops, a probability adds up the states that agree.

use std::collections::BTreeMap;

use serde_json::Value;

/// A joint distribution in C order over `nodes`: the last node varies fastest.
pub(crate) struct Joint<'a> {
    pub(crate) nodes: &'a [String],
    pub(crate) table: &'a [f64],
}

pub(crate) type Values = BTreeMap<String, usize>;

pub(crate) fn names(value: &Value) -> Vec<String> {
    value
        .as_array()
        .unwrap()
        .iter()
        .map(|name| name.as_str().unwrap().to_owned())
        .collect()
}

/// Every assignment of the names, the last fastest.
pub(crate) fn assignments(names: &[String]) -> impl Iterator<Item = Values> + '_ {
    (0..1_usize << names.len()).map(move |number| {
        let bit = |place: usize| number >> (names.len() - 1 - place) & 1;
        names
            .iter()
            .enumerate()
            .map(|(place, name)| (name.clone(), bit(place)))
            .collect()
    })
}

impl Joint<'_> {
    fn probability(&self, fixed: &[(&String, usize)]) -> f64 {
        let count = self.nodes.len();
        let place = |name: &String| self.nodes.iter().position(|node| node == name).unwrap();
        let wanted: Vec<(usize, usize)> = fixed
            .iter()
            .map(|&(name, value)| (count - 1 - place(name), value))
            .collect();
        let agrees = |state: usize| {
            wanted
                .iter()
                .all(|&(shift, value)| state >> shift & 1 == value)
        };
        (0..self.table.len())
            .filter(|&state| agrees(state))
            .map(|state| self.table[state])
            .sum()
    }

    pub(crate) fn evaluate(&self, node: &Value, values: &mut Values) -> f64 {
        match node["type"].as_str().unwrap() {
            "sum" => {
                let over = names(&node["over"]);
                let outer = values.clone();
                let mut total = 0.0;
                for inner in assignments(&over) {
                    values.extend(inner);
                    total += self.evaluate(&node["of"], values);
                }
                *values = outer;
                total
            }
            "product" => {
                let terms = node["terms"].as_array().unwrap();
                terms
                    .iter()
                    .map(|term| self.evaluate(term, values))
                    .product()
            }
            "fraction" => {
                let numerator = self.evaluate(&node["numerator"], values);
                numerator / self.evaluate(&node["denominator"], values)
            }
            "p" => {
                let (of, given) = (names(&node["of"]), names(&node["given"]));
                let fixed = |list: &[String]| -> Vec<usize> {
                    list.iter().map(|name| values[name]).collect()
                };
                let given_values: Vec<(&String, usize)> = given.iter().zip(fixed(&given)).collect();
                let mut all: Vec<(&String, usize)> = of.iter().zip(fixed(&of)).collect();
                all.extend(&given_values);
                self.probability(&all) / self.probability(&given_values)
            }
            other => panic!("unknown node type {other}"),
        }
    }

    /// The largest difference from the truth, over every value of every variable of the query
    /// and of `free`.
    pub(crate) fn worst_error(
        &self,
        estimand: &Value,
        free: &[String],
        (axes, truth): (&[String], &[f64]),
    ) -> f64 {
        let mut worst = 0.0_f64;
        for (asked, &expected) in assignments(axes).zip(truth) {
            for extra in assignments(free) {
                let mut values = asked.clone();
                values.extend(extra);
                let error = (self.evaluate(estimand, &mut values) - expected).abs();
                assert!(error.is_finite(), "the estimand has no value");
                worst = worst.max(error);
            }
        }
        worst
    }
}

/// Variables that the tree does not bind.
pub(crate) fn free_variables(node: &Value) -> Vec<String> {
    let mut free: Vec<String> = match node["type"].as_str().unwrap() {
        "sum" => {
            let over = names(&node["over"]);
            free_variables(&node["of"])
                .into_iter()
                .filter(|name| !over.contains(name))
                .collect()
        }
        "product" => node["terms"]
            .as_array()
            .unwrap()
            .iter()
            .flat_map(free_variables)
            .collect(),
        "fraction" => [&node["numerator"], &node["denominator"]]
            .into_iter()
            .flat_map(free_variables)
            .collect(),
        _ => [names(&node["of"]), names(&node["given"])].concat(),
    };
    free.sort();
    free.dedup();
    free
}
