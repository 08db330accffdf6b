//! etcd over gRPC: the few messages of its `rpc.proto` that are used, written out so that no compiler for them is needed.

use http::uri::PathAndQuery;
use std::io;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Streaming};
use tonic_prost::ProstCodec;

#[derive(Clone, PartialEq, prost::Message)]
struct PutRequest {
    #[prost(bytes = "vec", tag = "1")]
    key: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    value: Vec<u8>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct RangeRequest {
    #[prost(bytes = "vec", tag = "1")]
    key: Vec<u8>,
    #[prost(bool, tag = "7")]
    serializable: bool,
}

#[derive(Clone, PartialEq, prost::Message)]
struct RangeResponse {
    #[prost(int64, tag = "4")]
    count: i64,
}

/// What is not looked at.
#[derive(Clone, PartialEq, prost::Message)]
struct Ignored {}

#[derive(Clone, PartialEq, prost::Message)]
struct WatchCreate {
    #[prost(bytes = "vec", tag = "1")]
    key: Vec<u8>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct WatchRequest {
    #[prost(message, optional, tag = "1")]
    create: Option<WatchCreate>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct WatchResponse {
    #[prost(message, repeated, tag = "11")]
    events: Vec<Ignored>,
}

pub struct Etcd(tonic::client::Grpc<Channel>);

/// An open watch; dropping the sender would close it.
pub struct Watch {
    _requests: mpsc::Sender<WatchRequest>,
    responses: Streaming<WatchResponse>,
}

fn failure(e: impl std::fmt::Display) -> io::Error {
    io::Error::other(e.to_string())
}

impl Etcd {
    pub async fn connect(address: &str) -> io::Result<Self> {
        let endpoint = Endpoint::from_shared(format!("http://{address}")).map_err(failure)?.tcp_nodelay(true);
        Ok(Self(tonic::client::Grpc::new(endpoint.connect().await.map_err(failure)?)))
    }

    async fn unary<Q, A>(&mut self, path: &'static str, message: Q) -> io::Result<A>
    where
        Q: prost::Message + Default + Send + Sync + 'static,
        A: prost::Message + Default + Send + Sync + 'static,
    {
        self.0.ready().await.map_err(failure)?;
        let path = PathAndQuery::from_static(path);
        let codec: ProstCodec<Q, A> = ProstCodec::default();
        Ok(self.0.unary(Request::new(message), path, codec).await.map_err(failure)?.into_inner())
    }

    pub async fn put(&mut self, key: &str, value: &[u8]) -> io::Result<()> {
        let put = PutRequest { key: key.into(), value: value.to_vec() };
        self.unary::<_, Ignored>("/etcdserverpb.KV/Put", put).await.map(|_| ())
    }

    pub async fn get(&mut self, key: &str, serializable: bool) -> io::Result<()> {
        let range = RangeRequest { key: key.into(), serializable };
        let found: RangeResponse = self.unary("/etcdserverpb.KV/Range", range).await?;
        if found.count == 1 { Ok(()) } else { Err(failure("no such key")) }
    }

    pub async fn watch(&mut self, key: &str) -> io::Result<Watch> {
        self.0.ready().await.map_err(failure)?;
        let (requests, stream) = mpsc::channel(1);
        let create = Some(WatchCreate { key: key.into() });
        requests.send(WatchRequest { create }).await.map_err(failure)?;
        let path = PathAndQuery::from_static("/etcdserverpb.Watch/Watch");
        let codec: ProstCodec<WatchRequest, WatchResponse> = ProstCodec::default();
        let opened = self.0.streaming(Request::new(ReceiverStream::new(stream)), path, codec).await;
        let mut responses = opened.map_err(failure)?.into_inner();
        responses.message().await.map_err(failure)?;
        Ok(Watch { _requests: requests, responses })
    }
}

impl Watch {
    pub async fn event(&mut self) -> io::Result<()> {
        loop {
            let response = self.responses.message().await.map_err(failure)?;
            if !response.ok_or_else(|| failure("the watch ended"))?.events.is_empty() {
                return Ok(());
            }
        }
    }
}
