"""No daemon: fills the table once, then asks one server after the other with curl, a process for each, without a pause."""
from adapters import raw


class Adapter(raw.Adapter):
    defaults = {}

    def generate(self, spec, folder):
        super().generate(spec, folder)
        with open(f"{folder}/urls", "w") as f:
            f.writelines(f"{s['check']['type']}://{r['ip']}:{r['port']}{s['check']['path']}\n" for s in spec["services"] for r in s["reals"])

    def start(self, folder):
        return ["bash", "-c", f"ipvsadm -R < {folder}/rules\n"
                f"while :; do while read -r url; do curl -sk --max-time 1 -o /dev/null $url; done < {folder}/urls; done"]
