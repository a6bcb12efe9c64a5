//! The searches by score: BOSS, GRaSP and GES, with the Gaussian score and those for categories.

use hindcast_causal::data::{Dataset, Limits, Table};
use hindcast_causal::discover::{
    Algorithm, DiscoverRequest, Discovery, ScoreChoice, ScoreName, WarningCode, discover,
};
use hindcast_causal::{Control, LabError, Stop, Uncontrolled};
use hindcast_stats::Philox;

use crate::support::{
    Marks, class_distance, class_of, data_folder, dataset, distance, edges_marks, graph_marks,
    known_network, network_marks, sampled,
};
use crate::{from_columns, has, noise, sem};

const SEARCHES: [Algorithm; 3] = [Algorithm::Boss, Algorithm::Grasp, Algorithm::Ges];

fn answer(data: &Dataset, request: &DiscoverRequest) -> Discovery {
    discover(data, &request.options().unwrap(), 1, &Uncontrolled).unwrap()
}

fn with_score(algorithm: Algorithm, score: ScoreChoice) -> DiscoverRequest {
    DiscoverRequest {
        algorithm,
        score: Some(score),
        ..Default::default()
    }
}

fn table(text: &str) -> Dataset {
    Table::parse_csv(text.as_bytes(), &Limits::default())
        .unwrap()
        .dataset()
        .unwrap()
}

fn network(name: &str, rows: &str) -> (Dataset, Marks) {
    let folder = data_folder().join("discrete");
    let data = dataset(&folder.join(format!("{name}_{rows}.csv")));
    let truth = edges_marks(&folder.join(format!("{name}.edges.csv")), data.names());
    (data, truth)
}

/// Parents of each variable in one graph that the marks stand for (Dor and Tarsi, written out).
fn member(marks: &Marks) -> Option<Vec<Vec<usize>>> {
    let joined = |a: usize, b: usize| marks[a][b] || marks[b][a];
    let mut left: Vec<usize> = (0..marks.len()).collect();
    let mut parents = vec![Vec::new(); marks.len()];
    while !left.is_empty() {
        let at = left.iter().position(|&v| {
            let around: Vec<usize> = left
                .iter()
                .copied()
                .filter(|&w| w != v && joined(v, w))
                .collect();
            around.iter().all(|&w| marks[w][v])
                && around
                    .iter()
                    .filter(|&&w| marks[v][w])
                    .all(|&w| around.iter().all(|&u| u == w || joined(u, w)))
        })?;
        let v = left.remove(at);
        parents[v] = left.iter().copied().filter(|&w| joined(v, w)).collect();
    }
    Some(parents)
}

/// The directed edges of a class are those whose reversal leaves it: a collider or a cycle.
fn is_class(marks: &Marks) -> bool {
    let Some(parents) = member(marks) else {
        return false;
    };
    let joined = |a: usize, b: usize| marks[a][b] || marks[b][a];
    parents.iter().enumerate().all(|(head, tails)| {
        tails.iter().all(|&tail| {
            let collider = tails.iter().any(|&w| w != tail && !joined(w, tail));
            !(collider && marks[head][tail])
        })
    })
}

/// 2 ln L - cost for each edge, by solving the normal equations of each variable.
fn gaussian_score(data: &Dataset, parents: &[Vec<usize>], cost: f64) -> f64 {
    let correlation = data.covariance().correlation();
    let terms = parents.iter().enumerate().map(|(v, given)| {
        let residual = match hindcast_stats::Cholesky::new(&correlation.principal(given), 1e-12) {
            Some(factor) => {
                let with: Vec<f64> = given.iter().map(|&p| correlation[(p, v)]).collect();
                let mut weights = with.clone();
                factor.solve(&mut weights);
                1.0 - hindcast_stats::dot(&weights, &with)
            }
            None => f64::NAN,
        };
        -(data.rows() as f64) * residual.ln() - cost * given.len() as f64
    });
    terms.fold(0.0, |a, b| a + b)
}

