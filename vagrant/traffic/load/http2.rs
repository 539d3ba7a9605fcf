//! The client's half of HTTP/2, and of gRPC on it: one connection that is kept, and not looked at before it is used. What the server says
//! it has not begun with is told apart from what is lost. Deliberately absent: TLS, and several requests at once.
use super::exchange::Failed;
use super::target::Target;
use bytes::{Buf, BufMut, Bytes, BytesMut};
use h2::client::SendRequest;
use h2::{Reason, RecvStream};
use http::{HeaderMap, Method, Request};
use std::future::Future;
use std::io::Error;
use std::time::Instant;
use tokio::net::TcpStream;
use tokio::runtime::{Builder, Runtime};

/// Why there is no good answer.
#[derive(Debug)]
pub(super) enum Ended {
    /// The server has not begun with it: it may be asked again, whatever it was.
    Refused,
    /// It is lost.
    Failed(Failed),
}

/// A whole answer.
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) body: Bytes,
    /// What stands behind it, or for gRPC in its place.
    trailers: HeaderMap,
}

/// What a stream of messages has next.
pub(super) enum Next {
    Message(String),
    /// Its end, in words.
    End(String),
}

/// One client: its connection, if there is one.
#[derive(Default)]
pub(super) struct Client {
    runtime: Option<Runtime>,
    connection: Option<SendRequest<Bytes>>,
    messages: Option<Messages>,
}

/// A stream of messages, and what came of the next one so far.
struct Messages {
    body: RecvStream,
    rest: BytesMut,
    /// For as long as somebody has it, the connection goes on.
    _connection: SendRequest<Bytes>,
}

impl Client {
    /// A GET request.
    pub(super) fn get(&mut self, target: &Target, path: &str, deadline: Instant) -> Result<Answer, Ended> {
        self.ask(target, request(target, path, Method::GET)?, None, deadline)
    }

    /// A unary call of gRPC, with a text and for a text.
    pub(super) fn call(&mut self, target: &Target, path: &str, text: &str, deadline: Instant) -> Result<String, Ended> {
        let answer = self.ask(target, request(target, path, Method::POST)?, Some(message(text)), deadline)?;
        match (status(&answer.trailers), take_message(&mut BytesMut::from(&*answer.body))) {
            (Some("0"), Some(text)) => Ok(text),
            (said, _) => Err(wrong(format!("status {}, grpc-status {}", answer.status, said.unwrap_or("none")))),
        }
    }

    /// The next message of a stream of gRPC, which is called where there is none.
    pub(super) fn next(&mut self, target: &Target, path: &str, deadline: Instant) -> Result<Next, Ended> {
        let request = request(target, path, Method::POST)?;
        let open = self.messages.take();
        let work = async {
            let mut messages = match open {
                Some(messages) => messages,
                None => follow(connect(target).await?, request).await?,
            };
            let next = messages.next().await?;
            Ok((messages, next))
        };
        let (messages, next) = self.run(deadline, work)?;
        self.messages = matches!(next, Next::Message(_)).then_some(messages);
        Ok(next)
    }

    /// A stream of messages is open.
    pub(super) fn follows(&self) -> bool {
        self.messages.is_some()
    }

    fn ask(&mut self, target: &Target, request: Request<()>, body: Option<Bytes>, deadline: Instant) -> Result<Answer, Ended> {
        let open = self.connection.take();
        let work = async {
            let connection = match open {
                Some(connection) => connection,
                None => connect(target).await?,
            };
            let answer = ask(connection.clone(), request, body).await?;
            Ok((connection, answer))
        };
        let (connection, answer) = self.run(deadline, work)?;
        self.connection = Some(connection);
        Ok(answer)
    }

    /// In a runtime of its own, which works on the connection only meanwhile.
    fn run<T>(&mut self, deadline: Instant, work: impl Future<Output = Result<T, Ended>>) -> Result<T, Ended> {
        let runtime = match self.runtime.take() {
            Some(runtime) => runtime,
            None => Builder::new_current_thread().enable_all().build().map_err(|problem| wrong(problem.to_string()))?,
        };
        let ended = runtime.block_on(async { tokio::time::timeout_at(deadline.into(), work).await });
        self.runtime = Some(runtime);
        ended.unwrap_or(Err(Ended::Failed(Failed::TimedOut)))
    }
}

impl Messages {
    async fn next(&mut self) -> Result<Next, Ended> {
        loop {
            if let Some(text) = take_message(&mut self.rest) {
                return Ok(Next::Message(text));
            }
            let Some(piece) = self.body.data().await else { break };
            let piece = piece.map_err(|problem| lost(&problem))?;
            self.body.flow_control().release_capacity(piece.len()).map_err(|problem| lost(&problem))?;
            self.rest.extend_from_slice(&piece);
        }
        let trailers = self.body.trailers().await.map_err(|problem| lost(&problem))?.unwrap_or_default();
        Ok(Next::End(format!("the stream ended with grpc-status {}", status(&trailers).unwrap_or("none"))))
    }
}

