//! What is done with rows: the bootstrap, and rows that miss a value.

use hindcast_causal::data::{Dataset, Limits, Table};
use hindcast_causal::discover::{
    Algorithm, DiscoverRequest, Discovery, Missing, ScoreChoice, TestChoice, WarningCode,
    discover_with,
};
use hindcast_causal::{LabError, Uncontrolled};

use crate::support::{data_folder, dataset};
use crate::{from_columns, has, noise, sem};

fn answer(data: &Dataset, request: &DiscoverRequest) -> Result<Discovery, LabError> {
    let (options, handling) = (request.options()?, request.handling()?);
    discover_with(data, &options, handling, (1, &Uncontrolled))
}

fn replicated(algorithm: Algorithm, replicates: u32) -> DiscoverRequest {
    DiscoverRequest {
        algorithm,
        bootstrap: Some(replicates),
        ..Default::default()
    }
}

#[test]
fn every_algorithm_says_how_stable_its_edges_are() {
    let (data, _) = sem("er2_gauss_d10_s2");
    let algorithms = [
        Algorithm::Boss,
        Algorithm::Grasp,
        Algorithm::Ges,
        Algorithm::Eqvar,
        Algorithm::Correlation,
        Algorithm::Pc,
        Algorithm::Fci,
        Algorithm::DirectLingam,
        Algorithm::Dagma,
    ];
    for algorithm in algorithms {
        let found = answer(&data, &replicated(algorithm, 6)).unwrap();
        let stability = found.stability.as_ref().unwrap();
        assert_eq!(
            (stability.replicates, stability.failed),
            (6, 0),
            "{algorithm:?}"
        );
        assert_eq!(found.parameters.bootstrap, Some(6));
        let at = |name: &str| found.graph.nodes.iter().position(|n| n == name).unwrap();
        let pairs = &stability.pairs;
        assert!(
            pairs
                .windows(2)
                .all(|w| (at(&w[0].a), at(&w[0].b)) < (at(&w[1].a), at(&w[1].b)))
        );
        for pair in pairs {
            let kinds = [
                pair.forward,
                pair.backward,
                pair.undirected,
                pair.bidirected,
                pair.partially_forward,
                pair.partially_backward,
                pair.nondirected,
            ];
            let all: f64 = kinds.iter().sum();
            assert!((all - pair.adjacent).abs() < 1e-12 && pair.adjacent > 0.0);
        }
        for edge in &found.graph.edges {
            let own = edge.stability.unwrap();
            assert!(own.orientation <= own.edge);
        }
        // Most edges of ten variables and a thousand rows are found in most replicates.
        let edges = &found.graph.edges;
        let mean = edges.iter().map(|e| e.stability.unwrap().edge).sum::<f64>();
        assert!(mean / edges.len() as f64 > 0.6, "{algorithm:?}: {mean}");
    }
}

#[test]
fn stability_is_the_same_with_any_number_of_threads_and_follows_the_seed() {
    let (data, _) = sem("er2_gauss_d10_s0");
    let request = replicated(Algorithm::Boss, 12);
    let with_threads = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .build()
            .unwrap();
        pool.install(|| serde_json::to_string(&answer(&data, &request).unwrap()).unwrap())
    };
    let first = with_threads(1);
    assert_eq!(first, with_threads(3));
    let parsed: Discovery = serde_json::from_str(&first).unwrap();
    assert_eq!(serde_json::to_string(&parsed).unwrap(), first);
    let (options, handling) = (request.options().unwrap(), request.handling().unwrap());
    let other = discover_with(&data, &options, handling, (2, &Uncontrolled)).unwrap();
    assert_ne!(other.stability, parsed.stability);
    assert!(request.draws() && replicated(Algorithm::Eqvar, 1).draws());
    assert!(!replicated(Algorithm::Eqvar, 0).draws());
}

/// a -> b strong, c apart: the edge is always there, and no other is in most replicates.
#[test]
fn frequencies_tell_a_strong_edge_from_none() {
    let a = noise(200, 0);
    let b: Vec<f64> = a
        .iter()
        .zip(noise(200, 1))
        .map(|(x, e)| 2.0 * x + e)
        .collect();
    let data = from_columns(&[a, b, noise(200, 2)]);
    let found = answer(&data, &replicated(Algorithm::Pc, 100)).unwrap();
    let pairs = found.stability.unwrap().pairs;
    assert_eq!((pairs[0].a.as_str(), pairs[0].b.as_str()), ("x0", "x1"));
    assert!(pairs[0].adjacent > 0.999 && pairs[0].undirected > 0.8);
    assert!(pairs[1..].iter().all(|p| p.adjacent < 0.3));
}

