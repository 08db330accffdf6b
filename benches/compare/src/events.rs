//! From the answer to a write to the moment when who waits for it knows; and how long writes stop when a leader dies.

use crate::client::{Client, Target, key, native};
use crate::etcd::Etcd;
use crate::http1::Http;
use crate::load::addresses;
use crate::servers::{Cluster, MEMBERS};
use crate::zookeeper::ZooKeeper;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use std::io;
use std::time::{Duration, Instant};
use tokio::sync::mpsc;
use tokio::task::LocalSet;

/// Writes that are watched for in one run.
const DELIVERIES: usize = 300;
/// A pause between them, so that each is alone.
const PAUSE: Duration = Duration::from_millis(3);

/// Sends the moment of each event; `ready` after each (re)start of the watch.
async fn watch(
    target: Target,
    address: String,
    key: String,
    ready: mpsc::Sender<()>,
    events: mpsc::Sender<Instant>,
) -> io::Result<()> {
    // The writer waits for `ready` where a watch is for one event, and once where it stays open.
    let told = |sent: Result<(), mpsc::error::SendError<()>>| sent.map_err(io::Error::other);
    match target {
        Target::EtcdGrpc => {
            let mut watch = Etcd::connect(&address).await?.watch(&key).await?;
            loop {
                told(ready.send(()).await)?;
                watch.event().await?;
                events.send(Instant::now()).await.map_err(io::Error::other)?;
            }
        }
        Target::EtcdJson => {
            let mut http = Http::new(&address);
            let body = format!(r#"{{"create_request":{{"key":"{}"}}}}"#, STANDARD.encode(&key));
            http.stream_line(Some(("/v3/watch", body.as_bytes()))).await?;
            loop {
                told(ready.send(()).await)?;
                while !http.stream_line(None).await?.contains("\"events\"") {}
                events.send(Instant::now()).await.map_err(io::Error::other)?;
            }
        }
        Target::ZooKeeper => {
            let mut zk = ZooKeeper::connect(&address).await?;
            loop {
                zk.get(&key, true).await?;
                told(ready.send(()).await)?;
                zk.event().await?;
                events.send(Instant::now()).await.map_err(io::Error::other)?;
            }
        }
        Target::CopycatNative => {
            let keys = native(&address).await?;
            let mut watch = keys.watch(&key).await.map_err(io::Error::other)?;
            loop {
                told(ready.send(()).await)?;
                let change = watch.next().await.ok_or(io::ErrorKind::UnexpectedEof)?;
                change.map_err(io::Error::other)?;
                events.send(Instant::now()).await.map_err(io::Error::other)?;
            }
        }
        Target::Copycat | Target::CopycatLeader | Target::Bare => {
            let mut http = Http::new(&address);
            let registered = ask(&mut http, "POST", "/v1/sessions", br#"{"timeout":"60s"}"#).await?;
            let session = number(&registered, "\"session\":")?;
            let body = format!(r#"{{"key":"{key}"}}"#);
            ask(&mut http, "POST", &format!("/v1/sessions/{session}/watches"), body.as_bytes()).await?;
            let mut after = 0;
            loop {
                // The poll is on its way a moment after; an event before it arrives is told all the same.
                told(ready.send(()).await)?;
                let page = ask(&mut http, "GET", &format!("/v1/sessions/{session}/events?wait=30s&after={after}"), b"")
                    .await?;
                events.send(Instant::now()).await.map_err(io::Error::other)?;
                after = number(&page, "\"event_index\":")?;
            }
        }
    }
}

async fn ask(http: &mut Http, method: &str, path: &str, body: &[u8]) -> io::Result<String> {
    let answer = http.call(method, path, body).await?;
    let text = String::from_utf8_lossy(&answer.body).into_owned();
    if answer.status >= 300 { Err(io::Error::other(text)) } else { Ok(text) }
}

/// The number behind this in a JSON text.
fn number(text: &str, name: &str) -> io::Result<u64> {
    let digits = text.split(name).nth(1).map(|rest| rest.chars().take_while(char::is_ascii_digit).collect::<String>());
    digits.and_then(|d| d.parse().ok()).ok_or_else(|| io::Error::other(format!("no {name} in {text}")))
}

/// p50 and p99 in milliseconds, from the write's answer at one member to the event at another. An event that comes
/// before the answer counts as none.
pub async fn delivery(target: Target, cluster: &Cluster) -> io::Result<(f64, f64)> {
    let leader = cluster.leader().await?;
    let (writer, watcher) = (cluster.kind.address(leader), cluster.kind.address((leader + 1) % MEMBERS));
    let (ready, mut readied) = mpsc::channel(1);
    let (events, mut arrived) = mpsc::channel(1);
    LocalSet::new()
        .run_until(async {
            let mut client = Client::connect(target, &writer).await?;
            client.create(&key(7)).await?;
            tokio::time::sleep(Duration::from_millis(200)).await;
            let watching = tokio::task::spawn_local(watch(target, watcher, key(7), ready, events));
            let mut times = Vec::with_capacity(DELIVERIES);
            for _ in 0..DELIVERIES {
                if readied.recv().await.is_none() {
                    break;
                }
                tokio::time::sleep(PAUSE).await;
                client.put(&key(7)).await?;
                let answered = Instant::now();
                let Some(seen) = arrived.recv().await else { break };
                times.push(seen.saturating_duration_since(answered).as_secs_f64() * 1000.0);
            }
            if times.len() < DELIVERIES {
                return Err(watching.await.map_err(io::Error::other)?.err().unwrap_or(io::ErrorKind::Other.into()));
            }
            watching.abort();
            times.sort_by(f64::total_cmp);
            Ok((times[DELIVERIES / 2], times[DELIVERIES * 99 / 100]))
        })
        .await
}

/// Kills the leader under load; the seconds from there to the first write that began after and was acknowledged. The
/// member is started again.
pub async fn failover(target: Target, cluster: &mut Cluster) -> io::Result<f64> {
    let leader = cluster.leader().await?;
    let survivors: Vec<String> = (0..MEMBERS).filter(|&m| m != leader).map(|m| cluster.kind.address(m)).collect();
    let all = addresses(target, cluster, 8).await?;
    let (acknowledged, mut first) = mpsc::channel::<Instant>(1024);
    let outage = LocalSet::new()
        .run_until(async {
            for (n, address) in all.into_iter().enumerate() {
                let (survivors, acknowledged) = (survivors.clone(), acknowledged.clone());
                tokio::task::spawn_local(async move {
                    let mut address = address;
                    loop {
                        if let Ok(mut client) = Client::connect(target, &address).await {
                            loop {
                                let began = Instant::now();
                                let key = key(n as u64);
                                // A client that hears nothing tries elsewhere.
                                match tokio::time::timeout(Duration::from_secs(2), client.put(&key)).await {
                                    Ok(Ok(())) => {
                                        // Full: somebody else has told.
                                        let _ = acknowledged.try_send(began);
                                    }
                                    _ => break,
                                }
                            }
                        }
                        address.clone_from(&survivors[n % survivors.len()]);
                        tokio::time::sleep(Duration::from_millis(10)).await;
                    }
                });
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
            let killed = Instant::now();
            cluster.kill(leader);
            loop {
                let began = tokio::time::timeout(Duration::from_secs(60), first.recv()).await;
                match began.map_err(io::Error::other)? {
                    Some(began) if began > killed => return Ok(killed.elapsed().as_secs_f64()),
                    Some(_) => {}
                    None => return Err(io::Error::other("the writers are gone")),
                }
            }
        })
        .await;
    cluster.start_member(leader)?;
    cluster.wait_until_ready().await?;
    tokio::time::sleep(Duration::from_secs(1)).await;
    outage
}
