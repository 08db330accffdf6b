//! Over TCP, without delay for small writes.

use super::{Connection, Listener, Transport};
use async_std::net::{TcpListener, TcpStream};
use async_trait::async_trait;
use std::io;

/// TCP. Addresses are `HOST:PORT`; one to listen at may have port 0: any that is free.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tcp;

struct Bound {
    listener: TcpListener,
    address: String,
}

fn connection(stream: TcpStream) -> Connection {
    // If this fails the peer is gone, which the first use of the connection tells.
    let _ = stream.set_nodelay(true);
    Connection { reader: Box::new(stream.clone()), writer: Box::new(stream) }
}

#[async_trait]
impl Transport for Tcp {
    async fn listen(&self, address: &str) -> io::Result<Box<dyn Listener>> {
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?.to_string();
        Ok(Box::new(Bound { listener, address }))
    }

    async fn dial(&self, address: &str) -> io::Result<Connection> {
        Ok(connection(TcpStream::connect(address).await?))
    }
}

#[async_trait]
impl Listener for Bound {
    async fn accept(&self) -> io::Result<Connection> {
        Ok(connection(self.listener.accept().await?.0))
    }

    fn address(&self) -> &str {
        &self.address
    }
}
