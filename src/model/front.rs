//! How NGINX serves a service's public hosts. Deliberately absent: which hosts there are, and where requests go from here.
use super::time::Millis;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// The settings of one service's public hosts. The default is what a file without any of them says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Front {
    /// Only requests below this path: `/`, or `/api` without a slash at its end.
    pub path_prefix: String,
    /// The prefix is taken away before the service is asked.
    pub strip_prefix: bool,
    /// The largest body of a request, in bytes; 0 for any.
    pub body_size: u64,
    /// In which a connection to a backend has to be made. At most 75 s, which is as long as the kernel tries.
    pub connect: Millis,
    /// Between two reads of an answer.
    pub read: Millis,
    /// Between two writes of a request.
    pub send: Millis,
    /// NGINX takes whole answers and requests from whoever is quick, and keeps them for whoever is slow.
    pub buffering: bool,
    /// The service speaks gRPC: HTTP/2 without TLS, in the mesh, too.
    pub grpc: bool,
    /// Requests get the maintenance page.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub maintenance: bool,
    /// Statuses of NGINX's own that have a page of the user's: 400 to 599.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub error_pages: BTreeSet<u16>,
    /// What the user adds.
    #[serde(skip_serializing_if = "is_empty")]
    pub snippets: Snippets,
    /// How port 443 is served. None: port 80 alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls: Option<FrontTls>,
}

/// NGINX's own words, added by the user.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Snippets {
    /// In the `server` block of the hosts.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub server: String,
    /// In the `location` block of the service.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub location: String,
}

fn is_empty(snippets: &Snippets) -> bool {
    *snippets == Snippets::default()
}

/// How port 443 is served.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FrontTls {
    /// The certificate's file, as NGINX sees it.
    pub certificate: String,
    /// The key's file, as NGINX sees it.
    pub key: String,
    /// Port 80 sends clients to port 443.
    pub redirect: bool,
    /// How long browsers are told to use TLS alone. None: they are not told.
    pub hsts: Option<Millis>,
    /// HTTP/2, where the client can.
    pub http2: bool,
}

/// 100 MiB.
const USUAL_BODY: u64 = 100 << 20;

impl Default for Front {
    fn default() -> Self {
        Self {
            path_prefix: "/".to_owned(),
            strip_prefix: false,
            body_size: USUAL_BODY,
            connect: Millis::seconds(2),
            read: Millis::seconds(3600),
            send: Millis::seconds(3600),
            buffering: true,
            grpc: false,
            maintenance: false,
            error_pages: BTreeSet::new(),
            snippets: Snippets::default(),
            tls: None,
        }
    }
}
