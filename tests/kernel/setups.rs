//! The classic set-ups with real traffic. In each, one daemon looks after four virtual services
//! (one a scheduler) with three servers, which die, come back, all die and come back.

use std::net::SocketAddr;
use std::time::Duration;

use crate::support::client::{Tally, ask_often};
use crate::support::daemon::Daemon;
use crate::support::http::{Mode, Server};
use crate::support::net::{Ns, Switch, modprobe};
use crate::support::wait_until;

/// The four virtual ports and their schedulers.
const SERVICES: [(u16, &str); 4] = [(80, "rr"), (81, "wrr"), (82, "lc"), (83, "wlc")];
/// Far longer than a detection (interval 1 s, timeout 3 s) on a slow guest.
const SOON: Duration = Duration::from_secs(40);

/// One real server as the configuration and the table name it.
struct Real {
    address: &'static str,
    /// `gate`, `ipip` or `masq`.
    forward: &'static str,
}

/// A network with a director, a client, three servers and a server of last resort.
struct Network {
    director: Ns,
    client: Ns,
    vip: &'static str,
    reals: [Real; 3],
    servers: [Server; 3],
    _fallback: Server,
    _switches: Vec<Switch>,
}

impl Network {
    /// Starts the servers `s1` to `s3`, and `fallback` on the director.
    fn new(
        director: Ns,
        client: Ns,
        vip: &'static str,
        reals: [Real; 3],
        hosts: &[Ns; 3],
        switches: Vec<Switch>,
    ) -> Network {
        forget_the_gone(&director);
        let ports: Vec<u16> = SERVICES.iter().map(|(port, _)| *port).collect();
        let server = |i: usize| Server::start(&hosts[i], &format!("s{}", i + 1), &ports);
        let servers = [server(0), server(1), server(2)];
        let fallback = Server::start(&director, "fallback", &ports);
        Network { director, client, vip, reals, servers, _fallback: fallback, _switches: switches }
    }

    /// As people write it: weights 1, 2, 3 where the scheduler knows weights.
    fn configuration(&self) -> String {
        let mut text = String::from("checktimeout=3\ncheckinterval=1\nquiescent=no\ncleanstop=yes\n");
        for (port, scheduler) in SERVICES {
            text += &format!("virtual={}:{port}\n", self.vip);
            for (i, real) in self.reals.iter().enumerate() {
                let weight = weight_of(scheduler, i);
                text += &format!("\treal={}:{port} {} {weight}\n", real.address, real.forward);
            }
            text += &format!(
                "\tfallback=127.0.0.1:80\n\tservice=http\n\tscheduler={scheduler}\n\tprotocol=tcp\n\
                 \tchecktype=negotiate\n\trequest=\"index.html\"\n\treceive=\"well\"\n"
            );
        }
        text
    }

    /// The table with these servers in, as `ipvsadm -Sn` prints it; without any: the fallback.
    fn table_with(&self, up: &[usize]) -> Vec<String> {
        let mut lines = Vec::new();
        for (port, scheduler) in SERVICES {
            let service = format!("-t {}:{port}", self.vip);
            lines.push(format!("-A {service} -s {scheduler}"));
            for &i in up {
                let method = match self.reals[i].forward {
                    "gate" => "-g",
                    "ipip" => "-i",
                    _ => "-m",
                };
                let weight = weight_of(scheduler, i);
                let tunnel = if method == "-i" { " --tun-type ipip" } else { "" };
                lines.push(format!(
                    "-a {service} -r {}:{port} {method} -w {weight}{tunnel}",
                    self.reals[i].address
                ));
            }
            if up.is_empty() {
                lines.push(format!("-a {service} -r 127.0.0.1:{port} -g -w 1"));
            }
        }
        lines.sort();
        lines
    }

    fn expect_table(&self, daemon: &Daemon, what: &str, up: &[usize]) {
        let expected = self.table_with(up);
        let state = || format!("table: {:#?}\nlog:\n{}", self.director.table(), daemon.log());
        wait_until(SOON, what, state, || self.director.table() == expected);
    }

