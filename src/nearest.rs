//! The name that somebody probably meant.

/// The known name nearest to `given`, or none when nothing is near.
pub fn name<'a>(given: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let given = given.to_lowercase();
    let likeness =
        |name: &str| strsim::normalized_damerau_levenshtein(&given, &name.to_lowercase());
    known
        .into_iter()
        .map(|name| (likeness(name), name))
        .filter(|(likeness, _)| *likeness > 0.4)
        .max_by(|(a, _), (b, _)| a.total_cmp(b))
        .map(|(_, name)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_of_the_finger_is_recognised() {
        let known = ["algorithm", "threshold", "dataset"];
        assert_eq!(name("algoritm", known), Some("algorithm"));
        assert_eq!(name("treshhold", known), Some("threshold"));
        assert_eq!(name("Algorithm", known), Some("algorithm"));
        assert_eq!(name("zzzz", known), None);
    }
}
