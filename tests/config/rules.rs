//! Defaults, inheritance, what the kernel gets, and what is likely not meant.

use lvsentry::model::{OnFailure, Protocol, ServiceKey};

use super::{accept, at, faults, load, service, times, with};

#[test]
fn defaults_are_those_of_ldirectord() {
    let config = accept(with("checktype=connect"));
    assert!(!config.autoreload);
    let service = service(with("checktype=connect"));
    assert_eq!(service.key, ServiceKey::Address(Protocol::Tcp, at("192.0.2.1:80")));
    assert_eq!(service.settings.scheduler, "wrr");
    assert_eq!((service.settings.flags, service.settings.one_packet), (0, false));
    assert_eq!(service.settings.persistence, None);
    assert_eq!((service.policy.fall, service.policy.rise), (1, 1));
    assert_eq!(service.policy.on_failure, OnFailure::Remove);
    assert!(service.policy.clean_stop && service.policy.fallbacks.is_empty());
    assert_eq!(times(&with("checktype=connect")), (5, 10));
    assert_eq!(times(&with("")), (30, 10));
}

#[test]
fn globals_act_wherever_they_stand_and_a_virtual_overrides_them() {
    let text = "quiescent=no\n".to_owned()
        + &with("checktype=connect")
        + "quiescent=yes\nfailurecount=4\ncleanstop=no\n";
    let policy = service(&text).policy;
    assert_eq!((policy.on_failure, policy.fall, policy.clean_stop), (OnFailure::Quiesce, 4, false));
    assert_eq!(faults(&text), ["warning 1:1 `quiescent` is given again further down"]);

    let own = with("checktype=connect\nquiescent=no\nfailurecount=2\ncleanstop=yes");
    let policy = service(own + "quiescent=yes\nfailurecount=4\ncleanstop=no\n").policy;
    assert_eq!((policy.on_failure, policy.fall, policy.clean_stop), (OnFailure::Remove, 2, true));
}

#[test]
fn what_is_likely_not_meant_is_told() {
    let table = [
        ("checktype=on\nnetmask=255.255.255.0", "`netmask` has no effect without `persistent`"),
        ("checktype=on\nops=yes", "`ops` has no effect: the service is not udp"),
        (
            "checktype=ping\nprotocol=udp\nquiescent=yes",
            "udp clients stay with a failed server that is only quiesced",
        ),
        (
            "checktype=on\nquiescent=yes\npersistent=60",
            "persistent clients stay with a failed server that is only quiesced",
        ),
        (
            "checktype=on\nquiescent=yes\nscheduler=mh",
            "with `mh` clients of a failed server that is only quiesced are refused",
        ),
        ("checktype=on\nfallback=10.0.0.1:80 masq", "this server is the fallback too (10.0.0.1:80)"),
        ("checktype=on\nload=\"1\"", "`load` has no effect"),
        ("checktype=2\nservice=none", "with service=none every check only connects"),
        ("httpmethod=HEAD\nreceive=\"ok\"", "`receive` never matches with httpmethod=HEAD"),
        ("checktype=external", "checktype=external without a `checkcommand` runs /bin/true"),
        ("scheduler=wrt", "the scheduler `wrt` is not known; the kernel may not have it"),
        ("scheduler=rr\nscheduler=wlc", "`scheduler` is given again further down"),
    ];
    for (options, told) in table {
        let said = faults(with(options));
        assert_eq!(said.len(), 1, "{options}: {said:?}");
        assert!(said[0].starts_with("warning") && said[0].ends_with(told), "{options}: {said:?}");
    }
    let said = faults("readdquiescent=yes\n".to_owned() + &with(""));
    assert_eq!(said, ["warning 1:1 `readdquiescent` has no effect"]);
    // With the flag that helps there is nothing to tell.
    assert!(faults(with("checktype=on\nquiescent=yes\nscheduler=sh\nschedflags=sh-fallback")).is_empty());
    let unset = |text: String| {
        let report = load(text).unwrap().report;
        report.warnings().filter(|fault| fault.message.starts_with("`quiescent` is not set")).count()
    };
    assert_eq!(unset(with("checktype=on") + &with("checktype=on").replace("2.1", "2.2")), 1, "once a file");
    assert_eq!(unset(with("checktype=on\nquiescent=no")), 0);
    assert_eq!(unset("quiescent=no\n".to_owned() + &with("checktype=on")), 0);
}

