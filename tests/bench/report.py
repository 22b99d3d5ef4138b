#!/usr/bin/python3
"""Turns results/*.json into tables:  ./report.py [FILE...] > tables.md"""
import glob
import json
import os
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
ORDER = ["ldirectord", "ldirectord:fork=yes", "keepalived", "ref", "lvsentry"]


def fmt(x, digits=None):
    if x is None:
        return "–"
    if isinstance(x, float):
        if digits is None:
            digits = 0 if abs(x) >= 100 else 1 if abs(x) >= 10 else 2
        return f"{x:.{digits}f}"
    return str(x)


def triple(s, scale=1.0, digits=None):
    return "–" if not s else " / ".join(fmt(s[k] * scale, digits) for k in ("p50", "p99", "max"))


def changes(c):
    return ", ".join(f"{v} {k}" for k, v in c.items()) or "none"


def table(title, head, rows):
    if not rows:
        return
    print(f"\n### {title}\n")
    print("| " + " | ".join(head) + " |")
    print("|" + "|".join("---" for _ in head) + "|")
    for r in rows:
        print("| " + " | ".join(str(x) for x in r) + " |")


def main():
    files = sys.argv[1:] or sorted(glob.glob(f"{HERE}/results/*.json"))
    runs = [dict(json.load(open(f)), file=os.path.basename(f)) for f in files]
    runs.sort(key=lambda r: (r["check"], r["n"], r["interval"], ORDER.index(r["sut"]) if r["sut"] in ORDER else 9, r["sut"], r["file"]))
    who = lambda r: (r["sut"], r["n"], r["check"], f"{r['interval']:g}")
    H = ["SUT", "N", "check", "interval s"]
    has = lambda k: [r for r in runs if r.get(k)]

    rows = []
    for r in has("detect"):
        for mode, d in r["detect"].items():
            if mode == "ideal_ms":
                continue
            slow = mode in ("hang", "drop")
            iv, to = r["interval"] * 1000, r["timeout"] * 1000
            rows.append(who(r) + (mode, d["detect_ms"]["n"] if d["detect_ms"] else 0, triple(d["detect_ms"], 1, 0), f"{iv / 2 + (to if slow else 0):.0f} / {iv + (to if slow else 0):.0f}",
                                  triple(d["recover_ms"], 1, 0), f"{iv / 2:.0f} / {iv:.0f}", d["not_seen"], d["others_touched"]))
    table("Detection and recovery, ms", H + ["failure", "trials", "detected p50/p99/max", "ideal mean/max", "recovered p50/p99/max", "ideal mean/max", "not seen", "other servers touched"], rows)

    rows = [who(r) + (f"{r['rate']['probes_per_s']} of {r['rate']['ideal_probes_per_s']}", triple(r["rate"]["interval_s"]), fmt(r["interval"]), r["rate"]["peak_over_mean_100ms"]) for r in has("rate")]
    table("Probe rate, true interval, spread", H + ["probes/s of asked", "true interval s p50/p99/max", "ideal", "peak/mean of 100 ms bins (ideal 1)"], rows)

    rows = [who(r) + (h["hung"], triple(h["detect_ms"], 1, 0), f"{r['interval'] * 500:.0f} / {r['interval'] * 1000:.0f}", h["not_seen"], triple(h["others_interval_s"])) for r in has("hol") for h in r["hol"]]
    table("While servers hang: detection of ANOTHER server's refusal, ms; true interval of the others, s", H + ["hung", "detected p50/p99/max", "ideal mean/max", "not seen", "others' interval p50/p99/max"], rows)

    rows = [who(r) + (fmt(x.get("guest_cpu_s_per_1000")), fmt(x["cpu_s_per_1000"]), fmt(x["backend_cpu_s"] / x["probes"] * 1000 if x["probes"] else None), x["processes"], fmt(x["rss_kib"] / 1024, 1), fmt(x["pss_kib"] / 1024, 1), fmt(x.get("anon_kib", 0) / 1024, 1)) for r in has("rate") for x in [r["rate"]]]
    table("CPU seconds per 1,000 probes, memory", H + ["whole guest, host's clock", "SUT's cgroup, guest's 10 ms ticks", "backend, guest's ticks", "processes", "RSS MiB", "PSS MiB", "anonymous MiB"], rows)

    rows = [who(r) + (r["syscalls"]["per_probe"], ", ".join(f"{k} {v}" for k, v in list(r["syscalls"]["by_name"].items())[:8])) for r in has("syscalls")]
    table("System calls for one probe", H + ["all", "most frequent"], rows)

    rows = []
    for r in runs:
        s = r.get("start")
        if s and "complete_s" in s:
            tag, full = r["file"].rsplit("_", 1)[-1][:-5] if r["file"].count("_") > 3 else "", not s["events"]
            rows.append(who(r) + ("table filled before" if full else tag, fmt(s["first_service_s"] or None), fmt(s["all_services_s"]), "already" if full else fmt(s["complete_s"]),
                                  fmt(s["every_server_probed_s"]), triple(s["dark_s"]), changes(s["events"]), fmt(s["cpu_s"])))
    table("Start, seconds", H + ["tag", "first service", "all services", "table right", "every server probed", "service stands without a live server p50/p99/max", "kernel changes", "CPU s"], rows)

    rows = [who(r) + (fmt(x["right_s"]), triple(x["dead_exposed_s"]), x["dead_left_in"], triple(x["dark_s"])) for r in has("startdead") for x in [r["startdead"]]]
    table("Start with every tenth server dead, seconds (ideal: a dead server gets no traffic: 0)", H + ["table right", "dead server in the table p50/p99/max", "still in at the end", "service without a live server p50/p99/max"], rows)

    rows = [who(r) + (fmt(x["every_server_probed_s"]), changes(x["events"]), fmt(x["last_change_s"]), x["services_dark"], x["services_removed"], triple(x["dark_s"])) for r in has("adopt") for x in [r["adopt"]]]
    table("Adoption: kill -9, start again on the table left behind (ideal: nothing changes)", H + ["every server probed s", "kernel changes", "last change s", "services gone dark", "services removed", "dark s p50/p99/max"], rows)

    rows = [who(r) + ("stays" if x["stale_service_stays"] else "removed", "stays" if x["stale_real_stays"] else "removed", "yes" if x["weight_put_right"] else "no", fmt(x["right_s"]), changes(x["changes"])) for r in has("adoptchanged") for x in [r["adoptchanged"]]]
    table("Adoption with a changed configuration: kill -9, one virtual and one real taken out and one weight changed, start", H + ["stale virtual", "stale real", "weight put right", "table right s", "kernel changes"], rows)

    rows = [who(r) + (fmt(x["stop_s"]), x["servers_left_by_stop"], fmt(max(0, x["right_s"])) if x["right_s"] is not None else "–", triple(x["no_server_s"])) for r in has("restart") for x in [r["restart"]]]
    table("Polite restart (TERM, then start), seconds (ideal: no service without a server)", H + ["stop", "servers left in the table", "table right again", "a service without a live server p50/p99/max"], rows)

    rows = []
    for r in has("reload"):
        for step, x in r["reload"].items():
            rows.append(who(r) + (step, fmt(x["effect_s"]), changes(x["changes"]), x["neighbour_changes"], x["other_services_changed"], fmt(x.get("dead_back_s")), x["services_dark"], triple(x["dark_s"]), fmt(x["all_probed_again_s"]), fmt(x.get("worst_gap_s"), 3), x["wrong_at_end"], fmt(x["cpu_s"])))
    table("Reload, seconds", H + ["change", "in effect", "kernel changes in all", "of these, neighbours", "other services touched", "a dead server was back for s", "services dark", "dark s p50/p99/max", "every server probed again", "longest gap between two checks", "wrong at end", "CPU s"], rows)

    rows = []
    for r in has("mass"):
        for k, m in enumerate(r["mass"]):
            rows.append(who(r) + (k + 1, fmt(m["fail"]["right_s"]), triple(m["fail"]["changes_s"]), m["fail"]["left_wrong"], fmt(m["recover"]["right_s"]), triple(m["recover"]["changes_s"]), fmt(r["interval"])))
    table("Half of the servers fail at once, seconds", H + ["run", "table right", "removals p50/p99/max", "left wrong", "recovery: table right", "additions p50/p99/max", "ideal max (both)"], rows)

    rows = []
    for r in has("forward"):
        for mode, x in r["forward"].items():
            f = x["failed_per_event"]
            rows.append(who(r) + (mode, f["n"], x["connections_per_event"], fmt(f["p50"]), f"{fmt(f['min'])}–{fmt(f['max'])}", fmt(x["ideal_failed_mean"]), changes(x["kinds"]), triple(x["detect_ms"], 1, 0)))
    table("Real traffic through the VIP: failed connections per failure of one server", H + ["failure", "events", "connections each", "failed p50", "range", "ideal mean", "how they failed (all)", "detected ms p50/p99/max"], rows)

    rows = []
    for r in runs:
        log, start, trace = r.get("start", {}).get("applied"), r.get("start", {}), r.get("applytrace", {}).get("trace", {})
        if r["check"] == "none" and start:
            watched = start["complete_s"] - start["first_service_s"] if start.get("complete_s") else None
            rows.append((r["sut"], r["n"], log and log["operations"], fmt(log and log["ms"]), fmt(watched), trace.get("changes"), trace.get("calls"), fmt(trace.get("ms")), fmt((r.get("applytrace", {}).get("log") or {}).get("ms"))))
    table("Into an empty kernel, no checks", ["SUT", "N", "operations, its own log", "ms, its own log", "first service to right, as watched, s", "operations traced", "calls for them", "ms from the first to the last, traced", "ms by its log while traced"], rows)

    rows = [who(r) + (f"{x['probes_per_s']} of {x['asked_per_s']}", x["missed"], triple(x["interval_s"], 1, 3), fmt(x["cpu_s_per_1000"], 3), fmt(100 * x["cpu_share"], 1), fmt(x["backend_cpu_s_per_1000"], 3),
                      x["processes"], fmt(x["rss_kib"] / 1024, 1), fmt(x["pss_kib"] / 1024, 1), x["descriptors"], x["ports"]) for r in has("native") for x in [r["native"]]]
    table("On this machine itself, without IPVS, its table all well", H + ["probes/s of asked", "schedules missed", "true interval s p50/p99/max", "SUT's CPU s per 1,000", "SUT's CPU %", "backend's per 1,000", "processes", "RSS MiB", "PSS MiB", "descriptors", "ephemeral ports held"], rows)

    rows = [who(r) + (what, x["n"], triple(x, 1, 2)) for r in has("lateness") for what, x in r["lateness"].items() if x]
    table("Lateness of probes on this machine itself, ms off the interval asked for", H + ["meanwhile", "intervals", "p50/p99/max"], rows)


main()
