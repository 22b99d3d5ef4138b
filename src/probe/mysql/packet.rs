//! The packets of MySQL's protocol that a check sends and reads. Pure.

use crate::probe::sql::words;
use crate::probe::wire::Fields;

/// Capability: a database is named at login.
pub const CONNECT_WITH_DB: u32 = 1 << 3;
/// Capability: the protocol since MySQL 4.1.
pub const PROTOCOL_41: u32 = 1 << 9;
/// Capability: TLS.
pub const SSL: u32 = 1 << 11;
/// Capability: passwords since MySQL 4.1.
pub const SECURE_CONNECTION: u32 = 1 << 15;
/// Capability: several results, as a called procedure gives.
pub const MULTI_RESULTS: u32 = 1 << 17;
/// Capability: ways to authenticate have names.
pub const PLUGIN_AUTH: u32 = 1 << 19;

const LONG_PASSWORD: u32 = 1;
/// utf8, in the collation that every server knows.
const CHARSET: u8 = 33;
/// In an answer's status: another result follows.
const MORE_RESULTS: u16 = 8;

/// What a server says first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Greeting {
    /// What it can do.
    pub capabilities: u32,
    /// What passwords are mixed with.
    pub nonce: Vec<u8>,
    /// The way to authenticate that it would have.
    pub plugin: Vec<u8>,
}

impl Greeting {
    /// Reads one, of protocol version 10.
    pub fn read(packet: &[u8]) -> Option<Greeting> {
        let mut fields = Fields(packet);
        if fields.byte()? != 10 {
            return None;
        }
        let _version = fields.text()?;
        let _thread = fields.bytes(4)?;
        let mut nonce = fields.bytes(8)?.to_vec();
        let _filler = fields.byte()?;
        let low = u16::from_le_bytes(fields.array()?);
        let _charset_and_status = fields.bytes(3)?;
        let high = u16::from_le_bytes(fields.array()?);
        let length = usize::from(fields.byte()?);
        let _reserved = fields.bytes(10)?;
        nonce.extend(without_nul(fields.bytes(length.saturating_sub(8).max(13))?));
        let capabilities = u32::from(high) << 16 | u32::from(low);
        // Some old servers do not end the name.
        let plugin = if capabilities & PLUGIN_AUTH == 0 { NATIVE } else { without_nul(fields.0) };
        Some(Greeting { capabilities, nonce, plugin: plugin.to_vec() })
    }
}

/// The way to authenticate of servers that do not name one.
pub const NATIVE: &[u8] = b"mysql_native_password";

fn without_nul(bytes: &[u8]) -> &[u8] {
    bytes.strip_suffix(b"\0").unwrap_or(bytes)
}

/// What the server is to know of us; ours of its capabilities.
fn head(capabilities: u32, limit: usize) -> Vec<u8> {
    let mut packet = capabilities.to_le_bytes().to_vec();
    packet.extend(u32::try_from(limit).unwrap_or(u32::MAX).to_le_bytes());
    packet.push(CHARSET);
    packet.extend([0; 23]);
    packet
}

/// The capabilities to speak with.
pub fn ours(server: u32, tls: bool, database: &[u8]) -> u32 {
    let mut wanted = LONG_PASSWORD | PROTOCOL_41 | SECURE_CONNECTION | MULTI_RESULTS | PLUGIN_AUTH;
    if tls {
        wanted |= SSL;
    }
    if !database.is_empty() {
        wanted |= CONNECT_WITH_DB;
    }
    wanted & server
}

/// Asks to go on over TLS.
pub fn tls(capabilities: u32, limit: usize) -> Vec<u8> {
    head(capabilities, limit)
}

/// Logs in. The proof is shorter than 256 bytes.
pub fn login(
    capabilities: u32,
    limit: usize,
    user: &[u8],
    proof: &[u8],
    database: &[u8],
    plugin: &[u8],
) -> Vec<u8> {
    let mut packet = head(capabilities, limit);
    packet.extend(user);
    packet.push(0);
    packet.push(u8::try_from(proof.len()).unwrap_or(0));
    packet.extend(proof);
    for (text, capability) in [(database, CONNECT_WITH_DB), (plugin, PLUGIN_AUTH)] {
        if capabilities & capability != 0 {
            packet.extend(text);
            packet.push(0);
        }
    }
    packet
}

