//! The recorder: everything that a daemon reaches. It is the proxy that the daemon is told of, and it
//! listens on loopback itself, because Go never asks a proxy for that. It answers for every
//! host in the world and writes down what arrives.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::io;
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls;
use tokio_rustls::rustls::crypto::CryptoProvider;
use tokio_rustls::rustls::pki_types::{CertificateDer, UnixTime};
use tokio_rustls::rustls::server::danger::{ClientCertVerified, ClientCertVerifier};

use crate::compare::{Event, What, without_own_port};
use crate::cri::percent_decoded;
use crate::world::{Stall, World, without_port};

/// Answers for the whole world and remembers.
pub(crate) struct Recorder {
    world: Arc<World>,
    events: RefCell<Vec<Event>>,
    acceptors: RefCell<HashMap<String, TlsAcceptor>>,
    /// TLS handshakes that are under way.
    handshakes: Cell<usize>,
    provider: Arc<CryptoProvider>,
}

/// Who is on the other end of a listener.
#[derive(Clone, Copy)]
pub(crate) enum Role {
    /// The proxy that the daemon asks.
    Proxy,
    /// A host on loopback.
    Loopback,
}

struct Request {
    method: String,
    /// A path with a query, or a whole URL at the proxy.
    target: String,
    headers: Vec<(String, String)>,
    body: String,
}

impl Request {
    fn header(&self, name: &str) -> Option<&str> {
        let found = self
            .headers
            .iter()
            .find(|(key, _)| key.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    }
}

/// So many milliseconds are waited for a handshake.
const PATIENCE: usize = 10_000;

/// Where hosts with a token server have it. Headers are not recorded there: see `expected`.
pub(crate) const TOKEN_PATH: &str = "/token";

/// What a response says: status, extra headers, body.
type Response = (u16, Vec<(String, String)>, Vec<u8>);

impl Recorder {
    pub(crate) fn new(world: Arc<World>) -> Rc<Recorder> {
        Rc::new(Recorder {
            world,
            events: RefCell::default(),
            acceptors: RefCell::default(),
            handshakes: Cell::new(0),
            provider: Arc::new(rustls::crypto::ring::default_provider()),
        })
    }

