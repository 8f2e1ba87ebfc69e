//! The lines between brokers of one process, in place of the network: who is plugged in can be called, who is not is gone, and
//! lines can be cut.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use sluice::coordination::{ForwardError, Metadata, PeerCalls, Testimony};
use sluice_cluster::Image;
use tokio::sync::watch;
use tokio::time::timeout;

/// All lines of a cluster.
#[derive(Debug, Clone)]
pub(crate) struct Switchboard {
    plugged: Arc<watch::Sender<BTreeMap<i32, Plug>>>,
    cut: Arc<Mutex<BTreeSet<i32>>>,
    /// Who is not to be seen by whom.
    hidden: Arc<watch::Sender<BTreeSet<(i32, i32)>>>,
}

/// A process as others see it.
#[derive(Debug, Clone)]
struct Plug {
    metadata: Metadata,
}

/// One broker's end.
#[derive(Debug)]
struct Line {
    of: i32,
    board: Switchboard,
}

impl Default for Switchboard {
    fn default() -> Self {
        Self {
            plugged: Arc::new(watch::Sender::new(BTreeMap::new())),
            cut: Arc::default(),
            hidden: Arc::new(watch::Sender::default()),
        }
    }
}

impl Switchboard {
    /// What a broker is given to speak to the others.
    pub(crate) fn line_of(&self, id: i32) -> Arc<dyn PeerCalls> {
        Arc::new(Line { of: id, board: self.clone() })
    }

    /// The broker's process listens.
    pub(crate) fn plug_in(&self, id: i32, metadata: &Metadata) {
        self.plugged.send_modify(|plugged| drop(plugged.insert(id, Plug { metadata: metadata.clone() })));
    }

    /// The broker's process is gone, as others see it.
    pub(crate) fn unplug(&self, id: i32) {
        self.plugged.send_modify(|plugged| drop(plugged.remove(&id)));
    }

    /// Nothing gets to this broker any more, nor from it; no connection ends.
    pub(crate) fn cut(&self, id: i32) {
        self.cut.lock().unwrap_or_else(PoisonError::into_inner).insert(id);
    }

    /// To `from` alone this broker's process looks as if it were gone.
    pub(crate) fn hide(&self, id: i32, from: i32) {
        self.hidden.send_modify(|hidden| {
            hidden.insert((id, from));
        });
    }

    pub(crate) fn mend(&self, id: i32) {
        self.cut.lock().unwrap_or_else(PoisonError::into_inner).remove(&id);
    }

    fn is_cut(&self, id: i32) -> bool {
        self.cut.lock().unwrap_or_else(PoisonError::into_inner).contains(&id)
    }
}

#[async_trait]
impl PeerCalls for Line {
    fn know(&self, _: &Image) {}

    fn speak_as(&self, _: &str, _: Option<i64>) {}

    async fn change(
        &self,
        controller: i32,
        kind: u16,
        body: Vec<u8>,
        deadline: Duration,
    ) -> Result<Vec<u8>, ForwardError> {
        if self.board.is_cut(self.of) || self.board.is_cut(controller) {
            return Err(ForwardError::NotSent { why: "the line is cut".into() });
        }
        let Some(plug) = self.board.plugged.borrow().get(&controller).cloned() else {
            return Err(ForwardError::NotSent { why: "refused".into() });
        };
        match timeout(deadline, plug.metadata.handle_forwarded(self.of, kind, &body)).await {
            Ok(answered) => answered.map_err(ForwardError::Answered),
            Err(_) => Err(ForwardError::Lost { why: "no answer".into() }),
        }
    }

    async fn gone(&self, broker: i32, _: i64) {
        let mut plugged = self.board.plugged.subscribe();
        // It is there, and then it isn't: its connection ends, and its listener refuses.
        let _ = plugged.wait_for(|plugged| plugged.contains_key(&broker)).await;
        let mut hidden = self.board.hidden.subscribe();
        tokio::select! {
            _ = plugged.wait_for(|plugged| !plugged.contains_key(&broker)) => {}
            _ = hidden.wait_for(|hidden| hidden.contains(&(broker, self.of))) => {}
        }
    }

    async fn ask(&self, witness: i32, suspect: i32) -> Testimony {
        if self.board.is_cut(self.of) || self.board.is_cut(witness) {
            return Testimony::Silent;
        }
        let plugged = self.board.plugged.borrow();
        match (plugged.contains_key(&witness), plugged.contains_key(&suspect)) {
            (false, _) => Testimony::WitnessGone,
            (true, true) => Testimony::NotGone,
            (true, false) => Testimony::Gone,
        }
    }
}