    fn ask(&self, port: u16, times: usize) -> Tally {
        let service = format!("{}:{port}", self.vip).parse().unwrap();
        let tally = ask_often(&self.client, service, times);
        assert!(tally.failures.is_empty(), "port {port}: {tally}, {:?}", tally.failures);
        tally
    }

    /// Asks every service, and says who answered.
    fn who_answers(&self) -> Vec<String> {
        let mut names = Vec::new();
        for (port, _) in SERVICES {
            names.extend(self.ask(port, 9).answers.into_keys());
        }
        names.sort();
        names.dedup();
        names
    }

    fn expect_answers(&self, daemon: &Daemon, wanted: &[&str]) {
        let names = self.who_answers();
        assert_eq!(names, wanted, "table: {:#?}\nlog:\n{}", self.director.table(), daemon.log());
    }

    fn expect_spread(&self) {
        for (port, scheduler) in SERVICES {
            let tally = self.ask(port, 36);
            for i in 0..3 {
                let wanted = if weight_of(scheduler, 2) == 1 { 12 } else { 6 * (i + 1) };
                let got = tally.of(&format!("s{}", i + 1));
                assert!(got.abs_diff(wanted) <= 3, "{scheduler}: {tally}, wanted {wanted} of s{}", i + 1);
            }
        }
    }

    /// The whole life of a service, as an operator would try it.
    fn live_through(&self) {
        let daemon = Daemon::start(&self.director, self.configuration().as_bytes());
        self.expect_table(&daemon, "all servers are in", &[0, 1, 2]);
        self.expect_spread();

        self.servers[1].set(Mode::Refuse);
        self.expect_table(&daemon, "the dead server is out", &[0, 2]);
        self.expect_answers(&daemon, &["s1", "s3"]);
        self.servers[1].set(Mode::Well);
        self.expect_table(&daemon, "the recovered server is back in", &[0, 1, 2]);
        self.expect_answers(&daemon, &["s1", "s2", "s3"]);

        for (server, mode) in self.servers.iter().zip([Mode::Error, Mode::Hang, Mode::Reset]) {
            server.set(mode);
        }
        self.expect_table(&daemon, "all are out and the fallback is in", &[]);
        self.expect_answers(&daemon, &["fallback"]);
        self.servers[2].set(Mode::Well);
        self.expect_table(&daemon, "one is back and the fallback is out", &[2]);
        self.expect_answers(&daemon, &["s3"]);
        self.servers.iter().for_each(|server| server.set(Mode::Well));
        self.expect_table(&daemon, "all are back", &[0, 1, 2]);

        assert!(daemon.stop().is_some_and(|status| status.success()), "the daemon ends when told to");
        assert_eq!(self.director.table(), [""; 0], "cleanstop=yes removes its services");
    }
}

/// A director that forgets a connection whose server has left. A client's kernel begins at another port every
/// ten seconds and comes upon ports that it had, behind which a director of direct routing or tunnels
/// still sees a connection: it drops all that is sent to a server that is gone, as long as that lasts.
fn forget_the_gone(director: &Ns) {
    modprobe(&["ip_vs"]);
    director.sysctl(&["vs.expire_nodest_conn=1"]);
}

fn weight_of(scheduler: &str, server: usize) -> usize {
    if scheduler.starts_with('w') { server + 1 } else { 1 }
}

fn three() -> [Ns; 3] {
    [Ns::new(), Ns::new(), Ns::new()]
}

/// A server of direct routing: the VIP on `lo`, never announced.
fn route_to(host: &Ns, vip: &str) {
    host.sysctl(&["conf.all.arp_ignore=1", "conf.all.arp_announce=2"]);
    host.ip(&format!("addr add {vip}/32 dev lo"));
}

/// A server behind a tunnel: the VIP on `tunl0`, and no reverse path filter there.
fn tunnel_to(host: &Ns, vip: &str) {
    host.sysctl(&["conf.all.arp_ignore=1", "conf.all.arp_announce=2", "conf.all.rp_filter=0"]);
    host.ip(&format!("link set tunl0 up\naddr add {vip}/32 dev tunl0"));
    host.sysctl(&["conf.tunl0.rp_filter=0"]);
}

