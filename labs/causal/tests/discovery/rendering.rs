//! What a learned graph is written as is read back as the same graph.

use hindcast_causal::Uncontrolled;
use hindcast_causal::discover::{
    Algorithm, DiscoverRequest, EdgeType, Rendering, discover, render,
};
use hindcast_causal::graph::{GraphLimits, read_bif, read_drawn};

use super::super::{data_folder, dataset};

#[test]
fn every_language_reads_back_to_the_same_edges() {
    let data = dataset(&data_folder().join("sachs/sachs_obs853.csv"));
    for algorithm in [Algorithm::Boss, Algorithm::Fci, Algorithm::Notears] {
        let request = DiscoverRequest {
            algorithm,
            ..Default::default()
        };
        let options = request.options().expect("defaults are valid");
        let found = discover(&data, &options, 1, &Uncontrolled).expect("a graph");
        let wanted = [
            Rendering::Dagitty,
            Rendering::Dot,
            Rendering::Gml,
            Rendering::Svg,
        ];
        let texts = render(&found.graph, &wanted, &data, &Uncontrolled).expect("texts");
        assert_eq!(texts.len(), 4);
        let mut edges: Vec<(String, String)> = found
            .graph
            .edges
            .iter()
            .map(|edge| (edge.from.clone(), edge.to.clone()))
            .collect();
        edges.iter_mut().for_each(|(a, b)| {
            if a > b {
                std::mem::swap(a, b);
            }
        });
        edges.sort();
        assert!(!edges.is_empty());
        for (rendering, text) in &texts {
            let read = read_drawn(text, &GraphLimits::default(), &Uncontrolled);
            if *rendering == Rendering::Svg && read.is_err() {
                assert!(text.starts_with("<svg"), "{text}");
                continue;
            }
            let read = read.unwrap_or_else(|error| panic!("{rendering:?}: {error}\n{text}"));
            let mut again: Vec<(String, String)> = read
                .edges
                .iter()
                .map(|edge| (edge.from.clone(), edge.to.clone()))
                .map(|(a, b)| if a > b { (b, a) } else { (a, b) })
                .collect();
            again.sort();
            assert_eq!(again, edges, "{rendering:?}");
        }
    }
}

#[test]
fn a_network_holds_the_probabilities_of_its_data() {
    let data = dataset(&data_folder().join("discrete/asia_5000.csv"));
    let request = DiscoverRequest {
        algorithm: Algorithm::Ges,
        ..Default::default()
    };
    let options = request.options().expect("defaults are valid");
    let found = discover(&data, &options, 1, &Uncontrolled).expect("a graph");
    let texts = render(&found.graph, &[Rendering::Bif], &data, &Uncontrolled).expect("a network");
    let text = &texts[&Rendering::Bif];
    let network = read_bif(text).expect("it reads back");
    assert_eq!(network.variables.len(), 8);
    let directed = found.graph.edges.iter();
    for edge in directed.filter(|edge| edge.kind == EdgeType::Directed) {
        let child = network
            .variables
            .iter()
            .find(|v| v.name == edge.to)
            .expect("a variable");
        let parents = child
            .parents
            .iter()
            .map(|p| network.variables[*p].name.as_str());
        assert!(
            parents.collect::<Vec<_>>().contains(&edge.from.as_str()),
            "{edge:?}"
        );
    }
    for variable in &network.variables {
        let table = variable.table.as_ref().expect("a table");
        let states = variable.states.len();
        for row in table.chunks(states) {
            assert!((row.iter().sum::<f64>() - 1.0).abs() < 1e-9, "{variable:?}");
        }
        if variable.parents.is_empty() {
            // A root's probabilities are the shares in the rows, up to the prior's one row.
            let place = data
                .names()
                .iter()
                .position(|n| *n == variable.name)
                .expect("a column");
            let codes = data.codes().expect("categories");
            for (values, count) in codes.counts(&[place]).iter() {
                let share = f64::from(count) / 5_000.0;
                assert!(
                    (table[usize::from(values[0])] - share).abs() < 1e-3,
                    "{variable:?}"
                );
            }
        }
    }
    let numbers = dataset(&data_folder().join("sem/er2_gauss_d10_s0.csv"));
    let learned = discover(&numbers, &options, 1, &Uncontrolled).expect("a graph");
    let refused = render(&learned.graph, &[Rendering::Bif], &numbers, &Uncontrolled).unwrap_err();
    assert!(
        refused
            .to_string()
            .starts_with("formats[0]: bif needs categories"),
        "{refused}"
    );
}
