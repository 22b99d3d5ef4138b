#!/usr/bin/python3
"""The figures that lvsentry is held to, each beside those it is compared with:  ./summary.py FILE..."""
import json
import sys

runs = [json.load(open(f)) for f in sys.argv[1:]]


def at(value, key):
    """A part of what was measured: by name; of a list, by how many hung or by its place."""
    if not isinstance(value, list):
        return value[key]
    return next((part for part in value if part.get("hung") == int(key)), None) if "hung" in value[0] else value[int(key)]


def figure(sut, where, path):
    """One number: of `sut`'s run with that N, interval and check, what lies under the dotted path; None where it was not measured."""
    for run in runs:
        if run["sut"] == sut and (run["n"], run["interval"], run["check"]) == where:
            value = run
            for key in path.split("."):
                try:
                    value = at(value, key)
                except (KeyError, IndexError, TypeError):
                    break
            else:
                if value is not None:
                    return sum(value.values()) if isinstance(value, dict) else value     # changes of the table, by kind
    return None


def fmt(x, digits=3):
    return "–" if x is None else f"{x:.{digits}f}" if isinstance(x, float) else str(x)


def row(what, ours, limit, rule, ref=None, kept=None, ldir=None):
    word = "not measured" if ours is None or limit is None else "reached" if ours <= limit else "**missed**"
    ratio = lambda other: fmt(ours / other, 2) if ours is not None and other else "–"
    print(f"| {what} | {fmt(ours)} | {fmt(ref)} | {fmt(kept)} | {fmt(ldir)} | {ratio(ref)} | {ratio(kept)} | {fmt(limit)} | {rule} | {word} |")


def times(factor, sut="ref", plus=0):
    """A limit made of another's figure in the same run."""
    return lambda v: None if v[sut] is None else factor * v[sut] + plus


def at_most(x):
    return lambda _: x


HTTP100, HTTP1000, FAST1000, BIG = (100, 1, "http"), (1000, 5, "http"), (1000, 1, "http"), (10000, 1, "none")
SCALE, GUEST10000, HTTPS = (10000, 1, "http"), (10000, 30, "http"), (100, 1, "https")
ROWS = [
    ("whole guest's CPU for 1,000 HTTP checks, N=100 at 1 s, s", HTTP100, "rate.guest_cpu_s_per_1000", "1.25 × ref", times(1.25)),
    ("the same, N=1,000 at 5 s", HTTP1000, "rate.guest_cpu_s_per_1000", "1.25 × ref", times(1.25)),
    ("natively, the daemon alone: HTTP, N=100 at 1 s, s", HTTP100, "native.cpu_s_per_1000", "1.5 × ref", times(1.5)),
    ("... as a part of ldirectord's", HTTP100, "native.cpu_s_per_1000", "0.25 × ldirectord", times(0.25, "ldirectord")),
    ("... HTTP, N=1,000 at 5 s", HTTP1000, "native.cpu_s_per_1000", "1.5 × ref", times(1.5)),
    ("... TCP, N=100 at 1 s", (100, 1, "tcp"), "native.cpu_s_per_1000", "1.5 × ref", times(1.5)),
    ("... TCP, N=1,000 at 5 s", (1000, 5, "tcp"), "native.cpu_s_per_1000", "1.5 × ref", times(1.5)),
    ("memory, PSS, N=1,000, KiB", HTTP1000, "rate.pss_kib", "keepalived's", times(1, "keepalived")),
    ("memory, PSS, N=10,000, natively, KiB", SCALE, "native.pss_kib", "32 MiB", at_most(32768)),
    ("memory, PSS, N=10,000, in the guest, KiB", GUEST10000, "rate.pss_kib", "32 MiB", at_most(32768)),
    ("true interval at 1 s, N=1,000: median, s", FAST1000, "rate.interval_s.p50", "1.00", at_most(1.005)),
    ("... p99", FAST1000, "rate.interval_s.p99", "ref + 0.01", times(1, plus=0.01)),
    ("... worst", FAST1000, "rate.interval_s.max", "ref + 0.01", times(1, plus=0.01)),
    ("cold start, N=100: a service stands without a live server, worst, s", HTTP100, "start.dark_s.max", "1.5 × ref", times(1.5)),
    ("... table right, s", HTTP100, "start.complete_s", "1.5 × ref", times(1.5)),
    ("... a dead server in the table, worst, s", HTTP100, "startdead.dead_exposed_s.max", "never", at_most(0)),
    ("refusal detected, N=100, ms, median", HTTP100, "detect.refuse.detect_ms.p50", "half an interval, ± one standard error of 20 trials", at_most(625)),
    ("half of 100 fail at once: table right, s", HTTP100, "mass.0.fail.right_s", "1.05 intervals", at_most(1.05)),
    ("half of 1,000 fail at once: table right, s", HTTP1000, "mass.0.fail.right_s", "1.05 intervals", at_most(5.25)),
    ("reload of one weight, N=1,000: in effect, s", HTTP1000, "reload.weight.effect_s", "0.1 s", at_most(0.1)),
    ("... changes of the table", HTTP1000, "reload.weight.changes", "one", at_most(1)),
    ("... longest time between two checks of a server, s", HTTP1000, "reload.weight.worst_gap_s", "an interval, + 0.02", at_most(5.02)),
    ("... other servers touched (flaps)", HTTP1000, "reload.weight.other_changes", "none", at_most(0)),
    ("1,000 services × 10 servers into an empty kernel, by its own log, ms", BIG, "start.applied.ms", "0.2 × ref's one call each", times(0.2)),
    ("kill -9, start, N=1,000: changes of the table", HTTP1000, "adopt.events", "none", at_most(0)),
    ("... every server probed, s", HTTP1000, "adopt.every_server_probed_s", "1.3 × ref", times(1.3)),
    ("kill -9, start, N=100: every server probed, s", HTTP100, "adopt.every_server_probed_s", "1.3 × ref", times(1.3)),
    *(row for hung in (1, 10, 100) for row in (
        (f"{hung} hung of 1,000: another's refusal detected, ms, median", FAST1000, f"hol.{hung}.detect_ms.p50", "half an interval, as above", at_most(625)),
        ("... the others' true interval, worst, s", FAST1000, f"hol.{hung}.others_interval_s.max", "ref + 0.01", times(1, plus=0.01)))),
    ("HTTPS, full handshake, whole guest's CPU for 1,000 checks, N=100, s", HTTPS, "rate.guest_cpu_s_per_1000", "below keepalived's", times(1, "keepalived")),
]

