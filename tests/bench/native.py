#!/usr/bin/python3
"""CPU for 1,000 probes on this machine itself: loopback servers, no IPVS, table all well.

ldirectord probes without IPVS (its ipvsadm calls fail, and in the steady state it makes none); keepalived's checker
refuses to start without, so it has no row; ref is the floor. Usage: ./native.py [N [INTERVAL [SECONDS]]]
"""
import os
import signal
import subprocess
import sys
import tempfile
import time

import bench
from adapters import load

n = int(sys.argv[1]) if len(sys.argv) > 1 else 100
interval = float(sys.argv[2]) if len(sys.argv) > 2 else 1
seconds = float(sys.argv[3]) if len(sys.argv) > 3 else 20

bench.build()
spec = bench.make_spec(n, 10, sys.argv[4] if len(sys.argv) > 4 else "http", interval, 1)
for s in spec["services"]:
    s["vip"] = "127.9." + s["vip"].split(".", 2)[2]
    for r in s["reals"]:
        r["ip"], r["port"] = "127." + r["ip"].split(".", 1)[1], 8901
work = tempfile.mkdtemp(prefix="native.", dir=bench.BIN)
with open(f"{work}/servers", "w") as f:
    f.writelines(f"{r['ip']} {r['port']}\n" for s in spec["services"] for r in s["reals"])
backend = subprocess.Popen([f"{bench.BIN}/backend", f"{work}/servers", f"{work}/ctl"])
ctl = bench.Control(f"{work}/ctl")
print("| SUT | N | probes/s of asked | SUT's CPU s per 1,000 | backend's | processes | RSS MiB | PSS MiB |\n|---|---|---|---|---|---|---|---|")
total = lambda: sum(int(x) for x in ctl("stats")[1:5])
for name in ("ldirectord", "ldirectord:fork=yes", "lvsentry:kernel=no", "ref"):
    sut = load(name)
    folder = tempfile.mkdtemp(dir=work)
    sut.generate(spec, folder)
    proc = subprocess.Popen(sut.start(folder), stdout=open(f"{folder}/out", "w"), stderr=subprocess.STDOUT, start_new_session=True)
    base, end = total(), time.time() + 300
    while time.time() < end and total() - base < 4 * n:     # the first rounds carry the start's work
        time.sleep(1)
    a, c0, t0 = ctl("stats"), bench.tree_cpu(proc.pid), time.time()
    time.sleep(seconds)
    b, c1, t1 = ctl("stats"), bench.tree_cpu(proc.pid), time.time()
    probes = sum(int(b[k]) - int(a[k]) for k in range(1, 5))
    rss = pss = count = 0
    stack, parents = [proc.pid], {}
    for p in os.listdir("/proc"):
        if p.isdigit():
            try:
                parents[int(p)] = int(open(f"/proc/{p}/stat").read().rpartition(")")[2].split()[1])
            except OSError:
                pass
    tree = {proc.pid}
    for _ in range(5):
        tree |= {p for p, q in parents.items() if q in tree}
    for p in tree:
        try:
            roll = open(f"/proc/{p}/smaps_rollup").read().split()
        except OSError:
            continue
        count += 1
        rss += int(roll[roll.index("Rss:") + 1])
        pss += int(roll[roll.index("Pss:") + 1])
    print(f"| {name} | {n} | {probes / (t1 - t0):.1f} of {n / interval:.0f} | {(c1 - c0) / probes * 1000:.3f} | "
          f"{(int(b[5]) - int(a[5])) / 1e9 / probes * 1000:.3f} | {count} | {rss / 1024:.1f} | {pss / 1024:.1f} |", flush=True)
    for sig in (signal.SIGSTOP, signal.SIGKILL):     # stopped first, or the parent would respawn children
        for p in tree:
            try:
                os.kill(p, sig)
            except ProcessLookupError:
                pass
    proc.wait()
backend.kill()
