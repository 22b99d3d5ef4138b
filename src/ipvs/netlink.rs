//! The conversation with the real kernel: windows of operations, dumps, and what to do when an
//! answer is lost or the module was loaded anew.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::iter::{self, Peekable};
use std::net::SocketAddr;
use std::sync::Arc;

use super::consts::errno::{EAGAIN, EINTR, ENOBUFS, ENOENT, EPROTONOSUPPORT, ESRCH};
use super::error::{OpError, OpenError, ReadError};
use super::socket::Socket;
use super::wire::{self, Body, Header, Malformed, Reply};
use super::{Kernel, Scope};
use crate::model::{ServiceKey, Settings};
use crate::table::flow::Flows;
use crate::table::{Destination, Entry, Op, Table};

/// The most operations in one send. Should all of them fail, there is room for their errors: one costs 768 bytes of receive
/// buffer, and even into one of the default size go 277.
pub(super) const OPERATIONS: usize = 256;
/// The most questions in one send: each has an answer, and that is longer.
const QUESTIONS: usize = 64;
/// The most bytes in one send, unless one message has more: a third of the usual send buffer.
const SEND: usize = 64 << 10;
/// Room for an acknowledgement: 36 bytes, or with an error some 200 more that say what is wrong. Not more,
/// since each answer of a window has a place of its own, and memory costs when it is touched.
const STATUS: usize = 1 << 10;
/// Room for an entry.
const ENTRY: usize = 4 << 10;
/// Room for a datagram of a dump: the kernel makes none above 32 KiB.
const LIST: usize = 64 << 10;
/// Datagrams of a dump fetched at once: a small list and its end come in two.
const DUMP_DATAGRAMS: usize = 4;
/// Room for all datagrams that are fetched at once.
pub(super) const ROOM: usize = DUMP_DATAGRAMS * LIST;
/// How often the datagrams of one dump are fetched, and how many datagrams of a window may answer nothing that is
/// asked, at the most: a kernel that goes on and on is given up.
const DUMP_MOST: usize = 1 << 14;
const STRAY_MOST: usize = 1 << 10;
/// How often a table that changes while it is read is looked at again.
const ROUNDS: usize = 3;

/// What carries messages: the socket, or a test's script.
pub(super) trait Wire: Send {
    /// Sends messages that lie one after the other.
    fn send(&mut self, messages: &[u8]) -> io::Result<()>;

    /// Waits for a datagram (a bounded time; `EAGAIN` when none came, `ENOBUFS` when some were
    /// lost), and fetches it and those that are there already, up to `most` of up to `size` bytes each,
    /// [`ROOM`] in all (`EMSGSIZE` when one is longer). Without `wait`, only what is there.
    fn receive(&mut self, most: usize, size: usize, wait: bool) -> io::Result<Vec<&[u8]>>;
}

/// What is wrong with an answer that is none to us.
const UNASKED: Malformed = Malformed("an answer to a question that was not asked");

type Dial = Box<dyn FnMut() -> io::Result<Box<dyn Wire>> + Send>;

/// The IPVS table of this host's kernel, in the network namespace in which it was opened.
///
/// Its calls block, at times for as long as the kernel loads a module: give it a thread of its own.
pub struct Netlink {
    wire: Box<dyn Wire>,
    /// Makes a new wire: after a dump was given up the old one is of no use.
    dial: Dial,
    /// The number of the family, which changes when the module is loaded anew.
    family: u16,
    /// The next request's number, never 0.
    seq: u32,
    /// What goes out in one send, kept for the memory.
    messages: Vec<u8>,
}

/// A question with one answer.
enum Question<'a> {
    Family,
    Info,
    Service(&'a ServiceKey),
    Operation(&'a Op),
}

impl Question<'_> {
    /// Adds it to `messages`.
    fn encode(&self, messages: &mut Vec<u8>, header: Header) {
        match self {
            Question::Family => wire::get_family(messages, header.seq),
            Question::Info => wire::get_info(messages, header),
            Question::Service(key) => wire::get_service(messages, header, key),
            Question::Operation(op) => wire::operation(messages, header, op),
        }
    }
}

/// The answer to a [`Question`].
#[derive(Debug, Clone, PartialEq, Eq)]
enum Answer {
    /// Done (0), or the error's number.
    Status(i32),
    /// What was asked for.
    Entry(Vec<u8>),
    /// None came, or it was lost.
    Lost,
}

impl Netlink {
    /// Opens the kernel's table, in the calling thread's network namespace. Loads the module
    /// `ip_vs` where the kernel allows it, and makes sure of the right to use it.
    pub fn open() -> Result<Netlink, OpenError> {
        Netlink::over(Box::new(|| Ok(Box::new(Socket::open()?) as Box<dyn Wire>)))
    }