print("| figure | lvsentry | ref | keepalived | ldirectord | ÷ ref | ÷ keepalived | limit | rule | |\n|---|---|---|---|---|---|---|---|---|---|")
for what, where, path, rule, limit in ROWS:
    v = {sut: figure(sut, where, path) for sut in ("lvsentry", "ref", "keepalived", "ldirectord")}
    row(what, v["lvsentry"], limit(v), rule, v["ref"], v["keepalived"], v["ldirectord"])
    if path == "start.applied.ms":
        log, trace = (figure("lvsentry", where, f"applytrace.{x}") for x in ("log.operations", "trace.changes"))
        row("... operations in its log, and in a trace of its calls", log, trace, "the same")
        took, traced = (figure("lvsentry", where, f"applytrace.{x}.ms") for x in ("log", "trace"))
        row("... ms by its log while traced, and by the trace (off by, as a part)", None if not took or not traced else abs(took - traced) / traced, 0.1, "a tenth")

us = lambda where, path: figure("lvsentry", where, path)
row("... the same against curl, a process a check", us(HTTPS, "rate.guest_cpu_s_per_1000"), figure("curl", (10, 1, "https"), "rate.guest_cpu_s_per_1000"), "below curl's")
row("... natively, the daemon alone", us(HTTPS, "native.cpu_s_per_1000"), figure("curl", HTTPS, "native.cpu_s_per_1000"), "below curl's")
sizes = [10, 100, 1000, 10000]
for small, large in zip(sizes, sizes[1:]):
    before = us((small, 1, "http"), "native.cpu_s_per_1000")
    row(f"growth: CPU for 1,000 checks natively at 1 s, N={large:,}, s", us((large, 1, "http"), "native.cpu_s_per_1000"), before and 1.03 * before, f"no more than with {small:,} (3 % for the measurement)")
pss = [us((n, 1, "http"), "native.pss_kib") for n in sizes[2:]]
row("growth: memory for a server added between 1,000 and 10,000, KiB", None if None in pss else (pss[1] - pss[0]) / 9000, 2.0, "2 KiB")
quiet = us(SCALE, "lateness.quiet.p99")
for errand in ("status of a service each second", "dump of all each second", "reload each 5 s"):
    p99 = us(SCALE, f"lateness.{errand}.p99")
    row(f"10,000 servers at 1 s, natively: {errand} adds to p99 lateness, ms", None if None in (p99, quiet) else p99 - quiet, 5.0, f"5 ms (quiet: {fmt(quiet)})")
