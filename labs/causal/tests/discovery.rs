//! Discovery against known graphs, and the traps that make its answers worthless.

mod support;

#[cfg(test)]
mod discovery {
    mod constraint;
    mod continuous;
    mod knowledge;
    mod rendering;
    mod rows;
    mod search;
}

use std::sync::atomic::{AtomicU64, Ordering};

use hindcast_causal::data::{Dataset, Limits, Table};
use hindcast_causal::discover::{
    Algorithm, DiscoverOptions, DiscoverRequest, Discovery, EdgeType, WarningCode, discover,
};
use hindcast_causal::{Control, LabError, Stop, Uncontrolled};
use hindcast_stats::Philox;
use support::{data_folder, dataset, distance, edges_marks, graph_marks, weights_marks};

fn options(algorithm: Algorithm) -> DiscoverOptions {
    DiscoverRequest {
        algorithm,
        ..Default::default()
    }
    .options()
    .expect("a valid request")
}

fn run(data: &Dataset, algorithm: Algorithm) -> Discovery {
    discover(data, &options(algorithm), 1, &Uncontrolled).expect("a valid request")
}

fn sem(name: &str) -> (Dataset, support::Marks) {
    let folder = data_folder().join("sem");
    let data = dataset(&folder.join(format!("{name}.csv")));
    (data, weights_marks(&folder.join(format!("{name}.W.csv"))))
}

fn sem_distance(name: &str, algorithm: Algorithm) -> usize {
    let (data, truth) = sem(name);
    distance(&truth, &graph_marks(&run(&data, algorithm).graph))
}

fn has(found: &Discovery, code: WarningCode) -> bool {
    found.warnings.iter().any(|w| w.code == code)
}

fn from_columns(columns: &[Vec<f64>]) -> Dataset {
    let rows: Vec<Vec<f64>> = (0..columns[0].len())
        .map(|i| columns.iter().map(|c| c[i]).collect())
        .collect();
    Dataset::from_rows(&rows, None, &Limits::default()).expect("a valid request")
}

fn noise(rows: usize, stream: u64) -> Vec<f64> {
    let mut rng = Philox::new(77, stream);
    (0..rows).map(|_| rng.normal()).collect()
}

/// The limits are the best result of BOSS, GRaSP, GES and PC of other programs
/// (tests/data/README.md).
#[test]
fn boss_is_no_worse_than_the_best_peer_raw_and_standardised() {
    let limits = [
        ("er2_gauss_d10_s0", 9),
        ("er2_gauss_d10_s1", 3),
        ("er2_gauss_d10_s2", 0),
        ("er2_gauss_d20_s0", 0),
        ("er2_gauss_d20_s1", 1),
        ("er2_gauss_d20_s2", 0),
        ("er2_gauss_d50_s0", 0),
        ("er2_gauss_d100_s0", 0),
        ("er2_exp_d20_s0", 0),
    ];
    for (name, limit) in limits {
        let (raw, truth) = sem(name);
        for (scale, data) in [("raw", raw.clone()), ("standardised", raw.standardised())] {
            let found = distance(&truth, &graph_marks(&run(&data, Algorithm::Boss).graph));
            assert!(found <= limit, "{name} {scale}: {found}, best peer {limit}");
        }
    }
}

#[test]
fn boss_does_not_see_units() {
    let (raw, _) = sem("er2_gauss_d20_s1");
    let (a, b) = (
        run(&raw, Algorithm::Boss),
        run(&raw.standardised(), Algorithm::Boss),
    );
    assert_eq!(graph_marks(&a.graph), graph_marks(&b.graph));
}

#[test]
fn boss_finds_the_graph_from_many_seeds() {
    let (data, truth) = sem("er2_gauss_d20_s0");
    for seed in 0..5 {
        let found = discover(&data, &options(Algorithm::Boss), seed, &Uncontrolled).unwrap();
        assert_eq!(
            distance(&truth, &graph_marks(&found.graph)),
            0,
            "seed {seed}"
        );
    }
}

/// Varsortability of the true graphs as computed by an independent program; eqvar finds these
/// graphs, so its warning has to carry the same numbers.
#[test]
fn varsortability_agrees_with_an_independent_program() {
    for (name, expected) in [("er2_gauss_d10_s0", 0.967), ("er2_gauss_d10_s1", 0.947)] {
        let found = run(&sem(name).0, Algorithm::Eqvar);
        let warning = found
            .warnings
            .iter()
            .find(|w| w.code == WarningCode::Varsortability);
        let value = warning.and_then(|w| w.value).unwrap();
        assert!((value - expected).abs() < 0.0006, "{name}: {value}");
    }
}

