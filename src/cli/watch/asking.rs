//! Asking copies, each at its own time and none twice at once: whoever takes long to answer keeps nobody else from being asked.
//! Deliberately absent: what the answers mean.
use crate::model::{Checked, CopyAt, ServerName, ServiceName};
use crate::plan::{CopyCheck, together};
use crate::remote::Servers;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

/// So many copies are asked at the same time.
const AT_ONCE: usize = 64;

/// The copies that are being asked, and when the others are.
pub(super) struct Asking {
    pub(super) turns: Turns,
    answers: JoinSet<(CopyCheck, Checked)>,
    places: Arc<Semaphore>,
}

impl Asking {
    pub(super) fn new() -> Asking {
        Asking { turns: Turns::new(Instant::now()), answers: JoinSet::new(), places: Arc::new(Semaphore::new(AT_ONCE)) }
    }

    /// Begins to ask those of these copies whose turn it is, from all their servers but the silent ones.
    pub(super) fn begin(
        &mut self,
        copies: &[CopyCheck],
        every: impl Fn(&CopyCheck) -> Duration,
        servers: &Servers,
        silent: &BTreeSet<ServerName>,
    ) {
        for copy in self.turns.take(Instant::now(), copies, every) {
            let from = copy.from.iter().filter(|from| !silent.contains(*from)).cloned().collect();
            self.answers.spawn(ask(servers.clone(), copy.clone(), from, Arc::clone(&self.places)));
        }
    }

    pub(super) fn is_idle(&self) -> bool {
        self.answers.is_empty()
    }

    /// The answers that there are, once there is one; none where it is late before that.
    pub(super) async fn answers(&mut self, until: Instant) -> Vec<(CopyCheck, Checked)> {
        let mut answered = Vec::new();
        let mut next = tokio::select! {
            biased;
            Some(answer) = self.answers.join_next() => Some(answer),
            () = tokio::time::sleep_until(until.into()) => None,
        };
        while let Some(answer) = next {
            if let Ok((copy, seen)) = answer {
                self.turns.end(&copy.at);
                answered.push((copy, seen));
            }
            next = self.answers.try_join_next();
        }
        answered
    }
}

/// Asks one copy, from these servers at the same time.
async fn ask(servers: Servers, copy: CopyCheck, from: Vec<ServerName>, places: Arc<Semaphore>) -> (CopyCheck, Checked) {
    let _place = places.acquire().await;
    let mut tasks = JoinSet::new();
    for (index, from) in from.into_iter().enumerate() {
        let (servers, copy) = (servers.clone(), copy.clone());
        tasks.spawn(async move {
            let checks = &copy.checks;
            let seen = servers.check(&from, copy.address, copy.port, checks.path.as_deref(), checks.timeout).await;
            (index, (from, seen))
        });
    }
    let mut answers = BTreeMap::new();
    while let Some(done) = tasks.join_next().await {
        answers.extend(done.ok());
    }
    let seen = together(&answers.into_values().collect::<Vec<_>>());
    (copy, seen)
}

/// When each copy is asked. All that are asked equally often are asked at the same moments, counted from the beginning: copies that fail
/// together are seen to do so together, and none is taken out for that (see `plan::checks`).
pub(super) struct Turns {
    began: Instant,
    of: BTreeMap<CopyAt, Turn>,
}

struct Turn {
    due: Instant,
    is_asked: bool,
    n_asked: u32,
}

impl Turns {
    fn new(began: Instant) -> Turns {
        Turns { began, of: BTreeMap::new() }
    }

    /// Forgets what is not among these copies any more; where one of those is still asked, once it has answered.
    pub(super) fn keep(&mut self, copies: &[CopyCheck]) {
        let there: BTreeSet<&CopyAt> = copies.iter().map(|copy| &copy.at).collect();
        self.of.retain(|at, turn| turn.is_asked || there.contains(at));
    }

    /// Those of these copies whose turn it is: they are asked from now on.
    fn take<'a>(&mut self, now: Instant, copies: &'a [CopyCheck], every: impl Fn(&CopyCheck) -> Duration) -> Vec<&'a CopyCheck> {
        let mut taken = Vec::new();
        for copy in copies {
            let turn = self.of.entry(copy.at.clone()).or_insert(Turn { due: now, is_asked: false, n_asked: 0 });
            if !turn.is_asked && turn.due <= now {
                *turn = Turn { due: due(self.began, now, every(copy)), is_asked: true, n_asked: turn.n_asked + 1 };
                taken.push(copy);
            }
        }
        taken
    }

    fn end(&mut self, at: &CopyAt) {
        if let Some(turn) = self.of.get_mut(at) {
            turn.is_asked = false;
        }
    }

    /// When the first of these copies is due that is not being asked.
    pub(super) fn next(&self, copies: &[CopyCheck]) -> Option<Instant> {
        copies.iter().filter_map(|copy| self.of.get(&copy.at)).filter(|turn| !turn.is_asked).map(|turn| turn.due).min()
    }

    /// How often this copy was asked.
    pub(super) fn n_asked(&self, at: &CopyAt) -> u32 {
        self.of.get(at).map_or(0, |turn| turn.n_asked)
    }

    /// Whether some copy of one of these services is being asked.
    pub(super) fn are_asked(&self, services: &BTreeSet<&ServiceName>) -> bool {
        self.of.iter().any(|(at, turn)| turn.is_asked && services.contains(&at.service))
    }
}

