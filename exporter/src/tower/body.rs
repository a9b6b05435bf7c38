//! The body of an answer, which knows when it ends.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Buf as _;
use http::header;
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;

use super::current::{Closer, Follows};

pin_project! {
    /// The body of an answer to a request that is in the log. Dropped before its end, it says that the client went away.
    #[derive(Debug)]
    pub struct LoggedBody<B> {
        // Dropped first, so that what the handler says in its destructors still counts.
        #[pin]
        inner: B,
        closer: Option<Closer>,
        // A server stops asking when it has as many bytes as it promised, even if the body does not know that it is at its end.
        left_bytes: Option<u64>,
    }
}

impl<B: Body> LoggedBody<B> {
    pub(super) fn around(response: http::Response<B>, closer: Option<Closer>) -> http::Response<Self> {
        let promised = response.headers().get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
        let left_bytes = promised.or_else(|| response.body().size_hint().exact());
        let status = response.status();
        response.map(|inner| {
            let mut body = Self { inner, closer, left_bytes };
            let Some(closer) = body.closer.take() else { return body };
            match closer.answered(status) {
                Follows::Websocket => closer.upgraded(),
                Follows::Body if left_bytes != Some(0) && !body.inner.is_end_stream() => body.closer = Some(closer),
                // A server does not ask for what is not there.
                Follows::Body | Follows::Nothing => closer.completed(),
            }
            body
        })
    }
}

impl<B: Body> Body for LoggedBody<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        let mut this = self.project();
        let frame = ready!(Closer::run(this.closer, || this.inner.as_mut().poll_frame(context)));
        let data_bytes = match &frame {
            Some(Ok(frame)) => frame.data_ref().map_or(0, |data| data.remaining() as u64),
            Some(Err(_)) => {
                if let Some(closer) = this.closer.take() {
                    closer.body_failed();
                }
                return Poll::Ready(frame);
            }
            None => 0,
        };
        *this.left_bytes = this.left_bytes.map(|left| left.saturating_sub(data_bytes));
        if (frame.is_none() || *this.left_bytes == Some(0) || this.inner.is_end_stream())
            && let Some(closer) = this.closer.take()
        {
            closer.completed();
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