/// What is reported is the score of the graph, and the graph is a class with a member.
#[test]
fn every_search_answers_a_class_with_its_score() {
    for name in ["er2_gauss_d10_s0", "er2_gauss_d20_s1"] {
        let (data, _) = sem(name);
        let cost = 2.0 * (data.rows() as f64).ln() + (data.width() as f64).ln();
        for algorithm in SEARCHES {
            let found = answer(&data, &with_score(algorithm, ScoreChoice::Bic));
            let marks = graph_marks(&found.graph);
            assert!(is_class(&marks), "{algorithm:?}");
            let expected = gaussian_score(&data, &member(&marks).unwrap(), cost);
            // The residual variances are computed in two ways, each to about 1e-12.
            assert!(
                (found.score.unwrap() - expected).abs() < 1e-5,
                "{algorithm:?}"
            );
        }
    }
}

/// The best score of the GES of other programs under plain BIC (penalty ln n for an edge); their
/// graphs were scored by a program that shares no code with this one. Without turning two of
/// these, on 20 variables, are not reached.
#[test]
fn ges_scores_no_worse_than_other_programs() {
    let limits = [
        ("er2_gauss_d10_s0", 31_212.43),
        ("er2_gauss_d10_s1", 18_870.19),
        ("er2_gauss_d20_s0", 36_608.89),
        ("er2_gauss_d20_s1", 36_572.18),
        ("er2_gauss_d50_s0", 90_700.30),
    ];
    for (name, limit) in limits {
        let (data, _) = sem(name);
        let (d, n) = (data.width() as f64, data.rows() as f64);
        let request = DiscoverRequest {
            algorithm: Algorithm::Ges,
            penalty_discount: Some(1.0 - d.ln() / n.ln()),
            ..Default::default()
        };
        let found = answer(&data, &request).score.unwrap();
        assert!(found >= limit - 0.01, "{name}: {found}");
        let without_turning = DiscoverRequest {
            turning: Some(false),
            ..request
        };
        assert!(answer(&data, &without_turning).score.unwrap() <= found + 1e-6);
    }
}

#[test]
fn grasp_finds_the_graphs_that_boss_finds() {
    let limits = [
        ("er2_gauss_d10_s2", 0),
        ("er2_gauss_d20_s0", 0),
        ("er2_gauss_d20_s2", 0),
        ("er2_gauss_d50_s0", 0),
        ("er2_gauss_d100_s0", 0),
    ];
    for (name, limit) in limits {
        let (data, truth) = sem(name);
        let found = answer(&data, &with_score(Algorithm::Grasp, ScoreChoice::Bic));
        assert!(
            distance(&truth, &graph_marks(&found.graph)) <= limit,
            "{name}"
        );
        assert_eq!(
            (found.parameters.restarts, found.parameters.depth),
            (Some(5), Some(3))
        );
    }
}

#[test]
fn more_restarts_never_lower_the_score() {
    let (data, _) = sem("er2_gauss_d20_s1");
    for algorithm in [Algorithm::Boss, Algorithm::Grasp] {
        let scores = [0, 3, 10].map(|restarts| {
            let request = DiscoverRequest {
                restarts: Some(restarts),
                ..with_score(algorithm, ScoreChoice::Bic)
            };
            answer(&data, &request).score.unwrap()
        });
        assert!(
            scores.windows(2).all(|pair| pair[0] <= pair[1] + 1e-6),
            "{algorithm:?}"
        );
    }
}

/// Known networks; the limits for the score are the scores of the true graphs, computed by a
/// program that shares no code with this one. GES ends lower on sachs under discrete_bic, at a
/// local optimum; its own score there only holds the answer still, as the distances do.
#[test]
fn networks_are_found_from_samples() {
    let cases = [
        ("asia", "5000", ScoreChoice::Bdeu, -11_343.06, 5),
        ("asia", "5000", ScoreChoice::DiscreteBic, -22_560.11, 0),
        ("child", "2000", ScoreChoice::Bdeu, -25_180.57, 0),
        ("child", "2000", ScoreChoice::DiscreteBic, -50_597.70, 0),
        ("sachs", "2000", ScoreChoice::Bdeu, -14_719.71, 0),
        ("sachs", "2000", ScoreChoice::DiscreteBic, -29_891.33, 1),
    ];
    for (name, rows, score, of_truth, wrong) in cases {
        let (data, truth) = network(name, rows);
        for algorithm in SEARCHES {
            let local_optimum =
                (name, algorithm, score) == ("sachs", Algorithm::Ges, ScoreChoice::DiscreteBic);
            let (limit, wrong) = if local_optimum {
                (-29_906.29, 9)
            } else {
                (of_truth, wrong)
            };
            let found = answer(&data, &with_score(algorithm, score));
            let marks = graph_marks(&found.graph);
            assert!(is_class(&marks), "{name} {algorithm:?}");
            assert!(found.score.unwrap() >= limit, "{name} {algorithm:?}");
            assert!(distance(&truth, &marks) <= wrong, "{name} {algorithm:?}");
            assert!(!has(&found, WarningCode::CategoricalCoded));
        }
    }
}

