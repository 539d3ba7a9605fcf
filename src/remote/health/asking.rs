//! One question to a container: its port through the SSH tunnel, or from the server's own shell where tunnels are forbidden, or a command
//! inside. Deliberately absent: how often it is asked.
use super::super::checks::MOST;
use super::super::ssh::TunnelError;
use super::Patient;
use crate::model::ProbeKind;
use crate::script::{command_probe, connect_probe};
use std::net::Ipv4Addr;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};

impl Patient {
    /// What was seen, or why it is not well.
    pub(super) async fn ask(&self, by_shell: &mut bool) -> Result<String, String> {
        match &self.probe.kind {
            ProbeKind::Running => match self.sight() {
                Some(sight) if sight.status == "running" => Ok("it runs".to_owned()),
                Some(sight) => Err(format!("it is {}", sight.status)),
                None => Err("not looked at yet".to_owned()),
            },
            ProbeKind::Command(command) => {
                let mut said = String::new();
                let script = command_probe(&self.context, &self.name, command);
                let end = self.connection.run_script(&script, self.policy.timeout.duration(), &mut |line| line.clone_into(&mut said)).await;
                match end.map(|end| end.exit) {
                    Ok(Some(0)) => Ok(format!("`{command}` exits 0")),
                    Ok(Some(code)) => Err(format!("`{command}` exits {code}: {}", self.masked(&said).await)),
                    Ok(None) => Err("the command was cut off".to_owned()),
                    Err(error) => Err(error.to_string()),
                }
            }
            ProbeKind::Tcp | ProbeKind::AppPort => self.ask_port(None, by_shell).await,
            ProbeKind::Http { path, host } => {
                let request =
                    format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: flipside\r\nAccept: */*\r\nConnection: close\r\n\r\n");
                self.ask_port(Some(&request), by_shell).await
            }
        }
    }

    async fn masked(&self, said: &str) -> String {
        self.words.masked(&self.connection, &self.context, &self.name, said).await
    }

    /// As [`judge`]; a line that is shown has the container's secrets masked.
    async fn judge(&self, line: &str) -> Result<String, String> {
        if status(line).is_some() { judge(line) } else { judge(&self.masked(line.trim()).await) }
    }

    async fn ask_port(&self, request: Option<&str>, by_shell: &mut bool) -> Result<String, String> {
        if *by_shell {
            return self.ask_by_shell(request).await;
        }
        let address: Ipv4Addr = self.probe.address;
        match self.connection.tunnel(&address.to_string(), self.probe.port, self.policy.timeout.duration()).await {
            Ok(tunnel) => match request {
                None => Ok(format!("{} accepts connections", self.port())),
                Some(request) => {
                    let mut stream = BufReader::new(tunnel);
                    stream.write_all(request.as_bytes()).await.map_err(|error| format!("the connection broke: {error}"))?;
                    let mut line = String::new();
                    stream.take(MOST).read_line(&mut line).await.map_err(|error| format!("the connection broke: {error}"))?;
                    self.judge(&line).await
                }
            },
            Err(TunnelError::Forbidden { .. }) => {
                *by_shell = true;
                self.ask_by_shell(request).await
            }
            Err(TunnelError::Refused { .. }) => Err(format!("{} refuses connections", self.port())),
            Err(error) => Err(error.to_string()),
        }
    }

    async fn ask_by_shell(&self, request: Option<&str>) -> Result<String, String> {
        let script = connect_probe(&self.probe.address.to_string(), self.probe.port, request);
        let mut answer = String::new();
        let end = self
            .connection
            .run_script(&script, self.policy.timeout.duration(), &mut |line| {
                if let Some(line) = line.strip_prefix("answer ") {
                    line.clone_into(&mut answer);
                }
            })
            .await;
        match (end.map(|end| end.exit), request) {
            (Ok(Some(0)), None) => Ok(format!("{} accepts connections (asked by the server's shell)", self.port())),
            (Ok(Some(0)), Some(_)) => self.judge(&answer).await.map(|text| format!("{text} (asked by the server's shell)")),
            (Ok(Some(97)), _) => Err("the server forbids tunnels and has no bash to probe with".to_owned()),
            (Ok(_), _) => Err(format!("{} refuses connections", self.port())),
            (Err(error), _) => Err(error.to_string()),
        }
    }
}

/// The code in the status line of an answer.
fn status(line: &str) -> Option<u16> {
    line.trim().strip_prefix("HTTP/").and_then(|rest| rest.split(' ').nth(1)).and_then(|code| code.parse().ok())
}

/// The status line of an answer: 2xx and 3xx pass.
pub(in super::super) fn judge(line: &str) -> Result<String, String> {
    let line = line.trim();
    match status(line) {
        Some(code @ 200..=399) => Ok(format!("status {code}")),
        Some(code) => Err(format!("status {code}")),
        None if line.is_empty() => Err("the connection was closed without an answer".to_owned()),
        None => Err(format!("an answer that is not HTTP: {line:.60}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_2xx_and_3xx_pass() {
        assert_eq!(judge("HTTP/1.1 204 No Content\r\n"), Ok("status 204".to_owned()));
        assert_eq!(judge("HTTP/1.0 302 Found"), Ok("status 302".to_owned()));
        assert_eq!(judge("HTTP/1.1 503 Service Unavailable"), Err("status 503".to_owned()));
        assert!(judge("").unwrap_err().contains("without an answer"));
        assert!(judge("SSH-2.0-x").unwrap_err().contains("not HTTP"));
    }
}
