#!/usr/bin/python3
"""CPU, memory and lateness of probes on this machine itself: loopback servers, no IPVS, table all well.

ldirectord probes without IPVS (its ipvsadm calls fail, and in the steady state it makes none); keepalived's checker
refuses to start without, so it has no row; ref is the floor; curl is one process a check, without a pause. Each writes a
file results/native_*.json. With --lateness lvsentry alone: what a status, a dump and a reload add to the lateness of probes.
"""
import argparse
import copy
import json
import os
import re
import resource
import signal
import struct
import subprocess
import sys
import tempfile
import time

import bench
from adapters import load

NAMES = {"lvsentry": "lvsentry:kernel=no"}
PORT = 8901


class Site:
    """Servers on loopback addresses, and the simulator that answers for them."""

    def __init__(self, a):
        self.a, self.n = a, a.n
        self.spec = bench.make_spec(a.n, a.per, a.check, a.interval, a.timeout)
        for s in self.spec["services"]:
            s["vip"] = "127.9." + s["vip"].split(".", 2)[2]
            for r in s["reals"]:
                r["ip"], r["port"] = "127." + r["ip"].split(".", 1)[1], PORT
        self.work = tempfile.mkdtemp(prefix="native.", dir=bench.BIN)
        with open(f"{self.work}/servers", "w") as f:
            f.writelines(f"{r['ip']} {r['port']}\n" for s in self.spec["services"] for r in s["reals"])
        self.backend = subprocess.Popen(bench.backend_argv(self.spec, f"{self.work}/servers", f"{self.work}/ctl"))
        self.ctl = bench.Control(f"{self.work}/ctl")

    def stats(self):
        """Probes so far, and the simulator's own CPU seconds."""
        words = self.ctl("stats")
        return sum(int(x) for x in words[1:5]), int(words[5]) / 1e9

    def arrivals(self):
        self.ctl("dump", f"{self.work}/dump")
        with open(f"{self.work}/dump", "rb") as f:
            return list(struct.iter_unpack("=QII", f.read()))

    def lateness(self, seconds, act, every):
        """|gap - interval| in ns of all probes in a window in which act() is called so often."""
        self.arrivals()
        end, turn = time.time() + seconds, 0
        while time.time() < end:
            begin = time.time()
            act(turn)
            turn += 1
            time.sleep(max(0, min(end, begin + every) - time.time()))
        return [abs(gap - self.a.interval * 1e9) for gap in bench.gaps(self.arrivals())]


class Run:
    """One system under test, at work."""

    def __init__(self, site, name):
        self.alone = name.startswith(("lvsentry", "ref"))
        self.sut, self.folder = load(name), tempfile.mkdtemp(dir=site.work)
        self.sut.generate(site.spec, self.folder)
        base, end = site.stats()[0], time.time() + 300
        env, out = os.environ | self.sut.environment(), open(f"{self.folder}/out", "w")
        self.proc = subprocess.Popen(self.sut.start(self.folder), env=env, stdout=out, stderr=subprocess.STDOUT, start_new_session=True)
        while time.time() < end and site.stats()[0] - base < site.a.rounds * site.n:     # the first rounds carry the start's work
            time.sleep(0.5)

    def tree(self):
        parents, tree = {}, {self.proc.pid}
        for p in filter(str.isdigit, os.listdir("/proc")):
            try:
                parents[int(p)] = int(open(f"/proc/{p}/stat").read().rpartition(")")[2].split()[1])
            except OSError:
                pass
        for _ in range(5):
            tree |= {p for p, q in parents.items() if q in tree}
        return tree

    def cpu(self):
        """CPU seconds: to the nanosecond of a lone process, in ticks of 10 ms of one with children (ended ones too)."""
        return time.clock_gettime(~self.proc.pid << 3 | 2) if self.alone else bench.tree_cpu(self.proc.pid)

    def memory(self):
        count, rss, pss, files = 0, 0, 0, 0
        for p in self.tree():
            try:
                roll = open(f"/proc/{p}/smaps_rollup").read().split()
                files += len(os.listdir(f"/proc/{p}/fd"))
            except OSError:
                continue
            count, rss, pss = count + 1, rss + int(roll[roll.index("Rss:") + 1]), pss + int(roll[roll.index("Pss:") + 1])
        return {"processes": count, "rss_kib": rss, "pss_kib": pss, "descriptors": files}

    def kill(self):
        for sig in (signal.SIGSTOP, signal.SIGKILL):     # stopped first, or the parent would respawn children
            for p in self.tree():
                try:
                    os.kill(p, sig)
                except ProcessLookupError:
                    pass
        self.proc.wait()


