"""One server that answers every health check an ldirectord file may ask for.

With port numbers as arguments it listens on those, else everything is redirected to PORT and the
port first meant counts; the port says which protocol to speak (from the plan, /tmp/plan.json, read anew at every question).
"""
import hashlib, json, re, socket, socketserver, ssl, struct, subprocess, sys, threading
try:
    from re import _parser as sre
except ImportError:
    import sre_parse as sre

PORT = 61
WELL_KNOWN = {21: 'ftp', 25: 'smtp', 53: 'dns', 80: 'http', 110: 'pop', 119: 'nntp', 143: 'imap', 389: 'ldap', 443: 'https',
              587: 'submission', 636: 'ldaps', 993: 'imaps', 995: 'pops', 1521: 'oracle', 1812: 'radius', 3128: 'http_proxy',
              3306: 'mysql', 5432: 'pgsql', 5060: 'sip'}
NAMED = {'http': 80, 'https': 443, 'smtp': 25, 'domain': 53, 'ldap': 389, 'pop3': 110, 'imap2': 143, 'ftp': 21, 'tftp': 69, 'mysql': 3306}


def sample(pattern):
    """A string that the regular expression matches."""
    def gen(tokens):
        out = ''
        for op, arg in tokens:
            op = str(op)
            if op == 'LITERAL': out += chr(arg)
            elif op == 'NOT_LITERAL': out += 'x' if arg != ord('x') else 'y'
            elif op == 'ANY': out += 'x'
            elif op == 'IN':
                first = arg[0]
                kind = str(first[0])
                out += chr(first[1]) if kind == 'LITERAL' else chr(first[1][0]) if kind == 'RANGE' else {'CATEGORY_DIGIT': '1', 'CATEGORY_SPACE': ' '}.get(str(first[1]), 'x')
            elif op in ('MAX_REPEAT', 'MIN_REPEAT'): out += gen(arg[2]) * max(arg[0], 1)
            elif op == 'SUBPATTERN': out += gen(arg[-1])
            elif op == 'BRANCH': out += gen(arg[1][0])
            elif op == 'CATEGORY': out += '1'
        return out
    try:
        return gen(sre.parse(pattern))
    except Exception:
        return pattern


def plan(text):
    """What each port must speak, read loosely from the configuration."""
    lines = [re.sub(r'#.*', '', l) for l in text.decode('utf-8', 'replace').replace('\r', '').replace('\t', '    ').split('\n')]
    ports, receives, secret, records, block = {}, [], '', {}, None
    blocks = []
    for l in lines:
        m = re.match(r'\s*virtual6?\s*=\s*(.*)', l)
        if m:
            block = {'v': m.group(1).strip(), 'ports': set()}
            blocks.append(block)
            continue
        m = re.match(r'\s*(\w+?)6?\s*=\s*(.*?)\s*$', l)
        if not m or block is None:
            continue
        key, val = m.groups()
        if key == 'real':
            m = re.search(r':(\w+)(?:\s|$)', val)
            if m: block['ports'].add(m.group(1))
            for s in re.findall(r'"([^"]*)"', val): receives.append(s)
        else:
            block[key] = val.strip('"“”')
    for b in blocks:
        m = re.search(r':(\w+)$', b['v'])
        named = lambda p: int(p) if p.isdigit() else NAMED.get(p, 0)
        vport = named(m.group(1)) if m else 0
        svc = b.get('service') or WELL_KNOWN.get(vport, 'none')
        for p in ({re.sub(r'^\D*(\d*).*', r'\1', b['checkport'])} if b.get('checkport') else b['ports'] or {str(vport)}) | {str(k) for k, v in WELL_KNOWN.items() if v == svc and not vport}:
            if named(p): ports[named(p)] = svc
        if b.get('receive'): receives.append(b['receive'])
        if svc == 'dns': records[b.get('request', '/').lstrip('/').rstrip('.')] = b.get('receive', '')
        secret = b.get('secret', secret)
    return {'ports': {str(k): v for k, v in ports.items()}, 'body': ' '.join(sample(r) for r in receives), 'receives': receives,
            'secret': secret, 'records': records, 'ldap': [b.get('request', '') for b in blocks if 'ldap' in b.get('service', '')]}


