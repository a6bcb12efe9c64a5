//! A picture of a graph as SVG. The same graph gives the same bytes, and the text needs no font
//! that a browser does not have.

use std::fmt::Write as _;

use super::draw::DrawnGraph;
use super::input::EdgeType;
use super::layout::{Layout, length, longest_paths, shown};

const NODE_HEIGHT: f64 = 30.0;
const LAYER_GAP: f64 = 66.0;
pub(super) const MARGIN: f64 = 24.0;
/// How far the bend of a bowed line may stand off; the line itself goes half as far.
const BOW_MAX: f64 = 96.0;
/// Half the size of a mark at the end of an edge.
const CIRCLE: f64 = 4.0;

/// The picture of a graph whose edges run between the nodes at `ends`.
pub(crate) fn picture(graph: &DrawnGraph, ends: &[(usize, usize)]) -> String {
    let layers = longest_paths(graph, ends);
    let mut layout = Layout::new(graph, ends, &layers);
    layout.order();
    layout.place();
    layout.draw(graph)
}

impl Layout {
    fn y(&self, slot: usize) -> f64 {
        MARGIN + NODE_HEIGHT / 2.0 + length(self.layer_of[slot]) * LAYER_GAP
    }

    fn draw(&self, graph: &DrawnGraph) -> String {
        let right = (0..self.slots.len())
            .map(|slot| self.x[slot] + self.width[slot] / 2.0)
            .fold(0.0, f64::max);
        // Arcs above and below the first and last layer need room.
        let height =
            MARGIN * 2.0 + NODE_HEIGHT + length(self.layers.len().max(1) - 1) * LAYER_GAP + 24.0;
        let mut out = String::new();
        let is_bowed = graph
            .edges
            .iter()
            .any(|edge| edge.kind == EdgeType::Bidirected);
        let side = if is_bowed { BOW_MAX / 2.0 } else { 0.0 };
        let width = (right + MARGIN + 2.0 * side).ceil().max(60.0);
        let height = height.ceil();
        push(
            &mut out,
            format_args!(
                "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"-{side} 0 {width} {height}\" \
                 width=\"{width}\" height=\"{height}\" role=\"img\" \
                 font-family=\"system-ui, sans-serif\" font-size=\"13\">\n<title>graph of {} nodes \
                 and {} edges</title>\n<rect x=\"-{side}\" width=\"100%\" height=\"100%\" fill=\"#ffffff\"/>\n",
                graph.nodes.len(),
                graph.edges.len()
            ),
        );
        for (edge, route) in graph.edges.iter().zip(&self.routes) {
            self.edge(&mut out, edge.kind, edge.label.as_deref(), route);
        }
        for (node, name) in graph.nodes.iter().enumerate() {
            let (x, y, width) = (self.x[node], self.y(node), self.width[node]);
            let (left, top) = (x - width / 2.0, y - NODE_HEIGHT / 2.0);
            let (full, label) = (escaped(name), escaped(&shown(name)));
            push(
                &mut out,
                format_args!(
                    "<g><title>{full}</title><rect x=\"{left:.1}\" y=\"{top:.1}\" \
                     width=\"{width:.1}\" height=\"{NODE_HEIGHT}\" rx=\"8\" fill=\"#eef3fa\" \
                     stroke=\"#33506f\"/><text x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"middle\" \
                     fill=\"#14202e\">{label}</text></g>\n",
                    y + 4.5
                ),
            );
        }
        out.push_str("</svg>\n");
        out
    }

    /// The points of an edge, from the rim of one box to that of the other.
    fn points(&self, kind: EdgeType, route: &[usize]) -> Vec<(f64, f64)> {
        let (from, to) = (route[0], route[route.len() - 1]);
        let mut points: Vec<(f64, f64)> = route
            .iter()
            .map(|&slot| (self.x[slot], self.y(slot)))
            .collect();
        // A line within a layer, or between latent siblings, bows out so that it is seen.
        if self.layer_of[from] == self.layer_of[to] || kind == EdgeType::Bidirected {
            let (a, b) = (points[0], points[points.len() - 1]);
            let (dx, dy) = (b.0 - a.0, b.1 - a.1);
            let reach = dx.hypot(dy).max(1.0);
            let bow = (reach * 0.3).min(BOW_MAX);
            let middle = (
                f64::midpoint(a.0, b.0) - dy / reach * bow,
                f64::midpoint(a.1, b.1) + dx.abs() / reach * bow,
            );
            points = vec![a, middle, b];
        }
        let last = points.len() - 1;
        points[0] = self.rim(from, points[1]);
        points[last] = self.rim(to, points[last - 1]);
        points
    }

