//! A user's mistakes: one line that says what to do, no trace, no harm.

use crate::harness::{Cluster, Directory, Said, ask, copycat, free_ports, local, server_arguments, turn};
use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// One line on standard error, with all of these in it.
fn assert_refused(said: &Said, parts: &[&str]) {
    assert!(!said.status.success() && said.status.code().is_some(), "{}: {}", said.status, said.err);
    assert!(!said.err.contains("panicked") && !said.out.contains("panicked"), "{}", said.err);
    let lines: Vec<&str> = said.err.lines().collect();
    assert_eq!(lines.len(), 1, "not one line:\n{}", said.err);
    assert!(lines[0].starts_with("error: "), "{}", said.err);
    let line = lines[0].to_lowercase();
    for part in parts {
        assert!(line.contains(&part.to_lowercase()), "{part:?} is missing in: {}", said.err);
    }
}

/// A wrong flag: clap's words, which may take more lines.
fn assert_usage(arguments: &[&str]) {
    let said = copycat(arguments);
    assert_eq!(said.status.code(), Some(2), "{arguments:?}: {}", said.err);
    assert!(said.err.starts_with("error:") && !said.err.contains("panicked"), "{arguments:?}: {}", said.err);
}

/// One server alone that can be started; its list names only itself.
fn alone(data: &Path, id: u64) -> Vec<String> {
    let port = free_ports(2);
    let peer = local(port + 1);
    server_arguments(id, data, local(port), peer, &format!("{id}={peer}"))
}

#[test]
fn wrong_flags() {
    let directory = Directory::new();
    let data = directory.join("d").display().to_string();
    let server = |bootstrap: &'static str, id: &'static str| -> Vec<String> {
        let flags = ["server", "--id", id, "--data", &data, "--http", "127.0.0.1:1", "--peer", "127.0.0.1:2"];
        flags.iter().map(ToString::to_string).chain(["--bootstrap".to_string(), bootstrap.to_string()]).collect()
    };
    assert_usage(&["fly"]);
    assert_usage(&["server"]);
    assert_usage(&["server", "--id", "1"]);
    assert_usage(&["get"]);
    assert_usage(&["put", "a", "b", "--if-match", "x"]);
    for (bootstrap, id) in
        [("1", "1"), ("1=nowhere", "1"), ("1=127.0.0.1:2,1=127.0.0.1:3", "1"), ("", "1"), ("1=127.0.0.1:2", "0")]
    {
        let arguments = server(bootstrap, id);
        assert_usage(&arguments.iter().map(String::as_str).collect::<Vec<_>>());
    }
    assert_refused(&copycat(&server("2=127.0.0.1:2", "1")), &["--bootstrap", "server 1"]);
    let mut open = server("1=127.0.0.1:2", "1");
    open[6] = "0.0.0.0:1".into();
    assert_refused(&copycat(&open), &["--http", "0.0.0.0:1", "--insecure"]);
    assert!(!directory.join("d").exists(), "a wrong flag left something behind");
}

#[test]
fn a_foreign_file_in_the_data_directory() {
    let directory = Directory::new();
    let data = directory.join("d");
    fs::create_dir_all(&data).unwrap();
    fs::set_permissions(&data, fs::Permissions::from_mode(0o700)).unwrap();
    fs::write(data.join("holiday.jpg"), b"not ours").unwrap();
    assert_refused(&copycat(&alone(&data, 1)), &["holiday.jpg", "move"]);
    assert_eq!(fs::read(data.join("holiday.jpg")).unwrap(), b"not ours");
    // A file where the directory should be.
    let file = directory.join("file");
    fs::write(&file, b"x").unwrap();
    assert_refused(&copycat(&alone(&file, 1)), &["file"]);
}

#[test]
fn a_port_in_use() {
    let directory = Directory::new();
    for (flag, what) in [(6, "HTTP"), (8, "peer")] {
        let mut arguments = alone(&directory.join(what), 1);
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = taken.local_addr().unwrap().to_string();
        arguments[flag] = address.clone();
        assert_refused(&copycat(&arguments), &[&address, what, "port"]);
    }
}

#[test]
fn a_second_server_on_one_directory_and_other_peoples_directories() {
    let _turn = turn();
    let mut cluster = Cluster::start();
    let data = cluster.servers[0].data.clone();
    assert_refused(&copycat(&alone(&data, 1)), &["server-1", "another"]);
    assert_eq!(ask(cluster.servers[0].http, "PUT", "/v1/kv/a", &[], b"1").status, 201, "the first must not care");
    // Another number in a directory that has one.
    assert!(cluster.servers[1].stop().success());
    let other = cluster.servers[1].data.clone();
    assert_refused(&copycat(&alone(&other, 7)), &["server-2", "server 2", "--id"]);
    // None of this did any harm.
    cluster.servers[1].start();
    cluster.wait_until_ready();
    cluster.wait_until_caught_up();
}

