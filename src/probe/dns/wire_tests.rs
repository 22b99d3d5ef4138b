#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use proptest::prelude::*;

use super::*;

fn question(name: &str, record: Record) -> Question {
    Question { name: Name::parse(name.as_bytes()).unwrap(), record }
}

/// An answer to the question with these records: type, data.
fn message(question: &Question, flags: u16, records: &[(Record, &[u8])]) -> Vec<u8> {
    let mut message = question.query(7);
    message[2..4].copy_from_slice(&flags.to_be_bytes());
    message[6..8].copy_from_slice(&(records.len() as u16).to_be_bytes());
    for (record, data) in records {
        message.extend([0xc0, 12]);
        message.extend((*record as u16).to_be_bytes());
        message.extend([0, 1, 0, 0, 0, 60]);
        message.extend((data.len() as u16).to_be_bytes());
        message.extend(*data);
    }
    message
}

fn records(question: &Question, record: Record, data: &[u8]) -> Result<Vec<String>, Wrong> {
    question.answer(7, &message(question, 0x8180, &[(record, data)])).map(|answer| answer.records)
}

#[test]
fn the_query_is_that_of_rfc_1035() {
    let query = question("www.example.org", Record::A).query(0x1234);
    let wanted =
        b"\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x03www\x07example\x03org\x00\x00\x01\x00\x01";
    assert_eq!(query, wanted);
}

#[test]
fn names_are_read_as_people_write_them() {
    for (text, wanted) in [
        ("a.b", Some("a.b")),
        ("a.b.", Some("a.b")),
        ("", Some(".")),
        (".", Some(".")),
        ("a..b", None),
        (".a", None),
        ("a b", Some("a b")),
    ] {
        assert_eq!(Name::parse(text.as_bytes()).map(|name| name.to_string()).as_deref(), wanted, "{text}");
    }
    let label = "x".repeat(63);
    assert!(Name::parse(label.as_bytes()).is_some());
    assert!(Name::parse(format!("{label}x").as_bytes()).is_none());
    let long = format!("{label}.{label}.{label}.{}", "x".repeat(61));
    assert_eq!(long.len(), 253);
    assert!(Name::parse(long.as_bytes()).is_some());
    assert!(Name::parse(format!("{long}x").as_bytes()).is_none());
}

#[test]
fn an_address_is_asked_for_backwards() {
    let reverse = |ip: &str| Name::reverse(ip.parse().unwrap()).to_string();
    assert_eq!(reverse("192.0.2.10"), "10.2.0.192.in-addr.arpa");
    assert_eq!(
        reverse("2001:db8::567:89ab"),
        "b.a.9.8.7.6.5.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa"
    );
}

#[test]
fn each_type_of_record_is_read() {
    for (record, data, wanted) in [
        (Record::A, &b"\xc0\x00\x02\x0a"[..], "192.0.2.10"),
        (Record::Aaaa, b"\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x01", "2001:db8::1"),
        (Record::Ptr, b"\x03www\xc0\x0c", "www.example.org"),
        (Record::Ns, b"\x02ns\x00", "ns"),
        (Record::Cname, b"\xc0\x0c", "example.org"),
        (Record::Mx, b"\x00\x0a\x04mail\xc0\x0c", "10 mail.example.org"),
        (Record::Srv, b"\x00\x01\x00\x02\x13\x88\x01x\x00", "1 2 5000 x"),
        (Record::Txt, b"\x03v=1\x03 \"\xff\x00", "v=1 \"\\255"),
        (
            Record::Soa,
            b"\xc0\x0c\x01h\x00\0\0\0\x01\0\0\0\x02\0\0\0\x03\0\0\0\x04\0\0\0\x05",
            "example.org h 1 2 3 4 5",
        ),
    ] {
        let question = question("example.org", record);
        assert_eq!(records(&question, record, data).unwrap(), [wanted]);
        // One byte less, or one more, is no such record.
        let short = records(&question, record, &data[..data.len() - 1]);
        assert!(record == Record::Txt || short == Err(Wrong::Broken), "{record}: {short:?}");
        let long = records(&question, record, &[data, b"x"].concat());
        assert_eq!(long, Err(Wrong::Broken), "{record}");
    }
}

#[test]
fn records_of_another_type_are_passed_over() {
    let question = question("example.org", Record::A);
    let chain =
        [(Record::Cname, &b"\x01x\x00"[..]), (Record::A, &[192, 0, 2, 1]), (Record::A, &[192, 0, 2, 2])];
    let answer = question.answer(7, &message(&question, 0x8180, &chain)).unwrap();
    assert_eq!(answer.records, ["192.0.2.1", "192.0.2.2"]);
}

