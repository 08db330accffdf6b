//! Tells Cargo that the dashboard's files are part of this crate: a new one is in no list that it knows.

fn main() {
    println!("cargo::rerun-if-changed=../web-ui");
}