/// The servers at the same addresses were set up anew; one still has its old directory.
#[test]
fn a_directory_of_another_cluster() {
    let _turn = turn();
    let mut cluster = Cluster::start();
    // All know by now which cluster they are.
    assert_eq!(ask(cluster.servers[0].http, "PUT", "/v1/kv/a", &[], b"1").status, 201);
    cluster.wait_until_caught_up();
    for server in &mut cluster.servers {
        assert!(server.stop().success());
    }
    for anew in [0, 2] {
        fs::remove_dir_all(&cluster.servers[anew].data).unwrap();
        cluster.servers[anew].start();
    }
    cluster.leader();
    let said = copycat(cluster.servers[1].arguments());
    assert!(!said.status.success() && said.status.code().is_some(), "{}: {}", said.status, said.err);
    let errors: Vec<&str> = said.err.lines().filter(|line| line.starts_with("error: ")).collect();
    assert!(errors.len() == 1 && errors[0].contains("another cluster"), "{}", said.err);
    assert!(!said.err.contains("panicked"), "{}", said.err);
    // The new cluster took no notice.
    let fresh = ask(cluster.servers[0].http, "PUT", "/v1/kv/a", &[], b"1");
    assert_eq!(fresh.status, 201, "{}", fresh.text());
}

/// `copycat check` on a sound directory, one with a flipped byte, and one that is not there.
#[test]
fn a_flipped_byte_is_found() {
    let _turn = turn();
    let mut cluster = Cluster::start();
    for n in 0..200 {
        let value = format!("needle-{n:04}-needle");
        assert_eq!(
            ask(cluster.servers[0].http, "PUT", &format!("/v1/kv/check/{n}"), &[], value.as_bytes()).status,
            201
        );
    }
    cluster.wait_until_caught_up();
    let data = cluster.servers[1].data.clone();
    let directory = data.display().to_string();
    assert!(cluster.servers[1].stop().success(), "a clean end");
    let sound = copycat(&["check", &directory]);
    assert!(sound.status.success(), "{}{}", sound.out, sound.err);

    let needle = b"needle-0100-needle";
    let (file, at) = find(&data, needle).expect("the value is in some file");
    let mut bytes = fs::read(&file).unwrap();
    bytes[at + 3] ^= 0x20;
    fs::write(&file, &bytes).unwrap();
    let broken = copycat(&["check", &directory]);
    let text = format!("{}{}", broken.out, broken.err);
    assert!(!broken.status.success() && broken.status.code().is_some(), "{text}");
    assert!(!text.contains("panicked"), "{text}");
    let name = file.file_name().unwrap().to_str().unwrap();
    let numbers = |line: &str| -> Vec<usize> {
        line.split(|c: char| !c.is_ascii_digit()).filter_map(|n| n.parse().ok()).collect()
    };
    let told = text.lines().any(|line| {
        // The entry's offset: a header and a key before the flipped byte.
        line.contains(name) && numbers(line).iter().any(|&n| n <= at && at - n < 512 && n > 0)
    });
    assert!(told, "neither {name} nor an offset just before {at} in:\n{text}");

    // A server does not serve from it: the others go on without it, so it gives its log up, and gets it back from them.
    cluster.servers[1].start();
    cluster.wait_until_ready();
    let said = cluster.servers[1].process().output();
    assert!(said.contains(name) && said.contains("set aside"), "{said}");
    assert!(data.join(format!("{name}.damaged")).exists(), "kept for a look");
    cluster.wait_until_caught_up();
    let found = crate::harness::get(cluster.servers[1].http, "/v1/kv/check/100?consistency=sequential");
    assert_eq!(found.text(), "needle-0100-needle");
    let missing = copycat(&["check", &format!("{directory}-not-there")]);
    assert_refused(&missing, &["not-there"]);
}

fn find(data: &Path, needle: &[u8]) -> Option<(std::path::PathBuf, usize)> {
    for entry in fs::read_dir(data).unwrap() {
        let path = entry.unwrap().path();
        let Ok(bytes) = fs::read(&path) else { continue };
        if let Some(at) = bytes.windows(needle.len()).position(|w| w == needle) {
            return Some((path, at));
        }
    }
    None
}

/// SIGTERM ends a server in an orderly way, also one without a majority.
#[test]
fn a_server_without_its_peers_stops_when_asked() {
    let _turn = turn();
    let mut cluster = Cluster::start();
    cluster.servers[0].kill();
    cluster.servers[1].kill();
    let begin = std::time::Instant::now();
    assert!(cluster.servers[2].stop().success());
    println!("a lone server stopped after {:?}", begin.elapsed());
}
