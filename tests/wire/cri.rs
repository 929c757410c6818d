//! CRI's `PullImage`, as the kubelet calls it: one gRPC request over the daemon's unix socket. Its
//! two messages have one field each that matters here, so they are written and read by hand.

use std::path::Path;

use h2::client::SendRequest;
use http::{HeaderMap, Request};
use tokio::net::UnixStream;

/// What the daemon answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// The reference of the image that is there now.
    Pulled(String),
    /// The error's text.
    Failed(String),
    /// Nothing in time.
    None,
}

/// Pulls an image and waits for the answer.
pub(crate) async fn pull(socket: &Path, image: &str) -> Result<Answer, Box<dyn std::error::Error>> {
    let stream = UnixStream::connect(socket).await?;
    let (sender, connection) = h2::client::handshake(stream).await?;
    let driver = tokio::task::spawn_local(connection);
    let answer = call(sender, image).await;
    driver.abort();
    answer
}

async fn call(
    sender: SendRequest<bytes::Bytes>,
    image: &str,
) -> Result<Answer, Box<dyn std::error::Error>> {
    let mut sender = sender.ready().await?;
    let request = Request::post("http://localhost/runtime.v1.ImageService/PullImage")
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(())?;
    let (response, mut stream) = sender.send_request(request, false)?;
    stream.send_data(message(image).into(), true)?;

    let response = response.await?;
    // An error without a message has its status in the headers, any other in the trailers.
    if let Some(failure) = failure(response.headers()) {
        return Ok(failure);
    }
    let mut body = response.into_body();
    let mut bytes = Vec::new();
    while let Some(data) = body.data().await {
        let data = data?;
        body.flow_control().release_capacity(data.len())?;
        bytes.extend_from_slice(&data);
    }
    let trailers = body.trailers().await?.unwrap_or_default();
    Ok(failure(&trailers).unwrap_or_else(|| Answer::Pulled(image_reference(&bytes))))
}

/// `PullImageRequest { image: ImageSpec { image } }` behind gRPC's five bytes of flag and length.
fn message(image: &str) -> Vec<u8> {
    let specification = field_one(image.as_bytes());
    let request = field_one(&specification);
    let mut framed = vec![0];
    framed.extend_from_slice(&u32::try_from(request.len()).unwrap().to_be_bytes());
    framed.extend_from_slice(&request);
    framed
}

/// Field 1 of length-delimited type.
fn field_one(value: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0x0a];
    let mut length = value.len();
    while length >= 0x80 {
        bytes.push(u8::try_from(length & 0x7f).unwrap() | 0x80);
        length >>= 7;
    }
    bytes.push(u8::try_from(length).unwrap());
    bytes.extend_from_slice(value);
    bytes
}

/// `PullImageResponse { image_ref }`, which is far shorter than 128 bytes.
fn image_reference(framed: &[u8]) -> String {
    String::from_utf8_lossy(framed.get(7..).unwrap_or_default()).into_owned()
}

fn failure(headers: &HeaderMap) -> Option<Answer> {
    let status = headers.get("grpc-status")?.to_str().ok()?;
    if status == "0" {
        return None;
    }
    let message = headers
        .get("grpc-message")
        .map_or("", |value| value.to_str().unwrap_or(""));
    Some(Answer::Failed(format!(
        "code {status}: {}",
        percent_decoded(message)
    )))
}

/// Undoes `%XX`, in gRPC messages and in forms.
pub(crate) fn percent_decoded(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let [first, after @ ..] = rest {
        rest = after;
        let digits = after
            .get(..2)
            .and_then(|digits| std::str::from_utf8(digits).ok());
        match digits.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(byte) if *first == b'%' => {
                bytes.push(byte);
                rest = &after[2..];
            }
            _ => bytes.push(*first),
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
