//! What existing programs write is read as they mean it; all else is refused by its name, or read as YAML is.

use super::*;
use crate::protocol::{Envelope, ReplyTo, decode, operation::Operation};
use miniserde::json::{self, Value};

/// Requests as existing programs write them, and what they mean.
const REQUESTS: &str = include_str!("requests.txt");

/// The requests and what they mean, written as this program writes JSON.
fn requests() -> impl Iterator<Item = (&'static str, String)> {
    let mut request = "";
    REQUESTS.lines().filter(|line| !line.is_empty() && !line.starts_with('#')).filter_map(move |line| {
        match line.strip_prefix(' ') {
            None => {
                request = line;
                None
            }
            Some(meant) => Some((request, json::to_string(&json::from_str::<Value>(meant).unwrap()))),
        }
    })
}

/// What a line means, or why it means nothing.
fn read(line: &str) -> Result<Object, String> {
    super::read(line).1
}

fn read_as_json(line: &str) -> Result<String, String> {
    read(line).map(|object| json::to_string(&Value::Object(object)))
}

/// What the text means that is encoded so; `args` of it.
fn args(text: &str) -> String {
    let line = encoded(&format!("args:\n{text}\n"));
    let object = read(&line).unwrap_or_else(|why| panic!("{line}: {why}"));
    object.get("args").map(json::to_string).unwrap_or_default()
}

fn encoded(text: &str) -> String {
    text.replace('%', "%25").replace('\n', "%0A")
}

fn refused(text: &str) -> String {
    read(&encoded(text)).expect_err("a refusal")
}

#[test]
fn what_existing_clients_write_is_understood() {
    assert!(requests().count() > 40);
    for (request, meant) in requests() {
        assert_eq!(read_as_json(request), Ok(meant.clone()), "{request}");
        // However much of it is encoded.
        let bytes = percent::decode(request).unwrap();
        let all: String = bytes.iter().map(|byte| format!("%{byte:02x}")).collect();
        assert_eq!(read_as_json(&all), Ok(meant), "{request}");
    }
}

#[test]
fn a_request_becomes_what_its_json_would_be() {
    let meant = |line: &str| decode(line.as_bytes()).map_err(|refusal| refusal.message);
    for (request, json) in requests() {
        match (meant(request), meant(&json)) {
            (Ok(one), Ok(other)) => {
                assert_eq!(one.operation, other.operation, "{request}");
                let id = |id: Option<Value>| id.map(|id| json::to_string(&id));
                assert_eq!(id(one.reply_to.id), id(other.reply_to.id));
                assert_eq!((one.reply_to.dialect, other.reply_to.dialect), (Dialect::Einhorn, Dialect::Json));
            }
            (one, other) => assert_eq!(one.unwrap_err(), other.unwrap_err(), "{request}"),
        }
    }
}