    fn over(mut dial: Dial) -> Result<Netlink, OpenError> {
        let wire = dial().map_err(|error| match number(&error) {
            EPROTONOSUPPORT => OpenError::NoIpvs,
            number => OpenError::Socket(number),
        })?;
        let mut kernel = Netlink { wire, dial, family: 0, seq: 1, messages: Vec::new() };
        kernel.resolve().map_err(OpenError::from_read)?;
        kernel.ask(Question::Info).map_err(OpenError::from_read)?;
        Ok(kernel)
    }

    /// Looks the family's number up, and says whether it is another than before.
    fn resolve(&mut self) -> Result<bool, ReadError> {
        let family = wire::family(&self.ask(Question::Family)?)?;
        let is_new = family != self.family;
        self.family = family;
        Ok(is_new)
    }

    fn ask(&mut self, question: Question<'_>) -> Result<Vec<u8>, ReadError> {
        match self.window(&mut iter::once(question).peekable()).pop() {
            Some(Answer::Entry(payload)) => Ok(payload),
            Some(Answer::Status(0)) => Err(ReadError::Malformed("a bare acknowledgement")),
            Some(Answer::Status(number)) => Err(ReadError::of(number)),
            Some(Answer::Lost) | None => Err(ReadError::Timeout),
        }
    }

    // ---- questions with one answer each, in windows ----

