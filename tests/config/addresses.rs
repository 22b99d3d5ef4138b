//! Virtual services, servers and fallbacks: where they are.

use lvsentry::model::{Forward, ServiceKey};

use super::{accept, at, faults, servers, service};

#[test]
fn virtual_takes_addresses_names_service_names_and_marks() {
    let table = [
        ("virtual=192.0.2.1:http", "tcp:192.0.2.1:80"),
        ("virtual = shop.example:80", "tcp:192.0.2.7:80"),
        ("virtual=mail:mail", "tcp:192.0.2.7:25"),
        ("virtual=192.0.2.1:53", "udp:192.0.2.1:53"),
        ("virtual=192.0.2.1:domain", "udp:192.0.2.1:53"),
        ("virtual=192.0.2.1:053", "tcp:192.0.2.1:53"),
        ("virtual6=[2001:db8::1]:443", "tcp:[2001:db8::1]:443"),
        ("virtual6=six.example:443", "tcp:[2001:db8::7]:443"),
        ("virtual=7", "fwm:7"),
        ("virtual=168427521 ", "fwm:168427521"),
        ("virtual6=7", "fwm6:7"),
        ("virtual=192.0.2.1:80 # comment", "tcp:192.0.2.1:80"),
    ];
    for (head, id) in table {
        let config = accept(format!("{head}\n\tchecktype=on\n"));
        let keys: Vec<String> = config.plan.services.keys().map(ServiceKey::id).collect();
        assert_eq!(keys, [id], "{head}");
    }
    assert_eq!(
        faults("virtual=192.0.2.1:80 foo\n\treal=10.0.0.1:80 gate\n"),
        ["warning 1:22 `foo` after the address is left out"]
    );
}

#[test]
fn the_service_name_of_a_port_depends_on_the_protocol_of_a_virtual_and_not_of_a_real() {
    let text = "virtual=192.0.2.1:syslog\n\tprotocol=udp\n\tchecktype=on\n\treal=10.0.0.1:syslog masq\n";
    assert_eq!(service(text).key.id(), "udp:192.0.2.1:514");
    let text = "virtual=192.0.2.1:80\n\tchecktype=on\n\treal=10.0.0.1:syslog masq\n";
    assert_eq!(servers(text)[0].0, "10.0.0.1:514");
}

#[test]
fn one_address_serves_tcp_and_udp_apart() {
    let text =
        "virtual=192.0.2.1:80\n\tchecktype=on\n\nvirtual=192.0.2.1:80\n\tchecktype=on\n\tprotocol=udp\n";
    assert_eq!(accept(text).plan.services.len(), 2);
}

#[test]
fn a_real_line_gives_address_method_weight_and_thresholds() {
    let table = [
        ("10.0.0.1:80 masq", ("10.0.0.1:80", 1, 0, 0)),
        ("10.0.0.1:8080   masq   0", ("10.0.0.1:8080", 0, 0, 0)),
        ("10.0.0.1:www masq 65535", ("10.0.0.1:80", 65535, 0, 0)),
        ("web1:80 masq 5 l:10 u:20", ("10.50.0.1:80", 5, 10, 20)),
        ("web1:80 masq 5 u:20 l:10", ("10.50.0.1:80", 5, 10, 20)),
        ("web1:80 masq u:20", ("10.50.0.1:80", 1, 0, 20)),
        ("web1:80 masq 3 \"a 5\", \"b\" u:7", ("10.50.0.1:80", 3, 0, 7)),
        ("10.0.0.1:8080 gate", ("10.0.0.1:80", 1, 0, 0)),
        ("10.0.0.1:8080 ipip", ("10.0.0.1:80", 1, 0, 0)),
        ("10.0.0.1 masq", ("10.0.0.1:0", 1, 0, 0)),
        ("10.0.0.1 gate", ("10.0.0.1:80", 1, 0, 0)),
        ("10.0.0.1:80 gate -w 5", ("10.0.0.1:80", 5, 0, 0)),
        ("10.0.0.1:80 gate foo bar 5", ("10.0.0.1:80", 5, 0, 0)),
        (",,10.0.0.1:80 gate 5", ("10.0.0.1:80", 5, 0, 0)),
    ];
    for (real, (entry, weight, lower, upper)) in table {
        let text = format!("virtual=192.0.2.1:80\n\treal={real}\n\tchecktype=on\n");
        assert_eq!(servers(&text), [(entry.to_owned(), weight, lower, upper)], "{real}");
    }
}

#[test]
fn what_a_real_line_loses_is_told() {
    let table = [
        ("10.0.0.1:80 gate -w 5", "warning 2:24 `-w` before the weight is left out"),
        ("10.0.0.1:80 gate foo bar 5", "warning 2:24 `foo bar` before the weight is left out"),
        (",,10.0.0.1:80 gate", "warning 2:7 `,,` before the address is left out"),
        (
            "10.0.0.1:8080 gate",
            "warning 2:7 with `gate` packets keep the port of the service: they go to port 80",
        ),
        ("10.0.0.1 masq", "warning 2:7 the server has no port: it stands in the table as 10.0.0.1:0"),
    ];
    for (real, told) in table {
        assert_eq!(faults(format!("virtual=192.0.2.1:80\n\treal={real}\n")), [told], "{real}");
    }
    assert!(faults("virtual=7\n\treal=10.0.0.1 gate\n\tchecktype=ping\n").is_empty());
}

