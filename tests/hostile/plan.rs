//! What a hostile server does in one exchange.

use std::time::Duration;

use super::cases::Case;
use super::dice::Dice;

/// How the answer of one turn is spoilt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ill {
    /// Not at all: only its delivery may be odd.
    None,
    /// Something else is said.
    Garbage,
    /// It is changed in a few places.
    Mutated,
    /// It, or a line, or a byte, comes again and again.
    Endless,
    /// Nothing is said.
    Mute,
}

/// What happens to the handshake of TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shake {
    /// It goes well.
    Well,
    /// Bytes of it are changed on their way to the client.
    Corrupt,
    /// The server knows nothing of TLS.
    Never,
}

/// What comes behind the spoilt turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Then {
    /// The exchange goes on.
    On,
    /// The connection is closed.
    Close,
    /// It is reset.
    Reset,
    /// It stays open, silent.
    Hold,
}

/// What a server does.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The turn that is spoilt.
    pub turn: usize,
    /// How.
    pub ill: Ill,
    /// Whether bytes come one by one.
    pub drip: bool,
    /// What comes then.
    pub then: Then,
    /// What becomes of TLS.
    pub shake: Shake,
    /// What all further chance is taken from.
    pub dice: Dice,
}

/// The deadline where a server may be silent.
const TIGHT: Duration = Duration::from_millis(80);
/// The deadline where it comes to an end by itself.
const WIDE: Duration = Duration::from_secs(2);

impl Plan {
    /// A plan for this case.
    pub fn new(case: &Case, mut dice: Dice) -> Plan {
        let shakes = [Shake::Well, Shake::Well, Shake::Corrupt, Shake::Never];
        let ill = dice.below(100);
        let ill = match ill {
            0..8 => Ill::None,
            8..30 => Ill::Garbage,
            30..85 => Ill::Mutated,
            85..95 => Ill::Endless,
            _ => Ill::Mute,
        };
        let turn = dice.below(case.judged.max(1));
        let then = dice.one(&[Then::On, Then::Close, Then::Close, Then::Close, Then::Reset, Then::Hold]);
        let shake = dice.one(&shakes);
        Plan { turn, ill, drip: dice.percent(5), then, shake, dice }
    }

    /// The plan of an honest server.
    pub fn honest() -> Plan {
        let (ill, then, shake) = (Ill::None, Then::On, Shake::Well);
        Plan { turn: 0, ill, drip: false, then, shake, dice: Dice::new(0, 0) }
    }

    /// How long the check may take: less where the server will not end it.
    pub fn timeout(&self, case: &Case) -> Duration {
        let ends = matches!(self.then, Then::Close | Then::Reset) && self.ill != Ill::None;
        if case.udp || self.drip || !ends { TIGHT } else { WIDE }
    }

    /// Whether nothing of what a good answer is made of is said in a turn that counts.
    pub fn is_senseless(&self, case: &Case) -> bool {
        let nothing = matches!(self.ill, Ill::Garbage | Ill::Mute);
        let goes_on = self.then == Then::On;
        nothing && !goes_on && self.turn < case.judged
    }
}
