//! The yardstick for reads: an axum handler on async-std that answers 256 bytes, and nothing else.

use async_std::net::TcpListener;
use async_std::task;
use axum::Router;
use axum::routing::get;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use smol_hyper::rt::FuturesIo;
use std::convert::Infallible;
use tower_service::Service;

async fn value() -> &'static [u8] {
    &[b'x'; 256]
}

fn main() {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:8900".into());
    task::block_on(async {
        let listener = TcpListener::bind(&address).await.expect("the address is free");
        let router: Router = Router::new().route("/v1/kv", get(value)).route("/v1/kv/{key}", get(value));
        loop {
            let Ok((stream, _)) = listener.accept().await else { continue };
            let _ = stream.set_nodelay(true);
            let router = router.clone();
            task::spawn(async move {
                let service = service_fn(move |request| {
                    let mut router = router.clone();
                    async move { Ok::<_, Infallible>(router.call(request).await.unwrap_or_else(|never| match never {})) }
                });
                // A client that goes away ends its connection; nothing is to be told.
                let _ = http1::Builder::new().serve_connection(FuturesIo::new(stream), service).await;
            });
        }
    });
}