#[test]
fn eqvar_solves_the_raw_benchmark_and_nothing_else() {
    let limits = [
        ("er2_gauss_d10_s0", 0),
        ("er2_gauss_d20_s2", 0),
        ("er2_gauss_d50_s0", 1),
        ("er2_gauss_d100_s0", 2),
        ("er2_exp_d20_s0", 0),
    ];
    for (name, limit) in limits {
        let found = sem_distance(name, Algorithm::Eqvar);
        assert!(found <= limit, "{name}: {found}");
    }
    let (raw, truth) = sem("er2_gauss_d20_s1");
    let found = run(&raw.standardised(), Algorithm::Eqvar);
    assert!(distance(&truth, &graph_marks(&found.graph)) > 20);
    assert!(
        has(&found, WarningCode::StandardisedData) && has(&found, WarningCode::UnequalVariances)
    );
}

/// The limits are the results of the authors' program plus 2.
#[test]
fn notears_agrees_with_its_authors_program() {
    let limits = [
        ("er2_gauss_d10_s0", 15),
        ("er2_gauss_d10_s1", 15),
        ("er2_gauss_d10_s2", 3),
        ("er2_gauss_d20_s0", 5),
        ("er2_gauss_d20_s1", 16),
        ("er2_gauss_d20_s2", 12),
    ];
    for (name, limit) in limits {
        let (raw, truth) = sem(name);
        let found = run(&raw, Algorithm::Notears);
        let shd = distance(&truth, &graph_marks(&found.graph));
        assert!(shd <= limit, "{name}: {shd}");
        assert!(found.convergence.converged && has(&found, WarningCode::Varsortability));
        assert!(found.convergence.h.unwrap() <= 1e-8);
    }
}

#[test]
fn notears_answers_on_standardised_data_and_says_what_it_is_worth() {
    for name in ["er2_gauss_d10_s0", "er2_gauss_d20_s1"] {
        let found = run(&sem(name).0.standardised(), Algorithm::Notears);
        assert!(has(&found, WarningCode::StandardisedData));
        assert!(found.convergence.converged);
    }
}

#[test]
fn notears_survives_data_of_any_scale() {
    let (raw, _) = sem("er2_gauss_d10_s0");
    for scale in [1e-6, 1e3] {
        let columns: Vec<Vec<f64>> = (0..raw.width())
            .map(|j| raw.column(j).iter().map(|x| x * scale).collect())
            .collect();
        let request = DiscoverRequest {
            algorithm: Algorithm::Notears,
            max_iter: Some(3),
            ..Default::default()
        };
        let found = discover(
            &from_columns(&columns),
            &request.options().unwrap(),
            1,
            &Uncontrolled,
        );
        assert!(found.unwrap().score.unwrap().is_finite());
    }
}

#[test]
fn every_answer_of_notears_is_acyclic_whatever_the_threshold() {
    let (raw, _) = sem("er2_gauss_d10_s1");
    for threshold in [0.0, 1e-6, 0.05] {
        let request = DiscoverRequest {
            algorithm: Algorithm::Notears,
            threshold: Some(threshold),
            max_iter: Some(2),
            ..Default::default()
        };
        let found = discover(&raw, &request.options().unwrap(), 1, &Uncontrolled).unwrap();
        assert!(is_acyclic(graph_marks(&found.graph)));
        if threshold <= 0.0 {
            assert!(
                has(&found, WarningCode::ThresholdRaised) && has(&found, WarningCode::NotConverged)
            );
        }
    }
}

fn is_acyclic(marks: support::Marks) -> bool {
    let mut left: Vec<usize> = (0..marks.len()).collect();
    while !left.is_empty() {
        let Some(at) = left
            .iter()
            .position(|&j| left.iter().all(|&i| !marks[i][j]))
        else {
            return false;
        };
        left.remove(at);
    }
    true
}

/// Correlation scores as well as the best on this network, so nothing can be claimed from it; the
/// test only holds the answer still.
#[test]
fn sachs_rows_are_within_the_range_of_peers() {
    let folder = data_folder().join("sachs");
    let raw = dataset(&folder.join("sachs_obs853.csv"));
    let columns: Vec<Vec<f64>> = (0..raw.width())
        .map(|j| raw.column(j).iter().map(|x| (x + 10.0).ln()).collect())
        .collect();
    let rows: Vec<Vec<f64>> = (0..raw.rows())
        .map(|i| columns.iter().map(|c| c[i]).collect())
        .collect();
    let data = Dataset::from_rows(&rows, Some(raw.names()), &Limits::default()).unwrap();
    let truth = edges_marks(&folder.join("sachs17.edges.csv"), raw.names());
    for (algorithm, limit) in [(Algorithm::Correlation, 11), (Algorithm::Boss, 13)] {
        let found = distance(&truth, &graph_marks(&run(&data, algorithm).graph));
        assert!(found <= limit, "{algorithm:?}: {found}");
    }
}

