//! A lineage as text, as Mermaid and as Graphviz. What packs say is shown and never taken for markup.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use runpack_core::display::Printable;
use runpack_core::manifest::Subject;

use super::{Direction, Lineage, LineageFinding, Node, Origin};

/// How deep a tree is indented.
const INDENT_MAX: usize = 40;

impl Lineage {
    /// A tree for people, with what is wrong below it. What was shown above is not shown again.
    pub fn to_text(&self) -> String {
        let mut next: BTreeMap<usize, Vec<(usize, Origin)>> = BTreeMap::new();
        for edge in &self.edges {
            let (from, to) = match self.direction {
                Direction::Up => (edge.product, edge.source),
                Direction::Down => (edge.source, edge.product),
            };
            next.entry(from).or_default().push((to, edge.origin));
        }
        let mut text = String::new();
        let mut shown = vec![false; self.nodes.len()];
        let beginning = (0..).zip(&self.nodes).filter(|(_, node)| node.depth == 0);
        // From the back, because the last one pushed is shown first.
        let mut coming: Vec<(usize, usize, Option<Origin>)> =
            beginning.map(|(place, _)| (place, 0, None)).collect();
        coming.reverse();
        while let Some((place, depth, origin)) = coming.pop() {
            let Some(node) = self.nodes.get(place) else {
                continue;
            };
            let indent = "  ".repeat(depth.min(INDENT_MAX));
            let arrow = match (depth, self.direction) {
                (0, _) => "",
                (_, Direction::Up) => "<- ",
                (_, Direction::Down) => "-> ",
            };
            let how = match origin {
                Some(Origin::SameBytes) => " (another with the same bytes)",
                Some(Origin::Claimed) => " (only named)",
                _ => "",
            };
            let has_more = next.contains_key(&place);
            let is_again = std::mem::replace(shown.get_mut(place).unwrap_or(&mut true), true);
            let above = if is_again && has_more { " (above)" } else { "" };
            // Writing to a string does not fail.
            let _ = writeln!(text, "{indent}{arrow}{}{how}{above}", line(node));
            if is_again {
                continue;
            }
            let next = next.get(&place).into_iter().flatten().rev();
            coming.extend(next.map(|(to, origin)| (*to, depth.saturating_add(1), Some(*origin))));
        }
        for finding in &self.findings {
            let _ = writeln!(text, "finding: {}", finding.told(&self.nodes));
        }
        text
    }

    /// A flowchart of Mermaid.
    pub fn to_mermaid(&self) -> String {
        let mut text = "flowchart LR\n".to_owned();
        for (place, node) in self.nodes.iter().enumerate() {
            // Mermaid takes entities of its own, `#` and a number and `;`, in quotes.
            let label = escaped(&label(node), |c| format!("#{};", u32::from(c)));
            let shape = if node.known.is_some() {
                ("[", "]")
            } else {
                ("([", "])")
            };
            let _ = writeln!(text, "  n{place}{}\"{label}\"{}", shape.0, shape.1);
        }
        for edge in &self.edges {
            let arrow = match edge.origin {
                Origin::Named => "-->",
                Origin::SameBytes => "-. same bytes .->",
                Origin::Claimed => "-. claimed .->",
            };
            let _ = writeln!(text, "  n{} {arrow} n{}", edge.source, edge.product);
        }
        text
    }

    /// A graph of Graphviz.
    pub fn to_graphviz(&self) -> String {
        let mut text = "digraph lineage {\n  rankdir=LR;\n  node [shape=box];\n".to_owned();
        for (place, node) in self.nodes.iter().enumerate() {
            let label = escaped(&label(node), |c| format!("&#{};", u32::from(c)));
            let style = if node.known.is_some() {
                ""
            } else {
                ", style=dashed"
            };
            let _ = writeln!(text, "  n{place} [label=\"{label}\"{style}];");
        }
        for edge in &self.edges {
            let style = match edge.origin {
                Origin::Named => "",
                Origin::SameBytes => " [style=dotted, label=\"same bytes\"]",
                Origin::Claimed => " [style=dashed, label=\"claimed\"]",
            };
            let _ = writeln!(text, "  n{} -> n{}{style};", edge.source, edge.product);
        }
        text.push_str("}\n");
        text
    }
}

impl LineageFinding {
    /// In one line; `nodes` are those of its lineage.
    pub(crate) fn told(&self, nodes: &[Node]) -> String {
        match self {
            Self::Forged {
                pack_id,
                name,
                source_pack,
                source_name,
                claimed,
                actual,
            } => {
                let actual = match actual {
                    Some(actual) => format!("it has other bytes, actual=`sha256:{actual}`"),
                    None => "that pack has no such artifact".to_owned(),
                };
                format!(
                    "a source that is not as it is named: {actual}, artifact=`{pack_id}/{}` source=`{source_pack}/{}` claimed=`sha256:{claimed}`",
                    Printable(name),
                    Printable(source_name)
                )
            }
            Self::Unknown {
                pack_id,
                name,
                source_pack,
                source_name,
            } => format!(
                "a source in a pack that the catalog does not know, artifact=`{pack_id}/{}` source=`{source_pack}/{}`",
                Printable(name),
                Printable(source_name)
            ),
            Self::Cycle { nodes: cycle } => {
                let cycle = cycle.iter().filter_map(|place| nodes.get(*place));
                let cycle: Vec<_> = cycle.map(label).collect();
                format!("artifacts that come from each other: {}", cycle.join(", "))
            }
            Self::Bounded => "there is more than this, which is not shown".to_owned(),
        }
    }
}

/// The run and the name.
fn label(node: &Node) -> String {
    let name = Printable(&node.name);
    let subject = node.known.as_ref().and_then(|known| known.subject.as_ref());
    match subject {
        Some(subject) => format!("{} {name}", whose(subject)),
        None => format!("{} {name}", node.pack_id),
    }
}

fn line(node: &Node) -> String {
    let known = node.known.as_ref().map(|known| &known.artifact);
    let what = known.map_or_else(String::new, |artifact| {
        format!(
            "  {}  {} bytes",
            Printable(&artifact.media_type),
            artifact.bytes
        )
    });
    format!("{}{what}  sha256:{}", label(node), node.commitment)
}

fn whose(subject: &Subject) -> String {
    match subject {
        Subject::Run {
            tenant,
            namespace,
            scenario,
            run_id,
            ..
        } => format!("{tenant}/{namespace}/{scenario}/{run_id}"),
        Subject::Step {
            tenant,
            run_id,
            step_id,
        } => format!("{tenant}/{run_id}/{step_id}"),
        Subject::Pipeline { tenant, run_id } => format!("{tenant}/{run_id}"),
        Subject::Execution { execution_id } => execution_id.to_string(),
        _ => "another kind of subject".to_owned(),
    }
}

/// Everything but letters, digits and what stands in names, by an entity of the target.
fn escaped(text: &str, entity: impl Fn(char) -> String) -> String {
    let mut escaped = String::new();
    for c in text.chars() {
        if c.is_ascii_alphanumeric() || " ._-/:".contains(c) {
            escaped.push(c);
        } else {
            escaped.push_str(&entity(c));
        }
    }
    escaped
}
