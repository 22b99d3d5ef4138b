"""Runs a director on configurations and writes down what it made of each.

    judge.py -o OUT [-d 'DAEMON {}'] [-m] [-e FOLDER [-x NAME.STATE]...] [-j JOBS] [-w SECONDS] [-v] CONFIG...

Each CONFIG is run twice: with every address unreachable ('down'), and with every real server
answering whatever its check asks for ('up'). Verdict, messages and table go to
OUT/NAME.expected.{down,up}.txt. {} in -d stands for the configuration; the daemon stays in the
foreground. -m: a model of ipvsadm in place of the kernel's table, for a director that runs
ipvsadm. -e: the answers expected, as FOLDER/NAME.expected.{down,up}.txt; then a run is over as soon as the
table is as it should be and stays so, which saves much time. -x: this answer is known to be another than
expected, so that a table like it only means that the director is not done. -j: so many at a time, each worker in
namespaces of its own, which nothing leaves. -w: a director that has idled for so long
has come to rest. -v: a line for each run.

Needs root, python3, iproute2, openssl, and without -m iptables, ipvsadm and a kernel with IPVS.
"""
import argparse
import json
import os
import queue
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

sys.dont_write_bytecode = True
import answers

HERE = Path(__file__).resolve().parent
STATES = ('down', 'up')
ROOT4, PEER4, ROOT6, PEER6 = '100.64.255.1', '100.64.255.2', 'fd00:ff::1', 'fd00:ff::2'


def arguments():
    parser = argparse.ArgumentParser(usage=__doc__)
    parser.add_argument('-d', dest='daemon', default='/usr/sbin/ldirectord -d {} start')
    parser.add_argument('-m', dest='model', action='store_true')
    parser.add_argument('-e', dest='expected', type=Path)
    parser.add_argument('-x', dest='differs', action='append', default=[])
    parser.add_argument('-o', dest='out', type=Path, required=True)
    parser.add_argument('-j', dest='jobs', type=int, default=4)
    parser.add_argument('-w', dest='still', type=float)
    parser.add_argument('-v', dest='verbose', action='store_true')
    parser.add_argument('--worker', type=Path, help=argparse.SUPPRESS)
    parser.add_argument('configs', nargs='*', type=Path)
    return parser.parse_args()


# The parent: hands out files and states, writes answers.

def main(args):
    args.out.mkdir(parents=True, exist_ok=True)
    refused, failed = {}, []
    authority = Path(tempfile.mkdtemp())
    answers.make_certificate(authority)
    command = ['unshare', '-nmu', '--propagation', 'private', '/usr/bin/python3', __file__, '--worker', str(authority)]
    command += sys.argv[1:len(sys.argv) - len(args.configs)]
    jobs = min(args.jobs, len(args.configs))
    workers = [subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(jobs)]
    try:
        for state in STATES:
            todo = queue.Queue()
            for source in args.configs:
                todo.put(source)
            hands = [threading.Thread(target=hand_out, args=(args, worker, todo, state, refused, failed)) for worker in workers]
            for hand in hands:
                hand.start()
            for hand in hands:
                hand.join()
    finally:
        for worker in workers:
            try:
                worker.stdin.close()
            except OSError:
                pass  # it has ended already, which was noticed
            worker.wait()
        shutil.rmtree(authority)
    if failed:
        sys.exit('judge: no answer about ' + ', '.join(failed))


def hand_out(args, worker, todo, state, refused, failed):
    """Lets one worker do what is left to do. A file that is refused needs no second run."""
    while True:
        try:
            source = todo.get_nowait()
        except queue.Empty:
            return
        answer, took = refused.get(source), 0.0
        if not answer:
            start = time.monotonic()
            try:
                worker.stdin.write(json.dumps([str(source), state]) + '\n')
                worker.stdin.flush()
                answer = json.loads(worker.stdout.readline())
            except (OSError, ValueError):
                failed.append(f'{source.name} {state}')
                return
            took = time.monotonic() - start
        if answer.startswith('verdict: rejected'):
            refused[source] = answer
        (args.out / f'{source.stem}.expected.{state}.txt').write_text(answer)
        if args.verbose:
            print(f'{state:4} {took:5.1f} s {source.name}: {answer.splitlines()[0]}', file=sys.stderr, flush=True)


# A worker: one network, one director at a time.