/// The score of the true graph by causal-learn 0.1.4.8, with its own priors; asia is found with
/// them to the last mark.
#[test]
fn bdeu_with_a_prior_of_the_graph_is_that_of_causal_learn() {
    let (data, truth) = network("asia", "5000");
    let request = DiscoverRequest {
        equivalent_sample_size: Some(1.0),
        structure_prior: Some(1.0),
        ..with_score(Algorithm::Boss, ScoreChoice::Bdeu)
    };
    let found = answer(&data, &request);
    assert_eq!(
        class_distance(&class_of(&truth), &graph_marks(&found.graph)),
        0
    );
    assert!((found.score.unwrap() + 11_289.409_961_590_118).abs() < 1e-6);
}

/// Means over samples of marks that differ from the true class, and that the prior of the graph is
/// what brings them down. Seeds on which the default was not chosen. On some samples of child one
/// wrong collider turns a third of the graph, hence its limit.
#[test]
fn defaults_find_networks_from_other_samples() {
    let mut totals = [0.0, 0.0];
    for (name, limit) in [
        ("asia", 3.0),
        ("sachs", 3.0),
        ("child", 10.0),
        ("alarm", 8.0),
    ] {
        let known = known_network(name);
        let class = class_of(&network_marks(&known));
        let means = [None, Some(0.0)].map(|structure_prior| {
            let wrong = (2_000..2_006).map(|seed| {
                let request = DiscoverRequest {
                    structure_prior,
                    restarts: Some(2),
                    ..with_score(Algorithm::Boss, ScoreChoice::Bdeu)
                };
                let found = answer(&sampled(&known, 1_000, seed), &request);
                class_distance(&class, &graph_marks(&found.graph))
            });
            wrong.sum::<usize>() as f64 / 6.0
        });
        assert!(means[0] <= limit, "{name}: {means:?}");
        totals = [totals[0] + means[0], totals[1] + means[1]];
    }
    assert!(2.0 * totals[0] < totals[1], "{totals:?}");
}

#[test]
fn text_is_read_as_categories_and_numbers_as_quantities_unless_told() {
    let (text, _) = network("asia", "5000");
    let found = answer(&text, &DiscoverRequest::default());
    assert_eq!(found.score_name, Some(ScoreName::Bdeu));
    assert_eq!(found.parameters.score, Some(ScoreChoice::Bdeu));
    assert_eq!(found.parameters.penalty_discount, None);
    assert_eq!(found.parameters.structure_prior, Some(0.1));
    let (codes, _) = network("sachs", "2000");
    let found = answer(&codes, &DiscoverRequest::default());
    assert_eq!(found.score_name, Some(ScoreName::Bic));
    assert!(has(&found, WarningCode::CategoricalCoded));
    let found = answer(&codes, &with_score(Algorithm::Ges, ScoreChoice::Bdeu));
    assert_eq!(found.parameters.equivalent_sample_size, Some(10.0));
    assert_eq!(found.parameters.penalty_discount, None);
}