/// A server of NAT on the clients' own network: every answer goes back through the director.
fn answer_through(host: &Ns, network: &str, director: &str) {
    host.ip(&format!("route del {network}\nroute add {director} dev eth0\nroute add default via {director}"));
}

/// Director .254, client .100, servers .1 to .3 of 10.9.0.0/24 on one switch.
fn one_network(vip: &'static str, forward: [&'static str; 3]) -> Network {
    modprobe(&["ipip"]);
    let (switch, director, client, hosts) = (Switch::new(), Ns::new(), Ns::new(), three());
    switch.plug(&director, "eth0", "10.9.0.254/24");
    switch.plug(&client, "eth0", "10.9.0.100/24");
    director.sysctl(&["ip_forward=1"]);
    director.ip(&format!("addr add {vip}/32 dev eth0"));
    let addresses = ["10.9.0.1", "10.9.0.2", "10.9.0.3"];
    for (i, host) in hosts.iter().enumerate() {
        switch.plug(host, "eth0", &format!("{}/24", addresses[i]));
        match forward[i] {
            "gate" => route_to(host, vip),
            "ipip" => tunnel_to(host, vip),
            _ => answer_through(host, "10.9.0.0/24", "10.9.0.254"),
        }
    }
    let real = |i: usize| Real { address: addresses[i], forward: forward[i] };
    Network::new(director, client, vip, [real(0), real(1), real(2)], &hosts, vec![switch])
}

#[test]
fn nat_with_servers_on_a_network_of_their_own() {
    let (outside, inside, director, client, hosts) =
        (Switch::new(), Switch::new(), Ns::new(), Ns::new(), three());
    outside.plug(&director, "eth0", "10.1.0.254/24");
    outside.plug(&client, "eth0", "10.1.0.100/24");
    inside.plug(&director, "eth1", "10.2.0.254/24");
    director.sysctl(&["ip_forward=1"]);
    director.ip("addr add 10.1.0.200/32 dev eth0");
    let addresses = ["10.2.0.1", "10.2.0.2", "10.2.0.3"];
    for (host, address) in hosts.iter().zip(addresses) {
        inside.plug(host, "eth0", &format!("{address}/24"));
        host.ip("route add default via 10.2.0.254");
    }
    let reals = addresses.map(|address| Real { address, forward: "masq" });
    Network::new(director, client, "10.1.0.200", reals, &hosts, vec![outside, inside]).live_through();
}

#[test]
fn direct_routing_with_the_vip_on_the_same_network() {
    one_network("10.9.0.200", ["gate"; 3]).live_through();
}

#[test]
fn direct_routing_with_the_vip_in_another_network() {
    let network = one_network("10.8.0.200", ["gate"; 3]);
    network.client.ip("route add 10.8.0.0/24 via 10.9.0.254");
    network.live_through();
}

#[test]
fn tunnels() {
    one_network("10.9.0.200", ["ipip"; 3]).live_through();
}

#[test]
fn all_three_ways_in_one_virtual_service() {
    one_network("10.9.0.200", ["gate", "ipip", "masq"]).live_through();
}

/// The configuration that tutorials teach, in the two forms in which it goes round.
struct Tutorial {
    text: Vec<u8>,
    daemon: Daemon,
    director: Ns,
    client: Ns,
    servers: [Server; 2],
    _fallback: Server,
    _switch: Switch,
}

impl Tutorial {
    const VIP: &'static str = "192.168.8.100";

    fn start(text: Vec<u8>) -> Tutorial {
        let (switch, director, client, hosts) = (Switch::new(), Ns::new(), Ns::new(), [Ns::new(), Ns::new()]);
        switch.plug(&director, "eth0", "192.168.8.5/24");
        switch.plug(&client, "eth0", "192.168.8.9/24");
        director.ip(&format!("addr add {}/32 dev eth0", Tutorial::VIP));
        for (host, address) in hosts.iter().zip(["192.168.8.20/24", "192.168.8.30/24"]) {
            switch.plug(host, "eth0", address);
            route_to(host, Tutorial::VIP);
        }
        forget_the_gone(&director);
        let servers = [Server::start(&hosts[0], "s1", &[80]), Server::start(&hosts[1], "s2", &[80])];
        let fallback = Server::start(&director, "fallback", &[80]);
        let daemon = Daemon::start(&director, &text);
        Tutorial { text, daemon, director, client, servers, _fallback: fallback, _switch: switch }
    }

