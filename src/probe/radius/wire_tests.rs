#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use proptest::prelude::*;

use super::*;

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(|b| !b.is_ascii_whitespace()).collect();
    digits.chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
}

/// The request of RFC 2865 section 7.1.
fn example() -> Request<'static> {
    Request {
        id: 0,
        authenticator: hex("0f403f9473978057bd83d5cb98f4227a").try_into().unwrap(),
        login: b"nemo",
        password: b"arctangent",
        secret: b"xyzzy5461",
    }
}

/// The answer of a server that knows this secret.
fn answer(request: &Request<'_>, code: u8, secret: &[u8], is_signed: bool) -> Vec<u8> {
    let mut attributes = vec![6, 6, 0, 0, 0, 1];
    if is_signed {
        attributes.extend([MESSAGE_AUTHENTICATOR, 18]);
        attributes.extend([0; 16]);
    }
    let mut head = vec![code, request.id];
    head.extend((HEADER as u16 + attributes.len() as u16).to_be_bytes());
    if is_signed {
        let sign = hmac(secret, &[&head, &request.authenticator, &attributes]);
        attributes[8..].copy_from_slice(&sign);
    }
    let proof = md5(&[&head, &request.authenticator, &attributes, secret]);
    [&head[..], &proof, &attributes].concat()
}

#[test]
fn hmac_is_that_of_rfc_2202() {
    assert_eq!(
        hmac(b"Jefe", &[b"what do ya ", b"want for nothing?"])[..],
        hex("750c783e6ab0b503eaa86e310a5db738")
    );
    assert_eq!(hmac(&[0x0b; 16], &[b"Hi There"])[..], hex("9294727a3638bb1c13f48ef8158bfc9d"));
    let long = b"Test Using Larger Than Block-Size Key - Hash Key First";
    assert_eq!(hmac(&[0xaa; 80], &[long])[..], hex("6b1ab7fe4bd7bf8f0b62e6ce61b9d0cd"));
}

#[test]
fn a_password_is_hidden_as_in_rfc_2865() {
    assert_eq!(example().hidden(), hex("0dbe708d93d413ce3196e43f782a0aee"));
    for (length, blocks) in [(0, 1), (1, 1), (16, 1), (17, 2), (128, 8)] {
        let password = vec![b'x'; length];
        assert_eq!(Request { password: &password, ..example() }.hidden().len(), blocks * 16);
    }
}

#[test]
fn the_request_is_that_of_rfc_2865_and_signed() {
    let mut packet = example().packet();
    // Its length, and where its signature stands.
    assert_eq!(packet.len(), 20 + 18 + 6 + 18 + 10);
    let sign: Vec<u8> = packet[22..38].to_vec();
    packet[22..38].fill(0);
    assert_eq!(hmac(b"xyzzy5461", &[&packet])[..], sign);
    let wanted = "01 00 0048 0f403f9473978057bd83d5cb98f4227a
                  50 12 00000000000000000000000000000000
                  01 06 6e656d6f
                  02 12 0dbe708d93d413ce3196e43f782a0aee
                  20 0a 6c7673656e747279";
    assert_eq!(packet, hex(wanted));
}

#[test]
fn the_answer_of_rfc_2865_is_taken() {
    let accept = hex("02 00 0026 86fe220e7624ba2a1005f6bf9b55e0b2
                      06 06 00000001 0f 06 00000000 0e 06 c0a80103");
    assert_eq!(example().answer(&accept), Ok(Answer::Accept));
}

#[test]
fn answers_with_and_without_a_signature_are_taken() {
    let request = example();
    for (code, wanted) in [(2, Answer::Accept), (3, Answer::Reject), (11, Answer::Challenge)] {
        for is_signed in [false, true] {
            let mut packet = answer(&request, code, b"xyzzy5461", is_signed);
            assert_eq!(request.answer(&packet), Ok(wanted));
            packet.extend(b"padding");
            assert_eq!(request.answer(&packet), Ok(wanted));
        }
    }
}

#[test]
fn no_byte_of_an_answer_can_be_changed() {
    let request = example();
    for is_signed in [false, true] {
        let good = answer(&request, 2, b"xyzzy5461", is_signed);
        for at in 0..good.len() {
            let mut wrong = good.clone();
            wrong[at] ^= 1;
            assert!(request.answer(&wrong).is_err(), "byte {at}");
            assert!(request.answer(&good[..at]).is_err(), "{at} bytes");
        }
        assert_eq!(request.answer(&answer(&request, 2, b"another", is_signed)), Err(Stray::Unsigned));
    }
}

#[test]
fn a_wrong_signature_is_noticed_although_the_proof_is_right() {
    let request = example();
    let mut packet = answer(&request, 2, b"xyzzy5461", true);
    packet[30] ^= 1;
    let proof = md5(&[&packet[..4], &request.authenticator, &packet[20..], b"xyzzy5461"]);
    packet[4..20].copy_from_slice(&proof);
    assert_eq!(request.answer(&packet), Err(Stray::Unsigned));
}

#[test]
fn attributes_that_lie_about_their_length_are_refused() {
    for attributes in [&[1][..], &[1, 0], &[1, 1, 0], &[1, 3], &[1, 255, 0], &[80, 17, 0], &[80, 2]] {
        assert_eq!(message_authenticator(attributes), Err(Stray::Other), "{attributes:?}");
    }
    let twice = [[80, 18].as_slice(), &[0; 16], &[80, 18], &[0; 16]].concat();
    assert_eq!(message_authenticator(&twice), Err(Stray::Other));
    assert_eq!(message_authenticator(&[1, 2, 1, 3, 0]), Ok(None));
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic_or_are_taken(bytes in prop::collection::vec(any::<u8>(), 0..200), code in any::<u8>()) {
        prop_assert!(example().answer(&bytes).is_err());
        let mut packet = vec![code, 0, 0, bytes.len() as u8 + 20];
        packet.extend([0; 16]);
        packet.extend(&bytes);
        prop_assert!(example().answer(&packet).is_err());
    }
}
