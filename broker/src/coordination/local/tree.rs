//! The nodes, changed in place; a multi that can't be done whole is taken back before anyone sees it.

use std::collections::BTreeMap;

use super::super::coordinator::{Change, Lifetime, Node, Refusal};

/// Nodes by path; the root is always there and is no node.
#[derive(Debug, Default)]
pub(super) struct Tree {
    nodes: BTreeMap<String, Node>,
    next_created: i64,
}

impl Tree {
    pub(super) fn get(&self, path: &str) -> Option<&Node> {
        self.nodes.get(path)
    }

    /// What the next node that is made gets as `created`.
    pub(super) fn next_created(&self) -> i64 {
        self.next_created
    }

    /// Names of the nodes right below.
    pub(super) fn children(&self, path: &str) -> Vec<String> {
        let prefix = format!("{}/", path.trim_end_matches('/'));
        let names = self.below(&prefix).map(|path| &path[prefix.len()..]);
        names.filter(|name| !name.contains('/')).map(str::to_owned).collect()
    }

    /// Nodes that stay.
    pub(super) fn persistent(&self) -> impl Iterator<Item = (&String, &Node)> {
        self.nodes.iter().filter(|(_, node)| node.owner.is_none())
    }

    /// Puts a node back as the file has it, or takes away one the file says is gone.
    pub(super) fn restore(&mut self, path: String, node: Option<Node>) {
        match node {
            Some(node) => self.nodes.insert(path, node),
            None => self.nodes.remove(&path),
        };
    }

    /// Counts on as if this many nodes had been made.
    pub(super) fn restore_next_created(&mut self, next_created: i64) {
        self.next_created = next_created;
    }

    /// All of the changes, or none and the one that can't be made.
    pub(super) fn multi(&mut self, session: i64, changes: &[Change]) -> Result<(), (usize, Refusal)> {
        let (before, mut undo) = (self.next_created, Vec::new());
        for (index, change) in changes.iter().enumerate() {
            let known = self.nodes.get(change.path()).cloned();
            if let Err(refusal) = self.apply(session, change) {
                for (path, node) in undo.into_iter().rev() {
                    self.restore(path, node);
                }
                self.restore_next_created(before);
                return Err((index, refusal));
            }
            undo.push((change.path().to_owned(), known));
        }
        Ok(())
    }

    /// Takes away the nodes that live with the session; gives their paths.
    pub(super) fn remove_session(&mut self, session: i64) -> Vec<String> {
        self.nodes.extract_if(.., |_, node| node.owner == Some(session)).map(|(path, _)| path).collect()
    }

    fn apply(&mut self, session: i64, change: &Change) -> Result<(), Refusal> {
        match change {
            Change::Check { path, version } => self.node(path, *version).map(drop),
            Change::Create { path, data, lifetime } => self.create(session, path, data, *lifetime),
            Change::Set { path, data, version } => {
                let node = self.node(path, *version)?;
                node.data.clone_from(data);
                node.version += 1;
                Ok(())
            }
            Change::Delete { path, version } => {
                self.node(path, *version)?;
                if self.below(&format!("{path}/")).next().is_some() {
                    return Err(Refusal::NotEmpty);
                }
                self.nodes.remove(path);
                Ok(())
            }
        }
    }

    fn create(&mut self, session: i64, path: &str, data: &[u8], lifetime: Lifetime) -> Result<(), Refusal> {
        let denied = |why: &str| Refusal::Denied { why: why.to_owned() };
        let (parent, name) = path.rsplit_once('/').ok_or_else(|| denied("a path begins with '/'"))?;
        if name.is_empty() {
            return Err(denied("a path does not end with '/'"));
        }
        match self.nodes.get(parent) {
            None if !parent.is_empty() => return Err(Refusal::NoNode),
            Some(node) if node.owner.is_some() => {
                return Err(denied("a node that lives with a session has no children"));
            }
            _ => {}
        }
        if self.nodes.contains_key(path) {
            return Err(Refusal::Exists);
        }
        let owner = match lifetime {
            Lifetime::Persistent => None,
            Lifetime::Session => Some(session),
        };
        self.nodes.insert(path.to_owned(), Node { data: data.to_vec(), version: 0, created: self.next_created, owner });
        self.next_created += 1;
        Ok(())
    }

    fn node(&mut self, path: &str, version: i32) -> Result<&mut Node, Refusal> {
        let node = self.nodes.get_mut(path).ok_or(Refusal::NoNode)?;
        if node.version == version { Ok(node) } else { Err(Refusal::BadVersion) }
    }

    fn below<'a>(&'a self, prefix: &'a str) -> impl Iterator<Item = &'a String> {
        self.nodes.range(prefix.to_owned()..).map(|(path, _)| path).take_while(move |path| path.starts_with(prefix))
    }
}
