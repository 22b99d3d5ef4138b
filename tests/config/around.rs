//! What is told and run around services.

use std::time::Duration;

use lvsentry::config::{Extras, LogTarget, Mail, State};
use lvsentry::model::ServiceKey;

use super::{accept, faults, with};

fn extras(text: &str) -> Extras {
    let config = accept(text);
    let key: ServiceKey = *config.plan.services.keys().next().unwrap();
    config.extras.get(&key).map(|extras| Extras::clone(extras)).unwrap_or_default()
}

#[test]
fn a_virtual_takes_the_globals_place_in_all_but_the_sender() {
    let globals = "emailalert=\"ops@example.com, noc@example.com\"\nemailalertfrom=lb@example.com\n\
                   emailalertfreq=60\nemailalertstatus=running, stopping\nsmtp=mail.example.com\n\
                   fallbackcommand=\"/bin/logger -t lb\"\n";
    let inherited = extras(&(globals.to_owned() + &with("checktype=on")));
    let mail = Mail {
        to: "ops@example.com, noc@example.com".into(),
        from: Some("lb@example.com".into()),
        smtp: Some("mail.example.com".into()),
    };
    let expected = Extras {
        mail: Some(mail.clone()),
        alert_in: [State::Running, State::Stopping].into(),
        alert_again: Some(Duration::from_secs(60)),
        // The shell takes the quotes off.
        fallback_command: Some("\"/bin/logger -t lb\"".into()),
        ..Extras::default()
    };
    assert_eq!(inherited, expected);
    let own = extras(
        &(globals.to_owned()
            + &with(
                "checktype=on\nemailalert=a@example.com\nemailalertfreq=0\nemailalertstatus=none\n\
                 smtp=other\nfallbackcommand=\"/bin/x y\"\nservicename=Shop\ncomment=The shop",
            )),
    );
    let expected = Extras {
        name: Some("Shop".into()),
        comment: Some("The shop".into()),
        mail: Some(Mail { to: "a@example.com".into(), smtp: Some("other".into()), ..mail }),
        fallback_command: Some("/bin/x y".into()),
        ..Extras::default()
    };
    assert_eq!(own, expected);
    let named = Extras { name: Some("Shop".into()), ..Extras::default() };
    assert_eq!(extras(&with("checktype=on\nservicename=Shop\ncomment=x")), named, "no mail, no comment");
}

#[test]
fn states_of_alerts_are_a_list_or_none_alone() {
    let states =
        |list: &str| extras(&(format!("emailalert=a\nemailalertstatus={list}\n") + &with(""))).alert_in;
    assert_eq!(states("all").len(), 4);
    assert_eq!(states("starting,all").len(), 4);
    assert_eq!(states("none").len(), 0);
    assert_eq!(states("").len(), 0);
    assert_eq!(states("reloading").into_iter().collect::<Vec<_>>(), [State::Reloading]);
    for (list, told) in [
        ("running,none", "invalid email alert status: \"running\" specified with \"none\""),
        ("runing", "invalid email alert status at: \"runing\""),
    ] {
        assert_eq!(faults(format!("emailalertstatus={list}\n") + &with("")), [format!("error 1:18 {told}")]);
    }
}

#[test]
fn what_the_daemon_does_beside_its_services_is_read() {
    let text = "callback=\"/usr/local/bin/sync\"\nexecute=a.cf\nexecute=b.cf\nmaintenancedir=/etc/ha.d/m\n\
                logfile=\"local3\"\n";
    let config = accept(text.to_owned() + &with("checktype=on"));
    assert_eq!(config.callback, Some("/usr/local/bin/sync".into()));
    assert_eq!(config.execute, ["a.cf", "b.cf"]);
    assert_eq!(config.maintenance, Some("/etc/ha.d/m".into()));
    assert_eq!(config.log, LogTarget::Syslog("local3".into()));
    assert_eq!(accept("callback=\"\"\n").callback, None);
    let named =
        accept("virtual=192.0.2.1:80\n\treal=web1:80 masq\n\treal=10.0.0.9:80 masq\n\tchecktype=on\n").names;
    let names: Vec<_> = named.iter().map(|(ip, names)| format!("{ip} {names:?}")).collect();
    assert_eq!(names, ["10.50.0.1 {\"web1\"}"]);
    let said = faults("maintenancedir=\"/etc/ha.d/m\"\n".to_owned() + &with("checktype=on"));
    assert_eq!(said, ["mistake 1:16 the quotes are a part of the directory's name"]);
}

#[test]
fn servers_are_called_in_a_monitor_file_as_ldirectord_calls_them() {
    let names = |block: &str| {
        let text = format!("virtual=192.0.2.1:80\n{block}\tmonitorfile=\"/var/log/m\"\n");
        extras(&text).monitor.unwrap().names
    };
    assert_eq!(
        names("\treal=10.9.0.2:80 masq 3\n\trequest=\"x.html\"\n\treceive=\"OK\"\n"),
        ["negotiate http tcp 10.9.0.2 80 3 masq /x.html OK"]
    );
    assert_eq!(
        names("\treal=10.9.0.2:80 masq 3\n\treal=10.9.0.3:81 gate \"/a:b\", \"\\d\"\n"),
        ["negotiate http tcp 10.9.0.2 80 3 masq / ", "negotiate http tcp 10.9.0.3 81 1 gate /a b d"]
    );
    assert_eq!(
        names("\treal=10.9.0.2:80 masq\n\tchecktype=connect\n\tcheckport=81\n"),
        ["connect tcp 10.9.0.2 80 81 1 masq / "]
    );
    assert_eq!(
        names("\treal=10.9.0.2:80 masq\n\tchecktype=3\n\tvirtualhost=w\n"),
        ["combined http tcp 10.9.0.2 80 w 1 masq / "]
    );
    assert_eq!(
        names("\treal=10.9.0.2:80 masq\n\tchecktype=external\n\tcheckcommand=/bin/c\n"),
        ["external /bin/c tcp 10.9.0.2 80 1 masq / "]
    );
}