#[test]
fn it_is_read_as_yaml_is() {
    for (text, meant) in [
        ("- a", r#"["a"]"#),
        ("  - a\n\n  # b\n  - c # d\n", r#"["a","c"]"#),
        ("-\n- ~\n- null\n- true\n- False\n- 7\n- -7\n- 0.5", r#"[null,null,null,true,false,7,-7,0.5]"#),
        (
            "- 007\n- 1e3\n- +1\n- .5\n- 1.\n- 99999999999999999999\n- -x",
            r#"["007","1e3","+1",".5","1.","99999999999999999999","-x"]"#,
        ),
        ("- a\n  b\n\n  c\n- d", r#"["a b\nc","d"]"#),
        ("- 'it''s'   # so\n- \"\\\"\"", r#"["it's","\""]"#),
        ("- \"a\n\n\n   b\\\n   c\\\n   \\ d\\x41\\u00e9\\U0001F600\"", "[\"a\\n\\nbc dAé😀\"]"),
        ("- 'a  \n  b'\n- \"c\\  \n  d\"", r#"["a b","c  d"]"#),
        ("- |\n  a\n   b\n\n- |-\n  a\n\n- |+\n  a\n\n- b", r#"["a\n b\n","a","a\n\n","b"]"#),
        ("- |2-\n    a\n   b\n  c", r#"["  a\n b\nc"]"#),
        ("- |\n  # no comment\n  'no' \"quotes\": [%]", "[\"# no comment\\n'no' \\\"quotes\\\": [%]\\n\"]"),
        (
            "- 'a\u{2028}  b\n\u{2029}  c'\n- |\n  d\n  e\u{2028}- |+\n  f\n\u{2029}- \u{a0}",
            "[\"a\u{2028}b\u{2029}c\",\"d\\ne\u{2028}\",\"f\\n\u{2029}\",\"\u{a0}\"]",
        ),
        ("- http://host/#part", r#"["http://host/#part"]"#),
    ] {
        assert_eq!(args(text), meant, "{text}");
    }
    assert_eq!(read_as_json("a: 1%0D%0A'b c': 2%0D%0A\"d\" : 3%0Aa: 4").unwrap(), r#"{"a":4,"b c":2,"d":3}"#);
    assert_eq!(read_as_json("%0A# c%0A---%0Aa:%0A%0A# c%0Ab:").unwrap(), r#"{"a":null,"b":null}"#);
    assert_eq!(read_as_json("a: |+%0A  b%0A%0A...%0A").unwrap(), r#"{"a":"b\n\n"}"#);
    assert_eq!(read_as_json("a: x+y%2Bz").unwrap(), r#"{"a":"x+y+z"}"#);
}

#[test]
fn what_is_not_accepted_is_refused_with_what_and_where() {
    for (text, what) in [
        (
            "a: !ruby/object:Foo {}",
            "line 1 of the decoded request: `!ruby/object:Foo {}` has a tag; accepted is",
        ),
        ("a: b\nc: !!int 7", "line 2 of the decoded request: `!!int 7` has a tag"),
        ("---\na: &x b", "line 2 of the decoded request: `&x b` is an anchor"),
        ("a: !!str 7", "`!!str 7` has a tag"),
        ("a: *x", "`*x` is an alias"),
        ("*x : a", "`*x : a` has an anchor or alias as a key"),
        ("a: {b: c}", "`{b: c}` is nested"),
        ("a: [b]", "`[b]` is nested"),
        ("a:\n  b: c", "line 2 of the decoded request: `b: c` is nested in `a`"),
        ("a:\n- b: c", "line 2 of the decoded request: `b: c` is a `key: value` in a value"),
        ("a:\n- - b", "`- b` is nested"),
        ("a: - b", "`- b` is nested"),
        ("a: b: c", "`b: c` is a `key: value` in a value"),
        ("a: b\n  c: d", "line 2 of the decoded request: `c: d` is a `key: value` in a value"),
        ("a: >\n  b", "`>` is a folded block"),
        ("a: |x\n  b", "`|x` begins no block"),
        ("a: ? b", "`? b` is a key of many lines"),
        ("a: @b", "`@b` begins with what no plain text may"),
        ("a: 'b\n\nc", "line 1 of the decoded request: the quote of `'b` is not closed"),
        ("a: \"b\\", "the quote of `\"b\\` is not closed"),
        ("a: 'b' c", "`c` is behind a closing quote"),
        ("a: \"\\q\"", "`\\q` is no escape"),
        ("a: \"\\ud800\"", "is no escape"),
        ("a: \"\\x4\"", "is no escape"),
        ("a: \"\\u00é\"", "is no escape"),
        ("a: b\nc", "line 2 of the decoded request: `c` is no `key: value`"),
        ("a: b\n- c", "line 2 of the decoded request: `- c` is an item of no list"),
        ("a: b\n...\nc: d", "line 3 of the decoded request: `c: d` is behind the end, `...`"),
        ("a: b\n---\nc: d", "line 2 of the decoded request: `---` is no `key: value`"),
    ] {
        let said = refused(text);
        assert!(said.contains(what), "{text:?}: {said}");
    }
    for line in ["a", "---", "a%0Ab: c", "worker:ack"] {
        let said = read(line).unwrap_err();
        assert!(
            said.contains("a JSON object on one line, or einhorn's YAML in percent-encoding; got `"),
            "{said}"
        );
    }
    for (line, what) in [
        ("a: b%0Ac: %", "line 2 of the decoded request: `%` is no percent escape"),
        ("a: %4", "`%4` is no percent escape"),
        ("a: %+1", "`%+1` is no percent escape"),
        ("a: %4é", "`%4é` is no percent escape"),
        ("a: b%0Ac: %FF%0A", "line 2 of the decoded request is not UTF-8"),
    ] {
        let said = read(line).unwrap_err();
        assert!(said.contains(what), "{line}: {said}");
    }
}

#[test]
fn the_id_comes_back_as_it_came_by_either_name() {
    for (line, id) in [
        ("id: 7%0Acommand: inc%0A", "7"),
        ("request_id: 7%0Acommand: inc%0A", "7"),
        ("request_id: \"7\"%0Acommand: inc%0A", "\"7\""),
        ("request_id: x%0Aid: 1.5%0Acommand: frob%0A", "1.5"),
        ("{\"request_id\":7,\"command\":\"inc\"}", "7"),
    ] {
        let reply_to =
            decode(line.as_bytes()).map_or_else(|refusal| refusal.reply_to, |request| request.reply_to);
        let line = Envelope::done("").answering(reply_to).encode();
        assert!(line.contains(&format!(",\"request_id\":{id}}}")), "{line}");
    }
}

#[test]
fn a_ping_may_be_named_by_anything() {
    for (value, name) in [("42", Some("42")), ("a b", Some("a b")), ("true", Some("true")), ("", None)] {
        let line = format!("command: worker:ping%0Apid: 1%0Arequest_id: {value}%0A");
        let Operation::Ping { request_id, .. } = decode(line.as_bytes()).unwrap().operation else {
            panic!("no ping")
        };
        assert_eq!(request_id.as_deref(), name);
    }
}

#[test]
fn an_answer_has_nothing_in_it_that_they_do_not_take() {
    let said = "100% \"+\\+\u{7f}\u{85}\u{9f}\u{a0}\u{2028}\u{feff}\u{ffff}😀é/";
    let reply_to = ReplyTo { id: Some(Value::Number(json::Number::F64(1e300))), dialect: Dialect::Einhorn };
    let line = Envelope::done(said).answering(reply_to).encode();
    assert!(
        line.contains(
            "\"100%25 \\\"\\u002b\\\\\\u002b\\u007f\\u0085\\u009f\\u00a0\\u2028\\ufeff\\uffff😀\\u00e9/\""
        ),
        "{line}"
    );
    assert!(line.contains("\"request_id\":1e300}"), "{line}");
    assert_eq!(Envelope::parse(line.replace("%25", "%").as_bytes()).unwrap().message, said);
    assert!(Envelope::done(said).encode().contains("100% "), "and JSON is as ever");
}

/// However much there is of whatever could be looked at again and again.
#[test]
#[expect(clippy::disallowed_methods, reason = "it is about time")]
fn the_longest_lines_take_no_longer_for_being_odd() {
    let start = std::time::Instant::now();
    for piece in ["%0A", "- a%0A", "a%0A ", "#", "a: ", "''", "a:%0A", " %0A", "%0A%0A b", "\\", "a #", ":"] {
        for head in ["a: ", "a:%0A- ", "a: '", "a: \"", "a: |%0A ", ""] {
            let line = head.to_owned() + &piece.repeat(crate::protocol::line::REQUEST_MAX / piece.len());
            let _ = read(&line);
        }
    }
    assert!(start.elapsed().as_secs() < 20, "{:?}", start.elapsed());
}
