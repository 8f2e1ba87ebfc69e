//! This broker's registration: asked for once, kept up through every session. The presence node says that this broker is there;
//! the controller registers what it finds there; and only the replayed registration makes this broker one that serves.
//!
//! A broker that finds itself fenced while its session lives was taken for gone: it makes its presence anew, in a new life.

use std::time::Duration;

use sluice_cluster::decide::{Change as _, Given, RegisterBroker, RegisterError};
use sluice_cluster::{FeatureLevels, Image};
use tokio::sync::oneshot;
use tokio::time::Instant;
use tracing::{info, warn};

use super::super::coordinator::Session;
use super::super::metadata::Standing;
use super::super::metadata_log::MetadataLog;
use super::super::seat::{be_present, check_id};
use super::super::{Halt, Registering, StartError, znodes};
use super::{Member, Over, random_bytes};

/// Between two lives of a broker that is fenced again and again: its troubles shall not fill the log.
const RENEW_AFTER: Duration = Duration::from_secs(1);

/// How this broker's registration stands.
#[derive(Default)]
pub(super) struct Presence {
    /// Nothing until it is asked for.
    registering: Option<Registering>,
    /// Whoever asked, until it is done.
    reply: Option<oneshot::Sender<Result<i64, StartError>>>,
    /// The node there is, as far as we know.
    node: Option<PresenceNode>,
    /// When it was last tried to make it.
    tried: Option<Instant>,
    /// Since when another broker has been there with our id.
    occupied: Option<Instant>,
    /// Asked for, and not yet seen to.
    is_news: bool,
}

#[derive(Clone, Copy)]
struct PresenceNode {
    session: i64,
    epoch: i64,
}

/// How the log has this broker's present life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Registered {
    /// Not yet.
    Not,
    Serving,
    Fenced,
}

impl Presence {
    /// From now on this broker wants to be registered.
    pub(super) fn ask(&mut self, registering: Registering, reply: oneshot::Sender<Result<i64, StartError>>) {
        (self.registering, self.reply, self.is_news) = (Some(registering), Some(reply), true);
    }

    /// What this broker can work at: whoever takes the seat wants to be registered.
    pub(super) fn features(&self) -> FeatureLevels {
        self.registering.as_ref().map_or(FeatureLevels::OURS, |registering| registering.features)
    }

    /// Whether it was asked for while something else was waited for.
    pub(super) fn is_news(&self) -> bool {
        self.is_news
    }

    /// Says to whoever asked that it can't be.
    pub(super) fn refuse(&mut self, why: &StartError) {
        self.leave();
        if let Some(reply) = self.reply.take() {
            // Nobody waits any more: then nobody is told.
            let _ = reply.send(Err(why.clone()));
        }
    }

    /// Whether this broker is there, so that it may take the seat.
    pub(super) fn is_there(&self, session: &dyn Session) -> bool {
        self.registering.is_some() && self.life_in(session).is_some()
    }

    /// Its life in this session, if it has one.
    pub(super) fn life_in(&self, session: &dyn Session) -> Option<i64> {
        self.node.filter(|node| node.session == session.id()).map(|node| node.epoch)
    }

    /// When it may be tried again, if that waits.
    pub(super) fn renewal(&self) -> Option<Instant> {
        self.tried.map(|tried| tried + RENEW_AFTER)
    }

    /// It is about to end: from now on it stays away once it is fenced, and leaves the seat to others.
    pub(super) fn leave(&mut self) {
        (self.registering, self.is_news) = (None, false);
    }
}

impl Member {
    /// Sees to it that this broker is registered, if it wants to be: makes its presence where it has none, or none that counts.
    /// Gives whether it has to wait before it can make it anew.
    pub(super) async fn keep_registered(&mut self, session: &dyn Session, log: &MetadataLog) -> Result<bool, Over> {
        self.presence.is_news = false;
        let Some(registering) = self.presence.registering.clone() else { return Ok(false) };
        let life = self.presence.life_in(session);
        let over = match life.map(|epoch| (epoch, self.registered(log.image(), epoch))) {
            Some((_, Registered::Not)) => return Ok(false),
            Some((epoch, Registered::Serving)) => {
                self.serving(epoch);
                return Ok(false);
            }
            Some((epoch, Registered::Fenced)) => {
                self.say_fenced();
                if self.presence.renewal().is_some_and(|at| at > Instant::now()) {
                    return Ok(true);
                }
                Some(epoch)
            }
            None => None,
        };
        self.presence.tried = Some(Instant::now());
        let epoch = match self.claim(session, log.image(), &registering, over).await {
            Err(Over::Halt(halt @ Halt::IdInUse { .. })) => return self.wait_out(session, halt),
            claimed => claimed?,
        };
        self.presence.occupied = None;
        self.presence.node = Some(PresenceNode { session: session.id(), epoch });
        self.config.peers.speak_as(self.identity.cluster_id.as_deref().unwrap_or_default(), Some(epoch));
        // As the session of before may have left it.
        match self.registered(log.image(), epoch) {
            Registered::Serving => self.serving(epoch),
            Registered::Fenced | Registered::Not => {}
        }
        Ok(false)
    }