    fn edge(&self, out: &mut String, kind: EdgeType, label: Option<&str>, route: &[usize]) {
        let points = self.points(kind, route);
        let last = points.len() - 1;
        let mut path = format!("M{:.1} {:.1}", points[0].0, points[0].1);
        if points.len() == 3 {
            let (middle, end) = (points[1], points[2]);
            push(
                &mut path,
                format_args!(
                    " Q{:.1} {:.1} {:.1} {:.1}",
                    middle.0, middle.1, end.0, end.1
                ),
            );
        } else {
            for point in &points[1..] {
                push(&mut path, format_args!(" L{:.1} {:.1}", point.0, point.1));
            }
        }
        let dash = if kind == EdgeType::Bidirected {
            " stroke-dasharray=\"5 4\""
        } else {
            ""
        };
        push(
            out,
            format_args!(
                "<path d=\"{path}\" fill=\"none\" stroke=\"#4a5a6a\" stroke-width=\"1.3\"{dash}/>\n"
            ),
        );
        let has_head = !matches!(kind, EdgeType::Undirected | EdgeType::Nondirected);
        if has_head {
            arrowhead(out, points[last - 1], points[last]);
        }
        match kind {
            EdgeType::Bidirected => arrowhead(out, points[1], points[0]),
            EdgeType::PartiallyDirected => circle(out, points[1], points[0]),
            EdgeType::Nondirected => {
                circle(out, points[1], points[0]);
                circle(out, points[last - 1], points[last]);
            }
            EdgeType::Directed | EdgeType::Undirected => {}
        }
        if let Some(label) = label {
            let (a, b) = (points[last / 2], points[last / 2 + 1]);
            let (x, y) = (f64::midpoint(a.0, b.0), f64::midpoint(a.1, b.1));
            let (y, label) = (y - 2.0, escaped(&shown(label)));
            // Twice: a white rim first, so that the line does not run through the letters.
            for paint in ["stroke=\"#ffffff\" stroke-width=\"3\"", "fill=\"#5b4a2a\""] {
                push(
                    out,
                    format_args!(
                        "<text x=\"{x:.1}\" y=\"{y:.1}\" font-size=\"11\" \
                         text-anchor=\"middle\" {paint}>{label}</text>\n"
                    ),
                );
            }
        }
    }

    /// Where the line from the node's centre towards a point leaves its box.
    fn rim(&self, slot: usize, towards: (f64, f64)) -> (f64, f64) {
        let (x, y) = (self.x[slot], self.y(slot));
        let (dx, dy) = (towards.0 - x, towards.1 - y);
        let half = (self.width[slot] / 2.0 + 2.0, NODE_HEIGHT / 2.0 + 2.0);
        let scale = (half.0 / dx.abs().max(1e-9)).min(half.1 / dy.abs().max(1e-9));
        let scale = scale.min(1.0);
        (x + dx * scale, y + dy * scale)
    }
}

/// A filled triangle with its tip at `at`, coming from `from`.
fn arrowhead(out: &mut String, from: (f64, f64), at: (f64, f64)) {
    let (dx, dy) = (at.0 - from.0, at.1 - from.1);
    let reach = dx.hypot(dy).max(1e-9);
    let (ux, uy) = (dx / reach, dy / reach);
    let (bx, by) = (at.0 - ux * 9.0, at.1 - uy * 9.0);
    push(
        out,
        format_args!(
            "<path d=\"M{:.1} {:.1} L{:.1} {:.1} L{:.1} {:.1} Z\" fill=\"#4a5a6a\"/>\n",
            at.0,
            at.1,
            bx - uy * CIRCLE,
            by + ux * CIRCLE,
            bx + uy * CIRCLE,
            by - ux * CIRCLE
        ),
    );
}

/// An open end.
fn circle(out: &mut String, from: (f64, f64), at: (f64, f64)) {
    let (dx, dy) = (at.0 - from.0, at.1 - from.1);
    let reach = dx.hypot(dy).max(1e-9);
    push(
        out,
        format_args!(
            "<circle cx=\"{:.1}\" cy=\"{:.1}\" r=\"{CIRCLE}\" fill=\"#ffffff\" \
             stroke=\"#4a5a6a\"/>\n",
            at.0 - dx / reach * CIRCLE,
            at.1 - dy / reach * CIRCLE
        ),
    );
}

fn push(out: &mut String, text: std::fmt::Arguments<'_>) {
    out.write_fmt(text)
        .expect("writing to a string cannot fail");
}

fn escaped(text: &str) -> String {
    let mut result = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => result.push_str("&amp;"),
            '<' => result.push_str("&lt;"),
            '>' => result.push_str("&gt;"),
            '"' => result.push_str("&quot;"),
            '\'' => result.push_str("&#39;"),
            // Beyond what XML may hold.
            '\u{fffe}' | '\u{ffff}' => result.push('\u{fffd}'),
            letter => result.push(letter),
        }
    }
    result
}