def ber(tag, *parts):
    data = b''.join(parts)
    n = len(data)
    return bytes([tag]) + (bytes([n]) if n < 128 else bytes([0x82, n >> 8, n & 255])) + data


class Plan:
    def __getitem__(self, key):
        with open('/tmp/plan.json') as f:
            return json.load(f)[key]


PLAN = Plan()


def make_certificate(folder):
    """An authority as systems list theirs, and a server's key and certificate by it (oracle.pem)."""
    key = 'openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes'
    subprocess.run(f'{key} -x509 -days 30 -subj /CN=authority -keyout ca.key -out ca-certificates.crt'
                   f' && {key} -subj /CN=oracle -keyout server.key -out server.csr && echo basicConstraints=CA:FALSE > extensions'
                   ' && openssl x509 -req -in server.csr -extfile extensions -CA ca-certificates.crt -CAkey ca.key -CAcreateserial -days 30 -out server.crt'
                   ' && cat server.key server.crt > oracle.pem'
                   ' && cp ca-certificates.crt $(openssl x509 -hash -noout -in ca-certificates.crt).0'
                   ' && rm ca.key server.* extensions && rm -f *.srl', shell=True, check=True, capture_output=True, cwd=folder)


def meant_port(sock):
    try:
        if sock.family == socket.AF_INET6:
            raw = sock.getsockopt(41, 80, 28)
        else:
            raw = sock.getsockopt(0, 80, 16)
        return struct.unpack('!H', raw[2:4])[0]
    except OSError:
        return sock.getsockname()[1]


def rows_mysql(seq):
    pk = lambda s, d: struct.pack('<I', len(d))[:3] + bytes([s]) + d
    ls = lambda s: bytes([len(s)]) + s
    col = ls(b'def') + ls(b'') + ls(b't') + ls(b't') + ls(b'c') + ls(b'c') + b'\x0c' + struct.pack('<HIBHB', 33, 255, 253, 0, 0) + b'\0\0'
    eof = b'\xfe\0\0\x02\0'
    return pk(seq, b'\x01') + pk(seq + 1, col) + pk(seq + 2, eof) + pk(seq + 3, ls(b'1')) + pk(seq + 4, eof)


