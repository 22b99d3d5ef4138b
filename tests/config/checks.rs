//! What servers are asked, how long and how often.

use std::time::Duration;

use lvsentry::model::Watch;

use super::{accept, asked, faults, service, times, with};

#[test]
fn timeouts_stand_in_for_each_other_and_a_virtual_comes_before_the_globals() {
    // Own checktimeout, own negotiatetimeout, global ones; the time of connect, of negotiate.
    let table = [
        ([0, 0, 0, 0], (5, 30)),
        ([0, 0, 3, 0], (3, 3)),
        ([0, 0, 0, 4], (4, 4)),
        ([0, 0, 3, 4], (3, 4)),
        ([1, 0, 3, 4], (1, 1)),
        ([0, 2, 3, 4], (2, 2)),
        ([1, 2, 3, 4], (1, 2)),
        ([1, 2, 0, 0], (1, 2)),
        ([1, 0, 0, 4], (1, 1)),
        ([0, 2, 3, 0], (2, 2)),
    ];
    let line = |name: &str, value: u32| if value == 0 { String::new() } else { format!("{name}={value}\n") };
    for ([check, negotiate, global_check, global_negotiate], (connect, talk)) in table {
        let globals = line("checktimeout", global_check) + &line("negotiatetimeout", global_negotiate);
        let own = line("checktimeout", check) + &line("negotiatetimeout", negotiate);
        assert_eq!(
            times(&(with(&format!("{own}checktype=connect")) + &globals)).0,
            connect,
            "{globals}{own}"
        );
        assert_eq!(times(&(with(&format!("{own}service=http")) + &globals)).0, talk, "{globals}{own}");
    }
}

#[test]
fn a_checkinterval_of_a_virtual_counts_with_fork_alone() {
    let own = with("checktype=connect\ncheckinterval=7");
    assert_eq!(times(&format!("{own}fork=yes\n")).1, 7);
    assert_eq!(times(&format!("checkinterval=3\n{own}fork=no\n")).1, 3);
    assert_eq!(
        faults(&own),
        ["warning 4:19 checkinterval in virtual service tcp:192.0.2.1:80 ignored when fork=no"]
    );
    assert!(faults(format!("{own}fork=yes\n")).is_empty());
}

#[test]
fn the_port_of_a_virtual_chooses_its_service() {
    let table = [
        (21, "ftp"),
        (25, "smtp"),
        (53, "dns"),
        (80, "http"),
        (110, "pop"),
        (119, "nntp"),
        (143, "imap"),
        (389, "ldap"),
        (443, "https"),
        (587, "submission"),
        (636, "ldaps"),
        (993, "imaps"),
        (995, "pops"),
        (1521, "oracle"),
        (1812, "radius"),
        (3128, "http_proxy"),
        (3306, "mysql"),
        (5060, "sip"),
        (5432, "pgsql"),
    ];
    for (port, name) in table {
        let text = format!("virtual=192.0.2.1:{port}\n\treal=10.0.0.1:99 masq\n");
        let kind = asked(&text)[0].split(' ').next().unwrap().to_owned();
        assert_eq!(kind, name);
        assert!(faults(&text).is_empty(), "{name}");
        // A server without a port is asked at the standard one, whatever the virtual's is.
        let text = format!("virtual=192.0.2.1:7\n\treal=10.0.0.1 masq\n\tservice={name}\n");
        assert!(asked(&text)[0].contains(&format!(" 10.0.0.1:{port} ")), "{name}");
    }
}

#[test]
fn a_port_without_a_service_is_never_checked_and_that_is_told_aloud() {
    for head in ["192.0.2.1:8080", "7"] {
        let text = format!("virtual={head}\n\treal=10.0.0.1:8080 masq\n");
        assert_eq!(service(&text).servers[0].watch, Watch::On);
        let name = head.to_owned();
        let said = format!(
            "warning 1:9 the servers of {name} are never checked: they count as up, whatever they do"
        );
        assert_eq!(faults(&text), [said]);
        assert!(faults(text + "\tservice=none\n").is_empty());
    }
}