#[test]
fn a_mistake_that_ldirectord_accepts_is_accepted_and_only_its_service_suffers() {
    let other = "virtual=192.0.2.9:80\n    real=10.0.0.9:80 masq\n    checktype=on\n";
    let table = [
        ("persistent=0", 1, "the kernel refuses a persistence of 0 s: the service stays out"),
        ("persistent=2678401", 1, "the kernel refuses a persistence of 2678401 s: the service stays out"),
        (
            "scheduler=weightedroundrobin",
            1,
            "the kernel refuses the scheduler `weightedroundrobin`: the service stays out",
        ),
        ("schedflags=sh-prt", 1, "there is no scheduler flag `sh-prt`: the service stays out"),
        ("persistent=9\nnetmask=999.1.1.1", 1, "this is no netmask: the service stays out"),
        ("scheduler=Wrr", 2, "`Wrr` is read as `rr`"),
        ("failurecount=-3", 2, "`-3` is read as 3"),
        ("checktype=external2", 2, "`checktype=external2` is read as checktype=2"),
        (
            "checktype=external\ncheckcommand=/bin/check -x",
            2,
            "invalid check command: it is run without a shell and takes no arguments of its own",
        ),
        ("receive=\"(\"", 2, "invalid receive string"),
    ];
    for (options, services, told) in table {
        let loaded = load(with(options) + other).unwrap_or_else(|report| panic!("{options}: {report}"));
        let mistakes: Vec<_> = loaded.report.mistakes().map(|fault| fault.message.as_str()).collect();
        assert_eq!(mistakes, [told], "{options}");
        assert_eq!(loaded.config.plan.services.len(), services, "{options}");
    }
    for real in ["10.0.0.1:80 masq 2147483648", "10.0.0.1:80 masq 1 l:9 u:3"] {
        let loaded = load(format!("virtual=192.0.2.1:80\n\treal={real}\n\treal=10.0.0.2:80 masq\n")).unwrap();
        assert_eq!(loaded.report.mistakes().count(), 1, "{real}");
        assert_eq!(loaded.config.plan.servers(), 1, "{real}");
    }
    for (head, key) in [("192.0.2.1", Some("192")), ("12abc", Some("12")), ("0", None), ("0x10", None)] {
        let loaded = load(format!("virtual={head}\n\treal=10.0.0.1:80 masq\n\tchecktype=on\n")).unwrap();
        assert!(loaded.report.mistakes().count() > 0, "{head}");
        let keys: Vec<_> = loaded.config.plan.services.keys().map(ToString::to_string).collect();
        assert_eq!(keys, key.into_iter().collect::<Vec<_>>(), "{head}");
    }
}

#[test]
fn kernel_settings_come_out_as_the_kernel_has_them() {
    let table = [
        ("sh-fallback", 8),
        ("sh-port", 16),
        ("flag-1,flag-2,flag-3", 0x38),
        ("mh-port,mh-fallback junk", 24),
    ];
    for (flags, bits) in table {
        assert_eq!(service(with(&format!("schedflags={flags}"))).settings.flags, bits, "{flags}");
    }
    let persistence =
        |options: &str| service(with(options)).settings.persistence.map(|p| (p.seconds, p.netmask));
    assert_eq!(persistence("persistent=600"), Some((600, 0xffff_ffff)));
    assert_eq!(persistence("persistent=600\nnetmask=255.255.0.0"), Some((600, 0xffff_0000)));
    let v6 = |netmask: &str| {
        let text = format!("virtual6=[2001:db8::1]:80\n\tchecktype=on\n\tpersistent=60\n{netmask}");
        service(text).settings.persistence.map(|p| (p.seconds, p.netmask))
    };
    assert_eq!(v6(""), Some((60, 128)));
    assert_eq!(v6("\tnetmask=64\n"), Some((60, 64)));
    assert!(service(with("protocol=udp\nops=yes\nchecktype=ping")).settings.one_packet);
}