class Tcp(socketserver.BaseRequestHandler):
    def handle(self):
        s = self.request
        s.settimeout(20)
        port = meant_port(s)
        svc = PLAN['ports'].get(str(port)) or WELL_KNOWN.get(port, 'none')
        try:
            if port == 61020:
                s.sendall((PLAN['body'] or 'ok').encode()); return
            if svc in ('https', 'imaps', 'pops', 'ldaps'):
                ctx = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
                ctx.load_cert_chain('/tmp/oracle.pem')
                s = ctx.wrap_socket(s, server_side=True)
                svc = svc[:-1]
            getattr(self, 'do_' + svc, self.do_none)(s)
        except OSError:
            pass

    def do_none(self, s):
        while s.recv(4096): pass

    def do_http(self, s):
        data = b''
        while b'\r\n\r\n' not in data:
            d = s.recv(4096)
            if not d: return
            data += d
        body = ('<html>' + PLAN['body'] + '</html>\n').encode()
        s.sendall(b'HTTP/1.0 200 OK\r\nContent-Type: text/html\r\nContent-Length: %d\r\nConnection: close\r\n\r\n' % len(body))
        if not data.startswith(b'HEAD'): s.sendall(body)
    do_http_proxy = do_http

    def do_simpletcp(self, s):
        s.recv(4096)
        s.sendall((PLAN['body'] + '\n').encode())

    def lines(self, s, banner, reply):
        s.sendall(banner)
        buf = b''
        while True:
            d = s.recv(4096)
            if not d: return
            buf += d
            while b'\n' in buf:
                line, buf = buf.split(b'\n', 1)
                out = reply(line.strip().decode('latin1'))
                if out is None: return
                s.sendall(out.encode())

    def do_smtp(self, s): self.lines(s, b'220 mx ESMTP\r\n', lambda l: '221 bye\r\n' if l.upper() == 'QUIT' else '250 ok\r\n')
    do_submission = do_smtp
    def do_nntp(self, s): self.lines(s, b'200 ready\r\n', lambda l: '205 bye\r\n')
    def do_pop(self, s): self.lines(s, b'+OK ready\r\n', lambda l: '-ERR no\r\n' if l.upper()[:4] in ('CAPA', 'AUTH', 'APOP') else '+OK 0 0\r\n')

    def do_imap(self, s):
        def reply(l):
            tag = l.split(' ')[0]
            verb = (l.split(' ') + ['', ''])[1].upper()
            return ('* CAPABILITY IMAP4rev1\r\n' if verb == 'CAPABILITY' else '* BYE\r\n' if verb == 'LOGOUT' else '') + f'{tag} OK done\r\n'
        self.lines(s, b'* OK IMAP4rev1 ready\r\n', reply)

    def do_ftp(self, s):
        active = []

        def reply(l):
            v = l.split(' ')[0].upper()
            if v == 'PORT':
                n = [int(x) for x in l.split(' ')[1].split(',')]
                active[:] = ['.'.join(map(str, n[:4])), n[4] * 256 + n[5]]
            if v == 'RETR' and active:
                with socket.create_connection(tuple(active), 5) as d:
                    d.sendall((PLAN['body'] or 'ok').encode())
            host = s.getsockname()[0].replace('::ffff:', '')
            return {'USER': '331 pw\r\n', 'PASS': '230 in\r\n', 'CWD': '250 ok\r\n', 'TYPE': '200 ok\r\n', 'ALLO': '202 ok\r\n',
                    'PASV': f'227 Entering Passive Mode ({host.replace(".", ",")},{61020 >> 8},{61020 & 255})\r\n',
                    'RETR': '150 here\r\n226 done\r\n', 'QUIT': '221 bye\r\n'}.get(v, '200 ok\r\n')
        self.lines(s, b'220 ftp\r\n', reply)

    def do_ldap(self, s):
        while True:
            d = s.recv(4096)
            if len(d) < 6: return
            i = 2 if d[1] < 128 else 2 + (d[1] & 127)
            mid = d[i:i + 2 + d[i + 1]]
            op = d[i + 2 + d[i + 1]]
            ok = ber(0x0a, b'\0') + ber(4) + ber(4)
            if op == 0x60: s.sendall(ber(0x30, mid, ber(0x61, ok)))
            elif op == 0x63:
                dn = (PLAN['ldap'] or ['dc=x'])[0].lstrip('/') + (' ' + PLAN['body'] if PLAN['body'] else '')
                s.sendall(ber(0x30, mid, ber(0x64, ber(4, dn.encode()), ber(0x30))) + ber(0x30, mid, ber(0x65, ok)))
            else: return

    def do_dns(self, s):
        data = s.recv(4096)
        out = udp_answer(data[2:]) or b''
        s.sendall(struct.pack('!H', len(out)) + out)

    def do_sip(self, s):
        data = b''
        while b'\r\n\r\n' not in data:
            d = s.recv(4096)
            if not d: return
            data += d
        s.sendall(udp_answer(data))

    def do_mysql(self, s):
        pk = lambda q, d: struct.pack('<I', len(d))[:3] + bytes([q]) + d
        caps = 0x0001 | 0x0002 | 0x0004 | 0x0008 | 0x0200 | 0x2000 | 0x8000 | 0x80000
        s.sendall(pk(0, b'\x0a8.0.0\0' + struct.pack('<I', 1) + b'abcdefgh\0' + struct.pack('<H', caps & 0xffff) + b'\x21\x02\0' +
                     struct.pack('<H', caps >> 16) + b'\x15' + b'\0' * 10 + b'ijklmnopqrst\0' + b'mysql_native_password\0'))
        ok = b'\0\0\0\x02\0\0\0'
        s.recv(4096); s.sendall(pk(2, ok))
        while True:
            d = s.recv(4096)
            if not d or d[4] == 1: return
            s.sendall(rows_mysql(1) if d[4] == 3 and d[5:11].upper() == b'SELECT' else pk(1, ok))

    def do_pgsql(self, s):
        msg = lambda t, d=b'': t + struct.pack('!I', len(d) + 4) + d
        d = s.recv(4096)
        while len(d) >= 8 and struct.unpack('!I', d[4:8])[0] in (80877103, 80877104):
            s.sendall(b'N'); d = s.recv(4096)
        ps = lambda k, v: msg(b'S', k + b'\0' + v + b'\0')
        s.sendall(msg(b'R', struct.pack('!I', 0)) + ps(b'server_version', b'15.0') + ps(b'client_encoding', b'UTF8') + ps(b'standard_conforming_strings', b'on') + ps(b'integer_datetimes', b'on') + msg(b'Z', b'I'))
        desc = msg(b'T', struct.pack('!H', 1) + b'c\0' + struct.pack('!IHIhIH', 0, 0, 25, -1, 0xffffffff, 0))
        row = msg(b'D', struct.pack('!HI', 1, 1) + b'1')
        buf = b''
        while True:
            d = s.recv(4096)
            if not d: return
            buf += d
            while len(buf) >= 5 and len(buf) >= 1 + struct.unpack('!I', buf[1:5])[0]:
                n = 1 + struct.unpack('!I', buf[1:5])[0]
                t, m, buf = buf[:1], buf[5:n], buf[n:]
                sel = b'SELECT' in m.upper()
                if t == b'Q': s.sendall((desc + row + msg(b'C', b'SELECT 1\0') if sel else msg(b'C', m.split(b' ')[0].rstrip(b'\0').upper() + b'\0')) + msg(b'Z', b'I'))
                elif t == b'P': s.sendall(msg(b'1'))
                elif t == b'B': s.sendall(msg(b'2'))
                elif t == b'D': s.sendall(desc)
                elif t == b'E': s.sendall(row + msg(b'C', b'SELECT 1\0'))
                elif t == b'C': s.sendall(msg(b'3'))
                elif t == b'S': s.sendall(msg(b'Z', b'I'))
                elif t == b'X': return