#[test]
fn what_no_score_fits_is_refused_with_the_columns() {
    let error = |text: &str, request: &DiscoverRequest| {
        let options = request.options().unwrap();
        discover(&table(text), &options, 1, &Uncontrolled)
            .unwrap_err()
            .to_string()
    };
    let mixed = "smoke,age,sex\nyes,30,f\nno,41,m\nyes,52,m\n";
    assert_eq!(
        error(mixed, &DiscoverRequest::default()),
        "score: no score fits columns of both text (smoke, sex) and numbers (age); csv: row 1, column \
         'smoke': 'yes' is not a number"
    );
    assert_eq!(
        error(mixed, &with_score(Algorithm::Boss, ScoreChoice::Bic)),
        "csv: row 1, column 'smoke': 'yes' is not a number"
    );
    let fractions = "a,b\nx,0.5\ny,1\n";
    assert_eq!(
        error(fractions, &with_score(Algorithm::Ges, ScoreChoice::Bdeu)),
        "data: column 'b' holds fractions such as 0.5, which are no categories"
    );
    let constant = "a,b\nx,u\ny,u\n";
    assert_eq!(
        error(constant, &DiscoverRequest::default()),
        "data: column 'b' is constant"
    );
    let request = DiscoverRequest {
        penalty_discount: Some(1.0),
        ..with_score(Algorithm::Boss, ScoreChoice::Auto)
    };
    assert!(
        request.options().is_ok(),
        "what auto stands for depends on the data"
    );
    let foreign = DiscoverRequest {
        equivalent_sample_size: Some(1.0),
        ..Default::default()
    };
    assert_eq!(
        error("a,b\n1,2\n3,5\n6,6\n", &foreign),
        "equivalent_sample_size: is not a parameter of score bic"
    );
}

#[test]
fn missing_categories_are_left_out_by_row_and_counted() {
    let (data, _) = network("asia", "5000");
    let codes = data.codes().unwrap();
    let mut text = data.names().join(",");
    for row in 0..2000 {
        let cells = (0..8).map(|j| codes.labels(j)[usize::from(codes.column(j)[row])].as_str());
        let mut cells: Vec<&str> = cells.collect();
        if row % 100 == 7 {
            cells[row / 100 % 8] = "";
        }
        text.push('\n');
        text.push_str(&cells.join(","));
    }
    let found = answer(&table(&text), &DiscoverRequest::default());
    assert_eq!((found.rows_used, found.rows_dropped), (1980, 20));
    assert!(has(&found, WarningCode::ListwiseDeletion));
}

#[test]
fn knowledge_holds_with_every_search_and_score() {
    let (data, _) = network("asia", "5000");
    let pair = |a: &str, b: &str| [a.to_owned(), b.to_owned()];
    for algorithm in SEARCHES {
        for score in [ScoreChoice::Bdeu, ScoreChoice::DiscreteBic] {
            let request = DiscoverRequest {
                required: vec![pair("bronc", "smoke"), pair("asia", "xray")],
                forbidden: vec![pair("tub", "either"), pair("either", "tub")],
                tiers: vec![vec!["dysp".into()], vec!["lung".into(), "either".into()]],
                ..with_score(algorithm, score)
            };
            let found = answer(&data, &request);
            let at = |name: &str| data.names().iter().position(|n| n == name).unwrap();
            let marks = graph_marks(&found.graph);
            let directed = |a: &str, b: &str| marks[at(a)][at(b)] && !marks[at(b)][at(a)];
            let none = |a: &str, b: &str| !marks[at(a)][at(b)];
            assert!(
                directed("bronc", "smoke") && directed("asia", "xray"),
                "{algorithm:?}"
            );
            assert!(
                none("tub", "either") && none("either", "tub"),
                "{algorithm:?}"
            );
            assert!(
                none("lung", "dysp") && none("either", "dysp"),
                "{algorithm:?}"
            );
        }
    }
}

