//! Chunked bodies whose end nobody waits for. Once a handler has let go of one, actix-http (3.20,
//! h1/dispatcher.rs, `payload_drainable`) reads on until it ends, however long that takes, and the
//! connection is taken for as long. What still has the body when the answer is written makes it close
//! the connection instead, after a second in which the client can read the answer.

use std::cell::RefCell;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use actix_web::HttpMessage;
use actix_web::body::{BodySize, BoxBody, MessageBody};
use actix_web::dev::{Payload, ServiceRequest, ServiceResponse};
use actix_web::error::PayloadError;
use actix_web::http::header::TRANSFER_ENCODING;
use actix_web::web::Bytes;
use futures_util::Stream;

/// A body that has more than one owner.
#[derive(Clone)]
pub(crate) struct Kept(Rc<RefCell<Payload>>);

impl Stream for Kept {
    type Item = Result<Bytes, PayloadError>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        Pin::new(&mut *self.0.borrow_mut()).poll_next(context)
    }
}

/// The body of an answer, with that of its request.
struct Answering {
    body: BoxBody,
    _kept: Kept,
}

impl MessageBody for Answering {
    type Error = <BoxBody as MessageBody>::Error;

    fn size(&self) -> BodySize {
        self.body.size()
    }

    fn poll_next(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, Self::Error>>> {
        Pin::new(&mut self.body).poll_next(context)
    }
}

/// Keeps a body of a length that is not told beforehand; others are closed by themselves.
pub(crate) fn keep(request: &mut ServiceRequest) -> Option<Kept> {
    request.headers().get(TRANSFER_ENCODING)?;
    let kept = Kept(Rc::new(RefCell::new(request.take_payload())));
    request.set_payload(Payload::Stream {
        payload: Box::pin(kept.clone()),
    });
    Some(kept)
}

/// Lets go of it when the answer was written.
pub(crate) fn until_answered(
    response: ServiceResponse<BoxBody>,
    kept: Option<Kept>,
) -> ServiceResponse<BoxBody> {
    match kept {
        Some(kept) => response.map_body(|_, body| Answering { body, _kept: kept }.boxed()),
        None => response,
    }
}
