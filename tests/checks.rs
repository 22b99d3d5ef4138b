//! The check commands that are shipped, run as the kind `external` runs them.

use std::io::Write;
use std::net::TcpListener;
use std::path::Path;
use std::process::Command;
use std::thread;

/// Runs a check command against a server on loopback that greets with these bytes.
fn verdict(command: &str, greeting: &'static [u8], bind: &str) -> Option<i32> {
    let listener = TcpListener::bind(bind).unwrap();
    let at = listener.local_addr().unwrap();
    let server = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        // The command may have its answer before all is sent.
        let _ = stream.write_all(greeting);
    });
    let host = if at.is_ipv6() { format!("[{}]", at.ip()) } else { at.ip().to_string() };
    let status = run(command, &["192.0.2.10", "22", &host, &at.port().to_string()]);
    server.join().unwrap();
    status
}

fn run(command: &str, arguments: &[&str]) -> Option<i32> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("checks").join(command);
    Command::new(path).args(arguments).status().unwrap().code()
}

#[test]
fn ssh_is_well_when_the_server_greets_with_its_protocol() {
    assert_eq!(verdict("ssh", b"SSH-2.0-OpenSSH_9.2p1\r\n", "127.0.0.1:0"), Some(0));
    assert_eq!(verdict("ssh", b"SSH-2.0-OpenSSH_9.2p1\r\n", "[::1]:0"), Some(0));
    assert_eq!(verdict("ssh", b"220 mail.example.org ESMTP\r\n", "127.0.0.1:0"), Some(1));
    assert_eq!(verdict("ssh", b"", "127.0.0.1:0"), Some(1));
}

#[test]
fn ssh_is_not_well_when_nobody_listens() {
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    assert_eq!(run("ssh", &["192.0.2.10", "22", "127.0.0.1", &free.to_string()]), Some(1));
}

#[test]
fn every_check_command_stands_in_the_readme_and_can_be_run() {
    use std::os::unix::fs::PermissionsExt;
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("checks");
    let readme = std::fs::read_to_string(folder.join("README.md")).unwrap();
    let mut found = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        if name == "README.md" {
            continue;
        }
        found += 1;
        assert!(readme.contains(&format!("| `{name}` |")), "{name} does not stand in checks/README.md");
        assert!(entry.metadata().unwrap().permissions().mode() & 0o111 != 0, "{name} is not executable");
    }
    assert!(found > 0);
}
