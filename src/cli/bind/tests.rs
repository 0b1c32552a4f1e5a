use super::*;
use proptest::prelude::*;

fn spec(text: &str) -> BindSpec {
    text.parse().unwrap_or_else(|error| panic!("{text} {error}"))
}

fn error(text: &str) -> BindError {
    text.parse::<BindSpec>().expect_err(text)
}

#[test]
fn addresses_and_names_are_told_apart() {
    assert_eq!(spec("127.0.0.1:80").host, Host::V4(Ipv4Addr::LOCALHOST));
    assert_eq!(spec("[::1]:80").host, Host::V6(Ipv6Addr::LOCALHOST));
    for name in ["localhost", "web-1.example.com", "example.com.", "my_host", "1and1.com", "3com"] {
        assert_eq!(spec(&format!("{name}:80")).host, Host::Name(name.to_owned()));
    }
}

#[test]
fn ports_are_read() {
    assert_eq!(spec("localhost:0").port, 0);
    assert_eq!(spec("localhost:65535").port, 65_535);
    for text in
        ["localhost:", "localhost:65536", "localhost:http", "localhost:+80", "[::1]:x", "h:-1", "h:80 "]
    {
        assert_eq!(error(text), BindError::BadPort, "{text}");
    }
    for text in ["localhost", "127.0.0.1", "[::1]", "[::1]80", "", ",r"] {
        assert_eq!(error(text), BindError::NoPort, "{text}");
    }
}

#[test]
fn flags_are_read_in_any_order_and_spelling() {
    for text in ["h:1,r,n", "h:1,n,r", "h:1,so_reuseaddr,o_nonblock", "h:1,r,r,n"] {
        let spec = spec(text);
        assert!(spec.reuse_address && spec.nonblocking, "{text}");
    }
    assert!(spec("h:1,r").reuse_address && !spec("h:1,r").nonblocking);
    assert!(spec("h:1,n").nonblocking && !spec("h:1,n").reuse_address);
    for flag in ["", "x", "R", "r "] {
        assert_eq!(error(&format!("h:1,r,{flag}")), BindError::UnknownFlag(flag.to_owned()));
    }
}

#[test]
fn an_ipv6_address_without_brackets_is_told_about_them() {
    for text in ["::1:80", "::1", "::", "fe80::1:2:3", "2001:db8::1"] {
        assert_eq!(error(text), BindError::BareIpv6, "{text}");
    }
    assert!(BindError::BareIpv6.to_string().contains("[::1]:8080"));
}

#[test]
fn mistyped_addresses_are_not_taken_for_names() {
    for text in ["127.0.0.256:80", "127.1:80", "8080:80", "1.2.3.4.5:80", "1.2.3.4.:80"] {
        assert_eq!(error(text), BindError::BadIpv4, "{text}");
    }
    for text in ["[]:80", "[::1", "[%lo]:80", "[1.2.3.4]:80", "[localhost]:80"] {
        assert_eq!(error(text), BindError::BadIpv6, "{text}");
    }
    for text in [":80", "*:80"] {
        assert_eq!(error(text), BindError::NoHost, "{text}");
    }
    let long = format!("{}:80", ["a".repeat(63).as_str(); 4].join("."));
    for text in ["a b:80", "é:80", "-a:80", "a-.b:80", "a..b:80", ".:80", "a/b:80", &long] {
        assert_eq!(error(text), BindError::BadName, "{text}");
    }
}

#[test]
fn a_link_local_address_names_its_link_and_no_other_does() {
    let address: Ipv6Addr = "fe80::1".parse().unwrap();
    for zone in ["lo", "eth0.7", "2", "wg-a_b", "fifteen-letters"] {
        let host = Host::Link(address, Zone(zone.to_owned()));
        assert_eq!(spec(&format!("[fe80::1%{zone}]:80,r")).host, host);
    }
    for zone in ["", "a b", "a/b", "a%b", "é", "sixteen-letters-", ".", ".."] {
        assert_eq!(error(&format!("[fe80::1%{zone}]:80")), BindError::BadZone, "{zone}");
    }
    assert_eq!(error("[fe80::1]:80"), BindError::NoZone(address));
    assert!(error("[fe80::1]:80").to_string().contains("[fe80::1%eth0]:8080"));
    assert_eq!(error("[::1%lo]:80"), BindError::NeedlessZone(Ipv6Addr::LOCALHOST));
    assert!(!spec("[fe80::1%lo]:80").fits(Family::V4) && spec("[fe80::1%lo]:80").fits(Family::V6));
}

