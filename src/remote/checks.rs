//! One question to one copy that serves, from a server whose NGINX routes there: over a tunnel of that server's SSH connection, to the
//! address and port that NGINX uses. Deliberately absent: making a connection to a server, counting, and judging.
use super::health::judge;
use super::probe::is_alive;
use super::servers::{Servers, SurveyError};
use super::ssh::{Connection, Tunnel, TunnelError};
use crate::facts::Facts;
use crate::model::{Checked, Millis, ServerName};
use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::time::timeout;

/// Docker accepts a connection for a container that does not, and closes it at once.
const SILENCE: Duration = Duration::from_millis(150);
/// More of a status line is not read, bytes.
pub(super) const MOST: u64 = 4096;

impl Servers {
    /// Asks a copy once: `GET path`, where 2xx and 3xx pass, or without a path a connection that is not closed at once. `within` is for the
    /// whole answer; where there is none, the SSH connection has a second more to show that it is alive.
    pub async fn check(&self, from: &ServerName, address: Ipv4Addr, port: u16, path: Option<&str>, within: Millis) -> Checked {
        let Some(connection) = self.present_connection(from).await else {
            return Checked::Unknown("there is no SSH connection".to_owned());
        };
        let asked = timeout(within.duration(), once(&connection, address, port, path, within)).await;
        let seen = match asked {
            Ok(Ok(())) => return Checked::Passed,
            Ok(Err(Trouble::Way(why))) => return Checked::Unknown(why),
            Ok(Err(Trouble::Seen(seen))) => seen,
            Err(_) => format!("no answer within {within}"),
        };
        // A network that has failed would look like a copy that does not answer.
        if is_alive(&connection).await {
            Checked::Failed(self.redactor.redact(&seen))
        } else {
            Checked::Unknown("the SSH connection is silent".to_owned())
        }
    }

    /// As [`Servers::survey`], where each server has this long to answer.
    pub async fn survey_within(&self, within: Duration) -> BTreeMap<ServerName, Result<Facts, SurveyError>> {
        self.survey_by(|servers, site| async move {
            let late = |_| SurveyError::StillOutOfReach { server: site.target.name.clone(), seconds: within.as_secs() };
            timeout(within, servers.facts(&site)).await.map_err(late).flatten()
        })
        .await
    }

    /// The servers to which there is a connection that is not known to be lost.
    pub async fn connected(&self) -> BTreeSet<ServerName> {
        let mut connected = BTreeSet::new();
        for name in self.sites.keys() {
            let Some(connection) = self.present_connection(name).await else { continue };
            if timeout(Duration::ZERO, connection.lost()).await.is_err() {
                connected.insert(name.clone());
            }
        }
        connected
    }
}

/// Why a question is not answered as it should be.
enum Trouble {
    /// By the copy, or by what leads to it from the server.
    Seen(String),
    /// It never got there.
    Way(String),
}

async fn once(connection: &Connection, address: Ipv4Addr, port: u16, path: Option<&str>, within: Millis) -> Result<(), Trouble> {
    let tunnel = connection.tunnel(&address.to_string(), port, within.duration()).await.map_err(|error| match error {
        TunnelError::Refused { .. } => Trouble::Seen(format!("port {port} refuses connections")),
        TunnelError::Deadline { .. } => Trouble::Seen(format!("no answer within {within}")),
        TunnelError::Forbidden { .. } => Trouble::Way("its sshd forbids forwarding, without which it cannot be asked from".to_owned()),
        TunnelError::Lost { reason, .. } => Trouble::Way(format!("the SSH connection was lost: {reason}")),
        TunnelError::Failed { seen, .. } => Trouble::Way(seen),
    })?;
    match path {
        Some(path) => get(tunnel, path).await.map_err(Trouble::Seen),
        None => stays_open(tunnel).await.map_err(Trouble::Seen),
    }
}

async fn get(tunnel: Tunnel, path: &str) -> Result<(), String> {
    let broken = |error: std::io::Error| format!("the connection broke: {error}");
    let mut stream = BufReader::new(tunnel);
    let request =
        format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nUser-Agent: flipside-watch\r\nAccept: */*\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.map_err(broken)?;
    let mut line = String::new();
    stream.take(MOST).read_line(&mut line).await.map_err(broken)?;
    judge(&line).map(drop)
}

async fn stays_open(mut tunnel: Tunnel) -> Result<(), String> {
    match timeout(SILENCE, tunnel.read(&mut [0; 64])).await {
        Err(_) | Ok(Ok(1..)) => Ok(()),
        Ok(Ok(0)) => Err("the connection was closed without a word".to_owned()),
        Ok(Err(error)) => Err(format!("the connection broke: {error}")),
    }
}
