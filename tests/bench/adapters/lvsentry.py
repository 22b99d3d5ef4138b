"""lvsentry, from the project's release build (LVSENTRY_BIN overrides), with the configuration that ldirectord gets."""
import os
import subprocess

from adapters import ldirectord



def binary():
    found = os.environ.get("LVSENTRY_BIN") or os.path.abspath("target/release/lvsentry")
    if not os.path.exists(found):
        raise SystemExit("lvsentry: build it first (cargo build --release), then set LVSENTRY_BIN or start in the project's root")
    return os.path.abspath(found)


class Adapter(ldirectord.Adapter):
    # kernel=no: the table in memory, for machines without IPVS.
    defaults = ldirectord.Adapter.defaults | {"kernel": "yes"}

    def start(self, folder):
        flags = ["--no-kernel"] if self.opt["kernel"] == "no" else []
        return [binary(), "run", "-c", f"{folder}/ldirectord.cf"] + flags

    def version(self):
        return subprocess.run([binary(), "--version"], capture_output=True, text=True).stdout.strip()