async fn connect(target: &Target) -> Result<SendRequest<Bytes>, Ended> {
    let cannot = |problem: Error| Ended::Failed(Failed::Connect(problem));
    let stream = TcpStream::connect(&target.address).await.map_err(cannot)?;
    stream.set_nodelay(true).map_err(cannot)?;
    let (sender, connection) = h2::client::handshake(stream).await.map_err(|problem| cannot(Error::other(problem)))?;
    // How it ends is said to whoever waits for an answer.
    tokio::spawn(async { drop(connection.await) });
    Ok(sender)
}

fn request(target: &Target, path: &str, method: Method) -> Result<Request<()>, Ended> {
    let mut builder = Request::builder().uri(format!("http://{}{path}", target.host)).header("user-agent", "fleet-traffic");
    if method == Method::POST {
        builder = builder.header("content-type", "application/grpc").header("te", "trailers");
    }
    builder.method(method).body(()).map_err(|problem| wrong(problem.to_string()))
}

/// What cannot be sent any more was not begun with.
async fn ready(connection: SendRequest<Bytes>) -> Result<SendRequest<Bytes>, Ended> {
    connection.ready().await.map_err(|_| Ended::Refused)
}

async fn ask(connection: SendRequest<Bytes>, request: Request<()>, body: Option<Bytes>) -> Result<Answer, Ended> {
    let (response, mut sink) = ready(connection).await?.send_request(request, body.is_none()).map_err(|_| Ended::Refused)?;
    if let Some(body) = body {
        sink.send_data(body, true).map_err(|problem| lost(&problem))?;
    }
    let (head, mut body) = response.await.map_err(|problem| lost(&problem))?.into_parts();
    let mut whole = BytesMut::new();
    while let Some(piece) = body.data().await {
        let piece = piece.map_err(|problem| lost(&problem))?;
        body.flow_control().release_capacity(piece.len()).map_err(|problem| lost(&problem))?;
        whole.extend_from_slice(&piece);
    }
    let trailers = body.trailers().await.map_err(|problem| lost(&problem))?;
    Ok(Answer { status: head.status.as_u16(), body: whole.freeze(), trailers: trailers.unwrap_or(head.headers) })
}

async fn follow(connection: SendRequest<Bytes>, request: Request<()>) -> Result<Messages, Ended> {
    let (response, mut sink) = ready(connection.clone()).await?.send_request(request, false).map_err(|_| Ended::Refused)?;
    sink.send_data(message(""), true).map_err(|problem| lost(&problem))?;
    let (head, body) = response.await.map_err(|problem| lost(&problem))?.into_parts();
    match (head.status.as_u16(), status(&head.headers)) {
        (200, None) => Ok(Messages { body, rest: BytesMut::new(), _connection: connection }),
        (code, said) => Err(wrong(format!("status {code}, grpc-status {}", said.unwrap_or("none")))),
    }
}

/// A server that says goodbye names the last stream that it has begun with (RFC 9113, 6.8), and may refuse a single one (8.7).
fn lost(problem: &h2::Error) -> Ended {
    let reason = problem.reason();
    let not_begun = problem.is_remote()
        && ((problem.is_go_away() && reason == Some(Reason::NO_ERROR)) || (problem.is_reset() && reason == Some(Reason::REFUSED_STREAM)));
    match problem.get_io() {
        _ if not_begun => Ended::Refused,
        Some(io) => Ended::Failed(Error::from(io.kind()).into()),
        None => wrong(problem.to_string()),
    }
}

fn wrong(text: String) -> Ended {
    Ended::Failed(Failed::Answer(text))
}

fn status(headers: &HeaderMap) -> Option<&str> {
    headers.get("grpc-status").and_then(|value| value.to_str().ok())
}

/// A flag for compression, the length in four bytes, and `message Text { string text = 1; }`. Longer texts are not sent.
fn message(text: &str) -> Bytes {
    let text = &text.as_bytes()[..text.len().min(127)];
    let mut whole = BytesMut::new();
    whole.put_u8(0);
    whole.put_u32(u32::try_from(text.len() + 2).unwrap_or(u32::MAX));
    whole.put_slice(&[0x0a, u8::try_from(text.len()).unwrap_or(u8::MAX)]);
    whole.put_slice(text);
    whole.freeze()
}

/// The first message, where all of it has come. A longer text than 127 bytes is nobody's answer here.
fn take_message(rest: &mut BytesMut) -> Option<String> {
    let length = usize::try_from(u32::from_be_bytes(rest.get(1..5)?.try_into().ok()?)).ok()?;
    if rest.len() < 5 + length {
        return None;
    }
    rest.advance(5);
    let field = rest.split_to(length);
    Some(String::from_utf8_lossy(field.get(2..).unwrap_or_default()).into_owned())
}