def udp_answer(data):
    if data[:8] == b'OPTIONS ':
        return b'SIP/2.0 200 OK\r\nContent-Length: 0\r\n\r\n'
    if len(data) >= 20 and data[0] == 1 and struct.unpack('!H', data[2:4])[0] == len(data):
        head = struct.pack('!BBH', 2, data[1], 20)
        return head + hashlib.md5(head + data[4:20] + PLAN['secret'].encode()).digest()
    if len(data) > 12 and data[4:6] == b'\0\1':
        i, labels = 12, []
        while data[i]:
            labels.append(data[i + 1:i + 1 + data[i]].decode('latin1')); i += 1 + data[i]
        want = PLAN['records'].get('.'.join(labels)) or '127.0.0.1'
        want = want.replace('\\', '')
        addr = want if re.fullmatch(r'\d+(\.\d+){3}', want) else '127.0.0.1'
        return data[:2] + b'\x84\x80\0\1\0\1\0\0\0\0' + data[12:i + 5] + b'\xc0\x0c\0\1\0\1\0\0\0\x3c\0\4' + socket.inet_aton(addr)
    return None


def serve_udp(family, port):
    """Answer from the very address that was asked."""
    u = socket.socket(family, socket.SOCK_DGRAM)
    if family == socket.AF_INET6:
        u.setsockopt(41, 26, 1)
        level, recv, kind = 41, 49, 50
    else:
        level, recv, kind = 0, 8, 8
    u.setsockopt(level, recv, 1)
    u.bind(('', port))
    while True:
        data, anc, _, who = u.recvmsg(4096, 256)
        out = udp_answer(data)
        if out:
            back = [(level, kind, a[2][:16] + bytes(4) if family == socket.AF_INET6 else bytes(4) + a[2][8:12] + bytes(4)) for a in anc if a[1] == kind]
            u.sendmsg([out], back, 0, who)


class Server(socketserver.ThreadingTCPServer):
    allow_reuse_address, daemon_threads, request_queue_size = True, True, 256


class Server6(Server):
    address_family = socket.AF_INET6

    def server_bind(self):
        self.socket.setsockopt(41, 26, 1)
        super().server_bind()


if __name__ == '__main__':
    for port in [int(a) for a in sys.argv[1:]] or [PORT]:
        for f in (socket.AF_INET, socket.AF_INET6):
            threading.Thread(target=serve_udp, args=(f, port), daemon=True).start()
        for server in (Server(('', port), Tcp), Server6(('::', port), Tcp)):
            threading.Thread(target=server.serve_forever, daemon=True).start()
    threading.Event().wait()
