//! The time without an answer that a handover costs, as a client measures it, against what the run tells of it.
use crate::project::Output;
use crate::server::Server;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// A client that asks fifty times a second, one question after the other.
pub(crate) struct Client {
    enough: Arc<AtomicBool>,
    longest: JoinHandle<Duration>,
}

impl Client {
    /// It asks this host at port 80 for this path, until it judges.
    pub(crate) fn of(server: &Server, host: &'static str, path: &'static str) -> Self {
        let server = server.clone();
        Self::asking(move || server.get(host, path).0 == 200)
    }

    /// It asks whatever this asks, which says whether there was an answer.
    pub(crate) fn asking(ask: impl Fn() -> bool + Send + 'static) -> Self {
        let enough = Arc::new(AtomicBool::new(false));
        let until = Arc::clone(&enough);
        let longest = thread::spawn(move || {
            let (mut last, mut longest) = (Instant::now(), Duration::ZERO);
            while !until.load(Ordering::Relaxed) {
                if ask() {
                    longest = longest.max(last.elapsed());
                    last = Instant::now();
                }
                thread::sleep(Duration::from_millis(20));
            }
            // It may have got none any more.
            longest.max(last.elapsed())
        });
        Self { enough, longest }
    }

    /// The longest time between two answers is what the run tells of this service, give or take what a busy machine needs.
    #[track_caller]
    pub(crate) fn judges(self, output: &Output, service: &str) {
        thread::sleep(Duration::from_millis(500));
        self.enough.store(true, Ordering::Relaxed);
        let measured = self.longest.join().expect("a client");
        let words = "no answer for ";
        let told = output.all();
        let line = told.lines().find(|line| line.trim_start().starts_with(service) && line.contains(words));
        let number = line.and_then(|line| line.split(words).nth(1)?.split(" s").next()?.parse().ok());
        let told = Duration::from_secs_f64(number.unwrap_or_else(|| panic!("no gap of {service} is told:\n{told}")));
        eprintln!("the gap of {service}: {told:?} told, {measured:?} measured");
        // What is told begins before the stop, and ends when all is seen to be well.
        let bounds = measured.saturating_sub(Duration::from_secs(2))..measured + Duration::from_secs(8);
        assert!(bounds.contains(&told), "{told:?} was told, {measured:?} measured: {}", output.all());
    }
}
