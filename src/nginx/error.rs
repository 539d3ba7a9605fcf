//! What can go wrong between values and NGINX's text. Deliberately absent: what a server says; that is a step's failure.
use std::fmt::Write as _;

/// A template that cannot be taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    /// A file of the user's folder that replaces nothing.
    #[error("there is no template `{name}` to replace; the templates are {known}")]
    NoSuch {
        /// The file's name.
        name: String,
        /// The names there are.
        known: String,
    },
    /// A template's own fault: its syntax, or a name that it uses and that does not exist.
    #[error("template `{name}`, line {line}: {reason}")]
    Broken {
        /// The template.
        name: String,
        /// From 1; 0 where the engine does not say.
        line: usize,
        /// What is wrong.
        reason: String,
    },
}

impl From<&minijinja::Error> for TemplateError {
    fn from(error: &minijinja::Error) -> Self {
        let mut reason = error.kind().to_string();
        if let Some(detail) = error.detail() {
            let _ = write!(reason, ": {detail}");
        }
        Self::Broken { name: error.name().unwrap_or("?").to_owned(), line: error.line().unwrap_or(0), reason }
    }
}

/// A service that cannot be rendered.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RenderError {
    /// The template's fault.
    #[error("the NGINX file of `{object}` cannot be rendered")]
    Template {
        /// The service, or `nginx.conf`.
        object: String,
        /// Why.
        source: TemplateError,
    },
    /// A service without a backend has no upstream.
    #[error("`{service}` has no backend that is to take traffic")]
    NoBackend {
        /// The service.
        service: String,
    },
    /// A host name that would break the file.
    #[error("`{host}` of `{service}` is not a host name: letters, digits, `-` and `.`, with `*.` in front for every name below it")]
    Host {
        /// The service.
        service: String,
        /// The text.
        host: String,
    },
    /// A host on a service that does not speak http, and whose live side has no app port.
    #[error("`{service}` speaks {protocol}: only http services, and those with an `app_port`, can have hosts")]
    HostsNeedHttp {
        /// The service.
        service: String,
        /// What it speaks.
        protocol: &'static str,
    },
    /// A template of the user's writes something that no later run could understand.
    #[error(
        "template `{template}` renders a file for `{service}` that Flipside could not read back; keep `{{{{ header }}}}` first and the words after each `server` line"
    )]
    Unreadable {
        /// The template.
        template: &'static str,
        /// The service.
        service: String,
        /// What was not understood.
        source: ReadError,
    },
    /// As above, but it reads as another service.
    #[error(
        "template `{template}` renders a file that routes something else than `{service}` should; keep `{{{{ header }}}}` and the loop over `backends`"
    )]
    ReadsDifferently {
        /// The template.
        template: &'static str,
        /// The service.
        service: String,
    },
}

/// A service's NGINX file that makes no sense (any more).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// The header is missing.
    #[error("the file does not begin with `# flipside service`: it is not one of Flipside's, or its header was taken away")]
    NoHeader,
    /// A field of the header is missing.
    #[error("the header has no `{0}`")]
    Missing(&'static str),
    /// A field of the header cannot be what it says.
    #[error("line {line}: `{field}: {value}` makes no sense")]
    Field {
        /// From 1.
        line: usize,
        /// The field.
        field: &'static str,
        /// What it says.
        value: String,
    },
    /// A `server` line that does not say whose backend it is.
    #[error("line {line}: `{text}` does not say which side, replica and server it is: was it edited by hand?")]
    Server {
        /// From 1.
        line: usize,
        /// The line.
        text: String,
    },
    /// A `server` line whose target and comment say different things.
    #[error("line {line}: `{text}` contradicts itself: the comment says {comment}, the name says {name}")]
    Contradiction {
        /// From 1.
        line: usize,
        /// The line.
        text: String,
        /// The side in the comment.
        comment: &'static str,
        /// The side of the container's name.
        name: &'static str,
    },
    /// No backend takes traffic.
    #[error("no `server` line takes traffic: every one is down, or there is none")]
    NothingLive,
    /// Both sides take traffic.
    #[error("both sides take traffic: `server` lines of the primary and of the secondary are not down")]
    BothLive,
    /// The header and the lines disagree about the live side.
    #[error("the header says that the {header} side is live, but traffic goes to the {routed} side: the file was edited by hand")]
    OtherSide {
        /// What the header says.
        header: &'static str,
        /// Where traffic goes.
        routed: &'static str,
    },
    /// The header and the lines disagree about a canary.
    #[error(
        "the header says that {header} of the requests try the side that waits, and the lines below say otherwise: the file was edited by hand"
    )]
    OtherShare {
        /// What the header says.
        header: String,
    },
    /// The files of a generation are not the ones it was made of.
    #[error("generation {id} was edited by hand: its files now amount to {found}")]
    Edited {
        /// The id it was given.
        id: String,
        /// The id of what is there.
        found: String,
    },
}
