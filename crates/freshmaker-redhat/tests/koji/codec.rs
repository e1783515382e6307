use crate::recorded::{Exchange, production};
use freshmaker_redhat::koji::xmlrpc::{DEPTH_MAX, Malformed, Request, Response, Value};
use proptest::prelude::{Just, Strategy, any, prop_assert_eq, prop_oneof, proptest};
use std::collections::BTreeMap;

/// Whether two texts differ in nothing but the order of the members of structs.
fn same_bytes(ours: &str, recorded: &[u8]) -> bool {
    let sorted = |text: &str| {
        let mut lines: Vec<String> =
            text.replace("<nil/></value></member>", "<nil/></value>\n</member>").lines().map(str::to_owned).collect();
        lines.sort();
        lines
    };
    let recorded = std::str::from_utf8(recorded).expect("UTF-8");
    ours == recorded || (recorded.contains("<struct>") && sorted(ours) == sorted(recorded))
}

#[test]
fn every_recorded_exchange_is_read_and_written_as_it_was() {
    let (mut requests, mut exact, mut responses) = (0, 0, 0);
    for exchange in Exchange::all() {
        let xml = |header: Option<&str>| header.is_some_and(|kind| kind.starts_with("text/xml"));
        if xml(exchange.asked_header("content-type")) && exchange.asked().starts_with(b"<?xml") {
            let request = exchange.request();
            let ours = request.encode().expect("it came over the line");
            assert_eq!(Request::parse(ours.as_bytes()).expect("ours"), request, "{}", exchange.name);
            // The exchanges from 200 on were made by hand.
            let by_hand = exchange.name.starts_with("20");
            assert!(by_hand || same_bytes(&ours, &exchange.asked()), "{}: {ours}", exchange.name);
            exact += usize::from(ours.as_bytes() == exchange.asked());
            requests += 1;
        }
        if xml(exchange.answered_header("content-type")) && exchange.answered_header("content-encoding").is_none() {
            let response = exchange.response();
            let ours = response.encode().expect("it came over the line");
            assert_eq!(Response::parse(ours.as_bytes()).expect("ours"), response, "{}", exchange.name);
            assert!(same_bytes(&ours, &exchange.answered()), "{}: {ours}", exchange.name);
            responses += 1;
        }
    }
    // Guards against a filter that lets nothing through.
    assert_eq!((requests, exact, responses), (191, 130, 195));
}

#[test]
fn all_types_come_over() {
    let Response::Value(Value::Array(echoed)) = Exchange::named("002-").response() else { panic!("an array") };
    assert_eq!(echoed, Exchange::named("002-").request().params);
    assert_eq!(echoed[6..9], [Value::Int(2_147_483_648), Value::Int(i64::MAX), Value::Int(i64::MIN)]);
    assert_eq!(echoed[10], Value::Double(1e100));
    assert_eq!(echoed[11], Value::from("é<&>\"\u{2028}🐋"));
    assert_eq!(echoed[13], Value::Bytes(vec![0, 0xff, 0x80, b'b', b'i', b'n']));
    assert_eq!(echoed[17], Value::DateTime("20261123T01:02:03".to_owned()));
}

#[test]
fn answers_of_production_are_read() {
    let Ok(Response::Value(rpms)) = Response::parse(&production(include_bytes!("../data/koji/rpms.xml.zst"))) else {
        panic!("a list of packages")
    };
    let names = rpms.each(&[], |rpm| rpm.get::<&str>(&["name"])).expect("all have names");
    assert_eq!(names.len(), 101);
    let Ok(Response::Value(calls)) = Response::parse(&production(include_bytes!("../data/koji/multicall.xml.zst")))
    else {
        panic!("a list of answers")
    };
    let builds = calls.each(&[], |call| call.each(&[], |build| build.get::<i64>(&[]))).expect("numbers");
    assert_eq!((builds.len(), &builds[0]), (916, &vec![746_137]));
}

