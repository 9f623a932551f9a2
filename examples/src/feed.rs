//! The gRPC service `demo.Feed`: one message, or messages without end.

use std::pin::Pin;

use futures_util::{Stream, StreamExt, stream};
use tonic::{Request, Response, Status};

pub use self::generated::feed_client::FeedClient;
pub use self::generated::feed_server::FeedServer;
pub use self::generated::{FeedMessage, FeedRequest};

#[allow(
    clippy::all,
    clippy::pedantic,
    clippy::allow_attributes_without_reason,
    missing_docs,
    unreachable_pub,
    unused_qualifications,
    reason = "generated from proto/feed.proto"
)]
mod generated {
    tonic::include_proto!("demo");
}

/// The bytes of each message of the stream.
pub const MESSAGE_BYTES: usize = 16 * 1024;

/// The service.
#[derive(Clone, Copy, Debug, Default)]
#[expect(clippy::exhaustive_structs, reason = "it has no state")]
pub struct Feed;

impl Feed {
    /// Makes the service as a tonic server takes it.
    #[must_use]
    pub fn server() -> FeedServer<Self> {
        FeedServer::new(Self)
    }
}

#[tonic::async_trait]
impl generated::feed_server::Feed for Feed {
    type StreamStream = Pin<Box<dyn Stream<Item = Result<FeedMessage, Status>> + Send>>;

    async fn unary(&self, _request: Request<FeedRequest>) -> Result<Response<FeedMessage>, Status> {
        Ok(Response::new(message(0, b"hello".to_vec())))
    }

    async fn stream(&self, _request: Request<FeedRequest>) -> Result<Response<Self::StreamStream>, Status> {
        // Each message is made when the flow control of HTTP/2 has room for it: nothing is queued here.
        let messages = stream::iter(0..).map(|number| Ok(message(number, vec![0; MESSAGE_BYTES])));
        Ok(Response::new(Box::pin(messages)))
    }
}

const fn message(number: u64, payload: Vec<u8>) -> FeedMessage {
    FeedMessage { number, payload }
}