    /// What arrived since the last call. A daemon that refuses a certificate goes on before this end
    /// has heard of it, so handshakes under way are waited for.
    pub(crate) async fn take(&self) -> Vec<Event> {
        for _ in 0..PATIENCE {
            if self.handshakes.get() == 0 {
                break;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        self.events.take()
    }

    fn record(&self, scheme: &'static str, host: &str, what: What) {
        self.events.borrow_mut().push(Event {
            scheme,
            host: host.to_string(),
            what,
        });
    }

    /// Serves until the task is dropped.
    pub(crate) async fn serve(self: Rc<Self>, listener: TcpListener, role: Role) {
        while let Ok((stream, _)) = listener.accept().await {
            let recorder = Rc::clone(&self);
            tokio::task::spawn_local(async move {
                // A connection that breaks is the daemon's business; what matters is recorded.
                let _ = match role {
                    Role::Proxy => recorder.proxy(stream).await,
                    Role::Loopback => recorder.loopback(stream).await,
                };
            });
        }
    }

    async fn proxy(&self, mut stream: TcpStream) -> io::Result<()> {
        let request = read_request(&mut stream).await?;
        if request.method == "CONNECT" {
            stream
                .write_all(b"HTTP/1.1 200 Connection established\r\n\r\n")
                .await?;
            let port = request
                .target
                .rsplit_once(':')
                .and_then(|(_, port)| port.parse().ok());
            let name = without_port(&request.target);
            return self.host(stream, name, port.unwrap_or(443)).await;
        }
        let rest = request
            .target
            .strip_prefix("http://")
            .unwrap_or(&request.target);
        let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        self.answer(&mut stream, "http", authority, path, None, &request)
            .await
    }

    async fn loopback(&self, stream: TcpStream) -> io::Result<()> {
        let address = stream.local_addr()?;
        let mut hello = [0; 2048];
        let length = stream.peek(&mut hello).await?;
        // A TLS hello holds the name that the daemon connects to, if it is no address.
        let named = hello[..length]
            .windows(9)
            .any(|bytes| bytes == b"localhost");
        let name = match address.ip().to_canonical() {
            _ if named => "localhost".to_string(),
            IpAddr::V4(address) => address.to_string(),
            IpAddr::V6(address) => format!("[{address}]"),
        };
        self.host(stream, &name, address.port()).await
    }

    /// One connection to a host, which knows by the first byte whether it is TLS.
    async fn host(&self, mut stream: TcpStream, name: &str, port: u16) -> io::Result<()> {
        let mut first = [0];
        if stream.peek(&mut first).await? == 0 {
            return Ok(());
        }
        if first != [0x16] {
            let request = read_request(&mut stream).await?;
            let host = request.header("host").unwrap_or_default().to_string();
            let target = request.target.clone();
            return self
                .answer(&mut stream, "http", &host, &target, None, &request)
                .await;
        }
        let host = without_own_port("https", &format!("{name}:{port}"));
        if self.world.speaks_plain_only(name, port) {
            self.record("https", &host, What::TlsOnPlainHost);
            stream
                .write_all(b"HTTP/1.0 400 Bad Request\r\n\r\nThis server speaks plain HTTP.\n")
                .await?;
            // Read what still comes, so that closing does not reset the answer away.
            let mut rest = Vec::new();
            stream.shutdown().await?;
            stream.take(1 << 16).read_to_end(&mut rest).await?;
            return Ok(());
        }
        let acceptor = self.acceptor(name, port);
        self.handshakes.update(|count| count + 1);
        let accepted = acceptor.accept(stream).await;
        if accepted.is_err() {
            self.record("https", &host, What::TlsRefused);
        }
        self.handshakes.update(|count| count - 1);
        let mut stream = accepted?;
        let client = stream
            .get_ref()
            .1
            .peer_certificates()
            .and_then(|chain| chain.first());
        let client = client.map(|certificate| self.world.certificates.subject(certificate));
        let request = read_request(&mut stream).await?;
        // As the daemon wrote it, with a port or without.
        let host = request.header("host").unwrap_or(&host).to_string();
        let target = request.target.clone();
        self.answer(&mut stream, "https", &host, &target, client, &request)
            .await
    }

    fn acceptor(&self, name: &str, port: u16) -> TlsAcceptor {
        let mut acceptors = self.acceptors.borrow_mut();
        let acceptor = acceptors
            .entry(format!("{name}:{port}"))
            .or_insert_with(|| {
                let address = name.trim_start_matches('[').trim_end_matches(']');
                let names = match name {
                    "localhost" => vec!["localhost", "127.0.0.1", "127.0.0.2", "::1"],
                    _ => vec![address],
                };
                let names: Vec<_> = names.into_iter().map(String::from).collect();
                let signer = self.world.signer(name, port);
                let (leaf, key) = self.world.certificates.leaf(&names, &signer);
                let config =
                    rustls::ServerConfig::builder_with_provider(Arc::clone(&self.provider))
                        .with_safe_default_protocol_versions()
                        .unwrap()
                        .with_client_cert_verifier(Arc::new(AnyClient(Arc::clone(&self.provider))))
                        .with_single_cert(vec![leaf], key)
                        .unwrap();
                TlsAcceptor::from(Arc::new(config))
            });
        acceptor.clone()
    }

    /// Records a request and answers it. Each connection carries one request.
    async fn answer(
        &self,
        stream: &mut (impl AsyncWrite + Unpin),
        scheme: &'static str,
        host: &str,
        target: &str,
        client: Option<String>,
        request: &Request,
    ) -> io::Result<()> {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let credentials = credentials(request);
        let (status, headers, body) = self.response(
            scheme,
            host,
            path,
            client.as_deref(),
            credentials.as_deref(),
        );
        self.record(
            scheme,
            host,
            What::Request {
                path: path.to_string(),
                query: percent_decoded(query),
                client,
                credentials,
                headers: if path == TOKEN_PATH {
                    Vec::new()
                } else {
                    headers_of_note(request)
                },
                status,
            },
        );
        let mut head = format!("HTTP/1.1 {status} status\r\nConnection: close\r\n");
        for (name, value) in headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        head.push_str(&format!("Content-Length: {}\r\n\r\n", body.len()));
        if request.method == "HEAD" {
            stream.write_all(head.as_bytes()).await?;
            return stream.shutdown().await;
        }
        match self.world.stall(path) {
            None => {
                stream.write_all(head.as_bytes()).await?;
                stream.write_all(&body).await?;
                return stream.shutdown().await;
            }
            Some(Stall::Head) => {}
            Some(Stall::Body(length)) => {
                stream.write_all(head.as_bytes()).await?;
                stream
                    .write_all(body.get(..length).unwrap_or(&body))
                    .await?;
                stream.flush().await?;
            }
        }
        std::future::pending().await
    }

    fn response(
        &self,
        scheme: &str,
        host: &str,
        path: &str,
        client: Option<&str>,
        credentials: Option<&str>,
    ) -> Response {
        let json = |status, text: String| {
            (
                status,
                vec![("Content-Type".into(), "application/json".into())],
                text.into_bytes(),
            )
        };
        if path == TOKEN_PATH {
            let owner = credentials.unwrap_or("nobody").replace([':', ' '], "-");
            let token = format!("token-for-{owner}");
            return json(
                200,
                format!(r#"{{"token":"{token}","access_token":"{token}"}}"#),
            );
        }
        let port = host
            .rsplit_once(':')
            .and_then(|(_, port)| port.parse().ok());
        let port = port.unwrap_or(if scheme == "http" { 80 } else { 443 });
        if self.world.wants_credentials(without_port(host), port) {
            // Half of the hosts have a token server, and always the same half.
            let bearer = host.bytes().map(u32::from).sum::<u32>() % 2 == 0;
            let (kind, challenge) = if bearer {
                let realm = format!("{scheme}://{host}{TOKEN_PATH}");
                (
                    "Bearer ",
                    format!(r#"Bearer realm="{realm}",service="{host}""#),
                )
            } else {
                ("Basic ", r#"Basic realm="wire""#.to_string())
            };
            if !credentials.is_some_and(|credentials| credentials.starts_with(kind)) {
                return (
                    401,
                    vec![("WWW-Authenticate".into(), challenge)],
                    Vec::new(),
                );
            }
        }
        if let Some(image) = &self.world.image
            && image.host == without_own_port(scheme, host)
            && let Some(content) = path.strip_prefix(&image.prefix)
            && let Some((media_type, bytes)) = image.contents.get(content)
        {
            if client != Some(&image.client) {
                return json(403, "{}".to_string());
            }
            return (
                200,
                vec![("Content-Type".into(), media_type.clone())],
                bytes.clone(),
            );
        }
        json(
            404,
            r#"{"errors":[{"code":"MANIFEST_UNKNOWN","message":"not here"}]}"#.to_string(),
        )
    }
}

/// Who the request says it comes from, readable: `Basic user:password`, `Bearer …`, or what a form
/// for a token server holds.
fn credentials(request: &Request) -> Option<String> {
    if let Some(value) = request.header("authorization") {
        let Some(encoded) = value.strip_prefix("Basic ") else {
            return Some(value.to_string());
        };
        let decoded = base64::engine::general_purpose::STANDARD
            .decode(encoded)
            .unwrap_or_default();
        return Some(format!("Basic {}", String::from_utf8_lossy(&decoded)));
    }
    let field = |name: &str| {
        let mut pairs = request
            .body
            .split('&')
            .filter_map(|pair| pair.split_once('='));
        let found = pairs.find(|(key, _)| *key == name);
        found.map(|(_, value)| percent_decoded(&value.replace('+', " ")))
    };
    match (field("username"), field("password"), field("refresh_token")) {
        (Some(user), Some(password), _) => Some(format!("Basic {user}:{password}")),
        (_, _, Some(token)) => Some(format!("refresh token {token}")),
        _ => None,
    }
}

/// Headers that a configuration made, not containerd or Go.
fn headers_of_note(request: &Request) -> Vec<String> {
    let mut found: Vec<_> = request
        .headers
        .iter()
        .filter(|(name, _)| name.to_ascii_lowercase().starts_with("x-"))
        .map(|(name, value)| format!("{name}: {value}"))
        .collect();
    found.sort();
    found
}

async fn read_request(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Request> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await?);
        if head.len() > 1 << 16 {
            return Err(io::Error::other("the head of a request does not end"));
        }
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    let mut lines = head.trim_end().split("\r\n");
    let mut words = lines
        .next()
        .unwrap_or_default()
        .split(' ')
        .map(String::from);
    let method = words.next().unwrap_or_default();
    let target = words.next().unwrap_or_default();
    let headers = lines.filter_map(|line| line.split_once(':'));
    let headers = headers
        .map(|(name, value)| (name.to_string(), value.trim().to_string()))
        .collect();
    let mut request = Request {
        method,
        target,
        headers,
        body: String::new(),
    };
    let length: u64 = request
        .header("content-length")
        .and_then(|text| text.parse().ok())
        .unwrap_or_default();
    let mut body = Vec::new();
    stream
        .take(length.min(1 << 20))
        .read_to_end(&mut body)
        .await?;
    request.body = String::from_utf8_lossy(&body).into_owned();
    Ok(request)
}

/// Takes every client certificate whose key the client has, and none as well.
#[derive(Debug)]
struct AnyClient(Arc<CryptoProvider>);

impl ClientCertVerifier for AnyClient {
    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn root_hint_subjects(&self) -> &[rustls::DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<rustls::SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
