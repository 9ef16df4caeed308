use std::sync::Mutex;

use proptest::prelude::*;

use super::*;

/// Answers each look-up with the next of its lists.
struct Scripted(Mutex<Vec<Vec<&'static str>>>);

impl Scripted {
    fn new<const N: usize>(lists: [&[&'static str]; N]) -> Self {
        let lists = lists.iter().rev().map(|list| list.to_vec());
        Self(Mutex::new(lists.collect()))
    }
}

#[async_trait]
impl Resolve for Scripted {
    async fn resolve(&self, _: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
        let next = self.0.lock().unwrap().pop();
        let list = next.ok_or_else(|| io::Error::other("nothing is known"))?;
        Ok(list
            .into_iter()
            .map(|ip| SocketAddr::new(ip.parse().unwrap(), port))
            .collect())
    }
}

async fn check(url: &str, resolver: &Scripted) -> Result<Vec<String>, String> {
    let url: Uri = url.parse().unwrap();
    match check_url(&url, Reach::Private, resolver).await {
        Ok(found) => Ok(found.iter().map(ToString::to_string).collect()),
        Err(error) => Err(error.to_string()),
    }
}

#[tokio::test]
async fn addresses_in_all_forms_are_read_as_the_url_standard_reads_them() {
    for (host, address) in [
        ("127.0.0.1", "127.0.0.1"),
        ("127.0.0.1.", "127.0.0.1"),
        ("2130706433", "127.0.0.1"),
        ("0x7f000001", "127.0.0.1"),
        ("0X7F.1", "127.0.0.1"),
        ("017700000001", "127.0.0.1"),
        ("0177.0.0x1", "127.0.0.1"),
        ("127.1", "127.0.0.1"),
        ("127.0.1", "127.0.0.1"),
        ("1.2.65535", "1.2.255.255"),
        ("4294967295", "255.255.255.255"),
        ("0", "0.0.0.0"),
        ("0x", "0.0.0.0"),
        ("[::1]", "::1"),
        ("[::ffff:169.254.169.254]", "::ffff:169.254.169.254"),
        ("[::FFFF:a9fe:a9fe]", "::ffff:169.254.169.254"),
    ] {
        let url: Uri = format!("http://{host}/hooks").parse().unwrap();
        let target = Target::new(&url).unwrap();
        assert_eq!(
            target.host,
            Host::Address(address.parse().unwrap()),
            "{host}"
        );
        assert_eq!(target.port, 80);
    }
}

#[tokio::test]
async fn names_are_left_to_the_resolver() {
    for host in [
        "app.example.com",
        "localhost.",
        "1.example",
        "0x7f.1.internal",
        "a_b",
        "127.0.0.1x",
    ] {
        let url: Uri = format!("https://{host}:8443").parse().unwrap();
        let target = Target::new(&url).unwrap();
        assert_eq!(target.host, Host::Name(host.to_owned()));
        assert_eq!(target.port, 8443);
        assert!(target.is_tls);
    }
}

#[test]
fn port_is_that_of_the_url_or_of_its_scheme() {
    for (url, port) in [
        ("http://[::1]", 80),
        ("https://[::1]/", 443),
        ("http://[::1]:1/", 1),
        ("http://app.example.com:65535/", 65535),
    ] {
        let target = Target::new(&url.parse().unwrap()).unwrap();
        assert_eq!(target.port, port, "{url}");
    }
    for url in [
        "http://[::1]:0",
        "https://app.example.com:/",
        "http://app.example.com:65536",
        "http://127.0.0.1:99999999",
    ] {
        let url = url.parse().unwrap();
        assert!(matches!(Target::new(&url), Err(InvalidUrl::Port)), "{url}");
    }
}

#[tokio::test]
async fn url_that_leads_nowhere_is_an_error() {
    for (url, message) in [
        (
            "ftp://example.com/",
            "the URL must begin with http:// or https://",
        ),
        ("/hooks", "the URL must begin with http:// or https://"),
        (
            "http://user:secret@example.com/",
            "the URL must not contain a user name or a password: give them as the header authorization",
        ),
        (
            "http://1.2.3.4.5/",
            "the host 1.2.3.4.5 is not a valid IP address",
        ),
        (
            "http://256.0.0.1/",
            "the host 256.0.0.1 is not a valid IP address",
        ),
        (
            "http://1.2.3.256/",
            "the host 1.2.3.256 is not a valid IP address",
        ),
        (
            "http://4294967296/",
            "the host 4294967296 is not a valid IP address",
        ),
        (
            "http://example.09/",
            "the host example.09 is not a valid IP address",
        ),
        (
            "http://app.example.com/",
            "the host name app.example.com does not resolve",
        ),
    ] {
        let error = check(url, &Scripted::new([])).await.unwrap_err();
        assert_eq!(error, message, "{url}");
    }
}

#[tokio::test]
async fn literal_addresses_are_checked() {
    for url in [
        "http://169.254.169.254/latest/meta-data",
        "http://2852039166/",
        "http://0xa9fea9fe/",
        "http://0251.0376.0251.0376/",
        "http://169.254.43518/",
        "https://[::ffff:169.254.169.254]/",
        "https://[64:ff9b::a9fe:a9fe]/",
        "http://0/",
    ] {
        let error = check(url, &Scripted::new([])).await.unwrap_err();
        assert!(
            error.ends_with("which events are never forwarded to"),
            "{url}: {error}"
        );
    }
}

#[tokio::test]
async fn blocked_addresses_of_a_name_are_left_out() {
    let lists: [&[&str]; 1] = [&[
        "169.254.169.254",
        "10.0.0.7",
        "::ffff:169.254.169.254",
        "10.0.0.8",
    ]];
    let found = check("http://app.example.com:81/", &Scripted::new(lists)).await;
    assert_eq!(found.unwrap(), ["10.0.0.7:81", "10.0.0.8:81"]);
}

#[tokio::test]
async fn name_with_blocked_addresses_only_is_an_error() {
    let lists: [&[&str]; 2] = [&["fe80::1", "169.254.169.254"], &[]];
    let resolver = Scripted::new(lists);
    assert_eq!(
        check("http://app.example.com/", &resolver)
            .await
            .unwrap_err(),
        "the host name app.example.com has only addresses that are not allowed: fe80::1 is a link-local address \
         (cloud metadata), which events are never forwarded to"
    );
    assert_eq!(
        check("http://app.example.com/", &resolver)
            .await
            .unwrap_err(),
        "the host name app.example.com has no addresses"
    );
}

#[tokio::test]
async fn system_resolver_knows_localhost() {
    let found = SystemResolver::new()
        .resolve("localhost", 80)
        .await
        .unwrap();
    assert!(
        found
            .iter()
            .all(|address| address.ip().is_loopback() && address.port() == 80)
    );
    assert!(!found.is_empty());
}

proptest! {
    #[test]
    fn address_is_the_same_in_each_form(bits in any::<u32>(), radices in any::<[u8; 4]>(), parts in 1..=4_usize) {
        let number = |at: usize, value: u32| match radices[at] % 3 {
            0 => value.to_string(),
            1 => format!("0x{value:X}"),
            _ => format!("0{value:o}"),
        };
        // All but the last part have 8 bits, from the most significant ones.
        let mut text = String::new();
        for at in 0..parts - 1 {
            text += &format!("{}.", number(at, bits >> (24 - 8 * at) & 0xff));
        }
        let rest = u32::MAX.checked_shr(8 * u32::try_from(parts - 1).unwrap()).unwrap();
        text += &number(parts - 1, bits & rest);
        prop_assert_eq!(
            host(&text).unwrap(),
            Host::Address(Ipv4Addr::from_bits(bits).into()),
            "{}", text
        );
    }

    #[test]
    fn no_host_makes_a_panic(text in "[0-9a-fxX.:\\[\\]%@é-]{0,20}") {
        if let Ok(Host::Name(name)) = host(&text) {
            prop_assert!(name.parse::<IpAddr>().is_err());
        }
        if let Ok(url) = format!("http://{text}/").parse() {
            let _ = Target::new(&url);
        }
    }
}