def work(args):
    judge = Judge(args)
    for line in sys.stdin:
        source, state = json.loads(line)
        print(json.dumps(judge.judge(Path(source), state)), flush=True)
    judge.end()


def sh(command, check=False):
    done = subprocess.run(command, shell=True, capture_output=True, text=True)
    if check and done.returncode:
        sys.exit(f'judge: {command}: {done.stderr}')
    return done.stdout


NETWORK = f"""
for folder in /run /tmp /var/log; do mount -t tmpfs tmpfs $folder; done
mkdir -p /run/netns /run/lock
mount -t sysfs sys /sys
mount --bind {HERE}/hosts /etc/hosts
sed 's/^hosts:.*/hosts: files/' /etc/nsswitch.conf > /tmp/nsswitch.conf && mount --bind /tmp/nsswitch.conf /etc/nsswitch.conf
touch /tmp/resolv.conf && mount --bind /tmp/resolv.conf "$(readlink -f /etc/resolv.conf)"
hostname director.example.com
for folder in /usr/local/bin /usr/local/sbin /opt /etc/ha.d /var/lib; do [ ! -d $folder ] || mount -t tmpfs tmpfs $folder; done
mount -t tmpfs tmpfs /etc/ssl/certs

ip netns add peer
ip -batch - <<END
link set lo up
link add v0 type veth peer name v1 netns peer
addr add {ROOT4}/30 dev v0
addr add {ROOT6}/64 dev v0 nodad
link set v0 up
END
ip -n peer -batch - <<END
link set lo up
addr add {PEER4}/30 dev v1
addr add {PEER6}/64 dev v1 nodad
link set v1 up
route add local 0.0.0.0/0 dev lo table main
END
ip -n peer -6 route add local ::/0 dev lo table main
reverse='net.ipv4.conf.all.rp_filter=0 net.ipv4.conf'
sysctl -qw $reverse.v0.rp_filter=0 net.ipv4.ping_group_range='0 2147483647'
ip netns exec peer sysctl -qw $reverse.v1.rp_filter=0
"""

# Every port but 0, which nobody answers.
REDIRECT = f'--dport 1:65535 -j REDIRECT --to-ports {answers.PORT}'


def lay_out_network(model):
    """A peer namespace behind a veth pair is every host there is; nothing leaves it."""
    if not model:
        sh('modprobe -a ipv6 iptable_nat ip6table_nat xt_REDIRECT xt_tcpudp')
    sh(NETWORK)
    if model:
        sh(f'mount --bind {HERE}/model-ipvsadm /usr/sbin/ipvsadm', check=True)
        return
    for tables in ('iptables', 'ip6tables'):
        rules = ''.join(f'-A PREROUTING -i v1 -p {proto} {REDIRECT}\n' for proto in ('tcp', 'udp'))
        sh(f"ip netns exec peer {tables}-legacy-restore <<'END'\n*nat\n{rules}COMMIT\nEND", check=True)


def set_reachable(up, model):
    for family, peer in ((4, PEER4), (6, PEER6)):
        route = f'default via {peer}' if up else 'unreachable default'
        sh(f"ip -{family} -force -batch - <<'END'\nroute del default\nroute del unreachable default\nroute add {route}\nEND")
    for tables, net in () if model else (('iptables', '127.0.0.0/8'), ('ip6tables', '::1')):
        rules = ''.join(f'-A OUTPUT -o lo -p {proto} -d {net} {REDIRECT}\n' for proto in ('tcp', 'udp') if up)
        sh(f"{tables}-legacy-restore <<'END'\n*nat\n{rules}COMMIT\nEND", check=True)


def start_answers(ports=()):
    servers = [subprocess.Popen((where + f'/usr/bin/python3 {HERE}/answers.py').split() + list(ports), stdin=subprocess.DEVNULL,
                                stdout=subprocess.DEVNULL, stderr=open('/tmp/answers.log', 'a'))
               for where in ('ip netns exec peer ', '')]
    for where in ('', 'ip netns exec peer '):
        for _ in range(100):
            listening = sh(where + 'ss -Hltn')
            if all(re.search(rf'[:\]]{port}\s', listening) for port in ports or [answers.PORT]):
                break
            time.sleep(0.1)
    return servers


