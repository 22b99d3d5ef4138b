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
    # kernel=no: the table in memory, for machines without IPVS. workers: threads that probe; none: as the daemon has it.
    # verify: how much of a certificate is checked; nothing, as keepalived and `curl -k` do, or chain, the default of service=https.
    defaults = ldirectord.Adapter.defaults | {"kernel": "yes", "workers": "", "verify": "nothing"}

    def generate(self, spec, folder):
        super().generate(spec, folder)
        self.file = f"{folder}/ldirectord.cf"
        if self.opt["verify"] == "nothing" and any(s["check"]["type"] == "https" for s in spec["services"]):
            text = subprocess.run([binary(), "convert", self.file], check=True, capture_output=True, text=True).stdout
            self.file = f"{folder}/lvsentry.yaml"
            with open(self.file, "w") as f:
                f.write(text.replace("https: {", "https: { verify: nothing,"))

    def start(self, folder):
        flags = ["--no-kernel"] if self.opt["kernel"] == "no" else []
        flags += ["--workers", self.opt["workers"]] if self.opt["workers"] else []
        return [binary(), "run", "-c", self.file, "--socket", f"{folder}/sock"] + flags

    def environment(self):
        return {"SSL_CERT_FILE": "/var/tmp/bench/cert.pem"} if self.opt["verify"] == "chain" else {}

    def ask(self, folder, *words):
        """Has the running daemon answer a question of the command line's."""
        return subprocess.run([binary(), *words, "--socket", f"{folder}/sock"], capture_output=True, check=False)

    def version(self):
        return subprocess.run([binary(), "--version"], capture_output=True, text=True).stdout.strip()