    fn expect_servers(&self, what: &str, servers: &[&str]) {
        let service = format!("-t {}:80", Tutorial::VIP);
        let mut expected = vec![format!("-A {service} -s rr -p 600")];
        expected.extend(servers.iter().map(|at| format!("-a {service} -r {at}:80 -g -w 1")));
        let state = || format!("table: {:#?}\nlog:\n{}", self.director.table(), self.daemon.log());
        wait_until(SOON, what, state, || self.director.table() == expected);
    }

    /// The one server that answers the (persistent) client.
    fn answers(&self) -> String {
        let service = SocketAddr::new(Tutorial::VIP.parse().unwrap(), 80);
        let tally = ask_often(&self.client, service, 6);
        assert!(tally.failures.is_empty() && tally.answers.len() == 1, "{tally} {:?}", tally.failures);
        tally.answers.into_keys().next().unwrap()
    }

    fn live_through(self) {
        self.expect_servers("both servers are in", &["192.168.8.20", "192.168.8.30"]);
        let first = self.answers();
        let (mine, other) = if first == "s1" { (0, "s2") } else { (1, "s1") };
        self.servers[mine].set(Mode::Refuse);
        let left = ["192.168.8.30", "192.168.8.20"][mine];
        self.expect_servers("the client's server is out", &[left]);
        assert_eq!(self.answers(), other);
        self.servers.iter().for_each(|server| server.set(Mode::Error));
        self.expect_servers("the fallback is in", &["127.0.0.1"]);
        assert_eq!(self.answers(), "fallback");
        self.servers.iter().for_each(|server| server.set(Mode::Well));
        self.expect_servers("both servers are back", &["192.168.8.20", "192.168.8.30"]);
        assert!(!self.daemon.file("/var/log/ldirectord.log").is_empty(), "it logs where it was told");

        // autoreload=yes: an edit counts without a signal.
        let edited = String::from_utf8(self.text.clone()).unwrap().replace("real=192.168.8.30:80", "#real=");
        self.daemon.write(edited.as_bytes());
        self.expect_servers("the edited file counts", &["192.168.8.20"]);
    }
}

#[test]
fn the_tutorial_configuration_with_comments_behind_its_values_works_unchanged() {
    let text = "\
# Global Directives                         #全局配置
checktimeout=3                              #检查超时（秒）
checkinterval=1                             #检查间隔（秒）
#fallback=127.0.0.1:80                      #全局备用服务器
autoreload=yes                              #自动重新加载
logfile=\"/var/log/ldirectord.log\"           #日志文件
quiescent=no                                #故障服务器移出

virtual=192.168.8.100:80                    #虚拟服务
        real=192.168.8.20:80 gate           #真实服务器
        real=192.168.8.30:80 gate
        fallback=127.0.0.1:80 gate          #备用服务器
        service=http                        #服务
        scheduler=rr                        #调度算法
        persistent=600                      #持久连接
        #netmask=255.255.255.255            #掩码
        protocol=tcp                        #协议
        checktype=negotiate                 #检查方式
        checkport=80                        #检查端口
        #request=\"index.html\"               #请求
        #receive=\"well\"                     #应答
";
    Tutorial::start(text.into()).live_through();
}

#[test]
fn the_tutorial_configuration_with_windows_line_ends_works_unchanged() {
    let text = "\
# Global Directives
checktimeout=3
checkinterval=1
autoreload=yes
logfile=\"/var/log/ldirectord.log\"
quiescent=no

virtual=192.168.8.100:80
\treal=192.168.8.20:80 gate
\treal=192.168.8.30:80 gate
\tfallback=127.0.0.1:80 gate
\tservice=http
\tscheduler=rr
\tpersistent=600
\tprotocol=tcp
\tchecktype=negotiate
\tcheckport=80
\trequest=\"index.html\"
\treceive=\"well\"
";
    Tutorial::start(text.replace('\n', "\r\n").into()).live_through();
}