    fn registered(&self, image: &Image, epoch: i64) -> Registered {
        match image.broker(self.identity.id) {
            // Or a later life of ours is registered, which we know nothing of.
            Some(broker) if broker.epoch > epoch || (broker.epoch == epoch && broker.fenced) => Registered::Fenced,
            Some(broker) if broker.epoch == epoch => Registered::Serving,
            _ => Registered::Not,
        }
    }

    /// Makes the node. Gives the epoch of the life that begins with it.
    async fn claim(
        &mut self,
        session: &dyn Session,
        image: &Image,
        registering: &Registering,
        over: Option<i64>,
    ) -> Result<i64, Over> {
        let (id, uuid) = (self.identity.id, self.identity.uuid);
        self.connected(session, check_id(session, id, uuid)).await?;
        self.check_registration(image, registering)?;
        let presence = znodes::Presence::new(id, uuid, registering);
        self.connected(session, be_present(session, &presence, over)).await
    }

    /// Another data folder is there with our id. It may be that of a broker that is gone, and whose folder was replaced by ours:
    /// then its session ends in its time, and only then the id is ours. Gives that it has to be waited.
    fn wait_out(&mut self, session: &dyn Session, halt: Halt) -> Result<bool, Over> {
        if self.presence.occupied.is_none() {
            warn!("{halt}; waiting for its session to end");
        }
        let since = *self.presence.occupied.get_or_insert_with(Instant::now);
        if since.elapsed() >= (session.timeout() * 2).max(RENEW_AFTER) { Err(Over::Halt(halt)) } else { Ok(true) }
    }

    /// What the controller would refuse is said here, to whoever can do something about it. Not what has to do with the life
    /// before: that is fenced first.
    fn check_registration(&self, image: &Image, registering: &Registering) -> Result<(), Over> {
        let Registering { endpoints, rack, clean, features } = registering.clone();
        let (id, uuid, epoch) = (self.identity.id, self.identity.uuid, i64::MAX);
        let register = RegisterBroker { id, uuid, epoch, endpoints, rack, clean, features };
        let mut given = Given { now_ms: 0, random: &mut random_bytes, configs: self.rules.as_ref() };
        match register.decide(image, &mut given) {
            Ok(_) | Err(RegisterError::OtherDataFolder { .. }) => Ok(()),
            Err(error) => Err(Over::Halt(Halt::Register(error))),
        }
    }

    /// The log has this life of this broker, and counts on it.
    fn serving(&mut self, epoch: i64) {
        self.said = None;
        if *self.told.standing.borrow() != (Standing::Serving { broker_epoch: epoch }) {
            info!("broker {} is registered with epoch {epoch}", self.identity.id);
            self.told.standing.send_replace(Standing::Serving { broker_epoch: epoch });
        }
        if let Some(registering) = &mut self.presence.registering {
            // From here on a new life is none of the process: what it holds it held. Not before: were the controller to miss the
            // first node, it would take a second one that says so for an orderly end.
            registering.clean = true;
        }
        if let Some(reply) = self.presence.reply.take() {
            // Nobody waits any more: then nobody is told.
            let _ = reply.send(Ok(epoch));
        }
    }

    fn say_fenced(&mut self) {
        let why = "the cluster counts this broker as gone, and registers it again";
        if !matches!(&*self.told.standing.borrow(), Standing::Doubtful { .. }) {
            warn!("{why}");
            self.told.standing.send_replace(Standing::Doubtful { why: why.to_owned() });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_longer_asked_for_is_no_news() {
        check("the broker ends", Presence::leave);
        check("it can't be", |presence| presence.refuse(&StartError::Unregistered { why: "the test says so".into() }));
    }

    fn check(what: &str, end: impl FnOnce(&mut Presence)) {
        let mut presence = Presence::default();
        let (reply, _answer) = oneshot::channel();
        presence.ask(Registering::default(), reply);
        assert!(presence.is_news(), "{what}");
        end(&mut presence);
        assert!(!presence.is_news(), "{what}: who waits for news to be seen to would wait for ever");
    }
}