#[test]
fn same_request_gives_the_same_bytes_with_any_number_of_threads() {
    let (data, _) = sem("er2_gauss_d10_s1");
    let algorithms = [
        Algorithm::Boss,
        Algorithm::Eqvar,
        Algorithm::Notears,
        Algorithm::Correlation,
        Algorithm::Pc,
        Algorithm::Fci,
        Algorithm::DirectLingam,
        Algorithm::Dagma,
    ];
    for algorithm in algorithms {
        let answers: Vec<String> = [1, 2, 5]
            .map(|threads| {
                let pool = rayon::ThreadPoolBuilder::new()
                    .num_threads(threads)
                    .build()
                    .unwrap();
                // The moments are computed again in each pool.
                let (fresh, _) = sem("er2_gauss_d10_s1");
                pool.install(|| serde_json::to_string(&run(&fresh, algorithm)).unwrap())
            })
            .to_vec();
        assert!(
            answers.windows(2).all(|pair| pair[0] == pair[1]),
            "{algorithm:?}"
        );
        assert_eq!(
            answers[0],
            serde_json::to_string(&run(&data, algorithm)).unwrap()
        );
        assert!(!answers[0].contains("null") && !answers[0].contains("-0.0,"));
        let parsed: Discovery = serde_json::from_str(&answers[0]).unwrap();
        assert_eq!(serde_json::to_string(&parsed).unwrap(), answers[0]);
    }
}

#[test]
fn one_column_and_constant_columns_are_refused_by_name() {
    let one = from_columns(&[noise(50, 0)]);
    let error = discover(&one, &DiscoverOptions::default(), 1, &Uncontrolled).unwrap_err();
    assert_eq!(error.to_string(), "data: has 1 column; a graph needs 2");
    let constant = from_columns(&[noise(50, 0), vec![3.5; 50]]);
    for algorithm in [
        Algorithm::Boss,
        Algorithm::Eqvar,
        Algorithm::Notears,
        Algorithm::Correlation,
        Algorithm::Pc,
        Algorithm::Fci,
        Algorithm::DirectLingam,
        Algorithm::Dagma,
    ] {
        let error = discover(&constant, &options(algorithm), 1, &Uncontrolled).unwrap_err();
        assert_eq!(error.to_string(), "data: column 'x1' is constant");
    }
}

#[test]
fn too_many_columns_are_refused_with_the_limit() {
    let columns: Vec<Vec<f64>> = (0..201).map(|j| noise(3, j)).collect();
    let wide = from_columns(&columns);
    let error = discover(&wide, &options(Algorithm::Notears), 1, &Uncontrolled).unwrap_err();
    assert_eq!(
        error,
        LabError::TooLarge {
            field: "columns".into(),
            actual: 201,
            limit: 200
        }
    );
}

#[test]
fn collinear_and_duplicate_columns_are_warned_of_and_survived() {
    let (a, b, c) = (noise(300, 0), noise(300, 1), noise(300, 2));
    let total: Vec<f64> = a.iter().zip(&b).map(|(x, y)| x + y).collect();
    let data = from_columns(&[a.clone(), b, total, c.clone(), c]);
    for algorithm in [Algorithm::Boss, Algorithm::Notears, Algorithm::Correlation] {
        let found = run(&data, algorithm);
        assert!(has(&found, WarningCode::Collinear), "{algorithm:?}");
        assert!(has(&found, WarningCode::DuplicateColumns), "{algorithm:?}");
    }
    let boss = run(&data, Algorithm::Boss);
    let twins = boss
        .graph
        .edges
        .iter()
        .any(|e| e.from == "x3" && e.to == "x4");
    assert!(twins, "copies depend on each other");
    let error = discover(&data, &options(Algorithm::Eqvar), 1, &Uncontrolled).unwrap_err();
    assert!(error.to_string().contains("linear combination"), "{error}");
}

#[test]
fn fewer_rows_than_variables_is_warned_of_and_eqvar_refuses() {
    let columns: Vec<Vec<f64>> = (0..30).map(|j| noise(20, j)).collect();
    let data = from_columns(&columns);
    for algorithm in [Algorithm::Boss, Algorithm::Notears, Algorithm::Correlation] {
        assert!(
            has(&run(&data, algorithm), WarningCode::NBelowD),
            "{algorithm:?}"
        );
    }
    let error = discover(&data, &options(Algorithm::Eqvar), 1, &Uncontrolled).unwrap_err();
    assert_eq!(
        error.to_string(),
        "data: eqvar needs at least 32 rows for 30 variables, has 20"
    );
}

