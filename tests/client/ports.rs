//! The ports that native clients come to, over TCP.

use crate::{turn, within};
use async_std::net::TcpStream;
use async_std::task::block_on;
use copycat::client::{Client, Keys};
use copycat::store::Store;
use copycat::{Server, Storage};
use futures_lite::{AsyncReadExt, AsyncWriteExt};
use std::net::TcpListener;

fn free() -> String {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string()
}

fn server(client: Option<&str>) -> (Server<Store>, String) {
    let peer = free();
    let mut builder = Server::<Store>::builder(1)
        .storage(Storage::Memory)
        .segment_size(1 << 20)
        .largest_entry((1 << 20) - 4096)
        .memory_limit(64 << 20);
    builder = builder.peer_address(&peer);
    if let Some(client) = client {
        builder = builder.client_address(client);
    }
    (builder.bootstrap([(1, peer.clone())]).unwrap(), peer)
}

#[test]
fn what_is_no_client_is_refused_and_disturbs_nobody() {
    let _turn = turn();
    let (server, peer) = server(None);
    block_on(within(60, async {
        let keys = Keys::connect([peer.as_str()]).await.unwrap();
        let greeting = [7, 0, 0, 0, 252, b'C', b'C', b'L', b'I', 9, 9];
        for bytes in
            [&b"GET / HTTP/1.1\r\n\r\n"[..], &[0xff; 64], &[0, 0, 0, 0], &[5, 0, 0, 0, 1, 2, 3, 4, 5], &greeting]
        {
            let mut raw = TcpStream::connect(&peer).await.unwrap();
            raw.write_all(bytes).await.unwrap();
            let mut answer = Vec::new();
            assert_eq!(raw.read_to_end(&mut answer).await.unwrap_or(0), 0, "{answer:?}");
        }
        // A client of another version is told which one is spoken here.
        let mut raw = TcpStream::connect(&peer).await.unwrap();
        raw.write_all(&[6, 0, 0, 0, 252, b'C', b'C', b'L', b'I', 9]).await.unwrap();
        let mut answer = Vec::new();
        raw.read_to_end(&mut answer).await.unwrap();
        assert_eq!(answer, [2, 0, 0, 0, 2, 1]);
        // One that is let in, and then claims a frame of 4 GiB.
        let mut raw = TcpStream::connect(&peer).await.unwrap();
        raw.write_all(&[6, 0, 0, 0, 252, b'C', b'C', b'L', b'I', 1, 0xff, 0xff, 0xff, 0xff]).await.unwrap();
        raw.read_to_end(&mut answer).await.unwrap();
        assert!(answer.len() > 6, "it was let in, and then closed");
        keys.put("a", "1").await.unwrap();
    }));
    server.shutdown().unwrap();
}

#[test]
fn clients_have_a_port_of_their_own_where_one_is_given_and_find_it() {
    let _turn = turn();
    let own = free();
    let (server, peer) = server(Some(&format!("0.0.0.0:{}", own.rsplit_once(':').unwrap().1)));
    block_on(within(60, async {
        // At the peers' address they are told of theirs, and nothing else.
        let mut raw = TcpStream::connect(&peer).await.unwrap();
        raw.write_all(&[6, 0, 0, 0, 252, b'C', b'C', b'L', b'I', 1]).await.unwrap();
        let mut answer = Vec::new();
        raw.read_to_end(&mut answer).await.unwrap();
        assert_eq!(answer[4], 1, "{answer:?}");
        assert!(answer.ends_with(own.rsplit_once(':').unwrap().1.as_bytes()));
        for address in [&peer, &own] {
            let keys = Keys::new(Client::builder([address.as_str()]).connect().await.unwrap());
            keys.put("a", "1").await.unwrap();
            keys.client().close().await;
        }
    }));
    server.shutdown().unwrap();
}
