//! The gRPC mode: HTTP/2 without TLS, and gRPC's own frames on it. It serves `service Echo { rpc Say(Text) returns (Text); rpc Follow(Text)
//! returns (stream Text); }` of package `fleet`, with `message Text { string text = 1; }`. Deliberately absent: compression, metadata, deadlines.
use crate::lives::Lives;
use crate::settings::Settings;
use bytes::{BufMut, Bytes, BytesMut};
use h2::server::SendResponse;
use h2::{RecvStream, SendStream};
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue, Request, Response};
use std::io::Error;
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;

/// Between two messages of a stream.
const INTERVAL: Duration = Duration::from_millis(100);

/// Statuses of gRPC.
const OK: &str = "0";
const INVALID_ARGUMENT: &str = "3";
const UNIMPLEMENTED: &str = "12";
const UNAVAILABLE: &str = "14";

/// Serves one connection to its end.
pub(crate) fn serve(stream: TcpStream, settings: &Arc<Settings>, lives: &Arc<Lives>) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    stream.set_nonblocking(true)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let stream = tokio::net::TcpStream::from_std(stream)?;
        let mut connection = h2::server::handshake(stream).await.map_err(Error::other)?;
        while let Some(call) = connection.accept().await {
            let (request, respond) = call.map_err(Error::other)?;
            let (settings, lives) = (Arc::clone(settings), Arc::clone(lives));
            // A client that hangs up in the middle is no event for this app.
            tokio::spawn(async move { drop(answer(request, respond, &settings, &lives).await) });
        }
        Ok(())
    })
}

async fn answer(
    request: Request<RecvStream>,
    mut respond: SendResponse<Bytes>,
    settings: &Settings,
    lives: &Lives,
) -> Result<(), h2::Error> {
    let _flight = lives.begin();
    let (head, body) = request.into_parts();
    let mut response = Response::new(());
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    let mut answer = respond.send_response(response, false)?;
    let status = match head.uri.path() {
        "/fleet.Echo/Say" => match text(&read(body).await?) {
            Some(text) => {
                say(&mut answer, settings, &text)?;
                OK
            }
            None => INVALID_ARGUMENT,
        },
        "/fleet.Echo/Follow" => {
            let mut number = 0_u64;
            // A server that ends says so on its streams: their clients call again, and reach another.
            while !lives.is_ending() {
                say(&mut answer, settings, &number.to_string())?;
                number += 1;
                tokio::time::sleep(INTERVAL).await;
            }
            UNAVAILABLE
        }
        _ => UNIMPLEMENTED,
    };
    answer.send_trailers(HeaderMap::from_iter([(http::HeaderName::from_static("grpc-status"), HeaderValue::from_static(status))]))
}

async fn read(mut body: RecvStream) -> Result<BytesMut, h2::Error> {
    let mut whole = BytesMut::new();
    while let Some(piece) = body.data().await {
        let piece = piece?;
        body.flow_control().release_capacity(piece.len())?;
        whole.extend_from_slice(&piece);
    }
    Ok(whole)
}

fn say(answer: &mut SendStream<Bytes>, settings: &Settings, text: &str) -> Result<(), h2::Error> {
    answer.send_data(message(&format!("{} {} {text}", settings.version, settings.name)), false)
}

/// A flag for compression, the length in four bytes, and the message: the tag of field 1 as bytes, its length, and the text.
fn message(text: &str) -> Bytes {
    let mut field = BytesMut::new();
    field.put_u8(0x0a);
    let mut length = text.len();
    while length >= 0x80 {
        field.put_u8(u8::try_from(length & 0x7f).unwrap_or(0) | 0x80);
        length >>= 7;
    }
    field.put_u8(u8::try_from(length).unwrap_or(0));
    field.put_slice(text.as_bytes());
    let mut whole = BytesMut::new();
    whole.put_u8(0);
    whole.put_u32(u32::try_from(field.len()).unwrap_or(u32::MAX));
    whole.extend_from_slice(&field);
    whole.freeze()
}

/// The text of the one message that was sent; without the field it is empty.
fn text(whole: &[u8]) -> Option<String> {
    let (head, field) = whole.split_at_checked(5)?;
    let length = u32::from_be_bytes([head[1], head[2], head[3], head[4]]);
    if head[0] != 0 || usize::try_from(length).ok()? != field.len() {
        return None;
    }
    let Some(mut rest) = field.strip_prefix(&[0x0a]) else { return field.is_empty().then(String::new) };
    let (mut length, mut shift) = (0_usize, 0);
    loop {
        let (byte, behind) = rest.split_first()?;
        rest = behind;
        length |= usize::from(byte & 0x7f).checked_shl(shift)?;
        shift += 7;
        if byte & 0x80 == 0 {
            break;
        }
    }
    (length == rest.len()).then(|| String::from_utf8_lossy(rest).into_owned())
}