/// The first of the common moments that is about an interval away: three quarters of one at least, for who is asked late.
fn due(began: Instant, now: Instant, every: Duration) -> Instant {
    let soonest = (now + every.mul_f64(0.75)).saturating_duration_since(began).as_nanos();
    let every = every.as_nanos().max(1);
    began + Duration::from_nanos(u64::try_from(soonest.div_ceil(every) * every).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{ActiveChecks, Side, Standing};

    const EVERY: Duration = Duration::from_secs(4);

    fn copy(service: &str, replica: u32) -> CopyCheck {
        let server = ServerName::new("s1").unwrap();
        let at = CopyAt { service: ServiceName::new(service).unwrap(), server: server.clone(), replica, side: Side::Primary };
        let (address, checks) = (std::net::Ipv4Addr::LOCALHOST, ActiveChecks::default());
        CopyCheck { at, standing: Standing::In, address, port: 8000, checks, from: vec![server], stamp: String::new() }
    }

    fn taken(turns: &mut Turns, now: Instant, copies: &[CopyCheck]) -> Vec<u32> {
        turns.take(now, copies, |_| EVERY).into_iter().map(|copy| copy.at.replica).collect()
    }

    #[test]
    fn one_that_has_not_answered_is_not_asked_again_and_the_others_are() {
        let began = Instant::now();
        let at = |millis| began + Duration::from_millis(millis);
        let (mut turns, copies) = (Turns::new(began), [copy("api", 1), copy("api", 2)]);
        let (api, db) = (copies[0].at.service.clone(), ServiceName::new("db").unwrap());
        assert_eq!(taken(&mut turns, at(10), &copies), [1, 2]);
        assert_eq!(turns.next(&copies), None);
        turns.end(&copies[0].at);
        assert_eq!(turns.next(&copies), Some(at(4000)));
        assert!(turns.are_asked(&BTreeSet::from([&api])) && !turns.are_asked(&BTreeSet::from([&db])));
        assert_eq!(taken(&mut turns, at(3999), &copies), [] as [u32; 0]);
        assert_eq!(taken(&mut turns, at(4000), &copies), [1]);
        turns.end(&copies[0].at);
        assert_eq!(taken(&mut turns, at(8000), &copies), [1]);
        // It answers at last, and is asked at once.
        turns.end(&copies[1].at);
        assert_eq!(taken(&mut turns, at(9500), &copies), [2]);
        assert_eq!((turns.n_asked(&copies[0].at), turns.n_asked(&copies[1].at)), (3, 2));
        // And from then on with the others again.
        turns.end(&copies[1].at);
        turns.end(&copies[0].at);
        assert_eq!(taken(&mut turns, at(12_000), &copies), [1]);
        turns.end(&copies[0].at);
        assert_eq!(taken(&mut turns, at(16_000), &copies), [1, 2]);
    }

    #[test]
    fn each_is_asked_at_its_own_interval() {
        let began = Instant::now();
        let (mut turns, copies) = (Turns::new(began), [copy("api", 1), copy("db", 2)]);
        let every = |copy: &CopyCheck| if copy.at.replica == 1 { Duration::from_secs(1) } else { Duration::from_secs(3) };
        let mut asked = Vec::new();
        for second in 0..7 {
            for copy in turns.take(began + Duration::from_secs(second), &copies, every) {
                asked.push((second, copy.at.replica));
            }
            copies.iter().for_each(|copy| turns.end(&copy.at));
        }
        assert_eq!(asked, [(0, 1), (0, 2), (1, 1), (2, 1), (3, 1), (3, 2), (4, 1), (5, 1), (6, 1), (6, 2)]);
    }

    #[test]
    fn one_that_went_away_is_forgotten_but_not_while_it_is_asked() {
        let began = Instant::now();
        let (mut turns, copies) = (Turns::new(began), [copy("api", 1)]);
        assert_eq!(taken(&mut turns, began, &copies), [1]);
        turns.keep(&[]);
        assert_eq!(taken(&mut turns, began + EVERY, &copies), [] as [u32; 0], "it is back, and has not answered");
        turns.end(&copies[0].at);
        turns.keep(&[]);
        assert_eq!(turns.n_asked(&copies[0].at), 0);
    }
}