/// With an edge required in one direction and then in the other, nothing else being different,
/// two Markov equivalent graphs are scored: the score has to be the same.
#[test]
fn equivalent_graphs_have_the_same_score() {
    let mut rng = Philox::new(8, 0);
    let mut text = String::from("a,b\n");
    for _ in 0..400 {
        let a = rng.index_below(3);
        let b = if rng.uniform() < 0.6 {
            a
        } else {
            rng.index_below(4)
        };
        text.push_str(&format!("{a},{b}\n"));
    }
    let data = table(&text);
    for score in [
        ScoreChoice::Bdeu,
        ScoreChoice::DiscreteBic,
        ScoreChoice::Bic,
    ] {
        let scores = [["a", "b"], ["b", "a"]].map(|pair| {
            let request = DiscoverRequest {
                required: vec![pair.map(str::to_owned)],
                ..with_score(Algorithm::Boss, score)
            };
            answer(&data, &request).score.unwrap()
        });
        assert!(
            (scores[0] - scores[1]).abs() < 1e-8 * scores[0].abs(),
            "{score:?}"
        );
    }
}

#[test]
fn searches_do_not_depend_on_the_number_of_threads() {
    let (numbers, _) = sem("er2_gauss_d20_s1");
    for algorithm in SEARCHES {
        for score in [ScoreChoice::Bic, ScoreChoice::Bdeu] {
            let answers = [1, 3].map(|threads| {
                let pool = rayon::ThreadPoolBuilder::new()
                    .num_threads(threads)
                    .build()
                    .unwrap();
                let data = if score == ScoreChoice::Bic {
                    numbers.clone()
                } else {
                    network("child", "2000").0
                };
                let request = with_score(algorithm, score);
                pool.install(|| serde_json::to_string(&answer(&data, &request)).unwrap())
            });
            assert_eq!(answers[0], answers[1], "{algorithm:?} {score:?}");
        }
    }
}

#[test]
fn searches_stop_when_told_to() {
    struct Never;
    impl Control for Never {
        fn check(&self) -> Result<(), Stop> {
            Err(Stop::Cancelled)
        }
        fn progress(&self, _stage: &'static str, _done: u64, _total: u64) {}
    }
    let after = |last: u64, algorithm, score, data: &Dataset| {
        let control = crate::StopAt::new(last);
        discover(
            data,
            &with_score(algorithm, score).options().unwrap(),
            1,
            &control,
        )
    };
    let stopped = Err(LabError::Stopped(Stop::DeadlineExceeded));
    let (numbers, _) = sem("er2_gauss_d20_s0");
    let (codes, _) = network("child", "2000");
    for algorithm in SEARCHES {
        for last in [0, 5, 40] {
            assert_eq!(after(last, algorithm, ScoreChoice::Bic, &numbers), stopped);
            assert_eq!(after(last, algorithm, ScoreChoice::Bdeu, &codes), stopped);
        }
        let options = with_score(algorithm, ScoreChoice::Bdeu).options().unwrap();
        let error = discover(&codes, &options, 1, &Never).unwrap_err();
        assert_eq!(error, LabError::Stopped(Stop::Cancelled));
    }
}

/// A sparse graph of 600 variables, more than nine bits can name: each depends on one of
/// those before it. With 300 rows one search errs on some edges: the limit is 1 in 30.
#[test]
fn hundreds_of_variables_are_searched() {
    let (d, n) = (600, 300);
    let mut rng = Philox::new(3, 0);
    let mut columns: Vec<Vec<f64>> = Vec::new();
    let mut truth = vec![vec![false; d]; d];
    columns.push(noise(n, 0));
    while columns.len() < d {
        let v = columns.len();
        let parent = rng.index_below(v);
        truth[parent][v] = true;
        let errors = noise(n, v as u64);
        let column = errors.iter().zip(&columns[parent]).map(|(e, p)| e + p);
        columns.push(column.collect());
    }
    let data = from_columns(&columns);
    for algorithm in [Algorithm::Boss, Algorithm::Ges] {
        let request = DiscoverRequest {
            restarts: (algorithm == Algorithm::Boss).then_some(0),
            ..with_score(algorithm, ScoreChoice::Bic)
        };
        let found = answer(&data, &request);
        let wrong = distance(&truth, &graph_marks(&found.graph));
        assert!(wrong <= 20, "{algorithm:?}: {wrong} of 599 edges");
    }
    let names: Vec<String> = (0..10_000).map(|i| format!("x{i}")).collect();
    let wide = Table::parse_csv(names.join(",").as_bytes(), &Limits::default()).unwrap_err();
    assert_eq!(wide.to_string(), "columns: 10000 is over the limit of 2000");
}