#[test]
fn categories_are_drawn_by_rows() {
    let data = dataset(&data_folder().join("discrete/sachs_2000.csv"));
    let scored = DiscoverRequest {
        score: Some(ScoreChoice::Bdeu),
        restarts: Some(0),
        ..replicated(Algorithm::Boss, 5)
    };
    let tested = DiscoverRequest {
        test: Some(TestChoice::GSquare),
        ..replicated(Algorithm::Pc, 5)
    };
    for request in [scored, tested] {
        let found = answer(&data, &request).unwrap();
        let stability = found.stability.unwrap();
        assert_eq!(stability.replicates, 5);
        let certain = stability.pairs.iter().filter(|p| p.adjacent > 0.99).count();
        assert!(certain >= 8, "{certain}");
    }
}

/// A column that differs in one row of 30 is constant in a third of the replicates.
#[test]
fn replicates_without_a_graph_are_counted_and_warned_of() {
    let mut rare = vec![0.0; 30];
    rare[7] = 1.0;
    let data = from_columns(&[noise(30, 0), noise(30, 1), rare]);
    let found = answer(&data, &replicated(Algorithm::Boss, 60)).unwrap();
    let stability = found.stability.as_ref().unwrap();
    assert_eq!(stability.replicates + stability.failed, 60);
    assert!((8..35).contains(&stability.failed), "{}", stability.failed);
    assert!(has(&found, WarningCode::ReplicatesFailed));
}

#[test]
fn more_replicates_than_the_limit_are_refused() {
    let error = replicated(Algorithm::Boss, 1001).handling().unwrap_err();
    assert_eq!(
        error.to_string(),
        "bootstrap: has to be from 0 to 1000, is 1001"
    );
}

/// b follows a, c follows b; each cell is missing with probability 0.2.
fn holes() -> Dataset {
    let mut rng = hindcast_stats::Philox::new(9, 0);
    let mut text = String::from("a,b,c\n");
    for _ in 0..600 {
        let a = rng.normal();
        let b = a + rng.normal();
        let c = b + rng.normal();
        let cells = [a, b, c].map(|x| {
            if rng.uniform() < 0.2 {
                String::new()
            } else {
                x.to_string()
            }
        });
        text.push_str(&cells.join(","));
        text.push('\n');
    }
    let table = Table::parse_csv(text.as_bytes(), &Limits::default()).unwrap();
    table.dataset().unwrap()
}

fn missing(algorithm: Algorithm, missing: Missing) -> DiscoverRequest {
    DiscoverRequest {
        algorithm,
        missing: Some(missing),
        ..Default::default()
    }
}

#[test]
fn pairwise_moments_use_more_rows_and_say_how_many() {
    let data = holes();
    let listwise = answer(&data, &missing(Algorithm::Boss, Missing::Listwise)).unwrap();
    assert!(has(&listwise, WarningCode::ListwiseDeletion));
    for algorithm in [
        Algorithm::Boss,
        Algorithm::Pc,
        Algorithm::Notears,
        Algorithm::Eqvar,
    ] {
        let pairwise = answer(&data, &missing(algorithm, Missing::Pairwise)).unwrap();
        let warning = pairwise
            .warnings
            .iter()
            .find(|w| w.code == WarningCode::PairwiseDeletion)
            .unwrap();
        assert!((warning.value.unwrap() - pairwise.rows_used as f64).abs() < 0.5);
        assert!(
            pairwise.rows_used > listwise.rows_used + 30,
            "{algorithm:?}"
        );
        assert!(!has(&pairwise, WarningCode::ListwiseDeletion));
        assert_eq!(pairwise.parameters.missing, Some(Missing::Pairwise));
        assert_ne!(pairwise.data_hash, listwise.data_hash);
        assert_eq!(pairwise.graph.edges.len(), 2);
    }
}

#[test]
fn what_cannot_be_done_with_missing_values_is_refused() {
    let data = holes();
    let error = |request: &DiscoverRequest| answer(&data, request).unwrap_err().to_string();
    let dropped = data.rows_dropped();
    assert_eq!(
        error(&missing(Algorithm::Boss, Missing::Refuse)),
        format!("data: {dropped} rows miss a value")
    );
    assert_eq!(
        error(&missing(Algorithm::DirectLingam, Missing::Pairwise)),
        "missing: direct_lingam reads whole rows, not covariances"
    );
    let both = DiscoverRequest {
        bootstrap: Some(3),
        ..missing(Algorithm::Boss, Missing::Pairwise)
    };
    assert_eq!(error(&both), "missing: the bootstrap draws whole rows");
    let complete = from_columns(&[noise(50, 0), noise(50, 1)]);
    let found = answer(&complete, &missing(Algorithm::Boss, Missing::Refuse)).unwrap();
    assert_eq!(found.rows_used, 50);
}
