//! One connection that is kept open: HTTP/1.1 as far as a generator of load needs it. The answer is
//! read to its end, so that the next request finds an empty line.

use std::io::{Error, ErrorKind};
use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use super::tls::Tls;

/// Bytes of an answer's body, at most.
const BODY_BYTES_MAX: usize = 64 << 20;
/// Bytes of an answer's head, at most.
const HEAD_BYTES_MAX: usize = 64 << 10;
/// Header fields of an answer, at most.
const HEADERS_MAX: usize = 64;
/// Bytes that are made room for before each read.
const READ_BYTES: usize = 8 << 10;

#[derive(Debug)]
enum Stream {
    Plain(TcpStream),
    Sealed(Box<TlsStream<TcpStream>>),
}

/// A connection to a server.
#[derive(Debug)]
pub struct Connection {
    stream: Stream,
    input: Vec<u8>,
    body: Vec<u8>,
    /// The server said that it closes the connection.
    is_closing: bool,
}

/// How long a body is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Framing {
    Length(usize),
    Chunked,
    /// To the end of the connection.
    ToTheEnd,
}

/// The head of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Head {
    status: u16,
    framing: Framing,
    is_closing: bool,
    /// Where the body begins.
    end: usize,
}

impl Connection {
    /// Connects.
    ///
    /// # Errors
    /// Nobody listens there, its certificate is not trusted, or the system has no more descriptors.
    pub async fn open(address: SocketAddr, tls: Option<&Tls>) -> std::io::Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let stream = match tls {
            None => Stream::Plain(stream),
            Some(tls) => Stream::Sealed(Box::new(tls.seal(stream).await?)),
        };
        Ok(Self {
            stream,
            input: Vec::with_capacity(READ_BYTES),
            body: Vec::new(),
            is_closing: false,
        })
    }

    /// Sends a request, head and body as they are, and returns the status of its answer.
    ///
    /// # Errors
    /// The connection broke, or what came is no answer. It must not be used again then.
    pub async fn ask(&mut self, request: &[u8]) -> std::io::Result<u16> {
        self.input.clear();
        self.body.clear();
        match &mut self.stream {
            Stream::Plain(stream) => stream.write_all(request).await?,
            Stream::Sealed(stream) => {
                stream.write_all(request).await?;
                stream.flush().await?;
            }
        }
        let head = self.head().await?;
        self.is_closing = head.is_closing;
        match head.framing {
            Framing::Length(length) if length > BODY_BYTES_MAX => return Err(too_long()),
            Framing::Length(length) => {
                self.fill(head.end + length).await?;
                let body = &self.input[head.end..head.end + length];
                self.body.extend_from_slice(body);
            }
            Framing::Chunked => self.chunks(head.end).await?,
            Framing::ToTheEnd => {
                while self.read_some().await? > 0 {
                    if self.input.len() - head.end > BODY_BYTES_MAX {
                        return Err(too_long());
                    }
                }
                self.body.extend_from_slice(&self.input[head.end..]);
            }
        }
        Ok(head.status)
    }

    /// The body of the last answer.
    #[must_use]
    pub fn body(&self) -> &[u8] {
        &self.body
    }

    /// Whether another request may be sent.
    #[must_use]
    pub const fn is_open(&self) -> bool {
        !self.is_closing
    }

    async fn head(&mut self) -> std::io::Result<Head> {
        loop {
            if let Some(head) = parse(&self.input)? {
                return Ok(head);
            }
            if self.input.len() > HEAD_BYTES_MAX {
                return Err(garbled("the head of the answer has no end"));
            }
            if self.read_some().await? == 0 {
                return Err(ErrorKind::UnexpectedEof.into());
            }
        }
    }

    /// Reads until so many bytes are there.
    async fn fill(&mut self, bytes: usize) -> std::io::Result<()> {
        while self.input.len() < bytes {
            if self.read_some().await? == 0 {
                return Err(ErrorKind::UnexpectedEof.into());
            }
        }
        Ok(())
    }

    async fn read_some(&mut self) -> std::io::Result<usize> {
        self.input.reserve(READ_BYTES);
        match &mut self.stream {
            Stream::Plain(stream) => stream.read_buf(&mut self.input).await,
            Stream::Sealed(stream) => stream.read_buf(&mut self.input).await,
        }
    }

    /// Reads chunks to the last, from `at` on.
    async fn chunks(&mut self, mut at: usize) -> std::io::Result<()> {
        loop {
            let parsed = httparse::parse_chunk_size(&self.input[at..]);
            let (skip, size) = match parsed.map_err(|_| garbled("a chunk has no size"))? {
                httparse::Status::Complete(found) => found,
                httparse::Status::Partial => {
                    let have = self.input.len();
                    self.fill(have + 1).await?;
                    continue;
                }
            };
            let size = usize::try_from(size).unwrap_or(usize::MAX);
            if size > BODY_BYTES_MAX || self.body.len() + size > BODY_BYTES_MAX {
                return Err(too_long());
            }
            // The data and the line end behind it; behind the last chunk there is an empty line.
            self.fill(at + skip + size + 2).await?;
            let data = at + skip;
            self.body.extend_from_slice(&self.input[data..data + size]);
            if size == 0 {
                return Ok(());
            }
            at = data + size + 2;
        }
    }
}

