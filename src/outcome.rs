//! What a probe saw: an [`Outcome`], and when it is bad, a [`Failure`] with a stable short code. Pure.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// How far an exchange had come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Phase {
    /// Looking up a name.
    Resolve,
    /// Making the connection, or sending an echo request.
    Connect,
    /// The TLS handshake.
    Tls,
    /// Sending the request.
    Send,
    /// Waiting for the answer or reading it.
    Receive,
    /// Comparing the answer with what is expected.
    Match,
    /// Running a check command.
    Run,
}

impl Phase {
    /// The first half of a failure's code.
    pub fn name(self) -> &'static str {
        match self {
            Phase::Resolve => "resolve",
            Phase::Connect => "connect",
            Phase::Tls => "tls",
            Phase::Send => "send",
            Phase::Receive => "receive",
            Phase::Match => "match",
            Phase::Run => "run",
        }
    }
}

/// What went wrong, without its particulars.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reason {
    /// The deadline passed.
    Timeout,
    /// The other side refused.
    Refused,
    /// No way to the other side.
    Unreachable,
    /// The other side reset the connection.
    Reset,
    /// The other side closed the connection too early.
    Closed,
    /// The answer is not of the protocol.
    Protocol,
    /// The answer's status is not a good one.
    Status,
    /// The answer does not hold what is expected.
    Mismatch,
    /// The answer is larger than we read.
    TooLarge,
    /// The pattern needs more steps on this answer than we allow.
    TooComplex,
    /// The certificate is not trusted.
    Certificate,
    /// The command ended with a status other than 0.
    Exit,
    /// The command was ended by a signal.
    Signal,
    /// The command could not be started.
    NotRun,
    /// This host could not do its part (descriptors, ports, memory, rights): no evidence against
    /// the server.
    Local,
    /// Any other fault.
    Other,
}

impl Reason {
    /// The second half of a failure's code.
    pub fn name(self) -> &'static str {
        match self {
            Reason::Timeout => "timeout",
            Reason::Refused => "refused",
            Reason::Unreachable => "unreachable",
            Reason::Reset => "reset",
            Reason::Closed => "closed",
            Reason::Protocol => "protocol",
            Reason::Status => "status",
            Reason::Mismatch => "mismatch",
            Reason::TooLarge => "too-large",
            Reason::TooComplex => "too-complex",
            Reason::Certificate => "certificate",
            Reason::Exit => "exit",
            Reason::Signal => "signal",
            Reason::NotRun => "not-run",
            Reason::Local => "local",
            Reason::Other => "other",
        }
    }
}

/// Why a probe says that a server is bad.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// How far the exchange had come.
    pub phase: Phase,
    /// What went wrong.
    pub reason: Reason,
    /// Particulars for people: one line, bounded, never a secret.
    pub detail: String,
    /// Evidence that this host is to blame, as far as the failure itself says so.
    pub illness: Option<Illness>,
}

impl Failure {
    /// Longest detail that is kept, in characters.
    pub const DETAIL: usize = 200;

    /// A failure; `detail` is made a [`one_line`].
    pub fn new(phase: Phase, reason: Reason, detail: impl fmt::Display) -> Failure {
        Failure { phase, reason, detail: one_line(&detail.to_string()), illness: None }
    }

    /// The same with evidence that this host is to blame.
    pub fn blaming(self, illness: Option<Illness>) -> Failure {
        Failure { illness, ..self }
    }

    /// The stable short code: `connect-refused`, `receive-timeout`, `match-mismatch` …
    pub fn code(&self) -> String {
        format!("{}-{}", self.phase.name(), self.reason.name())
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}: {}", self.phase.name(), self.reason.name(), self.detail)
    }
}

impl std::error::Error for Failure {}

/// A text for people: one line of at most [`Failure::DETAIL`] characters, control characters in it
/// replaced, since much of it comes from the server.
pub fn one_line(text: &str) -> String {
    text.chars().take(Failure::DETAIL).map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// Evidence that this host, not the server, is the reason for a bad result. A refusal, a reset or an
/// answer of the server is never that.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Illness {
    /// The interface on the way to the server has no carrier, or is down.
    NoCarrier,
    /// There is no route to the server.
    NoRoute,
    /// The gateway on the way to the server does not answer.
    Gateway,
    /// No file descriptor was left.
    Descriptors,
    /// No local address or port was left.
    Ports,
    /// No memory or network buffer was left.
    Buffers,
    /// Our timers were late by more than half a timeout: this process was not let run.
    Late,
}

impl Illness {
    /// Every one, once.
    pub const ALL: [Illness; 7] = [
        Illness::NoCarrier,
        Illness::NoRoute,
        Illness::Gateway,
        Illness::Descriptors,
        Illness::Ports,
        Illness::Buffers,
        Illness::Late,
    ];

    /// Its stable short code.
    pub fn name(self) -> &'static str {
        match self {
            Illness::NoCarrier => "no-carrier",
            Illness::NoRoute => "no-route",
            Illness::Gateway => "gateway",
            Illness::Descriptors => "descriptors",
            Illness::Ports => "ports",
            Illness::Buffers => "buffers",
            Illness::Late => "late",
        }
    }
}

impl fmt::Display for Illness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Illness::NoCarrier => "the interface on the way has no carrier",
            Illness::NoRoute => "there is no route",
            Illness::Gateway => "the gateway on the way does not answer",
            Illness::Descriptors => "no file descriptors are left (raise LimitNOFILE)",
            Illness::Ports => "no local address or port is left (net.ipv4.ip_local_port_range)",
            Illness::Buffers => "no memory or network buffers are left",
            Illness::Late => "this process was not let run in time",
        })
    }
}

/// The result of asking once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// What was seen: a short description of the good answer, or why it is bad. Outcomes that say the same may share it.
    pub result: Arc<Result<String, Failure>>,
    /// How long the exchange took.
    pub took: Duration,
    /// Evidence that a bad result is our own fault.
    pub illness: Option<Illness>,
}

impl Outcome {
    /// A result; of evidence against ourselves it has what the failure brings along.
    pub fn new(result: Result<String, Failure>, took: Duration) -> Outcome {
        let illness = result.as_ref().err().and_then(|failure| failure.illness);
        Outcome { result: Arc::new(result), took, illness }
    }

    /// What was seen.
    pub fn into_result(self) -> Result<String, Failure> {
        Arc::unwrap_or_clone(self.result)
    }

    /// Whether the server is well.
    pub fn is_good(&self) -> bool {
        self.result.is_ok()
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = self.took.as_secs_f64() * 1e3;
        match (&*self.result, self.illness) {
            (Ok(seen), _) => write!(f, "{seen} ({ms:.1} ms)"),
            (Err(failure), None) => write!(f, "{failure} ({ms:.1} ms)"),
            (Err(failure), Some(illness)) => {
                write!(f, "{failure} ({ms:.1} ms; on our side: {})", illness.name())
            }
        }
    }
}
