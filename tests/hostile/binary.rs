//! Good answers of the protocols that are not made of lines.

/// DNS.
pub mod dns {
    use super::super::cases::Scene;

    /// A query turned into its answer, with these records of type, data.
    fn reply(query: &[u8], records: &[(u16, &[u8])]) -> Option<Vec<u8>> {
        let mut reply = query.to_vec();
        reply.get_mut(2..4)?.copy_from_slice(&[0x81, 0x80]);
        reply.get_mut(6..8)?.copy_from_slice(&(records.len() as u16).to_be_bytes());
        for (kind, data) in records {
            reply.extend([0xc0, 12]);
            reply.extend(kind.to_be_bytes());
            reply.extend([0, 1, 0, 0, 0, 60]);
            reply.extend((data.len() as u16).to_be_bytes());
            reply.extend(*data);
        }
        Some(reply)
    }

    fn addresses(query: &[u8]) -> Option<Vec<u8>> {
        reply(query, &[(5, b"\x01x\xc0\x0c"), (1, &[192, 0, 2, 79]), (1, &[192, 0, 2, 80])])
    }

    pub fn datagram(turn: usize, scene: &Scene<'_>) -> Option<Vec<u8>> {
        if turn == 0 { addresses(scene.heard) } else { None }
    }

    pub fn authority(turn: usize, scene: &Scene<'_>) -> Option<Vec<u8>> {
        let data = [b"\xc0\x0c\x05admin\xc0\x0c", &[0; 20][..]].concat();
        if turn == 0 { reply(scene.heard, &[(6, &data)]) } else { None }
    }

    pub fn stream(turn: usize, scene: &Scene<'_>) -> Option<Vec<u8>> {
        let answer = addresses(scene.heard.get(2..)?)?;
        let length = (answer.len() as u16).to_be_bytes();
        (turn == 0).then(|| [&length, &answer[..]].concat())
    }
}

/// LDAP.
pub mod ldap {
    pub fn bound() -> Vec<u8> {
        b"\x30\x0c\x02\x01\x01\x61\x07\x0a\x01\x00\x04\x00\x04\x00".to_vec()
    }

    pub fn found() -> Vec<u8> {
        let entry = b"\x30\x0d\x02\x01\x02\x64\x08\x04\x04dc=x\x30\x00";
        let done = b"\x30\x0c\x02\x01\x02\x65\x07\x0a\x01\x00\x04\x00\x04\x00";
        [&entry[..], done].concat()
    }
}

/// MySQL.
pub mod mysql {
    use super::super::cases::Scene;
    use lvsentry::probe::mysql::packet::{self, PLUGIN_AUTH, PROTOCOL_41, SECURE_CONNECTION, SSL};

    const END: &[u8] = &[0xfe, 0, 0, 2, 0];

    fn packet(number: u8, payload: &[u8]) -> Vec<u8> {
        let [a, b, c, _] = (payload.len() as u32).to_le_bytes();
        [&[a, b, c, number], payload].concat()
    }

    fn greeting(capabilities: u32) -> Vec<u8> {
        let [a, b, c, d] = capabilities.to_le_bytes();
        let parts: [&[u8]; 6] = [
            b"\x0a8.0.1\0\x01\0\0\0abcdefgh",
            &[0, a, b, 33, 2, 0, c, d, 21],
            &[0; 10],
            b"ijklmnopqrst\0",
            packet::NATIVE,
            b"\0",
        ];
        packet(0, &parts.concat())
    }

    fn session(turn: usize, capabilities: u32) -> Option<Vec<u8>> {
        let more = PROTOCOL_41 | SECURE_CONNECTION | PLUGIN_AUTH;
        let rows = || {
            let head = [packet(1, &[1]), packet(2, b"\x03def\0\0\0"), packet(3, END)].concat();
            [head, packet(4, b"\x011"), packet(5, END)].concat()
        };
        match turn {
            0 => Some(greeting(capabilities | more)),
            1 => Some(packet(2, &[0, 0, 0, 2, 0, 0, 0])),
            2 => Some(rows()),
            _ => None,
        }
    }

    pub fn clear(turn: usize, _: &Scene<'_>) -> Option<Vec<u8>> {
        session(turn, 0)
    }

    pub fn secure(turn: usize, _: &Scene<'_>) -> Option<Vec<u8>> {
        session(turn, SSL)
    }
}

/// PostgreSQL.
pub mod pgsql {
    use super::super::cases::{SECRET, Scene};
    use lvsentry::probe::pgsql::scram;

    fn message(kind: u8, body: &[u8]) -> Vec<u8> {
        let length = (body.len() as u32 + 4).to_be_bytes();
        [&[kind], &length[..], body].concat()
    }

    fn login(way: u32, more: &[u8]) -> Vec<u8> {
        message(b'R', &[&way.to_be_bytes(), more].concat())
    }

    fn welcome() -> Vec<u8> {
        [login(0, b""), message(b'S', b"a\0b\0"), message(b'K', &[0; 8]), message(b'Z', b"I")].concat()
    }

    fn rows() -> Vec<u8> {
        let row = message(b'D', b"\0\x01\0\0\0\x011");
        [message(b'T', b"\0\0"), row, message(b'C', b"SELECT\0"), message(b'Z', b"I")].concat()
    }

    fn session(turn: usize, tls: &[u8]) -> Option<Vec<u8>> {
        match turn {
            0 => Some(tls.to_vec()),
            1 => Some(welcome()),
            2 => Some(rows()),
            _ => None,
        }
    }

    pub fn clear(turn: usize, _: &Scene<'_>) -> Option<Vec<u8>> {
        session(turn, b"N")
    }

    pub fn secure(turn: usize, _: &Scene<'_>) -> Option<Vec<u8>> {
        session(turn, b"S")
    }

    /// With a password, which both sides prove that they know.
    pub fn scram(turn: usize, scene: &Scene<'_>) -> Option<Vec<u8>> {
        const MORE: &str = "server";
        let text = String::from_utf8_lossy(scene.heard);
        let nonce = |text: &str| Some(text.split_once("r=")?.1.split([',', '\0']).next()?.to_owned());
        let challenge = |whole: &str| format!("r={whole},s=QUJD,i=10");
        match turn {
            0 => Some(b"N".to_vec()),
            1 => Some(login(10, b"SCRAM-SHA-256\0\0")),
            2 => Some(login(11, challenge(&(nonce(&text)? + MORE)).as_bytes())),
            3 => {
                let whole = nonce(&text)?;
                let own = whole.strip_suffix(MORE)?;
                let proof = scram::reply(SECRET.as_bytes(), own, &challenge(&whole)).ok()?.server;
                Some([login(12, proof.as_bytes()), welcome()].concat())
            }
            4 => Some(rows()),
            _ => None,
        }
    }
}

/// RADIUS.
pub mod radius {
    use md5::{Digest, Md5};

    /// An Access-Accept, made with the secret `xyzzy`; nothing where there was no request.
    pub fn accept(request: &[u8]) -> Vec<u8> {
        let (Some(id), Some(authenticator)) = (request.get(1), request.get(4..20)) else { return Vec::new() };
        let head = [2, *id, 0, 20];
        let proof = Md5::digest([&head, authenticator, b"xyzzy"].concat());
        [&head[..], &proof].concat()
    }
}
