//! What a server keeps is its owner's alone, and what it may open is kept for what matters.

use crate::handmade::Client as Native;
use crate::harness::{Directory, Process, ask, copycat, free_ports, get, local, server_arguments, turn, wait_for};
use copycat_testkit::http::Client;
use rustix::process::Signal;
use std::fs;
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::time::Duration;

/// A cluster of one.
struct Alone {
    directory: Directory,
    http: SocketAddr,
    peer: SocketAddr,
    wrapper: Vec<&'static str>,
    extra: Vec<&'static str>,
}

impl Alone {
    fn new(wrapper: &[&'static str], extra: &[&'static str]) -> Self {
        let (directory, first) = (Directory::new(), free_ports(2));
        let (wrapper, extra) = (wrapper.to_vec(), extra.to_vec());
        Self { directory, http: local(first), peer: local(first + 1), wrapper, extra }
    }

    fn data(&self) -> std::path::PathBuf {
        self.directory.join("above/data")
    }

    fn start(&self) -> Process {
        let list = format!("1={}", self.peer);
        let mut arguments = server_arguments(1, &self.data(), self.http, self.peer, &list);
        arguments.extend(self.extra.iter().map(ToString::to_string));
        let process = Process::start_within(&self.wrapper, self.directory.join("log"), &arguments);
        wait_for("the server to be ready", || {
            let answer = Client::new(self.http, Duration::from_millis(500)).request("GET", "/readyz", &[], b"");
            answer.is_ok_and(|answer| answer.status == 200).then_some(())
        });
        process
    }
}

fn mode(path: &Path) -> u32 {
    fs::symlink_metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn what_a_server_keeps_is_for_its_owner_alone() {
    let _turn = turn();
    // Whatever the process would give to all.
    let alone = Alone::new(&["sh", "-c", "umask 0; exec \"$0\" \"$@\""], &[]);
    let process = alone.start();
    assert_eq!(ask(alone.http, "PUT", "/v1/kv/a", &[], &[b'x'; 1000]).status, 201);
    let endpoint = format!("http://{}", alone.http);
    let said = copycat(&["snapshot", "take", "--endpoint", &endpoint]);
    assert!(said.status.success(), "{}", said.err);
    for directory in [alone.data(), alone.directory.join("above")] {
        assert_eq!(mode(&directory), 0o700, "{}", directory.display());
    }
    let files: Vec<_> = fs::read_dir(alone.data()).unwrap().map(|file| file.unwrap().path()).collect();
    assert!(files.len() > 4, "{files:?}");
    for file in &files {
        assert_eq!(mode(file), 0o600, "{}", file.display());
    }
    // A link that somebody has put where the backup is going to be written.
    let (backup, victim) = (alone.directory.join("backup"), alone.directory.join("victim"));
    fs::write(&victim, "precious").unwrap();
    symlink(&victim, alone.directory.join("backup.part")).unwrap();
    let said = copycat(&["snapshot", "save", &backup.display().to_string(), "--endpoint", &endpoint]);
    assert!(said.status.success(), "{}", said.err);
    assert_eq!(fs::read(&victim).unwrap(), b"precious");
    assert_eq!(mode(&backup), 0o600);
    let wide = || process.output().matches("others than its owner").count();
    assert_eq!(wide(), 0);
    // One that was made before, or elsewhere: it is left as it is, and the server says so once.
    assert!(process.stop(Signal::TERM).success());
    fs::set_permissions(alone.data(), fs::Permissions::from_mode(0o755)).unwrap();
    let process = alone.start();
    assert_eq!(process.output().matches("others than its owner").count(), 1, "{}", process.output());
    assert_eq!((mode(&alone.data()), get(alone.http, "/v1/kv/a").status), (0o755, 200));
}

#[test]
fn connections_leave_descriptors_for_the_log() {
    let _turn = turn();
    let limited = ["sh", "-c", "ulimit -n 200; exec \"$0\" \"$@\""];
    let alone = Alone::new(&limited, &["--segment-size", "2097152"]);
    let mut process = alone.start();
    let mut kept = Client::new(alone.http, Duration::from_secs(30));
    assert_eq!(kept.request("GET", "/livez", &[], b"").unwrap().status, 200);
    let http: Vec<TcpStream> = (0..300).map(|_| TcpStream::connect(alone.http).unwrap()).collect();
    let native: Vec<TcpStream> = (0..300).map(|_| TcpStream::connect(alone.peer).unwrap()).collect();
    std::thread::sleep(Duration::from_secs(1));
    for i in 0..40 {
        let path = format!("/v1/kv/descriptors-{i}");
        let answer = kept.request("PUT", &path, &[], &[b'x'; 512 * 1024]).unwrap();
        assert_eq!(answer.status, 201, "{}", answer.text());
    }
    assert!(process.has_ended().is_none(), "{}", process.output());
    drop((http, native));
    wait_for("room for others", || {
        let answer = Client::new(alone.http, Duration::from_secs(1)).request("GET", "/v1/kv/descriptors-39", &[], b"");
        answer.is_ok_and(|answer| answer.status == 200).then_some(())
    });
    assert_ne!(Native::new(alone.peer).cluster, 0);
    let said = process.output();
    assert!(said.matches("cannot accept").count() <= 4, "{said}");
}