#[test]
fn each_checktype_makes_its_kind_of_check() {
    let table = [
        ("checktype=connect", "connect 10.0.0.1:80 of tcp:192.0.2.1:80"),
        ("checktype=ping", "ping 10.0.0.1:80 of tcp:192.0.2.1:80"),
        ("checktype=connect\nprotocol=udp", "ping 10.0.0.1:80 of udp:192.0.2.1:80"),
        ("checktype=negotiate", "http 10.0.0.1:80 of tcp:192.0.2.1:80"),
        ("service=https\ncheckport=443", "https 10.0.0.1:443 of tcp:192.0.2.1:80"),
        (
            "checktype=external\ncheckcommand=/usr/bin/check",
            "external 10.0.0.1:80 of tcp:192.0.2.1:80 checkcommand=/usr/bin/check",
        ),
        (
            "checktype=external\ncheckcommand=\"/usr/bin/check\" # x",
            "external 10.0.0.1:80 of tcp:192.0.2.1:80 checkcommand=/usr/bin/check",
        ),
        ("checktype=external", "external 10.0.0.1:80 of tcp:192.0.2.1:80 checkcommand=/bin/true"),
        ("service=http\nhttpmethod=head", "http 10.0.0.1:80 of tcp:192.0.2.1:80 httpmethod=HEAD"),
        ("checktype=connect\nservice=smtp", "connect 10.0.0.1:80 of tcp:192.0.2.1:80"),
    ];
    for (options, told) in table {
        assert_eq!(asked(&with(options)), [told], "{options}");
    }
    assert_eq!(service(with("checktype=on")).servers[0].watch, Watch::On);
    assert_eq!(service(with("checktype=off")).servers[0].watch, Watch::Off);
    assert_eq!(service(with("service=none")).servers[0].watch, Watch::On);
}

#[test]
fn the_check_goes_to_checkport_or_the_servers_port_or_the_standard_one() {
    let table = [
        ("192.0.2.1:80", "10.0.0.1:8080 masq", "checkport=81", "10.0.0.1:81"),
        ("192.0.2.1:80", "10.0.0.1:8080 masq", "", "10.0.0.1:8080"),
        ("192.0.2.1:80", "10.0.0.1:8080 gate", "", "10.0.0.1:8080"),
        ("192.0.2.1:80", "10.0.0.1 masq", "", "10.0.0.1:80"),
        ("192.0.2.1:80", "10.0.0.1 masq", "checktype=connect", "10.0.0.1:80"),
        ("7", "10.0.0.1 gate", "service=https", "10.0.0.1:443"),
        ("7", "10.0.0.1 gate", "service=smtp\n\tchecktype=connect", "10.0.0.1:25"),
        ("7", "10.0.0.1 gate", "checktype=connect", "10.0.0.1:0"),
    ];
    for (head, real, option, port) in table {
        let text = format!("virtual={head}\n\treal={real}\n\t{option}\n");
        let told = asked(&text).remove(0);
        assert_eq!(told.split(' ').nth(1), Some(port), "{text}");
        let warned = faults(&text).iter().any(|fault| fault.contains("checks go to port 0"));
        assert_eq!(warned, port.ends_with(":0"), "{text}");
    }
}

