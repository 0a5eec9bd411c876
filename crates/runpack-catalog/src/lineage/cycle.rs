//! Artifacts that come from each other: the strongly connected parts of a graph, by Tarjan's algorithm (SIAM Journal on
//! Computing 1, 1972), without recursion.

use super::{Edge, LineageFinding};

/// The parts of the graph in which everything comes from everything.
pub(super) fn cycles(nodes: usize, edges: &[Edge]) -> Vec<LineageFinding> {
    let mut products = vec![Vec::new(); nodes];
    for edge in edges {
        if let Some(products) = products.get_mut(edge.source) {
            products.push(edge.product);
        }
    }
    let mut search = Search {
        products,
        order: vec![None; nodes],
        low: vec![0; nodes],
        on_stack: vec![false; nodes],
        stack: Vec::new(),
        next: 0,
        found: Vec::new(),
    };
    for node in 0..nodes {
        search.from(node);
    }
    search.found.sort_unstable();
    search.found
}

struct Search {
    products: Vec<Vec<usize>>,
    order: Vec<Option<usize>>,
    low: Vec<usize>,
    on_stack: Vec<bool>,
    stack: Vec<usize>,
    next: usize,
    found: Vec<LineageFinding>,
}

impl Search {
    fn from(&mut self, start: usize) {
        if self.order.get(start).is_none_or(Option::is_some) {
            return;
        }
        // A node, and how many of its products were looked at.
        let mut path = vec![(start, 0usize)];
        self.enter(start);
        while let Some((node, looked)) = path.last_mut() {
            let node = *node;
            let product = self
                .products
                .get(node)
                .and_then(|all| all.get(*looked))
                .copied();
            *looked = looked.saturating_add(1);
            if let Some(product) = product {
                match self.order.get(product).copied().flatten() {
                    None => {
                        self.enter(product);
                        path.push((product, 0));
                    }
                    Some(order) if self.on_stack.get(product) == Some(&true) => {
                        self.lower(node, order);
                    }
                    Some(_) => {}
                }
                continue;
            }
            path.pop();
            let low = self.low.get(node).copied().unwrap_or_default();
            if let Some((parent, _)) = path.last() {
                self.lower(*parent, low);
            }
            if self.order.get(node).copied().flatten() == Some(low) {
                self.leave(node);
            }
        }
    }

    fn enter(&mut self, node: usize) {
        let order = self.next;
        self.next = order.saturating_add(1);
        if let (Some(place), Some(low), Some(on_stack)) = (
            self.order.get_mut(node),
            self.low.get_mut(node),
            self.on_stack.get_mut(node),
        ) {
            (*place, *low, *on_stack) = (Some(order), order, true);
        }
        self.stack.push(node);
    }

    fn lower(&mut self, node: usize, to: usize) {
        if let Some(low) = self.low.get_mut(node) {
            *low = (*low).min(to);
        }
    }

    /// A part is whole.
    fn leave(&mut self, node: usize) {
        let mut nodes = Vec::new();
        while let Some(one) = self.stack.pop() {
            if let Some(on_stack) = self.on_stack.get_mut(one) {
                *on_stack = false;
            }
            nodes.push(one);
            if one == node {
                break;
            }
        }
        let comes_from_itself = self
            .products
            .get(node)
            .is_some_and(|products| products.contains(&node));
        if nodes.len() > 1 || comes_from_itself {
            nodes.sort_unstable();
            self.found.push(LineageFinding::Cycle { nodes });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Edge, LineageFinding, Origin};
    use super::cycles;

    fn found(nodes: usize, edges: &[(usize, usize)]) -> Vec<Vec<usize>> {
        let edges: Vec<Edge> = edges
            .iter()
            .map(|(source, product)| Edge {
                source: *source,
                product: *product,
                origin: Origin::Named,
            })
            .collect();
        let cycles = cycles(nodes, &edges).into_iter();
        let nodes = cycles.map(|finding| match finding {
            LineageFinding::Cycle { nodes } => nodes,
            other => panic!("{other:?}"),
        });
        nodes.collect()
    }

    #[test]
    fn what_comes_from_itself_is_found_and_nothing_else() {
        let none: Vec<Vec<usize>> = Vec::new();
        assert_eq!(found(0, &[]), none);
        assert_eq!(
            found(4, &[(0, 1), (1, 3), (0, 2), (2, 3)]),
            none,
            "a diamond"
        );
        assert_eq!(found(1, &[(0, 0)]), [[0]]);
        assert_eq!(found(3, &[(0, 1), (1, 2), (2, 0)]), [[0, 1, 2]]);
        let two = [(0, 1), (1, 0), (1, 2), (2, 3), (3, 2), (3, 4)];
        assert_eq!(found(5, &two), [vec![0, 1], vec![2, 3]]);
        // Deeper than a stack of calls would go.
        let mut long: Vec<_> = (0..99_999).map(|at| (at, at + 1)).collect();
        assert_eq!(found(100_000, &long), none);
        long.push((99_999, 0));
        assert_eq!(found(100_000, &long)[0].len(), 100_000);
    }
}
