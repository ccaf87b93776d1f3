//! Counts gRPC calls by method and code, whenever and however they end.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures::future::BoxFuture;
use http::{HeaderMap, Request, Response};
use http_body_util::BodyExt as _;
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use tonic::body::Body;
use tonic::{Code, Status};
use tower::Service;

use super::accept::GrpcService;
use crate::metrics::Metrics;

/// Wraps the gRPC services and records each call when its response ends.
#[derive(Clone)]
pub struct CountCalls<S> {
    inner: S,
    metrics: Metrics,
}

impl<S> CountCalls<S> {
    pub fn new(inner: S, metrics: Metrics) -> Self {
        Self { inner, metrics }
    }
}

impl<S: GrpcService> Service<Request<Body>> for CountCalls<S> {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let mut call = Call {
            method: request.uri().path().trim_start_matches('/').to_owned(),
            metrics: self.metrics.clone(),
            code: None,
        };
        let response = self.inner.call(request);
        Box::pin(async move {
            let response = response.await?;
            // A call that fails at once says so in its headers.
            call.see(response.headers());
            Ok(response
                .map(|body| Counted { body, call }.boxed_unsync())
                .map(Body::new))
        })
    }
}

/// A call in progress; counted when dropped.
struct Call {
    method: String,
    metrics: Metrics,
    code: Option<Code>,
}

impl Call {
    fn see(&mut self, headers: &HeaderMap) {
        if let Some(status) = Status::from_header_map(headers) {
            self.code = Some(status.code());
        }
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        // Without a code the caller went away, or the connection broke.
        let code = self.code.unwrap_or(Code::Cancelled);
        // Callers choose the path: those that nobody serves share one label.
        let method = match code {
            Code::Unimplemented => "unknown",
            _ => &self.method,
        };
        self.metrics.call(method, &format!("{code:?}"));
    }
}

struct Counted {
    body: Body,
    call: Call,
}

impl HttpBody for Counted {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let frame = Pin::new(&mut self.body).poll_frame(cx);
        if let Poll::Ready(Some(Ok(frame))) = &frame
            && let Some(trailers) = frame.trailers_ref()
        {
            self.call.see(trailers);
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
