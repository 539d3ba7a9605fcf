//! `/proc/net/tcp`, `udp`, their version 6 and `/proc/net/route`: the kernel's hexadecimal tables, little-endian as on amd64 and arm64.
//! Deliberately absent: connections, only listeners are read. Source: `Documentation/networking/proc_net_tcp.rst` of Linux.
use super::error::FactsError;
use super::types::ListenerFact;
use std::net::{Ipv4Addr, Ipv6Addr};

const LISTENERS: &str = "listeners";

/// Lines such as `/proc/net/tcp:   0: 0100007F:1F90 00000000:0000 0A`, sorted and without repeats.
pub(super) fn listeners(text: &str) -> Result<Vec<ListenerFact>, FactsError> {
    let mut found = Vec::new();
    for line in text.lines() {
        if let Some(listener) = listener(line).ok_or_else(|| FactsError::unreadable(LISTENERS, line, "a line of /proc/net/tcp"))? {
            found.push(listener);
        }
    }
    found.sort();
    found.dedup();
    Ok(found)
}

/// The outer None is a line that cannot be read; the inner one a socket that is no listener, or of version 6 alone.
fn listener(line: &str) -> Option<Option<ListenerFact>> {
    let (file, row) = line.split_once(':')?;
    let mut words = row.split_whitespace();
    let (_slot, local, _remote, state) = (words.next()?, words.next()?, words.next()?, words.next()?);
    let (transport, listening) = match file {
        "/proc/net/tcp" | "/proc/net/tcp6" => ("tcp", "0A"),
        "/proc/net/udp" | "/proc/net/udp6" => ("udp", "07"),
        _ => return None,
    };
    let (address, port) = local.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    let seen = if address.len() == 8 { Some(address_4(address)?) } else { address_6(address)? };
    Some(seen.filter(|_| state == listening && port != 0).map(|address| ListenerFact {
        address: (!address.is_unspecified()).then_some(address),
        port,
        transport: transport.to_owned(),
    }))
}

fn address_4(hex: &str) -> Option<Ipv4Addr> {
    Some(Ipv4Addr::from(u32::from_str_radix(hex, 16).ok()?.to_le_bytes()))
}

/// A version 6 address as the version 4 addresses it takes: `::` takes all of them, a mapped one its own, others none.
fn address_6(hex: &str) -> Option<Option<Ipv4Addr>> {
    if hex.len() != 32 || !hex.is_ascii() {
        return None;
    }
    let mut bytes = [0_u8; 16];
    for (index, word) in bytes.chunks_exact_mut(4).enumerate() {
        word.copy_from_slice(&u32::from_str_radix(&hex[index * 8..index * 8 + 8], 16).ok()?.to_le_bytes());
    }
    let address = Ipv6Addr::from(bytes);
    Some(if address.is_unspecified() { Some(Ipv4Addr::UNSPECIFIED) } else { address.to_ipv4_mapped() })
}

/// `/proc/net/route` as CIDRs, sorted, without the default route.
pub(super) fn routes(text: &str) -> Result<Vec<String>, FactsError> {
    let mut found = Vec::new();
    for line in text.lines().skip(1) {
        let words: Vec<&str> = line.split_whitespace().collect();
        let column = |index: usize| words.get(index).and_then(|word| address_4(word));
        let (Some(destination), Some(mask)) = (column(1), column(7)) else {
            return Err(FactsError::unreadable("routes", line, "a line of /proc/net/route"));
        };
        let length = u32::from(mask).leading_ones();
        if length > 0 {
            found.push((destination, length));
        }
    }
    found.sort_unstable();
    found.dedup();
    Ok(found.into_iter().map(|(destination, length)| format!("{destination}/{length}")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fact(address: Option<[u8; 4]>, port: u16, transport: &str) -> ListenerFact {
        ListenerFact { address: address.map(Ipv4Addr::from), port, transport: transport.to_owned() }
    }

    #[test]
    fn listeners_of_all_four_tables() {
        let text = "\
/proc/net/tcp:   0: 0100007F:1F90 00000000:0000 0A
/proc/net/tcp:   1: 00000000:0016 00000000:0000 0A
/proc/net/tcp6:   0: 00000000000000000000000000000000:0016 00000000000000000000000000000000:0000 0A
/proc/net/tcp6:   1: 0000000000000000FFFF00000A00000A:22FF 00000000000000000000000000000000:0000 0A
/proc/net/tcp6:   2: 00000000000000000000000001000000:0277 00000000000000000000000000000000:0000 0A
/proc/net/udp:  12: 0100007F:0035 00000000:0000 07
/proc/net/udp6:  13: 00000000000000000000000000000000:14E9 00000000000000000000000000000000:0000 07
";
        assert_eq!(
            listeners(text).unwrap(),
            [
                fact(None, 22, "tcp"),
                fact(None, 5353, "udp"),
                fact(Some([10, 0, 0, 10]), 8959, "tcp"),
                fact(Some([127, 0, 0, 1]), 53, "udp"),
                fact(Some([127, 0, 0, 1]), 8080, "tcp"),
            ]
        );
        assert!(listeners("/proc/net/tcp:   0: 010000:1F90 0:0 0A").is_err());
        assert!(listeners("what?").is_err());
    }

    #[test]
    fn routes_are_little_endian_and_the_default_is_left_out() {
        let text = "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT
eth0\t00000000\t01004D0A\t0003\t0\t0\t0\t00000000\t0\t0\t0
docker0\t000011AC\t00000000\t0001\t0\t0\t0\t0000FFFF\t0\t0\t0
eth0\t00004D0A\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0
";
        assert_eq!(routes(text).unwrap(), ["10.77.0.0/24", "172.17.0.0/16"]);
        assert!(routes("head\nx y").is_err());
        assert!(routes("").unwrap().is_empty());
    }
}
