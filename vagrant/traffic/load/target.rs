//! What a client aims at, and its text form. Names are resolved when a client connects, not here.
use std::fmt;
use std::str::FromStr;

/// How a client uses its connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// HTTP, a new connection for every request.
    New,
    /// HTTP, one connection as long as it lasts. The next request is sent without a look at whether the server has closed.
    Keep,
    /// A line over TCP, a new connection for every line.
    Tcp,
    /// Lines over one TCP connection. Its end is a cut, counted apart from failures.
    TcpKeep,
    /// Lines over one HTTP connection after an upgrade. Its end is a cut, counted apart from failures.
    Ws,
    /// HTTP/2, one connection as long as it lasts. What the server has refused before it began with it is asked again on the next one.
    H2,
    /// Unary calls of gRPC, over a connection as with `H2`.
    Grpc,
    /// Messages of a server's stream of gRPC. Its end is a cut, counted apart from failures.
    GrpcStream,
}

impl Kind {
    /// All kinds, with their words.
    const ALL: [(&'static str, Self); 8] = [
        ("new", Self::New),
        ("keep", Self::Keep),
        ("tcp", Self::Tcp),
        ("tcpkeep", Self::TcpKeep),
        ("ws", Self::Ws),
        ("h2", Self::H2),
        ("grpc", Self::Grpc),
        ("grpcstream", Self::GrpcStream),
    ];

    /// It asks for a path of a host, by whichever version of HTTP.
    fn is_http(self) -> bool {
        match self {
            Self::New | Self::Keep | Self::Ws | Self::H2 | Self::Grpc | Self::GrpcStream => true,
            Self::Tcp | Self::TcpKeep => false,
        }
    }
}

/// What a client aims at: `keep:http://10.77.0.11/slow?ms={200-2000}#shop.example.com`, `tcp:10.77.0.11:5228`.
///
/// Behind `#` stands the Host header, where it is not the address. `{A-B}` in a path is replaced by a number from A to B,
/// another one for each request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// How its connections are used.
    pub kind: Kind,
    /// `host:port`.
    pub address: String,
    /// The Host header. Of no meaning for TCP.
    pub host: String,
    /// Path and query. Of no meaning for TCP.
    pub path: String,
}

impl fmt::Display for Target {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = Kind::ALL.iter().find(|(_, kind)| *kind == self.kind).map_or("", |(word, _)| word);
        if !self.kind.is_http() {
            return write!(formatter, "{word}:{}", self.address);
        }
        write!(formatter, "{word}:http://{}{}", self.address, self.path)?;
        if self.host == self.address { Ok(()) } else { write!(formatter, "#{}", self.host) }
    }
}

impl FromStr for Target {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let words = || Kind::ALL.map(|(word, _)| word).join(", ");
        let (word, rest) =
            text.split_once(':').ok_or_else(|| format!("\"{text}\" is no target: it begins with one of {}, and a colon", words()))?;
        let kind = Kind::ALL
            .into_iter()
            .find(|(known, _)| *known == word)
            .map(|(_, kind)| kind)
            .ok_or_else(|| format!("\"{word}\" is no kind of target: there are {}", words()))?;
        let (address, host, path) = if kind.is_http() {
            let (url, host) = rest.split_once('#').map_or((rest, None), |(url, host)| (url, Some(host)));
            let url = url.strip_prefix("http://").or_else(|| url.strip_prefix("ws://")).unwrap_or(url);
            let slash = url.find('/').unwrap_or(url.len());
            (&url[..slash], host, if slash == url.len() { "/" } else { &url[slash..] })
        } else {
            (rest, None, "/")
        };
        let port = address.rsplit_once(':').map(|(_, port)| port.parse::<u16>());
        let address = match port {
            Some(Ok(_)) => address.to_owned(),
            None if kind.is_http() && !address.is_empty() => format!("{address}:80"),
            Some(Err(_)) | None => return Err(format!("\"{text}\" names no address with a port")),
        };
        Ok(Self { kind, host: host.unwrap_or(&address).to_owned(), address, path: path.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_read_and_print() {
        for text in [
            "new:http://10.77.0.11:80/#shop.example.com",
            "keep:http://127.0.0.1:5228/slow?ms={1-9}",
            "grpc:http://127.0.0.1:5228/fleet.Echo/Say",
            "tcp:localhost:5228",
            "tcpkeep:[::1]:9",
        ] {
            assert_eq!(text.parse::<Target>().unwrap().to_string(), text);
        }
        assert_eq!("ws:10.77.0.11/ws".parse::<Target>().unwrap().address, "10.77.0.11:80");
        for text in ["http://a", "new:", "tcp:host", "tcp:host:99999", "nothing"] {
            assert!(text.parse::<Target>().is_err(), "{text}");
        }
    }
}