#[test]
fn request_and_receive_of_a_server_replace_those_of_the_virtual_as_a_pair() {
    let text = |rest: &str| {
        format!(
            "virtual=192.0.2.1:80\n\treal=10.0.0.1:80 masq 1 {rest}\n\trequest=\"a\"\n\treceive=\"b\"\n\tservice=http\n"
        )
    };
    let table = [
        ("", "receive=b request=a"),
        ("\"x\", \"y\"", "receive=y request=x"),
        ("\"x\" \"y\"", "receive=y request=x"),
        ("\"x\",\"\"", "request=x"),
        ("\"say \"hi\"\", \"a \"b\"\"", "receive=a \"b\" request=say \"hi\""),
        ("\"a\", \"b\", \"c\"", "receive=c request=a\", \"b"),
        (
            "\"http://10.0.0.9/x\", \"y\"",
            "receive=y request=http://10.0.0.9/x request_absolute=http://10.0.0.9/x",
        ),
        ("\"https://10.0.0.9/x\", \"y\"", "receive=y request=https://10.0.0.9/x"),
    ];
    for (rest, told) in table {
        assert_eq!(asked(&text(rest)), [format!("http 10.0.0.1:80 of tcp:192.0.2.1:80 {told}")], "{rest}");
    }
    // The scheme must be the service's, and a virtual's request is never a URL.
    let secure = text("\"https://10.0.0.9/x\", \"y\"").replace("service=http", "service=https");
    assert!(asked(&secure)[0].ends_with(" request_absolute=https://10.0.0.9/x"));
    let other = text("\"http://10.0.0.9/x\", \"y\"").replace("service=http", "service=https");
    assert!(asked(&other)[0].ends_with(" request=http://10.0.0.9/x"));
    let own = with("service=http\nrequest=\"http://10.0.0.9/x\"");
    assert!(asked(&own)[0].ends_with(" request=http://10.0.0.9/x"));
}

#[test]
fn equal_questions_are_asked_once_and_other_times_make_another() {
    let real = "\treal=10.0.0.1:80 masq\n\treal=10.0.0.2:80 masq\n\tchecktype=connect\n";
    let config = accept(format!("virtual=192.0.2.1:80\n{real}"));
    assert_eq!(config.inquiries.len(), 2);
    // The fakes tell the service they ask for, so that only within one do questions agree.
    let twice = "virtual=192.0.2.1:80\n\treal=10.0.0.1:80 masq\n\treal=10.0.0.1:81 masq\n\tcheckport=80\n\tchecktype=connect\n";
    let config = accept(twice);
    assert_eq!(config.inquiries.len(), 1);
    let service = config.plan.services.values().next().unwrap();
    assert_eq!(service.servers.len(), 2);
    assert_eq!(service.servers[0].watch, service.servers[1].watch);

    let keys = |text: String| accept(text).inquiries.into_keys().collect::<Vec<_>>();
    let (a, b) = (keys(with("checktype=connect")), keys(with("checktype=connect\nchecktimeout=6")));
    assert_ne!(a, b, "the timeout is part of a question's key");
    assert_ne!(a, keys(with("checktype=connect") + "checkinterval=6\n"), "and so is the interval");
    assert_eq!(
        accept(with("checktype=connect")).inquiries.values().next().unwrap().interval,
        Duration::from_secs(10)
    );
}

#[test]
fn options_that_no_check_uses_are_told_once() {
    let text = "virtual=192.0.2.1:80\n\treal=10.0.0.1->10.0.0.9:80 masq\n\tchecktype=connect\n\trequest=\"a\"\n\treceive=\"b\"\n";
    assert_eq!(
        faults(text),
        [
            "warning 4:11 `request` has no effect with `checktype=connect`",
            "warning 5:11 `receive` has no effect with `checktype=connect`"
        ]
    );
    let said = faults(with("service=http\ncheckcommand=/bin/x"));
    assert_eq!(said, ["warning 4:18 `checkcommand` has no effect with `service=http`"]);
}

#[test]
fn a_checkcount_is_for_pings_and_deprecated() {
    let text = "checkcount=3\n".to_owned() + &with("checktype=ping");
    assert_eq!(asked(&text), ["ping 10.0.0.1:80 of tcp:192.0.2.1:80 checkcount=3"]);
    let old = "checkcount option is deprecated and slated for removal.  please see 'failurecount'";
    assert_eq!(faults(&text), [format!("warning 1:1 {old}")]);
    assert_eq!(faults("checkcount=3\n".to_owned() + &with("checktype=connect")).len(), 1);
    assert_eq!(faults(with("checktype=connect\ncheckcount=3")).len(), 2);
}
