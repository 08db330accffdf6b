//! How servers reach each other, and how native clients reach servers: over TCP, inside one process, or over something of
//! the embedder's own.

mod local;
mod tcp;

pub use local::{Local, LocalNetwork};
pub use tcp::Tcp;

use async_trait::async_trait;
use futures_lite::{AsyncRead, AsyncWrite};
use std::fmt;
use std::io;

/// Makes connections between addresses, whatever an address is to it.
///
/// A connection carries bytes in order, both ways, until it ends; it may end at any time, and what was under way then is
/// lost. Nothing else is asked of it: servers and clients watch their connections, and dial anew.
#[async_trait]
pub trait Transport: fmt::Debug + Send + Sync + 'static {
    /// Takes connections at this address of the own machine until the listener is dropped.
    ///
    /// # Errors
    /// [`io::ErrorKind::AddrInUse`] if somebody listens there already, or whatever is wrong with the address.
    async fn listen(&self, address: &str) -> io::Result<Box<dyn Listener>>;

    /// Connects to whoever listens at this address. It may take for ever: whoever calls it has a limit of its own.
    ///
    /// # Errors
    /// If nobody takes the connection.
    async fn dial(&self, address: &str) -> io::Result<Connection>;
}

/// Where connections arrive.
#[async_trait]
pub trait Listener: Send + Sync + 'static {
    /// The next one.
    ///
    /// # Errors
    /// That cost one connection, or concern a moment: the caller goes on after a pause.
    async fn accept(&self) -> io::Result<Connection>;

    /// Where it listens, as others dial it.
    fn address(&self) -> &str;
}

/// The two directions of a connection, each to be used by a task of its own. When both are dropped, the connection has
/// ended.
pub struct Connection {
    /// What arrives.
    pub reader: Box<dyn AsyncRead + Send + Unpin>,
    /// What is sent. It is written through: no flush is needed for bytes to arrive.
    pub writer: Box<dyn AsyncWrite + Send + Unpin>,
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection").finish_non_exhaustive()
    }
}
