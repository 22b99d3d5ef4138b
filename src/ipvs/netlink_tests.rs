#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use super::*;
use crate::ipvs::consts::errno::{EEXIST, EPERM};
use crate::ipvs::consts::{NLMSG_DONE, NLMSG_ERROR};
use crate::ipvs::wire::tests::written;
use crate::model::{Family, Forward, Weight};

/// What a scripted kernel does about one message: the datagrams that it answers with.
type Answers = Vec<Vec<u8>>;
type Script = Box<dyn FnMut(&Sent) -> Answers + Send>;

/// One message as it was sent.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Sent {
    family: u16,
    flags: u16,
    seq: u32,
    command: u8,
    bytes: Vec<u8>,
}

/// What a test may look at and steer from outside.
#[derive(Default)]
struct Log {
    /// Messages of each send.
    sends: Vec<Vec<Sent>>,
    /// Errors that receiving gives before anything else.
    errors: VecDeque<i32>,
    dials: usize,
    waits: Vec<bool>,
    /// Room for each datagram, at each look for them.
    sizes: Vec<usize>,
}

struct Scripted {
    log: Arc<Mutex<Log>>,
    script: Arc<Mutex<Script>>,
    queue: VecDeque<Vec<u8>>,
    current: Vec<Vec<u8>>,
}

impl Wire for Scripted {
    fn send(&mut self, mut messages: &[u8]) -> io::Result<()> {
        let mut sent = Vec::new();
        while !messages.is_empty() {
            let length = u32::from_ne_bytes(messages[..4].try_into().unwrap()) as usize;
            let (message, rest) = messages.split_at(length);
            let half = |at: usize| u16::from_ne_bytes(message[at..at + 2].try_into().unwrap());
            let seq = u32::from_ne_bytes(message[8..12].try_into().unwrap());
            sent.push(Sent {
                family: half(4),
                flags: half(6),
                seq,
                command: message[16],
                bytes: message.to_vec(),
            });
            messages = rest;
        }
        for message in &sent {
            let answers = (self.script.lock().unwrap())(message);
            // As the kernel does it: a success is told when that was asked for.
            let is_told = |answer: &Vec<u8>| message.flags & ACK != 0 || *answer != status(message.seq, 0);
            self.queue.extend(answers.into_iter().filter(is_told));
        }
        self.log.lock().unwrap().sends.push(sent);
        Ok(())
    }

    fn receive(&mut self, most: usize, size: usize, wait: bool) -> io::Result<Vec<&[u8]>> {
        let mut log = self.log.lock().unwrap();
        log.waits.push(wait);
        log.sizes.push(size);
        if let Some(number) = log.errors.pop_front() {
            return Err(io::Error::from_raw_os_error(number));
        }
        if self.queue.is_empty() {
            return Err(io::Error::from_raw_os_error(EAGAIN));
        }
        self.current = self.queue.drain(..most.min(self.queue.len())).collect();
        assert!(most * size <= ROOM);
        Ok(self.current.iter().map(Vec::as_slice).collect())
    }
}

const FAMILY: u16 = 28;
const REQUEST: u16 = 1;
const ACK: u16 = 4;

