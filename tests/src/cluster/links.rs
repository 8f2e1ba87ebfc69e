//! Cutting and mending what is between brokers, and between them and ZooKeeper.

use super::Cluster;
use super::member::MemberLinks;
use crate::proxy::{Line, Way};

impl Cluster {
    /// Nothing gets from `from` to `to`, neither on connections of the one nor of the other. The other way is open.
    pub fn cut_one_way(&self, from: i32, to: i32) {
        if let Some(network) = &self.network {
            return network.cut_one_way(&self.member(from).place, &self.member(to).place);
        }
        self.links(to).internal.set(Some(from), Line::Stalled(Way::ToServer));
        self.links(from).internal.set(Some(to), Line::Stalled(Way::ToClient));
    }

    /// Nothing gets from one of these brokers to the other.
    pub fn cut(&self, one: i32, other: i32) {
        if self.network.is_some() {
            self.cut_one_way(one, other);
            return self.cut_one_way(other, one);
        }
        self.set_link(one, other, Line::Stalled(Way::Both));
    }

    /// Makes the link between two brokers something else, both ways.
    pub fn set_link(&self, one: i32, other: i32, line: Line) {
        self.links(one).internal.set(Some(other), line);
        self.links(other).internal.set(Some(one), line);
    }

    /// Cuts a broker off from all others; ZooKeeper and clients still reach it.
    pub fn isolate(&self, id: i32) {
        for other in self.ids().into_iter().filter(|&other| other != id) {
            self.cut(id, other);
        }
    }

    /// Cuts a broker off from everybody at once, ZooKeeper and, on a network of the cluster's own, clients too.
    pub fn cut_off(&self, id: i32) {
        if let Some(network) = &self.network {
            return network.cut_off(&self.member(id).place);
        }
        self.isolate(id);
        self.set_zookeeper_link(id, Line::Stalled(Way::Both));
    }

    /// Makes a broker's links to all ZooKeeper servers something else.
    pub fn set_zookeeper_link(&self, id: i32, line: Line) {
        self.links(id).zookeepers.iter().for_each(|proxy| proxy.set(None, line));
    }

    /// Opens every link.
    pub fn mend(&self) {
        if let Some(network) = &self.network {
            network.mend();
        }
        for links in self.members.values().filter_map(|member| member.links.as_ref()) {
            links.internal.mend();
            links.zookeepers.iter().for_each(super::super::proxy::Proxy::mend);
        }
    }

    fn links(&self, id: i32) -> &MemberLinks {
        self.member(id).links.as_ref().expect("the cluster was built with links that can be cut")
    }
}