def ports():
    """Ephemeral ports that hold a connection to the simulator, those that wait (TIME_WAIT) included."""
    with open("/proc/net/tcp") as f:
        ends = [line.split()[1:3] for line in f if f":{PORT:04X}" in line]
    return len({e.rpartition(":")[2] for pair in ends for e in pair} - {f"{PORT:04X}"})


def measure(site, run, seconds):
    site.arrivals()
    p0, b0 = site.stats()
    c0, t0 = run.cpu(), bench.now()
    time.sleep(seconds)
    p1, b1 = site.stats()
    c1, t1 = run.cpu(), bench.now()
    between, probes, secs = bench.gaps(site.arrivals()), p1 - p0, (t1 - t0) / 1e9
    asked = site.n / site.a.interval
    each = lambda x: round(x / probes * 1000, 4) if probes else None
    return {"window_s": round(secs, 2), "probes_per_s": round(probes / secs, 1), "asked_per_s": round(asked, 1),
            "missed": sum(max(0, round(gap / 1e9 / site.a.interval) - 1) for gap in between), "interval_s": bench.spread(between, 1e-9),
            "cpu_s_per_1000": each(c1 - c0), "cpu_share": round((c1 - c0) / secs, 3), "backend_cpu_s_per_1000": each(b1 - b0), "ports": ports(), **run.memory()}


def lateness(site, run, seconds):
    """Lateness of all probes, in ms, with nothing else to do and with each errand; in two turns, a quiet window before each."""
    spec = copy.deepcopy(site.spec)
    spec["services"][0]["reals"][0]["weight"] = 5
    texts = [open(run.sut.file).read()]
    run.sut.generate(spec, run.folder)
    texts.insert(0, open(run.sut.file).read())

    def reload(turn):
        with open(run.sut.file, "w") as f:
            f.write(texts[turn % 2])
        run.sut.reload(run.folder, run.proc.pid)

    one = ("status", site.spec["services"][0]["vip"] + ":80")
    errands = {"status of a service each second": (lambda _: run.sut.ask(run.folder, *one), 1),
               "dump of all each second": (lambda _: run.sut.ask(run.folder, "status", "--json"), 1), "reload each 5 s": (reload, 5)}
    late = {"quiet": []}
    for _ in range(2):
        for what, (act, every) in errands.items():
            late["quiet"] += site.lateness(seconds / 4, lambda _: None, 1)
            late.setdefault(what, []).extend(site.lateness(seconds / 2, act, every))
    out = {what: bench.spread(values, 1e-6) for what, values in late.items()}
    for what, words in (("status of a service", one), ("dump of all", ("status", "--json"))):
        begin, done = time.time(), run.sut.ask(run.folder, *words)
        out[f"{what} each second"] |= {"bytes": len(done.stdout), "exit": done.returncode, "took_ms": round((time.time() - begin) * 1000, 1)}
    return out


def main():
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("--n", type=int, default=100)
    p.add_argument("--per", type=int, default=10)
    p.add_argument("--check", choices=("http", "https", "tcp"), default="http")
    p.add_argument("--interval", type=float, default=1)
    p.add_argument("--timeout", type=float, default=1)
    p.add_argument("--window", type=float, default=20)
    p.add_argument("--rounds", type=int, default=4, help="probes of each server before the window")
    p.add_argument("--lateness", action="store_true")
    p.add_argument("sut", nargs="*", default=["ldirectord", "lvsentry", "ref"])
    a = p.parse_args()
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))     # the simulator needs one file a server, and one a connection
    bench.build()
    site = Site(a)
    try:
        for name in a.sut:
            base, _, options = name.partition(":")
            run = Run(site, ",".join(filter(None, (NAMES.get(base, base), options))) if base in NAMES else name)
            res = {"sut": name, "n": a.n, "per": a.per, "check": a.check, "interval": a.interval, "timeout": a.timeout, "version": run.sut.version()}
            key, value = ("lateness", lateness(site, run, a.window)) if a.lateness else ("native", measure(site, run, a.window))
            run.kill()
            file = re.sub(r"[^A-Za-z0-9=]+", "-", name)
            with open(f"{bench.HERE}/results/{key}_{file}_{a.check}_n{a.n}_i{a.interval:g}.json", "w") as f:
                json.dump(res | {key: value}, f, indent=1)
            print(name, a.check, a.n, json.dumps(value), flush=True)
    finally:
        site.backend.kill()


if __name__ == "__main__":
    sys.exit(main())
