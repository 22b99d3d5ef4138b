//! What stands around the program: units, log rotation, the Debian package. Debian's own files for
//! ldirectord are used as they are.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use lvsentry::config::LogTarget;
use lvsentry::daemon::logging::{Stderr, subscriber_as};
use nix::unistd::geteuid;

use crate::support::net::Ns;
use crate::support::room::{Room, Said, debian};
use crate::support::{skip, wait_until};

fn ours(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// Debian's packages, unpacked; none, told aloud, where they cannot be had or used.
fn tree() -> Option<PathBuf> {
    if !geteuid().is_root() {
        skip("a private view of the file system needs root");
        return None;
    }
    debian().map(|folder| folder.join("root"))
}

fn verified(room: &Room, unit: &str) -> Said {
    let said = room.run("systemd-analyze", &["verify", "--man=no", unit]);
    assert_eq!(said.status, Some(0), "{unit}: {said:?}");
    said
}

#[test]
fn units_are_sound_with_the_program_in_its_place() {
    let Some(tree) = tree() else { return };
    if Command::new("systemd-analyze").arg("--version").output().is_err() {
        return skip("there is no systemd-analyze");
    }
    let room = Room::new(&Ns::new());
    room.run("mkdir", &["/run/units"]);
    let bring = |from: &Path| room.run("cp", &[from.to_str().unwrap(), "/run/units"]);
    bring(&tree.join("lib/systemd/system/ldirectord.service"));
    bring(&ours("packaging/lvsentry.service"));
    let said = verified(&room, "/run/units/lvsentry.service");
    assert_eq!((&*said.out, &*said.err), ("", ""));
    // Debian's unit brings a remark on KillMode=none along, and no other.
    let said = verified(&room, "/run/units/ldirectord.service");
    assert!(said.err.lines().all(|line| line.contains("KillMode=none")), "{said:?}");
    // With our drop-in that is gone too.
    room.run("mkdir", &["/run/units/ldirectord.service.d"]);
    let drop_in = ours("packaging/ldirectord.service.conf");
    room.run("cp", &[drop_in.to_str().unwrap(), "/run/units/ldirectord.service.d/lvsentry.conf"]);
    let said = verified(&room, "/run/units/ldirectord.service");
    let of = |line: &&str| line.contains("ldirectord.service.d");
    assert!(!said.err.lines().any(|line| of(&line)), "{said:?}");
}

#[test]
fn a_log_that_logrotate_moved_goes_on_in_a_new_file() {
    const LOG: &str = "/var/log/ldirectord.log";
    let Some(tree) = tree() else { return };
    let room = Room::new(&Ns::new());
    let rotate = |files: &[&str]| {
        let mut command = Command::new(tree.join("usr/sbin/logrotate"));
        let libraries =
            ["x86_64", "aarch64"].map(|machine| tree.join(format!("usr/lib/{machine}-linux-gnu")));
        command.env("LD_LIBRARY_PATH", std::env::join_paths(libraries).unwrap());
        let said = room.command(command.args(["-f", "-s", "/run/rotated"]).args(files));
        assert_eq!((said.status, &*said.err), (Some(0), ""), "{files:?}: {said:?}");
    };
    room.run("mkdir", &["/run/rotation"]);
    // Files of rotation must be root's alone, and nobody else's to write.
    let install = |from: &Path, to: &str| room.run("install", &["-m", "644", from.to_str().unwrap(), to]);
    install(&tree.join("etc/logrotate.d/ldirectord"), "/run/rotation/ldirectord");
    install(&ours("packaging/lvsentry.logrotate"), "/run/rotation/ipvs-lvsentry");
    room.enter(|| {
        let target = LogTarget::File(LOG.into());
        let (subscriber, _guards) = subscriber_as(Stderr::Nothing, Some(&target), "web.cf");
        let _here = tracing::subscriber::set_default(subscriber);
        let read = || std::fs::read_to_string(LOG).unwrap_or_default();
        let files: [&[&str]; 3] =
            [&["/run/rotation/ldirectord"], &["/run/rotation/ipvs-lvsentry"], &["/run/rotation"]];
        for (round, files) in files.into_iter().enumerate() {
            for when in ["before", "after"] {
                tracing::info!(id = "x", "{when} round {round}");
                let line = format!("] {when} round {round}\n");
                wait_until(Duration::from_secs(5), "the line is there", read, || read().ends_with(&line));
                if when == "before" {
                    rotate(files);
                }
            }
            assert!(!read().contains("before"), "round {round} moved nothing: {}", read());
        }
    });
}

/// A room with a package manager that knows of no package and starts no daemon.
fn bare_dpkg() -> Option<Room> {
    let Some(room) = Room::throwaway(&Ns::new()) else {
        skip("this kernel cannot lay folders over each other");
        return None;
    };
    let script = "rm -rf /var/lib/dpkg /usr/sbin/ldirectord* /etc/alternatives/ldirectord /etc/ha.d
        mkdir -p /var/lib/dpkg/info /var/lib/dpkg/updates /var/lib/dpkg/triggers /var/lib/dpkg/alternatives
        touch /var/lib/dpkg/status /var/lib/dpkg/available
        printf '#!/bin/sh\\nexit 101\\n' > /usr/sbin/policy-rc.d
        chmod 755 /usr/sbin/policy-rc.d";
    let said = room.run("sh", &["-ec", script]);
    assert_eq!(said.status, Some(0), "{said:?}");
    Some(room)
}

fn dpkg(room: &Room, words: &[&str]) {
    let mut command = Command::new("dpkg");
    command.args(["--force-depends", "--force-confold"]).args(words).env("DEBIAN_FRONTEND", "noninteractive");
    let said = room.command(&mut command);
    assert_eq!(said.status, Some(0), "{words:?}: {}\n{}", said.out, said.err);
}

/// What calls itself by the name of ldirectord.
fn answers(room: &Room) -> String {
    let said = room.run("readlink", &["-f", "/usr/sbin/ldirectord"]);
    said.out.trim().to_owned()
}

#[test]
fn the_debian_package_shares_the_name_with_ldirectords_and_gives_it_back() {
    let Some(tree) = tree() else { return };
    for program in ["dpkg", "dpkg-deb", "objdump", "update-alternatives"] {
        if Command::new(program).arg("--version").output().is_err() {
            return skip(&format!("there is no {program}"));
        }
    }
    let folder = tree.parent().unwrap();
    let built = Command::new(ours("packaging/deb/build"))
        .arg(crate::support::daemon::binary())
        .arg(folder)
        .envs([("DPKG_DEB_COMPRESSOR_TYPE", "gzip"), ("DPKG_DEB_COMPRESSOR_LEVEL", "1")])
        .output()
        .unwrap();
    let built = Said::from(built);
    assert_eq!(built.status, Some(0), "{built:?}");
    let lvsentry = built.out.trim().to_owned();
    let theirs = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let theirs = theirs.filter(|path| path.display().to_string().contains("/ldirectord_")).last().unwrap();
    let theirs = theirs.to_str().unwrap();
    let (ours, perl) = ("/usr/sbin/lvsentry", "/usr/sbin/ldirectord.perl");

    // Alone: the name is ours, and goes with us.
    let Some(room) = bare_dpkg() else { return };
    dpkg(&room, &["-i", &lvsentry]);
    assert_eq!(answers(&room), ours);
    let said = room.ldirectord(&["-v"]);
    assert!(said.out.starts_with("Linux Director v1.186-ha\n"), "{said:?}");
    // Theirs comes later: it finds another name for itself, and can be chosen.
    dpkg(&room, &["-i", theirs]);
    assert_eq!(answers(&room), ours);
    assert!(room.has("/etc/init.d/ldirectord") && room.has(perl));
    room.run("update-alternatives", &["--set", "ldirectord", perl]);
    assert_eq!(answers(&room), perl);
    room.run("update-alternatives", &["--auto", "ldirectord"]);
    // An upgrade changes nothing of it.
    dpkg(&room, &["-i", &lvsentry]);
    assert_eq!(answers(&room), ours);
    dpkg(&room, &["-r", "lvsentry"]);
    assert_eq!(answers(&room), "/usr/sbin/ldirectord");
    assert!(!room.has(perl) && room.has("/etc/ha.d/ldirectord.cf"));

    // Theirs was there first, and leaves first.
    let Some(room) = bare_dpkg() else { return };
    dpkg(&room, &["-i", theirs]);
    room.write("/etc/ha.d/ldirectord.cf", "# the operator's own\n");
    dpkg(&room, &["-i", &lvsentry]);
    assert_eq!(answers(&room), ours);
    dpkg(&room, &["-r", "ldirectord"]);
    assert_eq!(answers(&room), ours);
    assert_eq!(room.read("/etc/ha.d/ldirectord.cf"), "# the operator's own\n");
    dpkg(&room, &["--purge", "lvsentry"]);
    assert!(!room.has("/usr/sbin/ldirectord") && !room.has("/etc/alternatives/ldirectord"));
}
