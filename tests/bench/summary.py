#!/usr/bin/python3
"""The figures that lvsentry is held to, each beside the one it is compared with:  ./summary.py FILE..."""
import json
import sys

runs = [json.load(open(f)) for f in sys.argv[1:]]


def figure(sut, n, *path):
    """One number of one run; None where it was not measured."""
    for run in runs:
        if run["sut"] == sut and run["n"] == n:
            value = run
            try:
                for key in path:
                    value = value[key]
                return value
            except (KeyError, IndexError, TypeError):
                return None
    return None


def row(what, ours, limit, rule):
    good = None if ours is None or limit is None else ours <= limit
    word = {None: "not measured", True: "reached", False: "**missed**"}[good]
    print(f"| {what} | {fmt(ours)} | {fmt(limit)} | {rule} | {word} |")


def fmt(x):
    return "–" if x is None else f"{x:.3f}" if isinstance(x, float) else str(x)


def times(factor, x):
    return None if x is None else factor * x


US = "lvsentry"
print("| figure | lvsentry | limit | rule | |\n|---|---|---|---|---|")
row("cold start, N=100: table right, s", figure(US, 100, "start", "complete_s"), times(1.5, figure("ref", 100, "start", "complete_s")), "1.5 × ref")
row("cold start with dead servers: a dead one in the table, s", figure(US, 100, "startdead", "dead_exposed_s", "max"), 0.0, "never")
row("refusal detected, N=100, ms, median", figure(US, 100, "detect", "refuse", "detect_ms", "p50"), 625.0, "half an interval, ± one standard error of 20 trials")
row("half of 100 fail at once: table right, s", figure(US, 100, "mass", 0, "fail", "right_s"), times(1.1, figure("keepalived", 100, "mass", 0, "fail", "right_s")), "1.1 × keepalived")
row("one hung server: the others' true interval, s, worst", figure(US, 100, "hol", "others_interval_s", "max"), times(1.05, figure("ref", 100, "hol", "others_interval_s", "max")), "1.05 × ref")
row("one hung server: another's refusal detected, ms, median", figure(US, 100, "hol", "detect_ms", "p50"), 625.0, "as without")
row("kill -9, start: changes to the table", sum((figure(US, 100, "adopt", "events") or {"?": 0}).values()), 0, "none")
row("kill -9, start: every server probed, s", figure(US, 100, "adopt", "every_server_probed_s"), times(1.3, figure("ref", 100, "adopt", "every_server_probed_s")), "1.3 × ref")


def apply_time(sut):
    start = figure(sut, 10000, "start")
    return start and start["complete_s"] - start["first_service_s"] if start and start["complete_s"] else None


row("1,000 services × 10 servers into an empty kernel, s (first service to right)", apply_time(US), times(0.5, apply_time("ref")), "0.5 × ref")
row("CPU of the whole guest for 1,000 HTTP checks, s", figure(US, 100, "rate", "guest_cpu_s_per_1000"), times(1.25, figure("ref", 100, "rate", "guest_cpu_s_per_1000")), "1.25 × ref (not required yet)")
row("memory, PSS, N=100, KiB", figure(US, 100, "rate", "pss_kib"), figure("keepalived", 100, "rate", "pss_kib"), "keepalived's (not required yet)")
print()
