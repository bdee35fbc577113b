//! Which request or connection meets which fault. Pure, but for the random numbers, which come from a seed.

use std::{
    collections::VecDeque,
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use rand::{Rng, SeedableRng, rngs::StdRng};

use super::message::Request;

/// Most requests remembered; past it the oldest are forgotten.
const MOST_SEEN: usize = 100_000;

/// Changes a request before it is passed on.
pub type Rewriting = Arc<dyn Fn(&mut Request) + Send + Sync>;

/// What happens.
#[derive(Clone)]
pub enum Fault {
    /// It is held back for a time between these two, then passed on; of a connection each piece is.
    Delay(Duration, Duration),
    /// The connection ends before anything is passed on.
    Cut,
    /// Half of the request's body is passed on, then both connections end.
    CutRequest,
    /// It is passed on and done; the connection ends instead of the reply.
    LoseReply,
    /// It is passed on and done; half of the reply's body comes, then the connection ends.
    CutReply,
    /// It is passed on and done; the reply never comes, the connection stays.
    Silence,
    /// It is passed on and done; the proxy ends its side of the connection, without the reply, and goes on listening.
    HalfClose,
    /// It is not passed on, and answered with this status.
    Refuse(u16),
    /// It is passed on and done, and answered with this status all the same.
    FailReply(u16),
    /// The reply comes at so many bytes a second.
    Slow(u32),
    /// It is passed on as this makes it.
    Rewrite(Rewriting),
}

/// Which requests meet a fault, and how often.
#[derive(Clone, Debug)]
pub struct Rule {
    method: Option<String>,
    path: String,
    header: Option<String>,
    times: Option<u64>,
    after: u64,
    chance: f64,
    fault: Fault,
}

impl Rule {
    /// Requests of a method, `*` for any, whose path and query contain this.
    pub fn on(method: &str, path: &str) -> Self {
        Self {
            method: (method != "*").then(|| method.to_owned()),
            path: path.to_owned(),
            header: None,
            times: None,
            after: 0,
            chance: 1.0,
            fault: Fault::Cut,
        }
    }

    /// All requests, or connections.
    pub fn always() -> Self {
        Self::on("*", "")
    }

    /// Only those that have this header.
    pub fn having(self, header: &str) -> Self {
        Self { header: Some(header.to_owned()), ..self }
    }

    /// So many of them, then none any more.
    pub fn times(self, times: u64) -> Self {
        Self { times: Some(times), ..self }
    }

    /// Not the first so many.
    pub fn after(self, spared: u64) -> Self {
        Self { after: spared, ..self }
    }

    /// Each with this probability.
    pub fn chance(self, chance: f64) -> Self {
        Self { chance, ..self }
    }

    /// What they meet; without a word they are cut.
    pub fn with(self, fault: Fault) -> Self {
        Self { fault, ..self }
    }

    pub(super) fn needs_requests(&self) -> bool {
        let about_requests = matches!(
            self.fault,
            Fault::CutRequest | Fault::Refuse(_) | Fault::FailReply(_) | Fault::Rewrite(_) | Fault::CutReply
        );
        about_requests || self.method.is_some() || !self.path.is_empty() || self.header.is_some()
    }

    fn concerns(&self, request: Option<&Request>) -> bool {
        let Some(request) = request else { return true };
        self.method.as_deref().is_none_or(|method| method == request.method())
            && request.path().contains(&self.path)
            && self.header.as_deref().is_none_or(|name| request.header(name).is_some())
    }
}

/// How many requests have met a rule.
#[derive(Clone, Debug)]
pub struct Met(Arc<AtomicU64>);

impl Met {
    pub fn times(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A request that came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    pub method: String,
    /// With the query.
    pub path: String,
    /// What the upstream answered; `None` when it was not asked or did not answer.
    pub answer: Option<u16>,
    /// What the request met, besides delays.
    pub fault: Option<String>,
}

/// What a request or a connection is to meet: a delay, and perhaps more.
#[derive(Clone, Debug, Default)]
pub(super) struct Verdict {
    pub(super) delay: Option<(Duration, Duration)>,
    pub(super) fault: Option<Fault>,
}

/// All rules there are, and what came.
pub(super) struct Rules {
    random: StdRng,
    rules: Vec<Kept>,
    seen: VecDeque<Seen>,
}

struct Kept {
    rule: Rule,
    concerned: u64,
    met: Arc<AtomicU64>,
}

impl Rules {
    pub(super) fn seeded(seed: u64) -> Self {
        Self { random: StdRng::seed_from_u64(seed), rules: Vec::new(), seen: VecDeque::new() }
    }

    pub(super) fn add(&mut self, rule: Rule) -> Met {
        let met = Arc::new(AtomicU64::new(0));
        self.rules.push(Kept { rule, concerned: 0, met: Arc::clone(&met) });
        Met(met)
    }

    pub(super) fn clear(&mut self) {
        self.rules.clear();
    }

    /// What the next request meets, or the next connection when there is none: the longest delay of the rules that
    /// strike, and the first of their other faults.
    pub(super) fn judge(&mut self, request: Option<&Request>) -> Verdict {
        let mut verdict = Verdict::default();
        for kept in self.rules.iter_mut().filter(|kept| kept.rule.concerns(request)) {
            let is_delay = matches!(kept.rule.fault, Fault::Delay(..));
            if !is_delay && verdict.fault.is_some() {
                continue;
            }
            kept.concerned += 1;
            let met = kept.met.load(Ordering::Relaxed);
            let due = kept.concerned > kept.rule.after && kept.rule.times.is_none_or(|times| met < times);
            if !due || (kept.rule.chance < 1.0 && !self.random.random_bool(kept.rule.chance)) {
                continue;
            }
            kept.met.fetch_add(1, Ordering::Relaxed);
            match kept.rule.fault {
                Fault::Delay(least, most) => {
                    verdict.delay = verdict.delay.max(Some((least, most.max(least))));
                }
                ref fault => verdict.fault = Some(fault.clone()),
            }
        }
        verdict
    }

    /// A time between the two.
    pub(super) fn draw(&mut self, (least, most): (Duration, Duration)) -> Duration {
        self.random.random_range(least..=most)
    }

    pub(super) fn note(&mut self, seen: Seen) {
        if self.seen.len() == MOST_SEEN {
            self.seen.pop_front();
        }
        self.seen.push_back(seen);
    }

    pub(super) fn seen(&self) -> Vec<Seen> {
        self.seen.iter().cloned().collect()
    }
}

impl fmt::Debug for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Delay(least, most) => write!(f, "Delay({least:?}..{most:?})"),
            Self::Cut => f.write_str("Cut"),
            Self::CutRequest => f.write_str("CutRequest"),
            Self::LoseReply => f.write_str("LoseReply"),
            Self::CutReply => f.write_str("CutReply"),
            Self::Silence => f.write_str("Silence"),
            Self::HalfClose => f.write_str("HalfClose"),
            Self::Refuse(status) => write!(f, "Refuse({status})"),
            Self::FailReply(status) => write!(f, "FailReply({status})"),
            Self::Slow(rate) => write!(f, "Slow({rate})"),
            Self::Rewrite(_) => f.write_str("Rewrite"),
        }
    }
}