/// What a server answers during the login.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer<'a> {
    /// Logged in.
    Welcome,
    /// No, and why.
    Error(String),
    /// Authenticate in that way, with that nonce.
    Switch(&'a [u8], &'a [u8]),
    /// More of the way to authenticate.
    More(&'a [u8]),
}

impl<'a> Answer<'a> {
    /// Reads one.
    pub fn read(packet: &'a [u8]) -> Option<Answer<'a>> {
        let mut fields = Fields(packet);
        match fields.byte()? {
            0x00 => Some(Answer::Welcome),
            0xff => Some(Answer::Error(error(packet)?)),
            // Alone it asks for the passwords of MySQL 4.0.
            0xfe if fields.0.is_empty() => Some(Answer::Switch(b"mysql_old_password", b"")),
            0xfe => Some(Answer::Switch(fields.text()?, without_nul(fields.0))),
            0x01 => Some(Answer::More(fields.0)),
            _ => None,
        }
    }
}

/// The text of an error packet: `1045 (28000): Access denied …`; none if it is no such packet.
pub fn error(packet: &[u8]) -> Option<String> {
    let mut fields = Fields(packet);
    if fields.byte()? != 0xff {
        return None;
    }
    let code = u16::from_le_bytes(fields.array()?);
    // Before the login there is no state.
    let state = match fields.0.strip_prefix(b"#") {
        Some(rest) => {
            fields.0 = rest;
            format!(" ({})", String::from_utf8_lossy(fields.bytes(5)?))
        }
        None => String::new(),
    };
    Some(format!("error {code}{state}: {}", words(fields.0)))
}

/// Counts the rows of an answer to a query, packet by packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Rows {
    /// So many so far, over all results.
    pub count: usize,
    stage: Stage,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Stage {
    #[default]
    Start,
    Columns,
    Rows,
    Over,
}

impl Rows {
    /// Takes the next packet; `Err` holds why there are no rows.
    pub fn take(&mut self, packet: &[u8]) -> Result<(), Wrong> {
        let first = *packet.first().ok_or(Wrong::Nonsense)?;
        if first == 0xff {
            return Err(error(packet).map_or(Wrong::Nonsense, Wrong::Error));
        }
        let end = first == 0xfe && packet.len() < 9;
        self.stage = match self.stage {
            Stage::Start if first == 0 => after(done(packet).ok_or(Wrong::Nonsense)?),
            Stage::Start if end => return Err(Wrong::Nonsense),
            // The server wants to read a file of ours.
            Stage::Start if first == 0xfb => return Err(Wrong::Nonsense),
            Stage::Start => Stage::Columns,
            Stage::Columns if end => Stage::Rows,
            Stage::Columns => Stage::Columns,
            Stage::Rows if end => after(ended(packet).ok_or(Wrong::Nonsense)?),
            Stage::Rows => {
                self.count += 1;
                Stage::Rows
            }
            Stage::Over => return Err(Wrong::Nonsense),
        };
        Ok(())
    }

    /// Whether the answer is complete.
    pub fn over(&self) -> bool {
        self.stage == Stage::Over
    }
}

/// What can be wrong with an answer to a query.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wrong {
    /// The server could not do it, and says why.
    Error(String),
    /// It is no such answer.
    Nonsense,
}

fn after(status: u16) -> Stage {
    if status & MORE_RESULTS == 0 { Stage::Over } else { Stage::Start }
}

/// The status in a packet that says that all is done.
fn done(packet: &[u8]) -> Option<u16> {
    let mut fields = Fields(packet);
    fields.byte()?;
    for _affected_and_id in 0..2 {
        let length = match fields.byte()? {
            0xfc => 2,
            0xfd => 3,
            0xfe => 8,
            0xfb | 0xff => return None,
            _ => 0,
        };
        fields.bytes(length)?;
    }
    Some(u16::from_le_bytes(fields.array()?))
}

/// The status in a packet that ends columns or rows.
fn ended(packet: &[u8]) -> Option<u16> {
    let mut fields = Fields(packet);
    fields.bytes(3)?;
    Some(u16::from_le_bytes(fields.array()?))
}
