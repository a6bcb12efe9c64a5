//! Requests that differ only by a default that is written out ask for the same.

use super::request::DiscoverRequest;

/// Takes one parameter out.
type Without = fn(&mut DiscoverRequest);

/// Those that can be left out.
const PARAMETERS: [Without; 13] = [
    |request| request.max_iter = None,
    |request| request.threshold = None,
    |request| request.score = None,
    |request| request.penalty_discount = None,
    |request| request.equivalent_sample_size = None,
    |request| request.structure_prior = None,
    |request| request.depth = None,
    |request| request.turning = None,
    |request| request.restarts = None,
    |request| request.lambda1 = None,
    |request| request.alpha = None,
    |request| request.test = None,
    |request| request.max_cond_size = None,
];

impl DiscoverRequest {
    /// The same request without the parameters whose value is the default; `None` when there is no
    /// such parameter. A default that depends on the data is no value that could be written out.
    #[must_use]
    pub fn without_defaults(&self) -> Option<Self> {
        let options = self.options().ok()?;
        let before = self.parameters();
        let mut after = before.clone();
        for without in PARAMETERS {
            let mut less = after.clone();
            without(&mut less);
            if less != after && less.options().is_ok_and(|others| others == options) {
                after = less;
            }
        }
        after.bootstrap = after.bootstrap.filter(|replicates| *replicates > 0);
        after.missing = after
            .missing
            .filter(|missing| *missing != Default::default());
        (after != before).then(|| Self {
            data: self.data.clone(),
            variable_names: self.variable_names.clone(),
            ..after
        })
    }

    /// Everything but inline data, which may be large.
    fn parameters(&self) -> Self {
        Self {
            algorithm: self.algorithm,
            max_iter: self.max_iter,
            threshold: self.threshold,
            score: self.score,
            penalty_discount: self.penalty_discount,
            equivalent_sample_size: self.equivalent_sample_size,
            structure_prior: self.structure_prior,
            depth: self.depth,
            turning: self.turning,
            restarts: self.restarts,
            lambda1: self.lambda1,
            required: self.required.clone(),
            forbidden: self.forbidden.clone(),
            tiers: self.tiers.clone(),
            alpha: self.alpha,
            test: self.test,
            max_cond_size: self.max_cond_size,
            bootstrap: self.bootstrap,
            missing: self.missing,
            formats: self.formats.clone(),
            data: None,
            variable_names: None,
            dataset: self.dataset.clone(),
            seed: self.seed,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain(json: &str) -> DiscoverRequest {
        let request: DiscoverRequest = serde_json::from_str(json).expect("a request");
        request.without_defaults().unwrap_or(request)
    }

    #[test]
    fn a_default_that_is_written_out_changes_nothing() {
        let same = [
            (
                r#"{"algorithm": "notears", "lambda1": 0.1, "threshold": 0.3}"#,
                r#"{"algorithm": "notears"}"#,
            ),
            (
                r#"{"score": "auto", "missing": "listwise", "bootstrap": 0, "data": [[1.0]]}"#,
                r#"{"algorithm": "boss", "data": [[1.0]]}"#,
            ),
            (
                r#"{"algorithm": "dagma", "lambda1": 0.03}"#,
                r#"{"algorithm": "dagma"}"#,
            ),
        ];
        for (long, short) in same {
            assert_eq!(plain(long), plain(short), "{long}");
        }
    }

    #[test]
    fn another_value_stays() {
        for json in [
            r#"{"algorithm": "dagma", "lambda1": 0.1}"#,
            // What it is by default depends on the score, and that on the data.
            r#"{"penalty_discount": 2}"#,
            r#"{"restarts": 20}"#,
            r#"{"missing": "pairwise"}"#,
            r#"{"bootstrap": 5, "seed": 1, "formats": ["dot"], "tiers": [["a"]]}"#,
        ] {
            let request: DiscoverRequest = serde_json::from_str(json).expect("a request");
            assert_eq!(request.without_defaults(), None, "{json}");
        }
    }
}
