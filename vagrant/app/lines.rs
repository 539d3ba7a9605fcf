//! The TCP and UDP modes: every line, or datagram, is answered with `<version> <name> <what came>`.
use crate::lives::Lives;
use crate::settings::Settings;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpStream, UdpSocket};

/// Answers lines until the client hangs up.
pub(crate) fn serve_tcp(stream: TcpStream, settings: &Settings, lives: &Lives) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut reader = BufReader::new(stream.try_clone()?);
    echo(&mut reader, stream, settings, lives)
}

/// Answers lines until the reader ends: the TCP mode, and an upgraded HTTP connection.
pub(crate) fn echo(reader: &mut impl BufRead, mut writer: impl Write, settings: &Settings, lives: &Lives) -> std::io::Result<()> {
    let mut line = String::new();
    loop {
        line.clear();
        if reader.read_line(&mut line)? == 0 {
            return Ok(());
        }
        let flight = lives.begin();
        let word = if lives.is_well() { "" } else { "unhealthy " };
        writer.write_all(format!("{} {} {word}{}\n", settings.version, settings.name, line.trim_end()).as_bytes())?;
        drop(flight);
    }
}

/// Answers datagrams for ever.
pub(crate) fn serve_udp(socket: &UdpSocket, settings: &Settings) -> ! {
    let mut buffer = vec![0; 65_536];
    loop {
        // A datagram that cannot be read or answered is lost, as datagrams are.
        let Ok((length, sender)) = socket.recv_from(&mut buffer) else { continue };
        let text = String::from_utf8_lossy(&buffer[..length]).into_owned();
        drop(socket.send_to(format!("{} {} {}\n", settings.version, settings.name, text.trim_end()).as_bytes(), sender));
    }
}