def table(thresholds):
    """The table in a fixed order: services sorted, each one's servers sorted under it."""
    services = {}
    limits = read_thresholds() if thresholds else {}
    for line in ipvsadm('-Sn'):
        kind, rest = line.split(' ', 1)
        key = ' '.join(rest.split(' ')[:2]) + (' -6' if re.match(r'-f \d+ -6', rest) else '')
        if kind == '-A':
            services.setdefault(key, [None, []])[0] = line
        else:
            address = re.search(r' -r (\S+)', rest).group(1)
            services.setdefault(key, ['?', []])[1].append(line + limits.get((key, address), ''))
    out = []
    for key in sorted(services):
        out += [services[key][0]] + sorted(services[key][1])
    return out


def ipvsadm(option):
    said = subprocess.run(['/usr/sbin/ipvsadm', *option.split()], capture_output=True, text=True).stdout
    return [re.sub(r'\s+', ' ', line).strip() for line in said.splitlines()]


def read_thresholds():
    """What `-S` leaves out: (service, server) -> ' -x UPPER -y LOWER' where one is set."""
    found, service = {}, None
    for line in ipvsadm('-Ln --thresholds'):
        words = line.split(' ')
        if words[0] in ('TCP', 'UDP', 'FWM'):
            service = {'TCP': '-t ', 'UDP': '-u ', 'FWM': '-f '}[words[0]] + words[1] + (' -6' if words[2] == 'IPv6' else '')
        elif words[0] == '->' and service and words[2:4] != ['0', '0']:
            found[(service, words[1])] = f' -x {words[2]} -y {words[3]}'
    return found


def put_check_commands(text):
    """Give every external check that is not there a script that says 'up'."""
    for found in re.finditer(rb'^\s*checkcommand\s*=\s*"?([^"\s#]+)', text, re.M):
        path = Path(os.fsdecode(found.group(1)))
        if path.is_absolute() and not path.exists() and re.match(r'/(usr/local/s?bin|opt|etc/ha\.d|tmp|run)/', str(path)):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text('exit 0;\n' if b'external-perl' in text else '#!/bin/sh\nexit 0\n')
            path.chmod(0o755)


def activity(session):
    """What the director and its children have used of the processor, in twenty-fifths of a second; none while one of
    them would run, as on a busy machine it may have to wait for that."""
    ticks = 0
    for stat in Path('/proc').glob('[0-9]*/stat'):
        try:
            fields = stat.read_text().rsplit(')', 1)[1].split()
        except OSError:
            continue
        if int(fields[3]) == session:
            if fields[0] == 'R':
                return None
            ticks += int(fields[11]) + int(fields[12])
    return ticks // 4


def tidy(line, conf):
    line = line.replace(str(conf), 'CONFIG').replace(conf.name, 'CONFIG')
    line = re.sub(r'\[\d+\]', '[PID]', line)
    return re.sub(r'/tmp/run\.\S*', 'TMP', line)


TELLING = r"Error|Warning|rror:|nvalid|deprecated|nknown|Can't|[Cc]annot|Died|exiting|No such|failed"
NOISE = r'DEBUG|Running |Client-Warning|HTTP|Use of uninit|\s*LWP'


def messages(said, conf):
    """The lines that tell of a fault, each once."""
    found = {}
    for line in said.splitlines():
        if re.search(TELLING, line) and not re.match(NOISE, line):
            found[tidy(line.strip(), conf)[:300]] = True
    return list(found)[:40]


def recorded(path):
    """Verdict and table of an answer."""
    head, lines = path.read_text().split('table:\n', 1)
    return head.split()[1], lines.splitlines()


