#!/usr/bin/python3
"""Measures an IPVS director (ldirectord, keepalived, ...) on a real kernel; see README.md.

On this machine it builds the helpers, boots the guest and runs itself in there (--inside).
"""
import argparse
import collections
import json
import os
import random
import re
import signal
import socket
import statistics
import struct
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
BIN = "/var/tmp/bench"
UML = os.path.join(HERE, "..", "lab", "uml")
RUN = "/run/bench"
NS = 1e9
AGAIN = 3             # an adoption, which is over in a second, is measured so often: the median counts
sys.path.insert(0, HERE)


# ---- the neutral description -------------------------------------------------------------------

def make_spec(n, per, check, interval, timeout):
    """`n` real servers in virtual services of `per`; plain data, what adapters get."""
    check = {"type": check, "path": "/", "expect": "OK"} if check.startswith("http") else {"type": check}
    services = []
    for s in range((n + per - 1) // per):
        reals = [{"ip": f"10.1.{i // 250}.{i % 250 + 1}", "port": 80, "weight": 1}
                 for i in range(s * per, min(n, (s + 1) * per))]
        services.append({"vip": f"10.0.{s // 250}.{s % 250 + 1}", "port": 80, "proto": "tcp", "sched": "rr",
                         "forward": "masq", "check": check, "reals": reals})
    return {"interval": interval, "timeout": timeout, "services": services}


def server_list(spec):
    return [(f"{s['vip']}:{s['port']}", f"{r['ip']}:{r['port']}") for s in spec["services"] for r in s["reals"]]


# ---- small things --------------------------------------------------------------------------------

def now():
    return time.clock_gettime_ns(time.CLOCK_MONOTONIC)


def sh(text):
    subprocess.run(["bash", "-ec", text], check=True)


def spread(values, scale=1.0):
    """n, mean, p50, p99, max of `values`, each times `scale`; None where there are none."""
    if not values:
        return None
    v = sorted(x * scale for x in values)
    pick = lambda q: v[min(len(v) - 1, int(q * len(v)))]
    return {"n": len(v), "mean": round(statistics.mean(v), 4), "min": round(v[0], 4), "p50": round(statistics.median(v), 4),
            "p90": round(pick(0.9), 4), "p99": round(pick(0.99), 4), "max": round(v[-1], 4)}


def gaps(arrivals, last=None):
    """ns between arrivals at the same server; `last` holds each server's latest, and is brought up to date."""
    last, out = {} if last is None else last, []
    for t, i, kind in sorted(arrivals):
        if kind != 2:
            if i in last:
                out.append(t - last[i])
            last[i] = t
    return out


def applied(folder):
    """What the daemon's own log says of its applies so far: operations and milliseconds; None where it says nothing."""
    text = "".join(open(f"{folder}/{name}", errors="replace").read() for name in ("out", "log") if os.path.exists(f"{folder}/{name}"))
    found = re.findall(r"Applied (\d+) operations? in ([\d.]+) ms", text)
    return {"operations": sum(int(n) for n, _ in found), "ms": round(sum(float(ms) for _, ms in found), 3)} if found else None


def backend_argv(spec, servers, ctl):
    tls = any(s["check"]["type"] == "https" for s in spec["services"])
    return [f"{BIN}/backend", servers, ctl] + ([f"{BIN}/cert.pem", f"{BIN}/key.pem"] if tls else [])


class Control:
    """One end of a helper's control socket."""

    def __init__(self, path):
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        for _ in range(6000):            # ten thousand listeners take a while on a slow day
            try:
                self.sock.connect(path)
                return
            except OSError:
                time.sleep(0.01)
        raise SystemExit(f"{path}: nobody there")

    def __call__(self, *words):
        self.sock.send(" ".join(str(w) for w in words).encode())
        return self.sock.recv(4096).decode().split()[1:]


class Table:
    """The kernel's table as ipvswatch tells it: what is live, what was wanted, every change."""

    def __init__(self, spec, path):
        self.file = open(path)
        self.rest = ""
        self.events = []          # (t, prev, kind, service, dest, old, new)
        self.services = set()
        self.live = set()         # (service, dest) with weight > 0
        self.live_of = collections.Counter()
        self.aim(server_list(spec), [f"{s['vip']}:{s['port']}" for s in spec["services"]])

    def aim(self, want, services=None):
        """Say what the table should be; `right_at` is when it last became that."""
        self.want = set(want)
        if services is not None:
            self.want_services = set(services)
        self.wrong = len(self.want ^ self.live) + len(self.want_services ^ self.services)
        self.right_at = None

    def read(self):
        text = self.rest + self.file.read()
        lines = text.split("\n")
        self.rest = lines.pop()
        fresh = []
        for line in lines:
            t, prev, kind, svc, dest, old, new = line.split()
            ev = (int(t), int(prev), kind, svc, dest, int(old), int(new))
            fresh.append(ev)
            if kind[0] == "S":
                before = (svc in self.services) != (svc in self.want_services)
                (self.services.add if kind == "S+" else self.services.discard)(svc)
                after = (svc in self.services) != (svc in self.want_services)
            else:
                key = (svc, dest)
                before = (key in self.live) != (key in self.want)
                was = key in self.live
                if ev[6] > 0:
                    self.live.add(key)
                else:
                    self.live.discard(key)
                self.live_of[svc] += (key in self.live) - was
                after = (key in self.live) != (key in self.want)
            if before != after:
                self.wrong += 1 if after else -1
                self.right_at = ev[0] if self.wrong == 0 else None
        self.events += fresh
        return fresh

    def wait_right(self, seconds, step=0.02):
        end = now() + seconds * NS
        while now() < end:
            self.read()
            if self.wrong == 0:
                return self.right_at
            time.sleep(step)
        return None

    def dark(self, events, start, end, live_before, services_before):
        """For each service, ns in [start, end] during which it stands with no live server."""
        live, up, since, total = collections.Counter(live_before), set(services_before), {}, collections.Counter()
        for s in up:
            if live[s] == 0:
                since[s] = start
        for t, _, kind, svc, dest, old, new in events:
            if kind == "S+":
                up.add(svc)
            elif kind == "S-":
                up.discard(svc)
            else:
                live[svc] += (new > 0) - (old > 0)
            dark = svc in up and live[svc] <= 0
            if dark and svc not in since:
                since[svc] = t
            elif not dark and svc in since:
                total[svc] += t - since.pop(svc)
        for svc, t in since.items():
            total[svc] += end - t
        return total


def absent(events, start, end, services_before):
    """For each service, ns in [start, end] in which it was taken out of the kernel."""
    gone, total = {}, collections.Counter()
    for t, _, kind, svc, *_ in events:
        if kind == "S-":
            gone[svc] = t
        elif kind == "S+" and svc in gone:
            total[svc] += t - gone.pop(svc)
    return total


# ---- inside the guest ----------------------------------------------------------------------------

class Lab:
    """Namespaces, backends, watcher and the system under test."""

    def __init__(self, args, spec):
        self.args, self.spec = args, spec
        self.refused = set()                      # no probe of these can reach the simulator
        self.true_interval = spec["interval"]     # rate finds the real one
        self.last, self.worst = {}, 0             # each server's latest probe; the longest gap seen (ns), to be set to 0 by who wants to know
        self.servers = server_list(spec)
        os.makedirs(RUN, exist_ok=True)
        self.folder = f"{RUN}/sut"
        os.makedirs(self.folder, exist_ok=True)
        sh("""
        modprobe -a ip_vs ip_vs_rr veth
        ip netns add rs; ip netns add cl
        ip link add lb0 type veth peer name rs0 netns rs; ip link add lb1 type veth peer name cl0 netns cl
        ip addr add 10.255.0.1/24 dev lb0; ip addr add 10.254.0.1/24 dev lb1; ip link set lb0 up; ip link set lb1 up
        ip -n rs addr add 10.255.0.2/24 dev rs0; ip -n rs link set rs0 up; ip -n rs link set lo up
        ip -n cl addr add 10.254.0.2/24 dev cl0; ip -n cl link set cl0 up; ip -n cl link set lo up
        ip route add 10.1.0.0/16 via 10.255.0.2; ip -n rs route add default via 10.255.0.1; ip -n cl route add default via 10.254.0.1
        ip -n rs route add local 10.1.0.0/16 dev lo; ip route add local 10.0.0.0/16 dev lo
        sysctl -qw net.ipv4.ip_forward=1
        ip netns exec rs sysctl -qw net.core.somaxconn=1024
        mkdir -p /run/cg; mount -t cgroup2 none /run/cg; echo '+memory +cpu +pids' > /run/cg/cgroup.subtree_control || true
        mkdir -p /run/cg/sut
        """)
        reals = [r for s in spec["services"] for r in s["reals"]]
        with open(f"{RUN}/servers", "w") as f:
            f.writelines(f"{r['ip']} {r['port']}\n" for r in reals)
        self.children = [
            subprocess.Popen(["ip", "netns", "exec", "rs"] + backend_argv(spec, f"{RUN}/servers", f"{RUN}/b.ctl")),
            subprocess.Popen([f"{BIN}/ipvswatch", f"{RUN}/w.ctl", f"{RUN}/w.out", "500", str(args.focus_ms)]),
        ]
        self.backend, self.watch = Control(f"{RUN}/b.ctl"), Control(f"{RUN}/w.ctl")
        self.table = Table(spec, f"{RUN}/w.out")
        import adapters
        self.sut = adapters.load(args.sut)
        self.proc = None

    def close(self):
        self.kill()
        for c in self.children:
            c.kill()

    def set(self, mode, indices, ms=0):
        """Put servers into a mode; returns when it took effect (ns)."""
        (self.refused.update if mode in ("refuse", "drop") else self.refused.difference_update)(indices)
        return int(self.backend("set", mode, ms, *indices)[0])

    def arrivals(self):
        """All probe arrivals since the last call: (ns, server, kind)."""
        self.backend("dump", f"{RUN}/dump")
        with open(f"{RUN}/dump", "rb") as f:
            got = list(struct.iter_unpack("=QII", f.read()))
        self.worst = max(self.worst, max(gaps(got, self.last), default=0))
        return got

    def focus(self, *services):
        self.watch("focus", *services)

    def launch(self, under=()):
        """Start the system under test (`under`: of another command); returns the time just before."""
        self.sut.generate(self.spec, self.folder)
        argv = list(under) + self.sut.start(self.folder)
        log = open(f"{self.folder}/out", "ab")
        def enter():
            with open("/run/cg/sut/cgroup.procs", "w") as f:
                f.write("0")
        t = now()
        self.proc = subprocess.Popen(argv, env=os.environ | self.sut.environment(), stdout=log, stderr=log, stdin=subprocess.DEVNULL, preexec_fn=enter, start_new_session=True)
        return t

    def pids(self):
        with open("/run/cg/sut/cgroup.procs") as f:
            return [int(p) for p in f.read().split()]

    def kill(self):
        """As a crash would: no process of it gets to clean up."""
        for _ in range(200):
            pids = self.pids()
            for sig in (signal.SIGSTOP, signal.SIGKILL):     # stopped first: a child must not outlive its parent and tidy up
                for p in pids:
                    try:
                        os.kill(p, sig)
                    except ProcessLookupError:
                        pass
            if self.proc:
                try:
                    self.proc.wait(0.05)
                except subprocess.TimeoutExpired:
                    pass
            if not pids:
                break
            time.sleep(0.02)
        self.proc = None

    def flush(self):
        subprocess.run(["ipvsadm", "-C"])
        time.sleep(1.2)
        self.table.read()

    def cpu(self):
        with open("/run/cg/sut/cpu.stat") as f:
            v = dict(line.split() for line in f)
        return int(v["usage_usec"]) / 1e6

    def memory(self):
        """KiB over the process tree: summed RSS, summed PSS, processes; and the cgroup's anonymous pages."""
        rss = pss = n = 0
        for p in self.pids():
            try:
                text = open(f"/proc/{p}/smaps_rollup").read()
            except OSError:
                continue
            n += 1
            rss += int(re.search(r"^Rss:\s+(\d+)", text, re.M).group(1))
            pss += int(re.search(r"^Pss:\s+(\d+)", text, re.M).group(1))
        out = {"processes": n, "rss_kib": rss, "pss_kib": pss}
        try:
            out["anon_kib"] = int(re.search(r"^anon (\d+)", open("/run/cg/sut/memory.stat").read(), re.M).group(1)) // 1024
        except (OSError, AttributeError):
            pass
        return out

    def all_probed(self, since, seconds):
        """When every server that can be probed had been since `since` (ns), or None."""
        left, end = set(range(len(self.servers))) - self.refused, now() + seconds * NS
        last = None
        while left and now() < end:
            time.sleep(0.5)              # to look takes a while, on the same processor: mostly all are there by then
            for t, i, kind in self.arrivals():
                if t >= since and kind != 2 and i in left:
                    left.discard(i)
                    last = t
        return last if not left else None

    def steady(self, seconds):
        """Wait until the table is right and every server was probed twice."""
        if self.table.wait_right(seconds) is None:
            self.table.read()
            return False
        for _ in range(2):
            if self.all_probed(now(), seconds) is None:
                return False
        return True


def host_cpu(args):
    """CPU seconds the host has spent on this whole guest so far (asked of the harness outside)."""
    if os.path.exists(args.out + ".cpu"):
        os.unlink(args.out + ".cpu")
    open(args.out + ".ask", "w").close()
    for _ in range(400):
        try:
            return float(open(args.out + ".cpu").read())
        except (OSError, ValueError):
            time.sleep(0.01)
    return 0.0


def busy_fraction(before, after):
    """Share of the guest's time that was not idle, from two readings of /proc/stat."""
    d = [b - a for a, b in zip(before, after)]
    return round(1 - (d[3] + d[4]) / max(1, sum(d)), 3)


def proc_stat():
    return [int(x) for x in open("/proc/stat").readline().split()[1:9]]


# ---- measurements. Each takes the lab with the daemon running (save start) and returns plain data --

def m_start(lab, a):
    """Cold start: empty kernel table, all servers well."""
    if {"applytrace", "start"} & set(a.what.split(",")) == {"applytrace"}:
        return unseen_start(lab, a)
    if a.prefill:
        with open(f"{RUN}/rules", "w") as f:
            for s in lab.spec["services"]:
                f.write(f"-A -t {s['vip']}:{s['port']} -s {s['sched']}\n")
                f.writelines(f"-a -t {s['vip']}:{s['port']} -r {r['ip']}:{r['port']} -m -w {r['weight']}\n" for r in s["reals"])
        sh(f"ipvsadm -R < {RUN}/rules")
        lab.table.wait_right(30)
    lab.watch("full", 10)
    time.sleep(0.7)
    lab.table.read()
    lab.arrivals()
    mark, live0, up0 = len(lab.table.events), collections.Counter(lab.table.live_of), set(lab.table.services)
    t0 = lab.launch()
    cpu0 = 0
    if a.prefill:
        lab.all_probed(t0, a.patience)
    right = lab.table.wait_right(a.patience)
    first_round = lab.all_probed(t0, min(a.patience, 30 + 3 * lab.spec["interval"])) if a.check != "none" and right and not a.prefill else a.prefill and now() or None
    lab.watch("full", 500)
    lab.table.read()
    ev = lab.table.events[mark:]
    end = right or now()
    services = [e[0] for e in ev if e[2] == "S+"]
    dark = lab.table.dark(ev, t0, end, live0, up0)
    nowant = len(lab.spec["services"])
    return {"complete_s": right and max(0, round((right - t0) / NS, 3)), "prefilled": a.prefill, "first_service_s": round((services[0] - t0) / NS, 3) if services else None,
            "all_services_s": round((services[-1] - t0) / NS, 3) if len(services) >= nowant else None,
            "every_server_probed_s": first_round and round((first_round - t0) / NS, 3),
            "events": dict(collections.Counter(e[2] for e in ev)),
            "dark_s": spread(list(dark.values()) + [0] * (nowant - len(dark)), 1 / NS),
            "live_at_end": len(lab.table.live), "cpu_s": round(lab.cpu() - cpu0, 3), "applied": applied(lab.folder)}


def unseen_start(lab, a):
    """A cold start of which only the daemon's own log tells: to look at 10,000 servers takes as long as to make them, on the same processor."""
    lab.watch("full", 60000)
    time.sleep(0.7)
    lab.launch()
    for _ in range(50):
        if applied(lab.folder):
            break
        time.sleep(0.1)
    lab.watch("full", 500)
    lab.table.wait_right(a.patience)
    return {"applied": applied(lab.folder)}


def m_applytrace(lab, a):
    """The same start under strace: what the daemon's log says of its apply, beside the calls it made."""
    lab.kill()
    lab.flush()
    lab.table.aim(lab.servers)
    for name in ("out", "log"):
        if os.path.exists(f"{lab.folder}/{name}"):
            os.truncate(f"{lab.folder}/{name}", 0)
    trace = f"{RUN}/trace"
    lab.launch(["strace", "-qq", "-f", "-ttt", "-T", "-v", "-xx", "-s", "2", "-e", "trace=sendto,sendmsg,recvfrom,recvmsg,recvmmsg,setsockopt", "-o", trace])
    lab.table.wait_right(a.patience)
    time.sleep(1)
    lab.kill()
    return {"log": applied(lab.folder), "trace": calls_of_apply(open(trace, errors="replace"))}


def calls_of_apply(lines):
    """Of a trace: changes of the table (a netlink message or a setsockopt each), the calls for them, and ms from the first to the last answer."""
    changes = calls = 0
    first = last = None
    asking = {}                                   # by thread: was the latest thing it sent a change?
    for line in lines:
        m = re.match(r"(\d+) +([\d.]+) (<\.\.\. )?(\w+)(.*?)(?:<([\d.]+)>)?$", line)
        if not m:
            continue
        thread, t, resumed, name, text, took = m.groups()
        if not resumed and not name.startswith("recv"):
            # Of several messages in one call the last at least asks to be acknowledged; questions do not.
            n = text.count("nlmsg_flags=") * ("NLM_F_ACK" in text) if name.startswith("send") else len(re.findall("IP_VS_SO_SET|0x48[0-9a-f]", text)[:1])
            changes, asking[thread] = changes + n, n > 0
        if asking.get(thread):
            calls += not resumed
            first = first or float(t)
            last = float(t) + (0 if resumed else float(took or 0))
    return {"changes": changes, "calls": calls, "ms": first and round((last - first) * 1000, 3)}


def m_startdead(lab, a):
    """Cold start with every tenth server dead: how long do the dead get traffic?"""
    lab.kill()
    lab.flush()
    dead = list(range(3, len(lab.servers), 10))
    lab.set("refuse", dead)
    lab.table.aim([s for i, s in enumerate(lab.servers) if i not in set(dead)])
    lab.watch("full", 10)
    mark = len(lab.table.events)
    t0 = lab.launch()
    # right may be reached and lost again while the daemon starts, so wait for a quiet second round
    end = t0 + a.patience * NS
    while now() < end:
        r = lab.table.wait_right(max(0.1, (end - now()) / NS))
        if r is None or lab.all_probed(r, a.patience) is None:
            break
        lab.table.read()
        if lab.table.wrong == 0:
            break
    r = lab.table.right_at
    lab.watch("full", 500)
    ev = lab.table.events[mark:]
    names = {lab.servers[i] for i in dead}
    since, exposed = {}, collections.Counter()
    for t, _, kind, svc, dest, old, new in ev:
        key = (svc, dest)
        if key in names:
            if new > 0:
                since.setdefault(key, t)
            elif key in since:
                exposed[key] += t - since.pop(key)
    stuck = len(since)
    for key, t in since.items():
        exposed[key] += now() - t
    dark = lab.table.dark(ev, t0, r or now(), {}, ())
    out = {"right_s": r and round((r - t0) / NS, 3), "dead_exposed_s": spread([exposed[n] for n in names], 1 / NS), "dead_left_in": stuck,
           "dark_s": spread([dark[s["vip"] + ":80"] for s in lab.spec["services"]], 1 / NS)}
    lab.set("ok", dead)
    lab.table.aim(lab.servers)
    lab.table.wait_right(a.patience)
    return out


def m_adopt(lab, a):
    """Kill -9, then start again on the table that was left, again and again: the median's time, and all that was touched."""
    rounds = sorted((adopt(lab, a) for _ in range(AGAIN)), key=lambda r: r["every_server_probed_s"] or a.patience)
    touched = sum((collections.Counter(r["events"]) for r in rounds), collections.Counter())
    return rounds[AGAIN // 2] | {"events": dict(touched), "all_s": [r["every_server_probed_s"] for r in rounds]}


def adopt(lab, a):
    """What is touched by a kill -9 and a start, what goes dark?"""
    lab.kill()
    time.sleep(0.7)
    lab.table.read()
    live, up = collections.Counter(lab.table.live_of), set(lab.table.services)
    lab.watch("full", 10)
    lab.arrivals()
    mark = len(lab.table.events)
    t0 = lab.launch()
    done = lab.all_probed(t0, a.patience)
    time.sleep(1)
    right = lab.table.wait_right(a.patience)
    lab.watch("full", 500)
    lab.table.read()
    ev = lab.table.events[mark:]
    dark = lab.table.dark(ev, t0, now(), live, up)
    gone = absent(ev, t0, now(), up)
    zero = [0] * (len(lab.spec["services"]))
    return {"every_server_probed_s": done and round((done - t0) / NS, 3), "events": dict(collections.Counter(e[2] for e in ev)),
            "last_change_s": round((ev[-1][0] - t0) / NS, 3) if ev else 0, "right_at_end": right is not None or lab.table.wrong == 0,
            "dark_s": spread((list(dark.values()) + zero)[:max(len(zero), len(dark))], 1 / NS), "services_dark": len(dark), "services_removed": len(gone)}


def m_rate(lab, a):
    """Probe rate, true interval, spread, CPU, memory over a window with nothing wrong."""
    lab.arrivals()
    lab.watch("full", 60000)
    h0 = host_cpu(a)
    s0, c0, p0, t0 = lab.backend("stats"), lab.cpu(), proc_stat(), now()
    time.sleep(a.window)
    s1, c1, p1, t1 = lab.backend("stats"), lab.cpu(), proc_stat(), now()
    h1 = host_cpu(a)
    lab.watch("full", 500)
    got = [x for x in lab.arrivals() if x[2] != 2 and t0 <= x[0] <= t1]
    secs = (t1 - t0) / NS
    last = {}
    between = gaps(got, last)
    if between:
        lab.true_interval = max(lab.spec["interval"], statistics.median(between) / NS)
    bins = collections.Counter((t - t0) // 100_000_000 for t, *_ in got)
    n = len(got)
    return {"window_s": round(secs, 2), "probes": n, "probes_per_s": round(n / secs, 2), "servers_seen": len(last),
            "ideal_probes_per_s": round(len(lab.servers) / lab.spec["interval"], 2),
            "interval_s": spread(between, 1 / NS), "peak_over_mean_100ms": round(max(bins.values()) / (n / (secs * 10)), 1) if n else None,
            "cpu_s": round(c1 - c0, 3), "cpu_s_per_1000": round((c1 - c0) / n * 1000, 3) if n else None, "cpu_share": round((c1 - c0) / secs, 3),
            "guest_cpu_s": round(h1 - h0, 3), "guest_cpu_s_per_1000": round((h1 - h0) / n * 1000, 3) if n else None,
            "backend_cpu_s": round((int(s1[5]) - int(s0[5])) / NS, 3), "guest_busy": busy_fraction(p0, p1), **lab.memory()}


def wait_live(lab, key, alive, seconds, other=None):
    """When did `key` become (not) live; events of others seen meanwhile go to `other`."""
    end = now() + seconds * NS
    while True:
        for e in lab.table.read():
            if (e[3], e[4]) == key:
                if (e[6] > 0) == alive:
                    return e
            elif other is not None:
                other.append(e)
        if now() > end:
            return None
        time.sleep(0.004)


def m_detect(lab, a):
    """One server at a time fails and comes back, at a random moment of its interval."""
    out = {}
    rnd = random.Random(a.seed)
    for mode in a.modes.split(","):
        if mode == "e500" and a.check == "tcp" or mode == "hang" and a.check == "tcp":
            continue
        down, up, flaps, missed, unsure = [], [], 0, 0, []
        begin = now()
        for k in range(a.trials):
            if (now() - begin) / NS > a.budget:
                break
            i = rnd.randrange(len(lab.servers))
            key = lab.servers[i]
            lab.focus(key[0])
            time.sleep(rnd.uniform(0, lab.true_interval) + 0.05)
            lab.table.read()
            other = []
            if mode == "drop":
                ip = key[1].split(":")[0]
                t = now()
                sh(f"ip -n rs route add blackhole {ip}/32 table local")
            else:
                t = lab.set(mode, [i])
            e = wait_live(lab, key, False, a.give_up, other)
            if e is None:
                missed += 1
            else:
                down.append(e[0] - t)
                unsure.append(e[0] - e[1])
            # over the interval the daemon truly keeps, or recovery would fall at a favoured moment
            time.sleep(rnd.uniform(0, lab.true_interval))
            lab.table.read()
            if mode == "drop":
                t = now()
                sh(f"ip -n rs route del blackhole {ip}/32 table local")
            else:
                t = lab.set("ok", [i])
            if e is not None:
                e = wait_live(lab, key, True, a.give_up, other)
                if e:
                    up.append(e[0] - t)
                else:
                    missed += 1
            flaps += len(other)
        lab.focus()
        out[mode] = {"detect_ms": spread(down, 1e-6), "recover_ms": spread(up, 1e-6), "not_seen": missed, "others_touched": flaps,
                     "resolution_ms": spread(unsure, 1e-6)}
    iv, to = lab.spec["interval"] * 1000, lab.spec["timeout"] * 1000
    out["ideal_ms"] = {"refuse/e500/reset": {"mean": iv / 2, "max": iv}, "hang/drop": {"mean": iv / 2 + to, "max": iv + to}, "recover": {"mean": iv / 2, "max": iv}}
    return out


def m_hol(lab, a):
    """With so many servers hanging all the while, how soon is the failure of ANOTHER one seen?"""
    return [hol(lab, a, int(count)) for count in str(a.hung).split(",")]


def hol(lab, a, count):
    hung = list(range(0, len(lab.servers), max(1, len(lab.servers) // count)))[:count]
    keys = {lab.servers[i] for i in hung}
    lab.set("hang", hung)
    lab.table.aim([s for s in lab.servers if s not in keys])
    settled = lab.table.wait_right(a.give_up + a.patience)
    time.sleep(2 * lab.spec["interval"])
    rnd, save = random.Random(a.seed + 1), lab.servers
    others = [i for i in range(len(save)) if i not in set(hung)]
    out = {"hung": len(hung), "settled": settled is not None}
    down, up, missed = [], [], 0
    begin = now()
    for _ in range(a.trials):
        if (now() - begin) / NS > a.budget:
            break
        i = rnd.choice(others)
        key = save[i]
        lab.focus(key[0])
        time.sleep(rnd.uniform(0, lab.true_interval) + 0.05)
        lab.table.read()
        t = lab.set("refuse", [i])
        e = wait_live(lab, key, False, a.give_up)
        if e:
            down.append(e[0] - t)
        else:
            missed += 1
        time.sleep(rnd.uniform(0, lab.true_interval))
        t = lab.set("ok", [i])
        if e:
            e = wait_live(lab, key, True, a.give_up)
            if e:
                up.append(e[0] - t)
    lab.focus()
    out["detect_ms"], out["recover_ms"], out["not_seen"] = spread(down, 1e-6), spread(up, 1e-6), missed
    lab.arrivals()
    time.sleep(min(a.window, 10))
    apart = set(hung)
    got = [x for x in lab.arrivals() if x[1] not in apart]
    out["others_interval_s"], out["others_probes_per_s"] = spread(gaps(got), 1 / NS), round(len(got) / min(a.window, 10), 2)
    lab.set("ok", hung)
    lab.table.aim(lab.servers)
    lab.table.wait_right(a.give_up + a.patience)
    return out


def m_mass(lab, a):
    """Every second server fails at once; then all come back at once."""
    out = []
    half = list(range(1, len(lab.servers), 2))
    for _ in range(a.repeats):
        lab.watch("full", 10)
        lab.table.read()
        res = {}
        for step, mode, want in (("fail", a.mass_mode, [s for i, s in enumerate(lab.servers) if i % 2 == 0]), ("recover", "ok", lab.servers)):
            lab.table.aim(want)
            mark, c0 = len(lab.table.events), lab.cpu()
            t = lab.set(mode, half)
            r = lab.table.wait_right(a.patience)
            lab.table.read()
            times = [e[0] - t for e in lab.table.events[mark:] if e[2] != "S+"]
            res[step] = {"right_s": r and round((r - t) / NS, 3), "left_wrong": lab.table.wrong, "changes_s": spread(times, 1 / NS), "cpu_s": round(lab.cpu() - c0, 2)}
            time.sleep(1)
        lab.watch("full", 500)
        out.append(res)
    return out


def m_reload(lab, a):
    """One weight, a virtual more, a virtual less."""
    import copy
    out, base = {}, lab.spec
    bigger = copy.deepcopy(base)
    extra = copy.deepcopy(base["services"][0])
    extra["vip"] = "10.0.200.1"          # its real servers are those of the first service
    for r in extra["reals"]:
        r["ip"] = r["ip"]
    bigger["services"].append(extra)
    heavier = copy.deepcopy(base)
    s = heavier["services"][len(base["services"]) // 2]
    s["reals"][3 % len(s["reals"])]["weight"] = 5
    target = (f"{s['vip']}:80", f"{s['reals'][3 % len(s['reals'])]['ip']}:80")
    steps = [("nothing", base, set()), ("weight", heavier, {target[0]}), ("weight_back", base, {target[0]}),
             ("add_virtual", bigger, {"10.0.200.1:80"}), ("remove_virtual", base, {"10.0.200.1:80"})]
    dead = len(lab.servers) - 1                 # stays dead throughout; no reload should bring it back
    dead_key = lab.servers[dead]
    wanted = lambda spec: [x for x in server_list(spec) if x != dead_key]
    lab.set("refuse", [dead])
    lab.table.aim(wanted(base))
    lab.table.wait_right(a.patience)
    time.sleep(1)
    for name, spec, mine in steps:
        if a.reload_steps and name not in a.reload_steps.split(","):
            continue
        lab.table.read()
        lab.table.aim(wanted(spec), [f"{s['vip']}:{s['port']}" for s in spec["services"]])
        lab.sut.generate(spec, lab.folder)
        live, up = collections.Counter(lab.table.live_of), set(lab.table.services)
        lab.watch("full", 10)
        if name.startswith("weight"):
            lab.focus(target[0])
        time.sleep(0.3)
        lab.table.read()
        lab.arrivals()
        lab.worst = 0
        mark, c0, t = len(lab.table.events), lab.cpu(), now()
        lab.sut.reload(lab.folder, lab.proc.pid)
        effect = None
        end = t + a.patience * NS
        while effect is None and now() < end and name != "nothing":
            for e in lab.table.read():
                if name.startswith("weight"):
                    if (e[3], e[4]) == target and e[6] == (5 if name == "weight" else 1):
                        effect = e[0]
            if not name.startswith("weight") and lab.table.wrong == 0:
                effect = lab.table.right_at
            time.sleep(0.01)
        settled = lab.all_probed(max(t, effect or 0), a.patience)
        time.sleep(1)
        lab.arrivals()
        lab.table.wait_right(5)
        lab.watch("full", 500)
        lab.focus()
        lab.table.read()
        ev = lab.table.events[mark:]
        others = [e for e in ev if e[3] not in mine and (e[3], e[4]) != dead_key]
        revived, since = 0, None
        for e in ev:
            if (e[3], e[4]) == dead_key:
                if e[6] > 0:
                    since = e[0]
                elif since:
                    revived, since = revived + e[0] - since, None
        revived += now() - since if since else 0
        neighbours = [e for e in ev if e[3] in mine and (e[3], e[4]) not in (target, dead_key)] if name.startswith("weight") else []
        dark = lab.table.dark(ev, t, now(), live, up)
        out[name] = {"effect_s": effect and round((effect - t) / NS, 3), "changes": dict(collections.Counter(e[2] for e in ev)),
                     "other_services_changed": len({e[3] for e in others}), "other_changes": len(others), "neighbour_changes": len(neighbours), "dead_back_s": round(revived / NS, 3),
                     "services_dark": len(dark), "dark_s": spread(list(dark.values()), 1 / NS), "wrong_at_end": lab.table.wrong,
                     "all_probed_again_s": settled and round((settled - t) / NS, 3), "worst_gap_s": round(lab.worst / NS, 3), "cpu_s": round(lab.cpu() - c0, 2)}
    lab.set("ok", [dead])
    lab.table.aim(lab.servers, [f"{s['vip']}:{s['port']}" for s in base["services"]])
    lab.table.wait_right(a.patience)
    return out


def m_restart(lab, a):
    """A polite stop and a start, as a package upgrade does it: how long is each service without a live server?"""
    lab.watch("full", 10)
    time.sleep(0.3)
    lab.table.read()
    live, up = collections.Counter(lab.table.live_of), set(lab.table.services)
    mark, t = len(lab.table.events), now()
    lab.sut.stop(lab.folder, lab.proc.pid)
    end = t + a.patience * NS
    while lab.pids() and now() < end:
        lab.proc.poll()
        time.sleep(0.01)
    stopped = now()
    lab.proc.wait()
    time.sleep(0.1)
    lab.table.read()
    left = len(lab.table.live)
    start = lab.launch()
    while lab.table.wait_right(a.patience) is not None and lab.all_probed(start, a.patience) is None:
        pass
    lab.table.read()
    lab.watch("full", 500)
    ev = lab.table.events[mark:]
    without, since, count = collections.Counter(), {}, collections.Counter(live)
    for e in ev:
        if e[2][0] == "S":
            continue
        count[e[3]] += (e[6] > 0) - (e[5] > 0)
        if count[e[3]] <= 0 and e[3] not in since:
            since[e[3]] = e[0]
        elif count[e[3]] > 0 and e[3] in since:
            without[e[3]] += e[0] - since.pop(e[3])
    for k, v in since.items():
        without[k] += now() - v
    return {"stop_s": round((stopped - t) / NS, 3), "servers_left_by_stop": left, "right_s": lab.table.right_at and max(0, round((lab.table.right_at - t) / NS, 3)),
            "no_server_s": spread([without[f"{s['vip']}:80"] for s in lab.spec["services"]], 1 / NS), "changes": dict(collections.Counter(e[2] for e in ev))}


def m_adoptchanged(lab, a):
    """Kill -9, change the configuration (a virtual less, a real less, another weight), start: is what stood put right?"""
    import copy
    lab.kill()
    time.sleep(0.7)
    lab.table.read()
    base, spec = lab.spec, copy.deepcopy(lab.spec)
    gone_service = spec["services"].pop()
    gone_real = spec["services"][0]["reals"].pop()
    spec["services"][0]["reals"][0]["weight"] = 7
    heavy = (f"{spec['services'][0]['vip']}:80", f"{spec['services'][0]['reals'][0]['ip']}:80")
    mark = len(lab.table.events)
    lab.table.aim(server_list(spec), [f"{s['vip']}:80" for s in spec["services"]])
    lab.spec = spec
    lab.arrivals()
    t0 = lab.launch()
    lab.table.wait_right(min(a.patience, 60))
    time.sleep(5)
    lab.table.read()
    weights = [e[6] for e in lab.table.events[mark:] if (e[3], e[4]) == heavy]
    out = {"right_s": lab.table.right_at and round((lab.table.right_at - t0) / NS, 3),
           "stale_service_stays": f"{gone_service['vip']}:80" in lab.table.services,
           "stale_real_stays": (f"{spec['services'][0]['vip']}:80", f"{gone_real['ip']}:80") in lab.table.live,
           "probes_meanwhile": len(lab.arrivals()), "weight_put_right": bool(weights) and weights[-1] == 7, "changes": dict(collections.Counter(e[2] for e in lab.table.events[mark:]))}
    lab.spec = base
    lab.table.aim(lab.servers, [f"{s['vip']}:80" for s in base["services"]])
    return out


def m_forward(lab, a):
    """A client opens connections through the first VIP all the while; one server fails, again and again."""
    out = {}
    rnd = random.Random(a.seed + 2)
    svc = lab.spec["services"][0]
    vip, n = f"{svc['vip']}:80", len(svc["reals"])
    for mode in a.modes.split(","):
        if mode == "drop":
            continue
        seen, down = [], []
        lab.focus(vip)
        for k in range(a.trials):
            secs = a.hold + lab.spec["interval"] + 1
            cl = subprocess.Popen(["ip", "netns", "exec", "cl", f"{BIN}/vipclient", f"{RUN}/cl.out", str(a.client_rate), str(secs), str(a.client_timeout), vip])
            time.sleep(0.5 + rnd.uniform(0, lab.spec["interval"]))
            i = rnd.randrange(n)
            lab.table.read()
            t = lab.set(mode, [i])
            e = wait_live(lab, lab.servers[i], False, a.hold - 0.5)
            if e:
                down.append(e[0] - t)
            cl.wait()
            lab.set("ok", [i])
            rows = [line.split() for line in open(f"{RUN}/cl.out")]
            bad = collections.Counter(r[2] for r in rows if r[2] != "ok")
            seen.append({"connections": len(rows), "failed": sum(bad.values()), **bad})
            lab.table.aim(lab.servers)
            lab.table.wait_right(a.give_up)
            time.sleep(0.3)
        lab.focus()
        out[mode] = {"failed_per_event": spread([s["failed"] for s in seen]), "kinds": dict(sum((collections.Counter({k: v for k, v in s.items() if k not in ("connections", "failed")}) for s in seen), collections.Counter())),
                     "connections_per_event": seen[0]["connections"] if seen else 0, "detect_ms": spread(down, 1e-6)}
        iv, to = lab.spec["interval"], lab.spec["timeout"]
        out[mode]["ideal_failed_mean"] = round(a.client_rate / n * (iv / 2 + (to if mode == "hang" else 0)), 1)
    return out


def m_syscalls(lab, a):
    """System calls for one probe (strace -c; use a small --n, tracing is slow)."""
    out = f"{RUN}/strace"
    tracer = subprocess.Popen(["strace", "-qq", "-f", "-c", "-U", "name,calls", "-o", out] + [w for p in lab.pids() for w in ("-p", str(p))])
    time.sleep(2)
    lab.arrivals()
    time.sleep(a.window)
    n = len(lab.arrivals())
    tracer.send_signal(signal.SIGINT)
    tracer.wait()
    calls = {}
    for line in open(out):
        m = re.match(r"\s*(\w+)\s+(\d+)\s*$", line)
        if m and m.group(1) != "total":
            calls[m.group(1)] = int(m.group(2))
    scale = (a.window / (a.window + 2)) / n if n else 0
    return {"probes": n, "per_probe": round(sum(calls.values()) * scale, 1), "by_name": {k: round(v * scale, 2) for k, v in sorted(calls.items(), key=lambda kv: -kv[1])[:20]}}


MEASURES = {"syscalls": m_syscalls, "applytrace": m_applytrace, "start": m_start, "rate": m_rate, "detect": m_detect, "hol": m_hol, "mass": m_mass, "reload": m_reload,
            "adopt": m_adopt, "adoptchanged": m_adoptchanged, "restart": m_restart, "startdead": m_startdead, "forward": m_forward}


def inside(a):
    spec = make_spec(a.n, a.per, a.check, a.interval, a.timeout)
    lab = Lab(a, spec)
    what = a.what.split(",")
    res = {"sut": a.sut, "n": a.n, "per": a.per, "check": a.check, "interval": a.interval, "timeout": a.timeout,
           "version": lab.sut.version(), "kernel": os.uname().release, "seed": a.seed, "trials": a.trials}
    def save():
        with open(a.out, "w") as f:
            json.dump(res, f, indent=1)
    try:
        res["start"] = m_start(lab, a)
        print("start", json.dumps(res["start"]), flush=True)
        if res["start"].get("complete_s", 0) is None:
            print("the table never became right; the daemon's last words:", open(f"{lab.folder}/out").read()[-2000:], flush=True)
        elif a.check != "none":
            res["steady"] = lab.steady(a.patience)
        for w in what:
            if w == "start" or (res["start"].get("complete_s", 0) is None):
                continue
            res[w] = MEASURES[w](lab, a)
            print(w, json.dumps(res[w]), flush=True)
            save()
    finally:
        save()
        lab.close()
    return 0


# ---- on this machine ------------------------------------------------------------------------------

def build():
    os.makedirs(BIN, exist_ok=True)
    if not os.path.exists(f"{BIN}/cert.pem"):
        subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "3650", "-subj", "/CN=bench",
                        "-addext", "basicConstraints=CA:FALSE", "-keyout", f"{BIN}/key.pem", "-out", f"{BIN}/cert.pem"], check=True, capture_output=True)
    for name in ("backend", "ipvswatch", "vipclient", "ref"):
        src, exe = f"{HERE}/src/{name}.c", f"{BIN}/{name}"
        if not os.path.exists(exe) or os.path.getmtime(exe) < os.path.getmtime(src):
            subprocess.run(["cc", "-O2", "-o", exe, src] + (["-lssl", "-lcrypto"] if name == "backend" else []), check=True)


def main():
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("--sut", required=True, help="adapter[:option=value,...], or a path to an adapter file")
    p.add_argument("--n", type=int, default=100, help="real servers (100)")
    p.add_argument("--per", type=int, default=10, help="real servers in a virtual service (10)")
    p.add_argument("--check", choices=("http", "https", "tcp", "none"), default="http")
    p.add_argument("--interval", type=float, default=1.0)
    p.add_argument("--timeout", type=float, default=1.0)
    p.add_argument("--what", default="rate", help=f"comma-separated: {','.join(MEASURES)} (start is always done)")
    p.add_argument("--modes", default="refuse,hang,e500", help="for detect, forward: refuse hang e500 reset drop")
    p.add_argument("--trials", type=int, default=20)
    p.add_argument("--budget", type=float, default=60, help="seconds a mode of detect may take")
    p.add_argument("--give-up", type=float, default=60, help="seconds until a failure counts as not seen")
    p.add_argument("--patience", type=float, default=120, help="seconds the table may take to become right")
    p.add_argument("--window", type=float, default=20, help="seconds for rate")
    p.add_argument("--hung", default="1", help="servers that hang in hol: a number, or several (1,10,100)")
    p.add_argument("--prefill", action="store_true", help="fill the kernel's table before the daemon starts")
    p.add_argument("--reload-steps", help="some of nothing,weight,weight_back,add_virtual,remove_virtual")
    p.add_argument("--repeats", type=int, default=2, help="for mass")
    p.add_argument("--mass-mode", default="refuse")
    p.add_argument("--hold", type=float, default=4, help="forward: seconds a failure lasts")
    p.add_argument("--client-rate", type=float, default=100)
    p.add_argument("--client-timeout", type=float, default=1000, help="ms")
    p.add_argument("--focus-ms", type=float, default=2)
    p.add_argument("--seed", type=int, default=1)
    p.add_argument("--mem", default="2G")
    p.add_argument("--limit", type=int, default=900, help="seconds for the whole run")
    p.add_argument("--tag", default="", help="added to the result's file name")
    p.add_argument("--out")
    p.add_argument("--cpu", default=str(max(os.sched_getaffinity(0))), help="the host's CPU that the guest stays on; its last, unless told")
    p.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    a = p.parse_args()
    if a.inside:
        return inside(a)
    build()
    if not a.out:
        name = re.sub(r"[^A-Za-z0-9=]+", "-", os.path.basename(a.sut))
        a.out = f"{HERE}/results/{name}_{a.check}_n{a.n}_i{a.interval:g}{'_' + a.tag if a.tag else ''}.json"
    argv = ["taskset", "-c", a.cpu, UML, "-m", a.mem, "-t", str(a.limit), "/usr/bin/python3", os.path.abspath(__file__), "--inside", "--out", a.out] + [x for x in sys.argv[1:] if x != "--inside"]
    guest = subprocess.Popen(argv)
    while guest.poll() is None:
        time.sleep(0.01)
        if os.path.exists(a.out + ".ask"):
            os.unlink(a.out + ".ask")
            with open(a.out + ".cpu.new", "w") as f:
                f.write(f"{tree_cpu(guest.pid):.3f}")
            os.rename(a.out + ".cpu.new", a.out + ".cpu")
    for end in (".ask", ".cpu", ".cpu.new"):
        if os.path.exists(a.out + end):
            os.unlink(a.out + end)
    print(a.out)
    return guest.returncode


def tree_cpu(root):
    """CPU seconds of a process and all below it, the ended ones included."""
    stats = {}
    for p in os.listdir("/proc"):
        if p.isdigit():
            try:
                v = open(f"/proc/{p}/stat").read().rpartition(")")[2].split()
            except OSError:
                continue
            stats[int(p)] = (int(v[1]), sum(int(x) for x in v[11:15]))
    tree, total = {root}, 0
    for _ in range(12):
        tree |= {p for p, (parent, _) in stats.items() if parent in tree}
    for p in tree & set(stats):
        total += stats[p][1]
    return total / os.sysconf("SC_CLK_TCK")


if __name__ == "__main__":
    sys.exit(main())