#[test]
fn a_range_names_every_address_between_two_addresses_or_hosts() {
    let text = "virtual=192.0.2.1:80\n\treal=10.0.0.254->10.0.1.1:80 masq 3\n\treal=web1->web3:80 masq\n\tchecktype=on\n";
    let entries: Vec<String> = servers(text).into_iter().map(|server| server.0).collect();
    assert_eq!(
        entries,
        [
            "10.0.0.254:80",
            "10.0.0.255:80",
            "10.0.1.0:80",
            "10.0.1.1:80",
            "10.50.0.1:80",
            "10.50.0.2:80",
            "10.50.0.3:80"
        ]
    );
}

#[test]
fn a_mark_keeps_the_ports_of_its_servers() {
    let text = "virtual=7\n\treal=10.0.0.1:8080 gate\n\treal=10.0.0.2 gate\n\tchecktype=on\n";
    let entries: Vec<String> = servers(text).into_iter().map(|server| server.0).collect();
    assert_eq!(entries, ["10.0.0.1:8080", "10.0.0.2:0"]);
}

#[test]
fn the_same_server_twice_is_told_and_the_last_line_counts() {
    let text = "virtual=192.0.2.1:80\n\treal=10.0.0.1:80 masq 1\n\treal=10.0.0.2:80 masq\n\treal=10.0.0.1:80 masq 9\n\tchecktype=on\n";
    assert_eq!(servers(text), [("10.0.0.1:80".to_owned(), 9, 0, 0), ("10.0.0.2:80".to_owned(), 1, 0, 0)]);
    assert_eq!(faults(text), ["warning 4:7 the same server stands at test.cf:2 already"]);
}

#[test]
fn a_fallback_takes_port_and_method_from_where_they_are_given() {
    // The virtual, global part, options, and the fallback: entry and address.
    let table = [
        ("192.0.2.1:80", "", "fallback=127.0.0.1:80 gate", "127.0.0.1:80", "127.0.0.1:80"),
        ("192.0.2.1:80", "", "fallback=127.0.0.1", "127.0.0.1:80", "127.0.0.1:80"),
        ("192.0.2.1:8080", "", "fallback=127.0.0.1", "127.0.0.1:8080", "127.0.0.1:8080"),
        ("192.0.2.1:http", "", "fallback=127.0.0.1", "127.0.0.1:80", "127.0.0.1:80"),
        ("192.0.2.1:80", "", "fallback=127.0.0.1:8080 masq", "127.0.0.1:8080", "127.0.0.1:8080"),
        ("192.0.2.1:80", "", "fallback=127.0.0.1:8080 gate", "127.0.0.1:80", "127.0.0.1:8080"),
        ("192.0.2.1:8080", "fallback=127.0.0.1:80", "", "127.0.0.1:8080", "127.0.0.1:80"),
        ("192.0.2.1:8080", "fallback=127.0.0.1:80 masq", "", "127.0.0.1:80", "127.0.0.1:80"),
        ("192.0.2.1:8080", "fallback=127.0.0.1", "", "127.0.0.1:8080", "127.0.0.1:8080"),
        ("192.0.2.1:8080", "fallback=web1:80 masq", "fallback=web3 masq", "10.50.0.3:8080", "10.50.0.3:8080"),
        ("192.0.2.1:80", "", "fallback=", "127.0.0.1:80", "127.0.0.1:80"),
        ("7", "", "fallback=127.0.0.1:80 gate", "127.0.0.1:80", "127.0.0.1:80"),
        ("7", "", "fallback=127.0.0.1 gate", "127.0.0.1:0", "127.0.0.1:0"),
        ("7", "fallback=127.0.0.1:80 gate", "", "127.0.0.1:0", "127.0.0.1:0"),
    ];
    for (head, global, option, entry, address) in table {
        let text = format!("{global}\nvirtual={head}\n\tchecktype=on\n\t{option}\n");
        let fallback = service(&text).policy.fallbacks.remove(0);
        assert_eq!((fallback.entry, fallback.address), (at(entry), at(address)), "{text}");
        let forward = if text.contains("masq") { Forward::Masq } else { Forward::Gate };
        assert_eq!(fallback.forward, forward, "{text}");
    }
}

#[test]
fn a_global_fallback_serves_its_own_family_alone() {
    let globals = "fallback=127.0.0.1:80 gate\n";
    assert!(
        service(format!("{globals}virtual6=[2001:db8::1]:80\n\tchecktype=on\n")).policy.fallbacks.is_empty()
    );
    let text = format!("{globals}fallback6=[::1] masq\nvirtual6=7\n\tchecktype=on\n");
    assert_eq!(service(text).policy.fallbacks.remove(0).entry, at("[::1]:0"));
    let text = "virtual6=[2001:db8::1]:80\n\tfallback6=[::1]:81 masq\n\tchecktype=on\n";
    assert_eq!(service(text).policy.fallbacks.remove(0).entry, at("[::1]:81"));
}

#[test]
fn port_0_means_every_port_and_needs_persistence() {
    let text = "virtual=192.0.2.1:0\n\treal=10.0.0.1 masq\n\tchecktype=on\n";
    let said = "mistake 1:9 port 0 means every port and needs `persistent`: the service stays out";
    assert_eq!(faults(text), [said]);
    assert!(faults(format!("{text}\tpersistent=60\n")).is_empty());
}