    /// Asks as many of the questions, which are of one kind, as one send takes: as many answers, in their order.
    ///
    /// Of operations only the last asks for an acknowledgement. The kernel carries them out in order inside the send, and
    /// says of each that fails (save with EINTR, for which none of these has a reason); so when the last is answered, those of
    /// which nothing was said went well. That is not taken for granted when an answer was lost or was not to any of them.
    fn window<'a>(&mut self, questions: &mut Peekable<impl Iterator<Item = Question<'a>>>) -> Vec<Answer> {
        let are_operations = matches!(questions.peek(), Some(Question::Operation(_)));
        let first = self.reserve();
        let (mut last, mut answers) = (0, Vec::new());
        self.messages.clear();
        for seq in (first..).take(if are_operations { OPERATIONS } else { QUESTIONS }) {
            let Some(question) = questions.peek() else { break };
            let end = self.messages.len();
            question.encode(&mut self.messages, Header { family: self.family, seq });
            if !answers.is_empty() && self.messages.len() > SEND {
                self.messages.truncate(end);
                break;
            }
            last = end;
            answers.push(Answer::Lost);
            questions.next();
        }
        if are_operations {
            wire::acknowledge(&mut self.messages[last..]);
        }
        if self.wire.send(&self.messages).is_ok() {
            let is_sound = self.collect(first, are_operations, &mut answers);
            let unanswered = answers.iter_mut().filter(|answer| **answer == Answer::Lost);
            if are_operations && is_sound {
                unanswered.for_each(|answer| *answer = Answer::Status(0));
            }
        }
        answers
    }

    /// Takes the numbers of one window; the first of them.
    fn reserve(&mut self) -> u32 {
        let first = if self.seq > u32::MAX - OPERATIONS as u32 { 1 } else { self.seq };
        self.seq = first + OPERATIONS as u32;
        first
    }

    /// Reads until every answer is there, or of operations the last one's, or no more come. Says whether
    /// all came, and no other.
    fn collect(&mut self, first: u32, are_operations: bool, answers: &mut [Answer]) -> bool {
        let room = if are_operations { STATUS } else { ENTRY };
        let is_over = |answers: &[Answer]| match are_operations {
            true => answers.last() != Some(&Answer::Lost),
            false => !answers.contains(&Answer::Lost),
        };
        // Once answers were lost, those that were not are in the queue: do not wait for the others.
        let (mut is_sound, mut wait) = (true, true);
        let mut left = answers.len() + STRAY_MOST;
        while left > 0 && !is_over(answers) {
            let datagrams = match self.wire.receive(answers.len(), room, wait) {
                Ok(datagrams) => datagrams,
                Err(error) if number(&error) == ENOBUFS && wait => {
                    (is_sound, wait) = (false, false);
                    continue;
                }
                Err(_) => return false,
            };
            left = left.saturating_sub(datagrams.len().max(1));
            for reply in datagrams.into_iter().flat_map(wire::replies) {
                is_sound &= reply.is_ok_and(|reply| note(reply, first, answers));
            }
        }
        is_sound && is_over(answers)
    }

    // ---- dumps ----

    /// Asks for a list and hands over its entries. At a failure the socket is replaced: until a
    /// dump was read to its end the kernel begins no other on the same socket.
    fn dump(
        &mut self,
        question: impl Fn(&mut Vec<u8>, Header),
        mut each: impl FnMut(&[u8]) -> Result<(), Malformed>,
    ) -> Result<(), ReadError> {
        let seq = self.reserve();
        self.messages.clear();
        question(&mut self.messages, Header { family: self.family, seq });
        let done = self.read_dump(seq, &mut each);
        if done.is_err()
            && let Ok(wire) = (self.dial)()
        {
            self.wire = wire;
        }
        done
    }

    fn read_dump(
        &mut self,
        seq: u32,
        each: &mut dyn FnMut(&[u8]) -> Result<(), Malformed>,
    ) -> Result<(), ReadError> {
        self.wire.send(&self.messages).map_err(|error| ReadError::Other(number(&error)))?;
        for _ in 0..DUMP_MOST {
            let datagrams = self.wire.receive(DUMP_DATAGRAMS, LIST, true).map_err(|error| unheard(&error))?;
            for reply in datagrams.into_iter().flat_map(wire::replies) {
                let reply = reply?;
                match reply.body {
                    // What was asked before was given up; what was not asked yet can't be answered.
                    _ if reply.seq.wrapping_sub(seq).cast_signed() > 0 => return Err(UNASKED.into()),
                    _ if reply.seq != seq => {}
                    Body::Entry(payload) => each(payload)?,
                    Body::Done(0) => return Ok(()),
                    Body::Done(number) | Body::Status(number) if number != 0 => {
                        return Err(ReadError::of(number));
                    }
                    Body::Done(_) | Body::Status(_) | Body::Noise => {}
                }
            }
        }
        Err(ReadError::Malformed("a list without an end"))
    }

    fn dump_services(&mut self) -> Result<BTreeMap<ServiceKey, Settings>, ReadError> {
        let mut services = BTreeMap::new();
        self.dump(wire::dump_services, |payload| {
            services.extend(wire::service(payload)?);
            Ok(())
        })?;
        Ok(services)
    }

    fn dump_destinations(
        &mut self,
        key: &ServiceKey,
    ) -> Result<BTreeMap<SocketAddr, Destination>, ReadError> {
        let mut destinations = BTreeMap::new();
        self.dump(
            |messages, header| wire::dump_destinations(messages, header, key),
            |payload| {
                destinations.extend([wire::destination(payload, key.family())?]);
                Ok(())
            },
        )?;
        Ok(destinations)
    }

    fn flows_once(&mut self, keys: &BTreeSet<ServiceKey>) -> Result<Flows, ReadError> {
        let mut flows = Flows::new();
        for key in keys {
            let of = flows.entry(*key).or_default();
            self.dump(
                |messages, header| wire::dump_destinations(messages, header, key),
                |payload| {
                    of.extend([wire::flow(payload, key.family())?]);
                    Ok(())
                },
            )?;
        }
        Ok(flows)
    }

    // ---- tables ----

    fn read_once(&mut self, scope: &Scope) -> Result<Table, ReadError> {
        match scope {
            Scope::All => self.read_all(),
            Scope::Only(keys) => {
                let services = self.services(keys.iter())?;
                let mut table = Table::default();
                self.fill(&mut table, services)?;
                Ok(table)
            }
        }
    }

    /// Reads the whole table. A dump is no snapshot: while others change the table it may leave
    /// out services that were there all the time. So the services are listed a second time, and
    /// what is only in one of the two lists is looked at once more.
    fn read_all(&mut self) -> Result<Table, ReadError> {
        let mut table = Table::default();
        let mut services = self.dump_services()?;
        for _ in 0..ROUNDS {
            self.fill(&mut table, services)?;
            services = self.dump_services()?;
            let absent: Vec<_> = table.services.keys().filter(|key| !services.contains_key(key)).collect();
            let present = self.services(absent.into_iter().copied().collect::<Vec<_>>().iter())?;
            table.services.retain(|key, _| services.contains_key(key) || present.contains_key(key));
            services.retain(|key, _| !table.services.contains_key(key));
            if services.is_empty() {
                break;
            }
        }
        Ok(table)
    }

    /// Adds services with their destinations to a table. A service that went away meanwhile has
    /// an empty list, not an error: of empty ones the kernel is asked again.
    fn fill(&mut self, table: &mut Table, services: BTreeMap<ServiceKey, Settings>) -> Result<(), ReadError> {
        let mut empty = BTreeSet::new();
        for (key, settings) in services {
            let destinations = self.dump_destinations(&key)?;
            if destinations.is_empty() {
                empty.insert(key);
            }
            table.services.insert(key, Arc::new(Entry { settings, destinations }));
        }
        let present = self.services(empty.iter())?;
        table.services.retain(|key, _| !empty.contains(key) || present.contains_key(key));
        Ok(())
    }

    /// Those of the services that are there.
    fn services<'a>(
        &mut self,
        keys: impl Iterator<Item = &'a ServiceKey>,
    ) -> Result<BTreeMap<ServiceKey, Settings>, ReadError> {
        let mut questions = keys.map(Question::Service).peekable();
        let mut services = BTreeMap::new();
        while questions.peek().is_some() {
            for answer in self.window(&mut questions) {
                match answer {
                    Answer::Entry(payload) => services.extend(wire::service(&payload)?),
                    Answer::Status(0 | ESRCH) => {}
                    Answer::Status(number) => return Err(ReadError::of(number)),
                    Answer::Lost => return Err(ReadError::Lost),
                }
            }
        }
        Ok(services)
    }
}

