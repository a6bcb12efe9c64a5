//! A flame graph: a box for each function in each place of the call tree, as wide as its share of
//! the samples, above the one that called it. No script; a browser shows the whole name of what the
//! pointer is on.

use std::collections::BTreeMap;
use std::fmt::Write as _;

const WIDTH: f64 = 1_200.0;
const ROW: f64 = 17.0;
const HEAD: f64 = 28.0;
/// Narrower boxes are left out, in pixels.
const NARROWEST: f64 = 0.3;
/// Pixels of a character.
const CHARACTER: f64 = 6.6;
/// Rows of the picture.
const DEPTH_MAX: usize = 200;

#[derive(Default)]
struct Node {
    samples: u64,
    below: BTreeMap<String, Node>,
}

impl Node {
    fn depth(&self) -> usize {
        1 + self.below.values().map(Self::depth).max().unwrap_or(0)
    }
}

/// Draws the stacks, outermost function first.
pub(super) fn draw(stacks: &BTreeMap<Vec<String>, u64>, seconds: u64) -> String {
    let mut root = Node::default();
    for (stack, count) in stacks {
        root.samples += count;
        let mut node = &mut root;
        for name in stack.iter().take(DEPTH_MAX) {
            node = node.below.entry(name.clone()).or_default();
            node.samples += count;
        }
    }
    let height = HEAD + ROW * root.depth() as f64;
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{height}\" \
         font-family=\"monospace\" font-size=\"11\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"#ffffff\"/>\n\
         <text x=\"6\" y=\"18\">{} samples of processor time in {seconds} s</text>\n",
        root.samples
    );
    let pixels = WIDTH / (root.samples.max(1) as f64);
    boxes(&mut out, ("all", &root), (0.0, height - ROW), pixels);
    out.push_str("</svg>\n");
    out
}

fn boxes(out: &mut String, (name, node): (&str, &Node), (x, y): (f64, f64), pixels: f64) {
    let width = node.samples as f64 * pixels;
    if width < NARROWEST {
        return;
    }
    let share = width / WIDTH * 100.0;
    let (shown, title) = (escaped(&fitting(name, width)), escaped(name));
    let _ = writeln!(
        out,
        "<g><title>{title}: {} samples, {share:.1} %</title>\
         <rect x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{:.1}\" rx=\"1\" fill=\"{}\"/>\
         <text x=\"{:.1}\" y=\"{:.1}\">{shown}</text></g>",
        node.samples,
        ROW - 1.0,
        colour(name),
        x + 3.0,
        y + 12.0
    );
    let mut left = x;
    for (name, below) in &node.below {
        boxes(out, (name, below), (left, y - ROW), pixels);
        left += below.samples as f64 * pixels;
    }
}

/// As much of a name as fits.
fn fitting(name: &str, width: f64) -> String {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "the width of a picture"
    )]
    let room = ((width - 6.0) / CHARACTER).max(0.0) as usize;
    match name.chars().count() {
        length if length <= room => name.to_owned(),
        _ if room < 4 => String::new(),
        _ => name.chars().take(room - 2).chain("..".chars()).collect(),
    }
}

/// A warm colour that follows from the name.
fn colour(name: &str) -> String {
    let hash = name.bytes().fold(5_381_u32, |hash, byte| {
        hash.wrapping_mul(33) ^ u32::from(byte)
    });
    format!(
        "rgb({},{},{})",
        205 + hash % 50,
        90 + hash / 50 % 130,
        hash / 6_500 % 60
    )
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn boxes_are_as_wide_as_their_share() {
        let stack = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        let stacks = BTreeMap::from([
            (stack(&["main", "a<T>"]), 3),
            (stack(&["main", "b"]), 1),
            (stack(&["other"]), 4),
        ]);
        let svg = draw(&stacks, 5);
        for part in [
            "8 samples of processor time in 5 s",
            "<title>main: 4 samples, 50.0 %</title><rect x=\"0.0\" y=\"45.0\" width=\"600.0\"",
            "<title>a&lt;T&gt;: 3 samples, 37.5 %</title><rect x=\"0.0\" y=\"28.0\" width=\"450.0\"",
            "<title>b: 1 samples, 12.5 %</title><rect x=\"450.0\" y=\"28.0\"",
            "<title>other: 4 samples, 50.0 %</title><rect x=\"600.0\"",
        ] {
            assert!(svg.contains(part), "{part}\n{svg}");
        }
        assert_eq!(fitting("long_name_of_a_function", 60.0), "long_n..");
        assert_eq!(draw(&BTreeMap::new(), 1).matches("<rect").count(), 1);
    }
}
