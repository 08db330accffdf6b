//! Where a server of this cluster is that the own configuration, being old, does not know: the members are asked. What such a
//! server says of itself is dialed only when no member answers, as when all others were replaced while this one was down.

use super::Door;
use super::frame::{Purpose, Welcome};
use super::join::ask;
use crate::engine::{Configuration, ServerId};
use crate::server::inbox::{Event, Inbox};
use crate::transport::Transport;
use async_std::io;
use std::sync::Arc;
use std::time::Duration;

/// Between two questions: who comes by time and again costs no more than this.
pub(super) const PAUSE: Duration = Duration::from_secs(1);
/// How long one member has to answer.
const PATIENCE: Duration = Duration::from_secs(2);

/// Asks the members, one after the other, until one knows this server.
pub(super) async fn find(
    (door, inbox, transport): (Door, Inbox, Arc<dyn Transport>),
    members: Vec<String>,
    id: ServerId,
    claimed: String,
) {
    let hello = door.hello(Purpose::Members);
    let mut answered = false;
    for address in members {
        match io::timeout(PATIENCE, ask(&*transport, &address, &hello)).await {
            Ok(Welcome::Joined { configuration, .. }) => {
                answered = true;
                if let Some(peer) = address_in(&configuration, hello.cluster, id) {
                    inbox.offer(Event::Found { id, peer });
                    return;
                }
            }
            Ok(_) => answered = true,
            Err(e) => tracing::debug!("{address} does not tell where server {id} is: {e}"),
        }
    }
    if !answered {
        inbox.offer(Event::Found { id, peer: claimed });
    }
}

fn address_in(configuration: &Configuration, cluster: u128, id: ServerId) -> Option<String> {
    let ours = configuration.cluster == cluster && cluster != 0;
    configuration.members.get(&id).filter(|_| ours).map(|member| member.peer.clone())
}

#[cfg(test)]
mod tests {
    use super::super::Me;
    use super::super::frame;
    use super::*;
    use crate::engine::NamedSettings;
    use crate::transport::{LocalNetwork, Transport};
    use async_std::task;

    /// What a server is told that asks where server 9 is, when member 2 has this answer, or none.
    fn found(answer: Option<Welcome>) -> Option<String> {
        let configuration = Configuration::bootstrap([(1, "a:1".into()), (2, "b:1".into())]);
        let me = Me {
            id: 1,
            identity: 10,
            digest: configuration.digest(),
            http: String::new(),
            peer: "a:1".into(),
            given: NamedSettings::default(),
        };
        let network = LocalNetwork::new();
        let (inbox, arriving) = Inbox::new();
        task::block_on(async {
            let listener = network.host("b").listen("b:1").await.expect("it is free");
            let other = task::spawn(async move {
                let mut stream = listener.accept().await.expect("a connection");
                let greeting = frame::read_greeting(&mut stream.reader).await.expect("a greeting");
                assert!(matches!(greeting, frame::Greeting::Peer(hello) if hello.purpose == Purpose::Members));
                if let Some(answer) = answer {
                    frame::write(&mut stream.writer, &answer).await.expect("it is read");
                }
            });
            let with = (Door::new(me, 7, configuration), inbox, Arc::new(network.host("a")) as Arc<dyn Transport>);
            find(with, vec!["b:1".into()], 9, "claimed:1".into()).await;
            other.await;
        });
        arriving.take().map(|event| match event {
            Event::Found { id: 9, peer } => peer,
            other => panic!("{other:?}"),
        })
    }

    #[test]
    fn the_members_say_where_a_stranger_is() {
        let mut configuration = Configuration::bootstrap([(2, "b:1".into()), (9, "right:1".into())]);
        configuration.cluster = 7;
        let joined =
            |configuration: &Configuration| Some(Welcome::Joined { index: 3, configuration: configuration.clone() });
        assert_eq!(found(joined(&configuration)).as_deref(), Some("right:1"));
        configuration.members.remove(&9);
        assert_eq!(found(joined(&configuration)), None, "nobody knows it");
        configuration.cluster = 8;
        assert_eq!(found(joined(&configuration)), None, "another cluster");
        assert_eq!(found(Some(Welcome::Rejected(frame::Rejection::Cluster))), None);
        assert_eq!(found(None).as_deref(), Some("claimed:1"), "nobody can be asked");
    }
}