fn message(kind: u16, seq: u32, payload: &[u8]) -> Vec<u8> {
    let mut bytes = ((payload.len() + 16) as u32).to_ne_bytes().to_vec();
    bytes.extend(kind.to_ne_bytes());
    bytes.extend([0, 0]);
    bytes.extend(seq.to_ne_bytes());
    bytes.extend([0; 4]);
    bytes.extend(payload);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

fn status(seq: u32, number: i32) -> Vec<u8> {
    message(NLMSG_ERROR, seq, &[&(-number).to_ne_bytes()[..], &[0; 16]].concat())
}

fn done(seq: u32, number: i32) -> Vec<u8> {
    message(NLMSG_DONE, seq, &(-number).to_ne_bytes())
}

/// An entry as the kernel gives it: what it was sent, under the question's number.
fn entry(seq: u32, op: &Op) -> Vec<u8> {
    message(FAMILY, seq, &written(|into| wire::operation(into, Header { family: FAMILY, seq }, op))[16..])
}

fn family_is(seq: u32, number: u16) -> Vec<u8> {
    let mut payload = vec![1, 2, 0, 0, 6, 0, 1, 0];
    payload[4..6].copy_from_slice(&6u16.to_ne_bytes());
    payload[6..8].copy_from_slice(&1u16.to_ne_bytes());
    payload.extend(number.to_ne_bytes());
    payload.extend([0, 0]);
    message(16, seq, &payload)
}

/// Answers what opening asks, and leaves the rest to `script`.
fn opened(mut script: impl FnMut(&Sent) -> Answers + Send + 'static) -> (Netlink, Arc<Mutex<Log>>) {
    let log = Arc::new(Mutex::new(Log::default()));
    let mut opening = true;
    let whole: Script = Box::new(move |sent| match (sent.family, sent.command) {
        (16, _) if std::mem::take(&mut opening) => vec![family_is(sent.seq, FAMILY)],
        (FAMILY, 15) => vec![message(FAMILY, sent.seq, &[14, 1, 0, 0])],
        _ => script(sent),
    });
    let kernel = Netlink::over(dial(log.clone(), whole)).unwrap();
    log.lock().unwrap().sends.clear();
    log.lock().unwrap().waits.clear();
    (kernel, log)
}

fn dial(log: Arc<Mutex<Log>>, script: Script) -> Dial {
    let script = Arc::new(Mutex::new(script));
    Box::new(move || {
        log.lock().unwrap().dials += 1;
        let (log, script) = (log.clone(), script.clone());
        Ok(Box::new(Scripted { log, script, queue: VecDeque::new(), current: Vec::new() }))
    })
}

fn service() -> ServiceKey {
    ServiceKey::Mark(Family::V4, 7)
}

fn settings(scheduler: &str) -> Settings {
    let scheduler = scheduler.into();
    Settings { scheduler, flags: 0, one_packet: false, persistence: None, engine: None }
}

fn server(index: u16) -> SocketAddr {
    SocketAddr::from(([10, 0, (index >> 8) as u8, index as u8], 80))
}

fn add(index: u16) -> Op {
    Op::NewDestination(service(), server(index), Destination::new(Forward::Gate, Weight::ONE))
}

#[test]
fn three_hundred_operations_go_in_windows_that_are_each_answered_before_the_next() {
    let (mut kernel, log) = opened(|sent| vec![status(sent.seq, 0)]);
    let ops: Vec<_> = (0..300).map(add).collect();
    assert_eq!(kernel.apply(&ops), vec![Ok(()); 300]);
    let log = log.lock().unwrap();
    let sizes: Vec<_> = log.sends.iter().map(Vec::len).collect();
    assert_eq!(sizes, [256, 44]);
    for send in &log.sends {
        assert!(send.iter().map(|sent| sent.bytes.len()).sum::<usize>() <= SEND);
        assert!(send.iter().all(|sent| sent.family == FAMILY && sent.seq != 0));
        let (last, others) = send.split_last().unwrap();
        assert_eq!(last.flags, REQUEST | ACK);
        assert!(others.iter().all(|sent| sent.flags == REQUEST), "one that went well needs no answer");
    }
    assert_eq!(log.waits.len(), 2, "one call fetches all answers of a window");
    assert!(log.sizes.ends_with(&[STATUS; 2]), "and touches little memory");
}

#[test]
fn an_error_in_the_middle_belongs_to_its_operation_alone() {
    let mut count = 0;
    let (mut kernel, _) = opened(move |sent| {
        count += 1;
        vec![status(sent.seq, [0, ESRCH, 0, EEXIST, EPERM][count - 1])]
    });
    let ops: Vec<_> = (0..5).map(add).collect();
    let expected = [Ok(()), Err(OpError::NoService), Ok(()), Err(OpError::Exists), Err(OpError::NoRight)];
    assert_eq!(kernel.apply(&ops), expected);
}

#[test]
fn a_late_answer_is_not_taken_for_one_to_what_was_asked_since() {
    let mut late = None;
    let (mut kernel, _) = opened(move |sent| match late.take() {
        Some(late) => vec![late, status(sent.seq, 0)],
        None => {
            late = Some(status(sent.seq, EPERM));
            Vec::new()
        }
    });
    assert_eq!(kernel.apply(&[add(1)]), [Err(OpError::Unknown)], "nobody answers in time");
    assert_eq!(kernel.apply(&[add(2)]), [Ok(())]);
}

#[test]
fn while_the_last_is_not_answered_nothing_is_known_but_what_failed() {
    let mut count = 0;
    let (mut kernel, _) = opened(move |sent| {
        count += 1;
        [vec![], vec![status(sent.seq, EEXIST)], vec![]][count - 1].clone()
    });
    let expected = [Err(OpError::Unknown), Err(OpError::Exists), Err(OpError::Unknown)];
    assert_eq!(kernel.apply(&[add(1), add(2), add(3)]), expected);
}

#[test]
fn after_an_overrun_only_what_is_told_is_known_and_nothing_is_waited_for() {
    let mut count = 0;
    let (mut kernel, log) = opened(move |sent| {
        count += 1;
        [vec![], vec![status(sent.seq, EEXIST)], vec![status(sent.seq, 0)]][count - 1].clone()
    });
    log.lock().unwrap().errors.push_back(ENOBUFS);
    let expected = [Err(OpError::Unknown), Err(OpError::Exists), Ok(())];
    assert_eq!(kernel.apply(&[add(1), add(2), add(3)]), expected);
    assert_eq!(log.lock().unwrap().waits, [true, false]);
}

#[test]
fn after_a_strange_answer_only_what_is_told_is_known() {
    for strange in [status(9999, EEXIST), status(1, 0), vec![1, 2, 3]] {
        let (mut kernel, _) = opened(move |sent| vec![strange.clone(), status(sent.seq, 0)]);
        assert_eq!(kernel.apply(&[add(1), add(2)]), [Err(OpError::Unknown), Ok(())]);
    }
}

#[test]
fn a_module_loaded_anew_gets_its_operations_again_under_its_new_number() {
    let mut family = FAMILY;
    let (mut kernel, log) = opened(move |sent| match sent.family {
        16 => {
            family += 1;
            vec![family_is(sent.seq, family)]
        }
        FAMILY => vec![status(sent.seq, ENOENT)],
        _ => vec![status(sent.seq, 0)],
    });
    assert_eq!(kernel.apply(&[add(1), add(2)]), [Ok(()), Ok(())]);
    let families: Vec<_> = log.lock().unwrap().sends.iter().map(|send| send[0].family).collect();
    assert_eq!(families, [FAMILY, 16, FAMILY + 1]);
}

#[test]
fn what_is_not_found_while_the_module_is_there_is_the_operations_own_fault() {
    let (mut kernel, log) = opened(|sent| match sent.family {
        16 => vec![family_is(sent.seq, FAMILY)],
        _ => vec![status(sent.seq, ENOENT)],
    });
    let ops = [Op::SetService(service(), settings("wlx")), Op::DelDestination(service(), server(1))];
    let unknown = OpError::NoScheduler { name: "wlx".into(), engine: None };
    assert_eq!(kernel.apply(&ops), [Err(unknown), Err(OpError::Missing)]);
    assert_eq!(log.lock().unwrap().sends.len(), 2, "asked once, looked the family up once");
}

#[test]
fn without_the_module_every_operation_says_so() {
    let (mut kernel, _) = opened(|sent| vec![status(sent.seq, ENOENT)]);
    assert_eq!(kernel.apply(&[add(1), add(2)]), [Err(OpError::NoIpvs), Err(OpError::NoIpvs)]);
    assert_eq!(kernel.read(&Scope::All), Err(ReadError::NoIpvs));
}

#[test]
fn opening_tells_a_missing_module_from_a_missing_right() {
    let open = |family: i32, info: i32| {
        let script: Script = Box::new(move |sent| match (sent.family, family) {
            (16, 0) => vec![family_is(sent.seq, FAMILY)],
            (16, number) => vec![status(sent.seq, number)],
            _ => vec![status(sent.seq, info)],
        });
        Netlink::over(dial(Arc::default(), script)).err().unwrap()
    };
    assert_eq!(open(ENOENT, 0), OpenError::NoIpvs);
    assert_eq!(open(0, EPERM), OpenError::NoRight);
}

#[test]
fn names_that_cannot_be_sent_are_answered_without_the_kernel() {
    let (mut kernel, log) = opened(|sent| vec![status(sent.seq, 0)]);
    let ops = [add(1), Op::NewService(service(), settings("a_name_much_too_long")), add(2)];
    assert_eq!(kernel.apply(&ops), [Ok(()), Err(OpError::Invalid(0)), Ok(())]);
    assert_eq!(log.lock().unwrap().sends[0].len(), 2);
}

/// A scripted kernel with one service and two destinations; `change` may alter an answer.
fn one_service(
    mut change: impl FnMut(&Sent, usize) -> Option<Answers> + Send + 'static,
) -> (Netlink, Arc<Mutex<Log>>) {
    let mut count = 0;
    opened(move |sent| {
        count += 1;
        let service_entry = entry(sent.seq, &Op::NewService(service(), settings("rr")));
        change(sent, count).unwrap_or_else(|| match (sent.command, sent.flags) {
            (4, 1) => vec![service_entry],
            (4, _) => vec![service_entry, done(sent.seq, 0)],
            _ => vec![[entry(sent.seq, &add(1)), entry(sent.seq, &add(2))].concat(), done(sent.seq, 0)],
        })
    })
}

fn both() -> Table {
    let mut table = Table::default();
    assert!(table.apply(&Op::NewService(service(), settings("rr"))));
    assert!(table.apply(&add(1)) && table.apply(&add(2)));
    table
}

#[test]
fn a_table_is_read_service_by_service() {
    let (mut kernel, _) = one_service(|_, _| None);
    assert_eq!(kernel.read(&Scope::All), Ok(both()));
    assert_eq!(kernel.read(&Scope::Only([service()].into())), Ok(both()));
}

#[test]
fn entries_given_twice_count_once() {
    let (mut kernel, _) = one_service(|sent, _| {
        let twice = || entry(sent.seq, &add(2));
        (sent.command == 8).then(|| vec![entry(sent.seq, &add(1)), twice(), twice(), done(sent.seq, 0)])
    });
    assert_eq!(kernel.read(&Scope::All), Ok(both()));
}

#[test]
fn a_service_that_went_away_while_it_was_read_is_not_taken_for_an_empty_one() {
    let (mut kernel, _) = one_service(|sent, _| match (sent.command, sent.flags) {
        (8, _) => Some(vec![done(sent.seq, 0)]),
        (4, 1) => Some(vec![status(sent.seq, ESRCH)]),
        _ => None,
    });
    // The list of services is as it was, the destinations are gone, and so is the service itself.
    assert_eq!(kernel.read(&Scope::Only([service()].into())), Ok(Table::default()));
}

#[test]
fn a_service_that_is_there_and_empty_is_read_as_empty() {
    let (mut kernel, _) = one_service(|sent, _| (sent.command == 8).then(|| vec![done(sent.seq, 0)]));
    let table = kernel.read(&Scope::All).unwrap();
    assert_eq!(*table.services[&service()], Entry::new(settings("rr")));
}

#[test]
fn a_service_that_only_the_second_list_shows_is_read_as_well() {
    let (mut kernel, _) = one_service(|sent, count| (count == 1).then(|| vec![done(sent.seq, 0)]));
    assert_eq!(kernel.read(&Scope::All), Ok(both()));
}

#[test]
fn a_service_that_the_second_list_leaves_out_is_asked_for_once_more() {
    // The third message is the second list.
    let (mut kernel, _) = one_service(|sent, count| (count == 3).then(|| vec![done(sent.seq, 0)]));
    assert_eq!(kernel.read(&Scope::All), Ok(both()));
}

#[test]
fn a_dump_that_breaks_off_is_an_error_and_ends_the_socket() {
    type Break = fn(&Sent) -> Answers;
    let cases: [(Break, ReadError); 3] = [
        (|sent| vec![entry(sent.seq, &add(1)), done(sent.seq, 12)], ReadError::Other(12)),
        (|sent| vec![entry(sent.seq, &add(1))], ReadError::Timeout),
        (
            |sent| vec![message(FAMILY, sent.seq, b"?")],
            ReadError::Malformed("a message's attributes do not fit it"),
        ),
    ];
    for (answers, expected) in cases {
        let (mut kernel, log) = one_service(move |sent, count| (count == 2).then(|| answers(sent)));
        assert_eq!(kernel.read(&Scope::All), Err(expected));
        assert_eq!(log.lock().unwrap().dials, 2);
        assert_eq!(kernel.read(&Scope::All), Ok(both()), "the new socket reads it whole");
    }
}

#[test]
fn an_overrun_while_reading_is_no_short_table() {
    let (mut kernel, log) = one_service(|_, _| None);
    log.lock().unwrap().errors.push_back(ENOBUFS);
    assert_eq!(kernel.read(&Scope::All), Err(ReadError::Lost));
    assert_eq!(kernel.read(&Scope::All), Ok(both()), "the next look is a whole one");
}

#[test]
fn numbers_begin_again_before_they_overflow() {
    let (mut kernel, log) = opened(|sent| vec![status(sent.seq, 0)]);
    kernel.seq = u32::MAX - 3;
    assert_eq!(kernel.apply(&[add(1), add(2)]), [Ok(()), Ok(())]);
    assert_eq!(log.lock().unwrap().sends[0][0].seq, 1);
}

#[path = "netlink_faults.rs"]
mod faults; // everything that can happen to an answer
