//! What the app was told: by the environment, and by arguments, which win. No file is read but `/etc/hostname`.
use std::env;
use std::fmt;
use std::time::Duration;

/// What the app was told.
#[derive(Debug)]
pub(crate) struct Settings {
    /// `APP_VERSION`, from the image.
    pub(crate) version: String,
    /// `APP_NAME`, or the host name of the container.
    pub(crate) name: String,
    /// `APP_MODE` or `--mode`.
    pub(crate) mode: Mode,
    /// `PORT` or `--port`. Default 8000.
    pub(crate) port: u16,
    /// `APP_HTTP_PORT` or `--http-port`: it speaks HTTP there, too.
    pub(crate) http_port: Option<u16>,
    /// `APP_BEHAVIOUR` or `--behaviour`.
    pub(crate) behaviour: Behaviour,
}

/// What the app speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// HTTP/1.1.
    Http,
    /// A line for a line.
    Tcp,
    /// A datagram for a datagram.
    Udp,
    /// gRPC: HTTP/2 without TLS.
    Grpc,
}

impl fmt::Display for Mode {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Http => "http",
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::Grpc => "grpc",
        })
    }
}

/// How the app misbehaves.
#[derive(Debug, Default)]
pub(crate) struct Behaviour {
    /// Ends at once, with code 1 and a reason.
    pub(crate) exits: bool,
    /// Listens, and says of itself that it is not well.
    pub(crate) unhealthy: bool,
    /// Listens one port higher than it should.
    pub(crate) wrong_port: bool,
    /// Does nothing on SIGTERM.
    pub(crate) ignores_term: bool,
    /// Ends on SIGTERM in the middle of requests.
    pub(crate) dies_at_once: bool,
    /// Listens only after this time.
    pub(crate) slow_start: Duration,
    /// Ends with code 3 after this time.
    pub(crate) crash_after: Option<Duration>,
}

impl Settings {
    /// Reads the environment and the arguments; a word that is not known is an error, told in one line.
    pub(crate) fn read() -> Result<Self, String> {
        let mut mode = env::var("APP_MODE").unwrap_or_else(|_| "http".to_owned());
        let mut port = env::var("PORT").unwrap_or_else(|_| "8000".to_owned());
        let mut http_port = env::var("APP_HTTP_PORT").unwrap_or_default();
        let mut behaviour = env::var("APP_BEHAVIOUR").unwrap_or_else(|_| "ok".to_owned());
        let mut arguments = env::args().skip(1);
        while let Some(argument) = arguments.next() {
            let place = match argument.as_str() {
                "--mode" => &mut mode,
                "--port" => &mut port,
                "--http-port" => &mut http_port,
                "--behaviour" => &mut behaviour,
                other => return Err(format!("unknown argument \"{other}\": there are --mode, --port, --http-port and --behaviour")),
            };
            *place = arguments.next().ok_or_else(|| format!("{argument} needs a value"))?;
        }
        Ok(Self {
            version: env::var("APP_VERSION").unwrap_or_else(|_| "0".to_owned()),
            name: name(),
            mode: match mode.as_str() {
                "http" => Mode::Http,
                "tcp" => Mode::Tcp,
                "udp" => Mode::Udp,
                "grpc" => Mode::Grpc,
                other => return Err(format!("unknown mode \"{other}\": there are http, tcp, udp and grpc")),
            },
            port: port.parse().map_err(|_| format!("\"{port}\" is not a port"))?,
            http_port: match http_port.as_str() {
                "" => None,
                port => Some(port.parse().map_err(|_| format!("\"{port}\" is not a port"))?),
            },
            behaviour: Behaviour::parse(&behaviour)?,
        })
    }

    /// The port that the app really listens on.
    pub(crate) fn listen_port(&self) -> u16 {
        if self.behaviour.wrong_port { self.port.wrapping_add(1) } else { self.port }
    }
}

impl Behaviour {
    /// Reads words with commas between them, such as `slow-start=2000,ignore-term`. Times are milliseconds.
    fn parse(text: &str) -> Result<Self, String> {
        let mut behaviour = Self::default();
        for word in text.split(',').filter(|word| !word.is_empty()) {
            let (key, value) = word.split_once('=').unwrap_or((word, ""));
            let time = || value.parse().map(Duration::from_millis).map_err(|_| format!("{key} needs milliseconds: {key}=2000"));
            match key {
                "ok" => {}
                "exit" => behaviour.exits = true,
                "unhealthy" => behaviour.unhealthy = true,
                "wrong-port" => behaviour.wrong_port = true,
                "ignore-term" => behaviour.ignores_term = true,
                "die-at-once" => behaviour.dies_at_once = true,
                "slow-start" => behaviour.slow_start = time()?,
                "crash-after" => behaviour.crash_after = Some(time()?),
                other => return Err(format!("unknown behaviour \"{other}\"")),
            }
        }
        Ok(behaviour)
    }
}

/// The container's name: given, or the host name, which Docker sets to the container's id where nobody says otherwise.
fn name() -> String {
    env::var("APP_NAME")
        .ok()
        .or_else(|| std::fs::read_to_string("/etc/hostname").ok().map(|text| text.trim().to_owned()))
        .filter(|name| !name.is_empty())
        .unwrap_or_else(|| "nowhere".to_owned())
}