#[test]
fn an_answer_to_another_question_is_a_stray() {
    let asked = question("example.org", Record::A);
    let stray = |message: &[u8]| matches!(asked.answer(7, message), Err(Wrong::Stray(_)));
    let good = message(&asked, 0x8180, &[]);
    assert!(!stray(&good));
    // Identifier, the bit that says it is an answer, the kind of query, name, type, class.
    for at in [0, 1, 2, 13, 25, 27, good.len() - 1] {
        let mut wrong = good.clone();
        wrong[at] ^= if at == 2 { 0x80 } else { 0x01 };
        assert!(stray(&wrong) != (at == 2 && wrong[2] & 0x80 != 0), "byte {at}");
    }
    assert!(stray(&message(&question("example.com", Record::A), 0x8180, &[])));
    assert!(!stray(&message(&question("EXAMPLE.org", Record::A), 0x8180, &[])), "case does not matter");
    for length in 0..good.len() {
        assert!(stray(&good[..length]), "{length} bytes");
    }
}

#[test]
fn a_refusal_may_leave_out_the_question() {
    let asked = question("example.org", Record::A);
    let bare = [0, 7, 0x81, 0x85, 0, 0, 0, 0, 0, 0, 0, 0];
    assert_eq!(asked.answer(7, &bare).unwrap().code, 5);
    let bare = [0, 7, 0x81, 0x80, 0, 0, 0, 0, 0, 0, 0, 0];
    assert!(asked.answer(7, &bare).is_err());
}

#[test]
fn compression_does_not_loop() {
    let asked = question("example.org", Record::Ptr);
    // Where the record's data stands: behind the question and the record's head.
    let here = asked.query(7).len() as u16 + 12;
    let to = |at: u16| (0xc000 | at).to_be_bytes();
    for (what, data) in [
        ("itself", to(here).to_vec()),
        ("forward", [&to(here + 2)[..], b"\x01x\x00"].concat()),
        ("a label and back to it", [&b"\x01x"[..], &to(here)].concat()),
        ("far away", to(0x3fff).to_vec()),
        ("a label of a kind that is none", vec![0x40, 0]),
        ("an extended label", vec![0x80, 0]),
    ] {
        assert_eq!(records(&asked, Record::Ptr, &data), Err(Wrong::Broken), "{what}");
    }
    // A name that comes together from pieces and grows too long.
    let mut data = Vec::new();
    let mut last = None;
    for _ in 0..5 {
        let at = here + data.len() as u16;
        data.push(63);
        data.extend([b'x'; 63]);
        data.extend(last.map_or([0xc0, 12], to));
        last = Some(at);
    }
    let long = [(Record::Txt, &data[..]), (Record::Ptr, &to(last.unwrap()))];
    assert_eq!(asked.answer(7, &message(&asked, 0x8180, &long)), Err(Wrong::Broken));
}

#[test]
fn a_count_that_lies_is_noticed() {
    let asked = question("example.org", Record::A);
    let mut lying = message(&asked, 0x8180, &[(Record::A, &[1, 2, 3, 4])]);
    lying[6..8].copy_from_slice(&[0xff, 0xff]);
    assert_eq!(asked.answer(7, &lying), Err(Wrong::Broken));
}

/// A chain of pointers, each to the one before, costs the most that a name can; every record may
/// be at the end of one.
#[test]
fn a_name_of_too_many_jumps_is_not_followed() {
    let asked = question("x", Record::A);
    for (jumps, wanted) in [(JUMPS, true), (JUMPS + 1, false)] {
        // The first record's data are pointers, the first of them to the question's name.
        let start = asked.query(7).len() + 12;
        let places = (0..jumps - 1).map(|jump| if jump == 0 { HEADER } else { start + (jump - 1) * 2 });
        let data: Vec<u8> = places.flat_map(|to| (0xc000 | to as u16).to_be_bytes()).collect();
        let mut message = message(&asked, 0x8180, &[(Record::Txt, &data)]);
        message[7] = 2;
        // The second one's name is a pointer to the last of them.
        message.extend((0xc000 | (message.len() - 2) as u16).to_be_bytes());
        message.extend([0, 1, 0, 1, 0, 0, 0, 0, 0, 4, 192, 0, 2, 1]);
        assert_eq!(asked.answer(7, &message).is_ok(), wanted, "{jumps} jumps");
    }
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..600), record in 0..9_usize) {
        let asked = question("example.org", Record::WORDS[record].1);
        let _ = asked.answer(7, &bytes);
        // Behind a good head, so that the records are looked at.
        let mut message = message(&asked, 0x8180, &[]);
        message[7] = 3;
        message.extend([0xc0, 12, 0, asked.record as u8, 0, 1, 0, 0, 0, 0, 0, bytes.len() as u8]);
        message.extend(&bytes);
        if let Ok(answer) = asked.answer(7, &message) {
            prop_assert!(answer.records.len() <= 3);
        }
    }

    #[test]
    fn a_name_comes_back_as_it_was_asked(labels in prop::collection::vec("[a-z0-9-]{1,20}", 1..8)) {
        let text = labels.join(".");
        prop_assert_eq!(Name::parse(text.as_bytes()).unwrap().to_string(), text);
    }
}