fn garbled(what: &'static str) -> Error {
    Error::new(ErrorKind::InvalidData, what)
}

fn too_long() -> Error {
    garbled("the answer is longer than is read here")
}

/// The head, once all of it is there.
fn parse(input: &[u8]) -> std::io::Result<Option<Head>> {
    let mut fields = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut response = httparse::Response::new(&mut fields);
    let parsed = response.parse(input);
    let end = match parsed.map_err(|_| garbled("what came is no HTTP"))? {
        httparse::Status::Complete(end) => end,
        httparse::Status::Partial => return Ok(None),
    };
    let status = response.code.unwrap_or(0);
    let value = |name: &str| {
        let mut fields = response.headers.iter();
        let found = fields.find(|field| field.name.eq_ignore_ascii_case(name));
        found.and_then(|field| std::str::from_utf8(field.value).ok())
    };
    let has = |name: &str, word: &str| {
        value(name).is_some_and(|text| text.to_ascii_lowercase().contains(word))
    };
    let framing = if matches!(status, 100..=199 | 204 | 304) {
        Framing::Length(0)
    } else if has("transfer-encoding", "chunked") {
        Framing::Chunked
    } else {
        match value("content-length") {
            Some(text) => {
                let length = text.trim().parse();
                Framing::Length(length.map_err(|_| garbled("the length of the body is no number"))?)
            }
            None => Framing::ToTheEnd,
        }
    };
    Ok(Some(Head {
        status,
        framing,
        is_closing: framing == Framing::ToTheEnd || has("connection", "close"),
        end,
    }))
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn a_head_says_how_long_the_body_is() {
        let of = |text: &str| parse(text.as_bytes()).expect("an answer");
        assert_eq!(of("HTTP/1.1 200 OK\r\ncontent-le"), None);
        let plain = of("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello").expect("whole");
        assert_eq!((plain.status, plain.framing), (200, Framing::Length(5)));
        assert!(!plain.is_closing);
        let closing = "HTTP/1.1 503 Busy\r\nconnection: Close\r\nContent-Length: 0\r\n\r\n";
        assert!(of(closing).expect("whole").is_closing);
        let chunked = of("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n");
        assert_eq!(chunked.map(|head| head.framing), Some(Framing::Chunked));
        let none = of("HTTP/1.1 204 No Content\r\n\r\n");
        assert_eq!(none.map(|head| head.framing), Some(Framing::Length(0)));
        assert!(parse(b"SSH-2.0-x\r\n\r\n").is_err());
    }

    #[test]
    fn answers_in_pieces_and_chunks_are_put_together() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().expect("a caller");
            for piece in [
                "HTTP/1.1 200 OK\r\ntransfer-enc",
                "oding: chunked\r\n\r\n5\r\nhe",
                "llo\r\n1",
                "\r\n!\r\n0\r\n\r\n",
            ] {
                stream.write_all(piece.as_bytes()).expect("it is read");
                stream.flush().expect("it is read");
            }
        });
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime");
        runtime.block_on(async {
            let mut connection = Connection::open(address, None).await.expect("a connection");
            let status = connection.ask(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await;
            assert_eq!(status.expect("an answer"), 200);
            assert_eq!(connection.body(), b"hello!");
            assert!(connection.is_open());
            assert!(connection.ask(b"GET / HTTP/1.1\r\n\r\n").await.is_err());
        });
        server.join().expect("it ends");
    }
}
