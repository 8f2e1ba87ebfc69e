//! A tree of nodes, as one server sees it: changed by transactions that were decided once, for all servers.

use std::collections::BTreeMap;

/// A node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in super::super) struct Node {
    pub(in super::super) data: Vec<u8>,
    pub(in super::super) version: i32,
    /// Of the transaction that made it.
    pub(in super::super) created: i64,
    pub(in super::super) owner: Option<i64>,
}

/// One change of a multi, as the broker's coordinator knows them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in super::super) enum Change {
    Check { path: String, version: i32 },
    Create { path: String, data: Vec<u8>, ephemeral: bool },
    Set { path: String, data: Vec<u8>, version: i32 },
    Delete { path: String, version: i32 },
}

/// Why a change can't be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) enum Refusal {
    NoNode,
    Exists,
    BadVersion,
    NotEmpty,
}

/// What a transaction does to a tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in super::super) enum Effect {
    Put { path: String, node: Node },
    Remove { path: String },
}

#[derive(Debug, Clone, Default)]
pub(super) struct Tree(BTreeMap<String, Node>);

impl Change {
    pub(super) fn bytes(&self) -> usize {
        match self {
            Self::Check { .. } | Self::Delete { .. } => 0,
            Self::Create { data, .. } | Self::Set { data, .. } => data.len(),
        }
    }
}

impl Effect {
    pub(super) fn path(&self) -> &str {
        match self {
            Self::Put { path, .. } | Self::Remove { path } => path,
        }
    }
}

impl Tree {
    pub(super) fn get(&self, path: &str) -> Option<&Node> {
        self.0.get(path)
    }

    pub(super) fn children(&self, path: &str) -> Vec<String> {
        let prefix = format!("{path}/");
        let below = self.0.range(prefix.clone()..).take_while(|(child, _)| child.starts_with(&prefix));
        below
            .filter_map(|(child, _)| child.strip_prefix(&prefix))
            .filter(|name| !name.contains('/'))
            .map(str::to_owned)
            .collect()
    }

    pub(super) fn owned_by(&self, session: i64) -> Vec<String> {
        self.0.iter().filter(|(_, node)| node.owner == Some(session)).map(|(path, _)| path.clone()).collect()
    }

    pub(super) fn apply(&mut self, effect: &Effect) {
        match effect {
            Effect::Put { path, node } => drop(self.0.insert(path.clone(), node.clone())),
            Effect::Remove { path } => drop(self.0.remove(path)),
        }
    }

    /// What the changes of a session come to in this tree, or the first that can't be made and why.
    pub(super) fn decide(
        &self,
        changes: &[Change],
        session: i64,
        created: i64,
    ) -> Result<Vec<Effect>, (usize, Refusal)> {
        let mut after: BTreeMap<&str, Option<Node>> = BTreeMap::new();
        for (index, change) in changes.iter().enumerate() {
            self.step(&mut after, change, session, created).map_err(|refusal| (index, refusal))?;
        }
        let effects = after.into_iter().map(|(path, node)| match node {
            Some(node) => Effect::Put { path: path.to_owned(), node },
            None => Effect::Remove { path: path.to_owned() },
        });
        Ok(effects.collect())
    }

    fn step<'a>(
        &self,
        after: &mut BTreeMap<&'a str, Option<Node>>,
        change: &'a Change,
        session: i64,
        created: i64,
    ) -> Result<(), Refusal> {
        let find = |after: &BTreeMap<&str, Option<Node>>, path: &str| {
            after.get(path).cloned().unwrap_or_else(|| self.0.get(path).cloned())
        };
        let of_version = |after: &BTreeMap<&str, Option<Node>>, path: &str, version: i32| {
            let node = find(after, path).ok_or(Refusal::NoNode)?;
            if node.version == version { Ok(node) } else { Err(Refusal::BadVersion) }
        };
        match change {
            Change::Check { path, version } => drop(of_version(after, path, *version)?),
            Change::Create { path, data, ephemeral } => {
                let parent = path.rsplit_once('/').map_or("", |(parent, _)| parent);
                if !parent.is_empty() && find(after, parent).is_none() {
                    return Err(Refusal::NoNode);
                }
                if find(after, path).is_some() {
                    return Err(Refusal::Exists);
                }
                let owner = ephemeral.then_some(session);
                after.insert(path, Some(Node { data: data.clone(), version: 0, created, owner }));
            }
            Change::Set { path, data, version } => {
                let node = of_version(after, path, *version)?;
                after.insert(path, Some(Node { data: data.clone(), version: version + 1, ..node }));
            }
            Change::Delete { path, version } => {
                of_version(after, path, *version)?;
                if !self.children(path).is_empty() {
                    return Err(Refusal::NotEmpty);
                }
                after.insert(path, None);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_of_a_multi_or_nothing() {
        let mut tree = Tree::default();
        let create = |path: &str| Change::Create { path: path.into(), data: vec![1], ephemeral: true };
        let set = |version| Change::Set { path: "/a".into(), data: vec![2], version };
        let check = |tree: &Tree, changes: &[Change], expected: Result<usize, (usize, Refusal)>| {
            assert_eq!(tree.decide(changes, 7, 1).map(|effects| effects.len()), expected, "{changes:?}");
        };
        check(&tree, &[create("/a"), create("/a/b")], Ok(2));
        check(&tree, &[create("/a/b")], Err((0, Refusal::NoNode)));
        check(&tree, &[create("/a"), create("/a")], Err((1, Refusal::Exists)));
        check(&tree, &[set(0)], Err((0, Refusal::NoNode)));
        let effects = tree.decide(&[create("/a"), create("/a/b"), set(0)], 7, 9).unwrap();
        effects.iter().for_each(|effect| tree.apply(effect));
        assert_eq!(tree.get("/a"), Some(&Node { data: vec![2], version: 1, created: 9, owner: Some(7) }));
        assert_eq!((tree.children("/a"), tree.owned_by(7).len()), (vec!["b".to_owned()], 2));
        check(&tree, &[set(0)], Err((0, Refusal::BadVersion)));
        check(&tree, &[Change::Check { path: "/a".into(), version: 1 }], Ok(0));
        check(&tree, &[Change::Delete { path: "/a".into(), version: 1 }], Err((0, Refusal::NotEmpty)));
        let remade = [Change::Delete { path: "/a/b".into(), version: 0 }, create("/a/b")];
        check(&tree, &remade, Ok(1));
    }
}