#[test]
fn an_ipv4_address_in_the_form_of_an_ipv6_one_is_told_what_it_is() {
    for text in ["[::ffff:127.0.0.1]:80", "[::ffff:7f00:1]:80", "[::ffff:127.0.0.1%lo]:80"] {
        assert_eq!(error(text), BindError::Mapped(Ipv4Addr::LOCALHOST), "{text}");
    }
    assert!(error("[::ffff:127.0.0.1]:80").to_string().contains("say 127.0.0.1"));
}

#[test]
fn a_socket_can_be_named() {
    let name = |text: &str| spec(text).name.map(|name| name.as_str().to_owned());
    assert_eq!(name("h:1"), None);
    let long = "x".repeat(255);
    for text in ["web", "web.socket", "a b=c", "{x", "7up", "Unknown", &long] {
        assert_eq!(name(&format!("h:1,n,name={text},r")).as_deref(), Some(text));
    }
    for text in ["", "a:b", "a}", "é", "a\tb", "0", "42", "unknown", &"x".repeat(256)] {
        assert_eq!(error(&format!("h:1,name={text}")), BindError::BadSocketName, "{text}");
    }
    assert_eq!(error("h:1,name=a,name=b"), BindError::Twice("name"));
    assert_eq!(error("h:1,name"), BindError::UnknownFlag("name".to_owned()));
}

#[test]
fn what_will_come_later_is_refused_clearly() {
    assert_eq!(error("unix:/run/web.sock,mode=0600"), BindError::UnixSocket);
}

#[test]
fn literals_fit_their_own_family_and_names_fit_any() {
    use Family::{Any, V4, V6};
    for (text, fits) in [("1.2.3.4:1", [Any, V4].as_slice()), ("[::]:1", &[Any, V6]), ("h:1", &[Any, V4, V6])]
    {
        for family in [Any, V4, V6] {
            assert_eq!(spec(text).fits(family), fits.contains(&family), "{text} {family:?}");
        }
    }
}

fn any_host() -> impl Strategy<Value = Host> {
    prop_oneof![
        any::<Ipv4Addr>().prop_map(Host::V4),
        any::<Ipv6Addr>().prop_filter("neither link-local nor mapped", is_plain).prop_map(Host::V6),
        (any::<u64>(), "[a-z][a-z0-9._-]{0,14}|[1-9][0-9]{0,4}")
            .prop_map(|(low, zone)| Host::Link((0xfe80 << 112 | u128::from(low)).into(), Zone(zone))),
        "[a-z]([a-z0-9_-]{0,20}[a-z0-9])?(\\.[a-z][a-z0-9]{0,9}){0,3}\\.?".prop_map(Host::Name),
    ]
}

fn is_plain(address: &Ipv6Addr) -> bool {
    !address.is_unicast_link_local() && address.to_ipv4_mapped().is_none()
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_written_is_read_back(
        host in any_host(), port: u16, reuse_address: bool, nonblocking: bool,
        name in prop::option::of("[a-z][ -+.-9;-|~]{0,9}"),
    ) {
        let name = name.map(|name| name.parse().unwrap());
        let spec = BindSpec { host, port, reuse_address, nonblocking, name };
        prop_assert_eq!(spec.to_string().parse(), Ok(spec));
    }

    #[test]
    fn what_is_read_is_written_as_the_same(text in "[\\[:]{0,2}[0-9a-f.:%]{0,9}[\\]:]{0,2}[0-9]{0,5}(,[rn])?") {
        if let Ok(spec) = text.parse::<BindSpec>() {
            prop_assert_eq!(spec.to_string().parse(), Ok(spec));
        }
    }
}