class Judge:
    def __init__(self, args):
        self.args, self.state, self.helpers = args, None, []
        certificates = {path.name: path.read_bytes() for path in args.worker.iterdir()}
        lay_out_network(args.model)
        Path('/tmp/plan.json').write_text(json.dumps(answers.plan(b'')))
        for name, text in certificates.items():
            (Path('/tmp' if name == 'oracle.pem' else '/etc/ssl/certs') / name).write_bytes(text)
        if not args.model:
            self.helpers = start_answers()

    def end(self):
        for helper in self.helpers:
            helper.kill()

    def judge(self, source, state):
        if state != self.state:
            set_reachable(state == 'up', self.args.model)
            self.state = state
        text = source.read_bytes()
        conf = Path('/run/cf') / source.name
        conf.parent.mkdir(exist_ok=True)
        conf.write_bytes(text)
        subprocess.run(['/usr/sbin/ipvsadm', '-C'], check=True)
        for left in [*Path('/run').glob('model.table*'), *Path('/run').glob('l[dv]*'), *Path('/var/log').iterdir()]:
            shutil.rmtree(left) if left.is_dir() else left.unlink()
        helpers = []
        if state == 'up':
            put_check_commands(text)
            plan = answers.plan(text)
            Path('/tmp/plan.json').write_text(json.dumps(plan))
            if self.args.model:
                helpers = start_answers(list(plan['ports'] or ['80']) + ['61020'])
        thresholds = bool(re.search(rb'\s[lu]:\d', text))
        expected = None
        if self.args.expected:
            expected = recorded(self.args.expected / f'{source.stem}.expected.{state}.txt')
        try:
            return self.run(conf, text, thresholds, expected, f'{source.stem}.{state}' in self.args.differs)
        finally:
            for helper in helpers:
                helper.kill()
                helper.wait()

    def run(self, conf, text, thresholds, expected, differs):
        with open('/tmp/said', 'wb+') as said:
            command = [word.replace('{}', str(conf)) for word in self.args.daemon.split()]
            daemon = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=said, stderr=said, start_new_session=True, cwd='/run')
            final = settle_down(daemon, text, thresholds, self.args.still) if expected is None else become(daemon, thresholds, expected, differs)
            code = daemon.poll()
            if self.args.verbose and code is None:
                print(f'     {conf.name}: {memory(daemon.pid)} KiB (PSS)', file=sys.stderr, flush=True)
            try:
                os.killpg(daemon.pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
            daemon.wait()
            said.seek(0)
            words = said.read().decode('utf-8', 'replace')
        if os.environ.get('ORACLE_TRACE'):
            print(sh('cat /run/model.table.calls'), words, file=sys.stderr)
        verdict = 'accepted' if code is None else 'rejected' if code and not final else 'died' if code else 'exited'
        body = [f'verdict: {verdict}', f'exit: {"-" if code is None else code}', 'messages:']
        body += ['  ' + line for line in messages(words, conf)] + ['table:'] + final
        return '\n'.join(body) + '\n'


def memory(pid):
    """What a process has of the memory for its own, in KiB."""
    words = Path(f'/proc/{pid}/smaps_rollup').read_text().split()
    return words[words.index('Pss:') + 1]


def settle_down(daemon, text, thresholds, still):
    """Waits until the table stands still with an idle daemon, or the daemon has ended; returns the table."""
    start = time.monotonic()
    limit = 45 + 4 * (still or 0) + len(re.findall(rb'(?m)^\s+real', text)) * 0.15
    # ldirectord checks one after the other, and idles while one of these waits for an answer.
    still = still or (7.0 if re.search(rb'ping|imap|udp|:(?:53|5060)', text) else 2.0)
    last, since, seen = None, start, None
    while time.monotonic() - start < limit and daemon.poll() is None:
        time.sleep(0.3)
        now = activity(daemon.pid)
        if now != last or now is None:
            last, since = now, time.monotonic()
        elif time.monotonic() - since >= still:
            read = table(thresholds)
            if read == seen:
                break
            seen = read
    return table(thresholds)


def become(daemon, thresholds, expected, differs):
    """Waits until the table has been the expected one for half a second, or has not become it in some seconds, or the
    daemon has ended; returns the table. One that is known to differ has to stand still for those seconds."""
    verdict, lines = expected
    start = time.monotonic()
    raw, since, read = None, start, None
    while daemon.poll() is None:
        time.sleep(0.1)
        now = time.monotonic()
        look = quick_look()
        if look != raw:
            raw, since, read = look, now, None
        if now - start > 0.8 and now - since > 0.5:
            read = read or table(thresholds)
            # An empty table means little while the daemon may be starting yet, or about to end; and on a slow machine a
            # check that came too late is only asked again at the next interval.
            empty = 15.0 if lines or verdict == 'rejected' else 2.0
            patience = empty if not read else 6.0 if differs else 25.0
            if read and read == lines and not differs or now - since > patience or now - start > 75.0:
                return read
    return table(thresholds)


def quick_look():
    """The kernel's table, cheaply, to see whether it changes."""
    try:
        return Path('/proc/net/ip_vs').read_bytes()
    except OSError:
        return None


if __name__ == '__main__':
    ARGS = arguments()
    work(ARGS) if ARGS.worker else main(ARGS)