#[test]
fn two_rows_are_enough_for_an_answer_and_too_few_for_an_edge() {
    let data = from_columns(&[vec![1.0, 2.0], vec![3.0, 1.0]]);
    let found = run(&data, Algorithm::Boss);
    assert!(found.graph.edges.is_empty() && found.score.unwrap().abs() < 1e-12);
}

#[test]
fn missing_values_and_codes_of_categories_are_warned_of() {
    let mut text = String::from("a,b,level\n");
    for (i, (a, b)) in noise(100, 0).iter().zip(noise(100, 1)).enumerate() {
        let a = if i == 7 { String::new() } else { a.to_string() };
        text.push_str(&format!("{a},{b},{}\n", i % 3));
    }
    let table = Table::parse_csv(text.as_bytes(), &Limits::default()).unwrap();
    let found = run(&table.dataset().unwrap(), Algorithm::Boss);
    assert_eq!((found.rows_used, found.rows_dropped), (99, 1));
    assert!(has(&found, WarningCode::ListwiseDeletion));
    assert!(has(&found, WarningCode::CategoricalCoded));
}

/// Chain with equal error variances: only the class is identified, so nothing may be directed.
#[test]
fn boss_leaves_undirected_what_the_data_cannot_tell() {
    let (a, e, f) = (noise(2000, 0), noise(2000, 1), noise(2000, 2));
    let b: Vec<f64> = a.iter().zip(&e).map(|(x, e)| 0.8 * x + e).collect();
    let c: Vec<f64> = b.iter().zip(&f).map(|(x, e)| 0.8 * x + e).collect();
    let found = run(&from_columns(&[a, b, c]), Algorithm::Boss);
    assert_eq!(found.graph.edges.len(), 2);
    assert!(
        found
            .graph
            .edges
            .iter()
            .all(|e| e.kind == EdgeType::Undirected)
    );
}

#[test]
fn boss_directs_a_collider_and_weighs_it_in_standard_units() {
    let (a, b, e) = (noise(2000, 0), noise(2000, 1), noise(2000, 2));
    let c: Vec<f64> = a
        .iter()
        .zip(&b)
        .zip(&e)
        .map(|((x, y), e)| 10.0 * (x - y + e))
        .collect();
    let found = run(&from_columns(&[a, b, c]), Algorithm::Boss);
    let weights: Vec<(&str, &str, f64)> = found
        .graph
        .edges
        .iter()
        .map(|e| (e.from.as_str(), e.to.as_str(), e.weight))
        .collect();
    assert_eq!(weights.len(), 2);
    // One third of the variance each; the error of a coefficient is about 0.02.
    assert!(weights[0].0 == "x0" && weights[0].1 == "x2" && (weights[0].2 - 0.577).abs() < 0.06);
    assert!(weights[1].0 == "x1" && weights[1].1 == "x2" && (weights[1].2 + 0.577).abs() < 0.06);
}

/// Stops at the given look.
struct StopAt {
    looks: AtomicU64,
    last: u64,
}

impl StopAt {
    fn new(last: u64) -> Self {
        Self {
            looks: AtomicU64::new(0),
            last,
        }
    }
}

impl Control for StopAt {
    fn check(&self) -> Result<(), Stop> {
        if self.looks.fetch_add(1, Ordering::Relaxed) < self.last {
            return Ok(());
        }
        Err(Stop::DeadlineExceeded)
    }

    fn progress(&self, _stage: &'static str, _done: u64, _total: u64) {}
}

/// These run on several threads, each of which may look once more.
#[test]
fn parallel_searches_stop_when_told_to() {
    let algorithms = [
        Algorithm::Pc,
        Algorithm::Fci,
        Algorithm::DirectLingam,
        Algorithm::Dagma,
    ];
    for algorithm in algorithms {
        for last in [0, 1, 10, 30] {
            let (data, _) = sem("er2_gauss_d20_s0");
            let control = StopAt::new(last);
            let result = discover(&data, &options(algorithm), 1, &control);
            assert_eq!(
                result,
                Err(LabError::Stopped(Stop::DeadlineExceeded)),
                "{algorithm:?} {last}"
            );
        }
    }
}

#[test]
fn every_search_stops_when_told_to() {
    for algorithm in [Algorithm::Boss, Algorithm::Eqvar, Algorithm::Notears] {
        for last in [0, 1, 10, 40] {
            let (data, _) = sem("er2_gauss_d20_s0");
            let control = StopAt::new(last);
            let result = discover(&data, &options(algorithm), 1, &control);
            assert_eq!(result, Err(LabError::Stopped(Stop::DeadlineExceeded)));
            assert_eq!(
                control.looks.load(Ordering::Relaxed),
                last + 1,
                "no work after the stop"
            );
        }
    }
}
