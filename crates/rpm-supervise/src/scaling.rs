//! Apps whose number of workers follows their load. What is decided, and when, is in [`autoscale`](crate::autoscale); here it
//! meets the seats.
//!
//! Whoever scales by hand takes over: nothing is decided any more until `autoscale on`.

use rpm_model::{AppId, Load, Moment};

use crate::autoscale::{Autoscaler, Change, Figure, Look, figures};
use crate::command::Refusal;
use crate::effect::{Cause, Effect};
use crate::restart::BACKOFF_RESET;
use crate::seat::{Place, Seat, Then};
use crate::supervisor::{Supervisor, Turn};

/// What is known of the scaling of one app.
#[derive(Debug, Default)]
pub(crate) struct Scaling {
    /// Somebody has scaled by hand.
    pub(crate) is_paused: bool,
    pub(crate) scaler: Autoscaler,
    /// The last figures.
    seen: Vec<Figure>,
    /// Why nothing is decided.
    standing: Standing,
    /// The last decision, and when.
    pub(crate) last: Option<(Moment, Change)>,
}

/// Why nothing is decided.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Standing {
    /// The number of workers follows the load.
    Follows,
    /// Somebody has scaled by hand, or turned it off.
    Paused,
    /// Nobody has looked yet.
    #[default]
    Unseen,
    /// None of the loads that it goes by can be seen: no balancer sends the app requests, perhaps.
    Blind,
    /// The workers are being replaced.
    Rolling,
    /// A worker has crashed, or does not come up.
    Crashing,
    /// A worker is not ready, or was stopped.
    NotReady,
}

impl Standing {
    /// Returns it in words.
    pub fn text(self) -> &'static str {
        match self {
            Standing::Follows => "follows the load",
            Standing::Paused => "off: the number is set by hand",
            Standing::Unseen => "begins",
            Standing::Blind => "waits: none of the loads that it goes by can be seen",
            Standing::Rolling => "waits: the workers are being replaced",
            Standing::Crashing => "waits: a worker has crashed",
            Standing::NotReady => "waits: not every worker is ready",
        }
    }
}

/// The scaling of an app as it is now.
#[derive(Debug, Clone, Copy)]
pub struct ScalingView<'a> {
    /// Why nothing is decided, if so.
    pub standing: Standing,
    /// What one worker carried at the last look.
    pub seen: &'a [Figure],
    /// The last decision, and when.
    pub last: Option<&'a (Moment, Change)>,
}

impl Scaling {
    /// Returns what is known of it from the daemon before. What was seen is seen again soon.
    pub(crate) fn restored(is_paused: bool, last: Option<(Moment, Change)>) -> Self {
        let mut scaling = Self { is_paused, ..Self::default() };
        scaling.scaler.changed_at = last.as_ref().map(|(at, _)| *at);
        scaling.last = last;
        scaling
    }

    pub(crate) fn view(&self) -> ScalingView<'_> {
        let standing = if self.is_paused { Standing::Paused } else { self.standing };
        ScalingView { standing, seen: &self.seen, last: self.last.as_ref() }
    }

    /// Begins anew, after somebody has said who decides.
    fn decides(&mut self, is_paused: bool) {
        let last = self.last.take();
        *self = Self { is_paused, last, ..Self::default() };
    }
}

impl Supervisor {
    /// Returns the apps whose load is to be told (see [`Event::Load`](crate::Event::Load)).
    pub fn autoscaled(&self) -> impl Iterator<Item = AppId> + '_ {
        let follows = self.apps.values().filter(|app| app.spec.autoscale.is_some() && !app.scaling.is_paused);
        follows.map(|app| app.id)
    }

    /// Returns why it cannot be said who decides on the number of an app's workers.
    pub(crate) fn may_autoscale(&self, app: AppId) -> Result<(), Refusal> {
        let app = self.apps.get(&app).ok_or(Refusal::UnknownApp(app))?;
        match app.spec.autoscale {
            Some(_) => Ok(()),
            None => Err(Refusal::NotAutoscaled { app: app.spec.name.clone() }),
        }
    }

    /// Says who decides on the number of an app's workers: the load, or people.
    pub(crate) fn autoscale(&mut self, app: AppId, on: bool) {
        if let Some(app) = self.app_mut(app).filter(|app| app.spec.autoscale.is_some()) {
            app.scaling.decides(!on);
        }
    }

    /// Takes what the workers of an app carry, and changes their number where that is due.
    pub(crate) fn loaded(&mut self, turn: &mut Turn<'_>, app: AppId, load: Load) {
        if self.shutdown.is_some() {
            return;
        }
        let seen = self.look_at(turn.now, app, load);
        // Nothing of this is written down unless something is changed: there is a look about each second.
        let Some(owner) = self.apps.get_mut(&app).filter(|app| !app.scaling.is_paused) else { return };
        let (Some(policy), scaling) = (&owner.spec.autoscale, &mut owner.scaling) else { return };
        let Ok(look) = seen else {
            scaling.standing = seen.err().unwrap_or_default();
            return scaling.scaler.interrupt();
        };
        scaling.seen = figures(policy, &look);
        scaling.standing = match () {
            () if look.is_crashing => Standing::Crashing,
            () if look.ready < look.workers => Standing::NotReady,
            () if scaling.seen.is_empty() => Standing::Blind,
            () => Standing::Follows,
        };
        let Some(change) = scaling.scaler.look(turn.now, policy, &look) else { return };
        scaling.last = Some((turn.now, change.clone()));
        turn.ask_for(Effect::PublishApp { app, event: "autoscale", detail: change.to_string() });
        self.rescale(turn, None, app, change.to, Cause::Autoscale);
    }

    /// Looks at the seats of an app; says why that is of no use.
    fn look_at(&self, now: Moment, app: AppId, load: Load) -> Result<Look, Standing> {
        let Some(owner) = self.apps.get(&app) else { return Err(Standing::Unseen) };
        if owner.roll.is_some() {
            return Err(Standing::Rolling);
        }
        let seats: Vec<&Seat> = owner.workers.iter().filter_map(|worker| self.seats.get(worker)).collect();
        let staying = || seats.iter().filter(|seat| !seat.is_doomed());
        let is_stopped = |seat: &&&Seat| matches!(seat.place, Place::Stopped | Place::Leaving(_, Then::Stop));
        if staying().any(|seat| is_stopped(&seat)) {
            return Err(Standing::NotReady);
        }
        let crashes = |seat: &&Seat| match &seat.place {
            Place::Errored | Place::Leaving(_, Then::Fail | Then::Start { cause: Cause::Crash, .. }) => true,
            Place::Waiting { .. } => !seat.is_held,
            Place::Serving(process) => process.cause == Cause::Crash && now.since(process.started_at) < BACKOFF_RESET,
            Place::Stopped | Place::Deleted | Place::Leaving(..) => false,
        };
        Ok(Look {
            workers: staying().count() as u32,
            ready: staying().filter(|seat| seat.is_online()).count() as u32,
            is_crashing: staying().any(crashes),
            load,
        })
    }
}