fn answer(value: &str) -> Result<Response, Malformed> {
    let body = format!("<methodResponse><params><param>{value}</param></params></methodResponse>");
    Response::parse(body.as_bytes())
}

#[test]
fn forms_that_hubs_do_not_use_but_the_standard_has_are_read() {
    for (form, value) in [
        ("<value>plain</value>", Value::from("plain")),
        ("<value/>", Value::from("")),
        ("<value><string/></value>", Value::from("")),
        ("<value><string> a\tb </string></value>", Value::from(" a\tb ")),
        ("<value><string><![CDATA[a<b]]>&#x41;&apos;&quot;</string></value>", Value::from("a<bA'\"")),
        ("<value><i4> -3 </i4></value>", Value::Int(-3)),
        ("<value><int>4294967296</int></value>", Value::Int(1 << 32)),
        ("<value><i1>7</i1></value>", Value::Int(7)),
        ("<value><ex:nil/></value>", Value::Nil),
        ("<value><array><data/></array></value>", Value::Array(Vec::new())),
        ("<value>\n  <struct/>\n</value>", Value::Struct(BTreeMap::new())),
        ("<value><base64/></value>", Value::Bytes(Vec::new())),
        ("<!-- note --><value><double>-1e-05</double></value>", Value::Double(-1e-5)),
    ] {
        assert_eq!(answer(form), Ok(Response::Value(value)), "{form}");
    }
}

#[test]
fn an_integer_beyond_64_bits_costs_its_item_only() {
    let list = "<value><array><data><value><int>1</int></value><value><i8>9223372036854775808</i8></value>\
                <value><int>-3</int></value></data></array></value>";
    let Ok(Response::Value(list)) = answer(list) else { panic!("a list") };
    let items = list.get::<&[Value]>(&[]).expect("a list");
    assert_eq!((items[0].get::<i64>(&[]), items[2].get::<i64>(&[])), (Ok(1), Ok(-3)));
    let error = items[1].get::<i64>(&[]).expect_err("too large").to_string();
    assert_eq!(error, "the answer is an integer beyond 64 bits, not an integer");
    let written = Response::Value(list.clone()).encode().expect("XML");
    assert_eq!(Response::parse(written.as_bytes()), Ok(Response::Value(list)));
}

#[test]
fn nonsense_is_refused_with_its_place() {
    for (form, words) in [
        ("<value><int>x</int></value>", "`x` is not an integer"),
        ("<value><int>9223372036854775808x</int></value>", "is not an integer"),
        ("<value><int>-</int></value>", "is not an integer"),
        ("<value><boolean>2</boolean></value>", "`2` is no flag"),
        ("<value><int>1</int>junk</value>", "`junk` stands between"),
        ("<value>junk<int>1</int></value>", "`junk` stands between"),
        ("<value><base64>%</base64></value>", "Invalid symbol"),
        ("<value><string>&bomb;</string></value>", "the entity `&bomb;` is not accepted"),
        ("<value><blob/></value>", "<blob> is no element"),
        ("<value><param/></value>", "<param> stands where the type of a value belongs"),
        ("<value><struct><member><value/></member></struct></value>", "<value> stands where <name> belongs"),
        ("", "</param> stands where <value> belongs"),
        ("<value/></param><param><value/>", "exactly one value"),
        ("<value><int>1</string></value>", "expected `</int>`"),
    ] {
        let error = answer(form).expect_err(form);
        assert!(error.text.contains(words) && error.at > 20, "{form}: {error}");
    }
    for (body, words, at) in [
        (&b"<html><body>502 Bad Gateway</body></html>"[..], "<html> is no element", 6),
        (b"<?xml version='1.0' encoding='latin1'?><methodResponse/>", "the encoding `latin1`", 39),
        (b"<!DOCTYPE x [<!ENTITY a 'b'>]><methodResponse/>", "document type", 30),
        (b"<methodResponse>\xff</methodResponse>", "not UTF-8", 16),
        (b"", "it ends where <methodResponse> belongs", 0),
    ] {
        let error = Response::parse(body).expect_err(words);
        assert!(error.text.contains(words), "{error}");
        assert_eq!(error.at, at, "{error}");
    }
}

