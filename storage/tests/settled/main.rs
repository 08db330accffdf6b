//! Snapshots, holes, compaction, installs and repair, on a real directory and on the simulated disk alike.
// A test that fails says so by panicking, and its small numbers are its own.
#![allow(clippy::unwrap_used, clippy::print_stdout, clippy::print_stderr, clippy::cast_possible_truncation)]

#[path = "../common/mod.rs"]
mod common;

mod compaction;
mod helpers;
mod installs;
mod snapshots;

/// Runs one test on both disks.
macro_rules! on_both {
    ($($name:ident)*) => {
        mod memory {
            $(#[test]
            fn $name() {
                super::$name(&copycat_storage::MemDisk::new(), &copycat_storage::MemDisk::new());
            })*
        }
        mod directory {
            $(#[test]
            fn $name() {
                let (a, b) = (super::Directory::new(), super::Directory::new());
                let open = |directory: &super::Directory| copycat_storage::FileDisk::open(&directory.0).unwrap();
                super::$name(&open(&a), &open(&b));
            })*
        }
    };
}

use on_both;
