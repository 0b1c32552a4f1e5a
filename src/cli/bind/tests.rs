use super::*;
use proptest::prelude::*;

fn spec(text: &str) -> BindSpec {
    text.parse().unwrap_or_else(|error| panic!("{text} {error}"))
}

fn host(text: &str) -> Host {
    spec(text).inet().unwrap().host.clone()
}

fn port(text: &str) -> u16 {
    spec(text).inet().unwrap().port
}

fn reuses(text: &str) -> bool {
    matches!(spec(text).endpoint, Endpoint::Tcp { reuse_address: true, .. })
}

fn unix(text: &str) -> UnixSpec {
    match spec(text).endpoint {
        Endpoint::Unix(unix) => unix,
        other @ (Endpoint::Tcp { .. } | Endpoint::Udp(_)) => panic!("{other:?}"),
    }
}

fn error(text: &str) -> BindError {
    text.parse::<BindSpec>().expect_err(text)
}

#[test]
fn addresses_and_names_are_told_apart() {
    assert_eq!(host("127.0.0.1:80"), Host::V4(Ipv4Addr::LOCALHOST));
    assert_eq!(host("[::1]:80"), Host::V6(Ipv6Addr::LOCALHOST));
    for name in ["localhost", "web-1.example.com", "example.com.", "my_host", "1and1.com", "3com"] {
        assert_eq!(host(&format!("{name}:80")), Host::Name(name.to_owned()));
    }
}

#[test]
fn ports_are_read() {
    assert_eq!(port("localhost:0"), 0);
    assert_eq!(port("localhost:65535"), 65_535);
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
        assert!(reuses(text) && spec(text).nonblocking, "{text}");
    }
    assert!(reuses("h:1,r") && !spec("h:1,r").nonblocking);
    assert!(spec("h:1,n").nonblocking && !reuses("h:1,n"));
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
        let expected = Host::Link(address, Zone(zone.to_owned()));
        assert_eq!(host(&format!("[fe80::1%{zone}]:80,r")), expected);
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
fn a_unix_socket_is_a_path_or_an_abstract_name() {
    let plain = |at| UnixSpec { at, mode: None, user: None, group: None };
    let path = |text: &str| plain(UnixAddress::Path(text.to_owned()));
    for text in ["/run/web.sock", "web.sock", "a b", "x:80", "80", &"x".repeat(107)] {
        assert_eq!(unix(&format!("unix:{text},n")), path(text));
    }
    assert_eq!(unix("unix:@web"), plain(UnixAddress::Abstract("web".to_owned())));
    let whole = unix("unix:/s,group=1000,n,mode=660,user=www-data,name=web");
    assert_eq!(
        (whole.mode, whole.user.as_deref(), whole.group.as_deref()),
        (Some(0o660), Some("www-data"), Some("1000"))
    );
    assert_eq!(unix("unix:/s,mode=0").mode, Some(0));
    assert!(spec("unix:/s").fits(Family::V4) && spec("unix:/s").fits(Family::V6));

    for text in ["unix:", "unix:@", "unix:,n"] {
        assert_eq!(error(text), BindError::NoPath, "{text}");
    }
    for text in ["x".repeat(108), format!("@{}", "x".repeat(108))] {
        assert_eq!(error(&format!("unix:{text}")), BindError::LongPath(108));
    }
    for mode in ["", "8", "0o600", "u+rw", "1777", "00600", "-1", "+60", "rw"] {
        assert_eq!(error(&format!("unix:/s,mode={mode}")), BindError::BadMode, "{mode}");
    }
    for owner in ["", "a:b", "a b", "../x", "a\n"] {
        assert_eq!(error(&format!("unix:/s,user={owner}")), BindError::BadOwner("user"), "{owner}");
        assert_eq!(error(&format!("unix:/s,group={owner}")), BindError::BadOwner("group"), "{owner}");
    }
    for (option, value) in [("mode", "600"), ("user", "a"), ("group", "a")] {
        assert_eq!(error(&format!("unix:@s,{option}={value}")), BindError::NoFile(option));
        assert_eq!(error(&format!("unix:/s,{option}={value},{option}={value}")), BindError::Twice(option));
        for inet in ["h:80", "udp:h:80"] {
            assert_eq!(error(&format!("{inet},{option}={value}")), BindError::OnlyUnix(option.to_owned()));
        }
    }
    for flag in ["r", "so_reuseaddr"] {
        assert_eq!(error(&format!("unix:/s,{flag}")), BindError::OnlyTcp(flag.to_owned()));
        assert_eq!(error(&format!("udp:h:1,{flag}")), BindError::OnlyTcp(flag.to_owned()));
    }
    assert_eq!(error("unix:/s,owner=a"), BindError::UnknownFlag("owner=a".to_owned()));
}

#[test]
fn a_socket_for_messages_has_an_address_like_any_other() {
    for address in ["127.0.0.1:53", "[::1]:0", "localhost:8125", "[fe80::1%lo]:53"] {
        let udp = spec(&format!("udp:{address},n,name=dns"));
        assert!(matches!(&udp.endpoint, Endpoint::Udp(_)) && udp.nonblocking, "{udp:?}");
        assert_eq!(
            (host(&format!("udp:{address}")), port(&format!("udp:{address}"))),
            (host(address), port(address))
        );
    }
    assert_eq!(error("udp:53"), BindError::NoPort);
    assert_eq!(error("udp:*:53"), BindError::NoHost);
    assert!(!spec("udp:1.2.3.4:1").fits(Family::V6) && spec("udp:1.2.3.4:1").fits(Family::V4));
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

fn any_endpoint() -> impl Strategy<Value = Endpoint> {
    let inet = || (any_host(), any::<u16>()).prop_map(|(host, port)| Inet { host, port });
    let owner = || prop::option::of("[a-z0-9_-]{1,9}");
    let at = prop_oneof![
        "[^@,\\pC][^,\\pC]{0,20}".prop_map(UnixAddress::Path),
        "[^,\\pC]{1,20}".prop_map(UnixAddress::Abstract)
    ];
    prop_oneof![
        (inet(), any::<bool>()).prop_map(|(inet, reuse_address)| Endpoint::Tcp { inet, reuse_address }),
        inet().prop_map(Endpoint::Udp),
        (at, prop::option::of(0..=0o777_u32), owner(), owner()).prop_map(|(at, mode, user, group)| {
            let file = matches!(at, UnixAddress::Path(_));
            let (mode, user, group) = if file { (mode, user, group) } else { (None, None, None) };
            Endpoint::Unix(UnixSpec { at, mode, user, group })
        }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_written_is_read_back(
        endpoint in any_endpoint(), nonblocking: bool,
        name in prop::option::of("[a-z][ -+.-9;-|~]{0,9}"),
    ) {
        let name = name.map(|name| name.parse().unwrap());
        let spec = BindSpec { endpoint, nonblocking, name };
        prop_assert_eq!(spec.to_string().parse(), Ok(spec));
    }

    #[test]
    fn what_is_read_is_written_as_the_same(text in "[\\[:]{0,2}[0-9a-f.:%]{0,9}[\\]:]{0,2}[0-9]{0,5}(,[rn])?") {
        if let Ok(spec) = text.parse::<BindSpec>() {
            prop_assert_eq!(spec.to_string().parse(), Ok(spec));
        }
    }
}