#[test]
fn an_answer_cut_anywhere_is_an_error_at_the_cut() {
    let whole = Exchange::named("103-").answered();
    let whole = whole.trim_ascii_end();
    for end in 0..whole.len() {
        let error = Response::parse(&whole[..end]).expect_err("it is cut");
        assert!(error.at <= end && error.to_string().len() < 200, "{end}: {error}");
    }
    assert!(Response::parse(whole).is_ok());
}

#[test]
fn nesting_is_bounded_both_ways() {
    let nested = |depth: usize| {
        let (open, close) = ("<value><array><data>".repeat(depth), "</data></array></value>".repeat(depth));
        answer(&format!("{open}{close}"))
    };
    assert!(nested(DEPTH_MAX + 1).is_ok());
    assert!(nested(DEPTH_MAX + 2).is_err());
    assert!(nested(100_000).is_err());
    let deep = (0..=DEPTH_MAX).fold(Value::Nil, |inner, _| Value::Array(vec![inner]));
    assert!(Response::Value(deep).encode().is_err());
}

#[test]
fn text_that_xml_cannot_carry_is_refused() {
    let encode = |text: &str| Request::new("echo", vec![Value::from(text)]).encode();
    for text in ["a\0b", "\u{b}", "\u{ffff}"] {
        assert!(encode(text).expect_err(text).text.contains("cannot be written in XML"));
    }
    assert!(encode("a\r\n\tb").expect("space").contains("a&#13;\n\tb"));
}

#[test]
fn a_wrong_type_is_named_with_its_path() {
    let Response::Value(build) = Exchange::named("103-").response() else { panic!("a build") };
    assert_eq!(build.get::<&str>(&["extra", "submitter"]), Ok("freshmaker"));
    assert_eq!(build.get::<Option<i64>>(&["extra", "image", "parent_build_id"]), Ok(None));
    assert_eq!(build.get::<Option<i64>>(&["nothing", "here"]), Ok(None));
    let wrong = build.get::<i64>(&["extra", "submitter"]).expect_err("a text");
    assert_eq!(wrong.to_string(), "`extra.submitter` is a text, not an integer");
    let wrong = build.get::<i64>(&["extra", "submitter", "id"]).expect_err("a text");
    assert_eq!(wrong.to_string(), "`extra.submitter` is a text, not a record");
    let wrong = build.each(&["extra", "image", "parent_images"], |item| item.get::<i64>(&[])).expect_err("texts");
    assert_eq!(wrong.to_string(), "`extra.image.parent_images.[0]` is a text, not an integer");
}

fn values() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Nil),
        any::<bool>().prop_map(Value::Bool),
        any::<i64>().prop_map(Value::Int),
        any::<i32>().prop_map(|number| Value::Int(number.into())),
        proptest::num::f64::NORMAL.prop_map(Value::Double),
        "[ -~\t\n\ré🐋<&>]{0,12}".prop_map(Value::Text),
        proptest::collection::vec(any::<u8>(), 0..120).prop_map(Value::Bytes),
    ];
    leaf.prop_recursive(4, 24, 5, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..5).prop_map(Value::Array),
            proptest::collection::btree_map("[a-z<&]{0,6}", inner, 0..5).prop_map(Value::Struct),
        ]
    })
}

proptest! {
    #[test]
    fn what_is_written_is_read_again(params in proptest::collection::vec(values(), 0..4)) {
        let request = Request::new("echo", params);
        prop_assert_eq!(Request::parse(request.encode().expect("encodes").as_bytes()).expect("parses"), request);
    }

    #[test]
    fn bytes_of_any_kind_do_no_harm(body in proptest::collection::vec(any::<u8>(), 0..200)) {
        prop_assert_eq!(Response::parse(&body).is_ok(), false);
    }
}