impl Kernel for Netlink {
    fn read(&mut self, scope: &Scope) -> Result<Table, ReadError> {
        match self.read_once(scope) {
            // The family's number is no longer valid: the module may have been loaded anew.
            Err(ReadError::NoIpvs) if self.resolve()? => self.read_once(scope),
            read => read,
        }
    }

    fn flows(&mut self, keys: &BTreeSet<ServiceKey>) -> Result<Flows, ReadError> {
        match self.flows_once(keys) {
            Err(ReadError::NoIpvs) if self.resolve()? => self.flows_once(keys),
            flows => flows,
        }
    }

    fn apply(&mut self, ops: &[Op]) -> Vec<Result<(), OpError>> {
        let mut results = vec![Err(OpError::Invalid(0)); ops.len()];
        let sendable = (0..ops.len()).filter(|&i| wire::is_sendable(&ops[i]));
        let unknown = self.carry_out(ops, sendable, &mut results);
        if unknown.is_empty() {
            return results;
        }
        match self.resolve() {
            // The module was loaded anew: nothing of these was looked at.
            Ok(true) => drop(self.carry_out(ops, unknown.iter().copied(), &mut results)),
            Ok(false) => {}
            Err(ReadError::NoIpvs) => {
                for i in unknown {
                    results[i] = Err(OpError::NoIpvs);
                }
            }
            // What the kernel said of each operation stands.
            Err(_) => {}
        }
        results
    }
}

impl Netlink {
    /// Carries out those of the operations that `places` names, writes down how each went, and
    /// returns the places of those for which the kernel did not find something (`ENOENT`).
    fn carry_out(
        &mut self,
        ops: &[Op],
        mut places: impl Iterator<Item = usize> + Clone,
        results: &mut [Result<(), OpError>],
    ) -> Vec<usize> {
        let mut questions = places.clone().map(|i| Question::Operation(&ops[i])).peekable();
        let mut unknown = Vec::new();
        while questions.peek().is_some() {
            for (answer, i) in self.window(&mut questions).into_iter().zip(&mut places) {
                if answer == Answer::Status(ENOENT) {
                    unknown.push(i);
                }
                results[i] = match answer {
                    Answer::Status(0) => Ok(()),
                    Answer::Status(number) => Err(OpError::of(number, &ops[i])),
                    Answer::Entry(_) | Answer::Lost => Err(OpError::Unknown),
                };
            }
        }
        unknown
    }
}

/// Writes a reply down among the answers to questions with numbers from `first`. Says whether it is one of these: another
/// number is a late answer to something that was given up.
fn note(reply: Reply<'_>, first: u32, answers: &mut [Answer]) -> bool {
    let answer = match reply.body {
        Body::Status(number) => Answer::Status(number),
        Body::Entry(payload) => Answer::Entry(payload.to_vec()),
        Body::Done(_) | Body::Noise => return true,
    };
    let place = reply.seq.checked_sub(first).map(|place| place as usize);
    match place.and_then(|place| answers.get_mut(place)).filter(|slot| **slot == Answer::Lost) {
        Some(slot) => {
            *slot = answer;
            true
        }
        None => false,
    }
}

impl From<Malformed> for ReadError {
    fn from(Malformed(what): Malformed) -> ReadError {
        ReadError::Malformed(what)
    }
}

fn number(error: &io::Error) -> i32 {
    error.raw_os_error().unwrap_or(EINTR)
}

/// Why a datagram of a dump could not be had.
fn unheard(error: &io::Error) -> ReadError {
    match number(error) {
        EAGAIN => ReadError::Timeout,
        _ => ReadError::Lost,
    }
}

#[cfg(test)]
#[path = "netlink_tests.rs"]
mod tests;
