//! Where events are forwarded to, and how.

use std::fmt;
use std::num::NonZeroUsize;
use std::time::Duration;

use http::header::{self, HeaderName, HeaderValue};
use http::{HeaderMap, Uri};

use crate::address::Reach;
use crate::rate::Rate;
use crate::resolve::{InvalidUrl, Target};
use crate::schedule::Schedule;
use crate::signing::SigningKeys;
use crate::statuses::StatusSet;
use crate::tls::Tls;

/// The longest time that an exchange may take.
pub const MAX_TIMEOUT: Duration = Duration::from_secs(300);

/// The default of [`Destination::concurrency`].
const CONCURRENCY: NonZeroUsize = NonZeroUsize::new(32).expect("32 is not zero");

/// Headers that no destination can choose: the client writes them, or they belong to one connection.
const FRAMING: [HeaderName; 10] = [
    header::HOST,
    header::CONNECTION,
    header::CONTENT_LENGTH,
    header::TRANSFER_ENCODING,
    header::TE,
    header::TRAILER,
    header::UPGRADE,
    header::EXPECT,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
];

/// A URL that events are forwarded to, with the limits of the app behind it.
///
/// ```
/// use std::num::NonZeroUsize;
/// use std::time::Duration;
///
/// use webhook_forward::{Destination, Rate, SigningKeys};
///
/// let keys: SigningKeys = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw".parse()?;
/// let destination = Destination::new("https://app.example.com/hooks".parse()?)
///     .with_keys(keys)
///     .with_timeout(Duration::from_secs(30))
///     .with_concurrency(NonZeroUsize::new(8).expect("not zero"))
///     .with_rate("100/s".parse::<Rate>()?)
///     .with_fail_on("400, 422".parse()?);
/// destination.check()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
#[non_exhaustive]
pub struct Destination {
    /// The URL: `http` or `https`, without user name and password.
    pub url: Uri,
    /// The keys that sign each request. Default: none, so that nothing is signed.
    pub keys: SigningKeys,
    /// How long an exchange may take, from the look-up of the host to the answer. Default: 15 s.
    pub timeout: Duration,
    /// How long the look-up of the host, the connection and TLS may take together. Default: 5 s.
    pub connect_timeout: Duration,
    /// The largest number of requests at the same time. Default: 32.
    pub concurrency: NonZeroUsize,
    /// The largest number of requests in a time. Default: no limit.
    pub rate: Option<Rate>,
    /// The delays between attempts. Default: 13 attempts over about 76 hours.
    pub schedule: Schedule,
    /// The age at which an event fails instead of being tried again, counted from its acceptance. Default:
    /// none.
    pub give_up_after: Option<Duration>,
    /// Statuses with which an event fails at once. Default: none, since an app that was deployed badly
    /// answers 401 or 404 for a while. 410 always pauses the destination.
    pub fail_on: StatusSet,
    /// Headers of the sender that are passed on, beside `content-type`, if they are stored with the event.
    pub pass_headers: Vec<HeaderName>,
    /// Headers of every request, such as `authorization`. They replace headers of the sender.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// Which certificates are trusted, and which one is presented. Default: the authorities of the system.
    pub tls: Tls,
    /// Which addresses the host may have. Default: private addresses too.
    pub reach: Reach,
}

macro_rules! setters {
    ($($setter:ident $field:ident: $type:ty;)*) => {
        $(
            #[doc = concat!("Sets [`", stringify!($field), "`](field@Self::", stringify!($field), ").")]
            #[must_use]
            pub fn $setter(self, $field: $type) -> Self {
                Self { $field, ..self }
            }
        )*
    };
}

impl Destination {
    /// Creates a destination with the default limits, which signs nothing.
    pub fn new(url: Uri) -> Self {
        Self {
            url,
            keys: SigningKeys::none(),
            timeout: Duration::from_secs(15),
            connect_timeout: Duration::from_secs(5),
            concurrency: CONCURRENCY,
            rate: None,
            schedule: Schedule::default(),
            give_up_after: None,
            fail_on: StatusSet::new(),
            pass_headers: Vec::new(),
            headers: Vec::new(),
            tls: Tls::system(),
            reach: Reach::Private,
        }
    }

    setters! {
        with_keys keys: SigningKeys;
        with_timeout timeout: Duration;
        with_connect_timeout connect_timeout: Duration;
        with_concurrency concurrency: NonZeroUsize;
        with_schedule schedule: Schedule;
        with_fail_on fail_on: StatusSet;
        with_tls tls: Tls;
        with_reach reach: Reach;
    }

    /// Sets [`rate`](field@Self::rate).
    #[must_use]
    pub fn with_rate(self, rate: impl Into<Option<Rate>>) -> Self {
        Self {
            rate: rate.into(),
            ..self
        }
    }

    /// Sets [`give_up_after`](field@Self::give_up_after).
    #[must_use]
    pub fn with_give_up_after(self, give_up_after: impl Into<Option<Duration>>) -> Self {
        Self {
            give_up_after: give_up_after.into(),
            ..self
        }
    }

    /// Sets [`pass_headers`](field@Self::pass_headers).
    #[must_use]
    pub fn with_pass_headers(self, names: impl IntoIterator<Item = HeaderName>) -> Self {
        Self {
            pass_headers: names.into_iter().collect(),
            ..self
        }
    }

    /// Sets [`headers`](field@Self::headers).
    #[must_use]
    pub fn with_headers(
        self,
        headers: impl IntoIterator<Item = (HeaderName, HeaderValue)>,
    ) -> Self {
        Self {
            headers: headers.into_iter().collect(),
            ..self
        }
    }

    /// Checks whether events can be forwarded to this destination. It looks up no host name.
    ///
    /// # Errors
    ///
    /// [`InvalidDestination`] says what is wrong first.
    pub fn check(&self) -> Result<(), InvalidDestination> {
        Target::new(&self.url)?;
        for timeout in [self.timeout, self.connect_timeout] {
            if timeout.is_zero() || timeout > MAX_TIMEOUT {
                return Err(InvalidDestination::Timeout { timeout });
            }
        }
        let named = self.headers.iter().map(|(name, _)| name);
        if let Some(name) = named.chain(&self.pass_headers).find(|name| is_own(name)) {
            return Err(InvalidDestination::Header { name: name.clone() });
        }
        Ok(())
    }

    /// The URL without its query, which may have secrets, for people.
    pub(crate) fn shown_url(&self) -> String {
        without_query(&self.url)
    }

    /// The headers of every request.
    pub(crate) fn put_headers(&self, headers: &mut HeaderMap) {
        for (name, _) in &self.headers {
            headers.remove(name);
        }
        for (name, value) in &self.headers {
            headers.append(name, value.clone());
        }
    }
}

/// Shows neither the query of the URL nor the values of headers.
impl fmt::Debug for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.headers.iter().map(|(name, _)| name).collect();
        f.debug_struct("Destination")
            .field("url", &self.shown_url())
            .field("keys", &self.keys)
            .field("timeout", &self.timeout)
            .field("connect_timeout", &self.connect_timeout)
            .field("concurrency", &self.concurrency)
            .field("rate", &self.rate)
            .field("schedule", &self.schedule)
            .field("give_up_after", &self.give_up_after)
            .field("fail_on", &self.fail_on)
            .field("pass_headers", &self.pass_headers)
            .field("headers", &names)
            .field("tls", &self.tls)
            .field("reach", &self.reach)
            .finish()
    }
}

/// Returns `url` without its user name, password and query.
pub(crate) fn without_query(url: &Uri) -> String {
    let scheme = url.scheme_str().unwrap_or("http");
    let authority = url.authority().map_or("", |it| it.as_str());
    let host = authority
        .rsplit_once('@')
        .map_or(authority, |(_, host)| host);
    format!("{scheme}://{host}{}", url.path())
}

/// Whether only this crate or the client writes the header.
fn is_own(name: &HeaderName) -> bool {
    let name_ = name.as_str();
    name_.starts_with("webhook-") || name_.starts_with("inbox-") || FRAMING.contains(name)
}

/// The reason why events cannot be forwarded to a destination.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidDestination {
    /// No destination can have the URL.
    #[error(transparent)]
    Url(#[from] InvalidUrl),
    /// A time limit is zero or too long.
    #[error("the time limit {timeout:?} must be longer than zero and at most 300 s")]
    Timeout {
        /// The time limit.
        timeout: Duration,
    },
    /// A header is written by the forwarder or belongs to one connection.
    #[error(
        "the header {name} cannot be chosen: it is written by the forwarder, or belongs to one connection"
    )]
    Header {
        /// The name of the header.
        name: HeaderName,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    fn destination(url: &str) -> Destination {
        Destination::new(url.parse().unwrap())
    }

    #[test]
    fn urls_are_checked() {
        for url in [
            "http://127.0.0.1:3000/hooks",
            "https://app.example.com",
            "https://app.example.com/a?b=c",
            "http://[::1]/",
            "http://[::1]:80/",
        ] {
            assert_eq!(destination(url).check(), Ok(()), "{url}");
        }
        for (url, error) in [
            ("/hooks", InvalidUrl::Scheme),
            ("app.example.com", InvalidUrl::Scheme),
            ("ftp://app.example.com/", InvalidUrl::Scheme),
            ("http://user:secret@host/", InvalidUrl::Credentials),
            ("http://user@host/", InvalidUrl::Credentials),
            ("http://host:0/", InvalidUrl::Port),
            ("http://host:/", InvalidUrl::Port),
            ("http://host:65536/", InvalidUrl::Port),
            (
                "http://1.2.3.999/",
                InvalidUrl::Host {
                    host: "1.2.3.999".to_owned(),
                },
            ),
        ] {
            assert_eq!(destination(url).check(), Err(error.into()), "{url}");
        }
    }

    #[test]
    fn time_limits_are_checked() {
        for timeout in [Duration::ZERO, MAX_TIMEOUT + Duration::from_nanos(1)] {
            let error = Err(InvalidDestination::Timeout { timeout });
            let url = "http://host/";
            assert_eq!(destination(url).with_timeout(timeout).check(), error);
            assert_eq!(
                destination(url).with_connect_timeout(timeout).check(),
                error
            );
        }
    }

    #[test]
    fn headers_of_the_forwarder_and_of_connections_cannot_be_chosen() {
        let value = HeaderValue::from_static("1");
        for (name, is_valid) in [
            ("authorization", true),
            ("x-api-key", true),
            ("content-type", true),
            ("user-agent", true),
            ("webhook-id", false),
            ("inbox-key", false),
            ("host", false),
            ("content-length", false),
            ("transfer-encoding", false),
            ("connection", false),
        ] {
            let name = HeaderName::from_static(name);
            let passing = destination("http://host/").with_pass_headers([name.clone()]);
            assert_eq!(passing.check().is_ok(), is_valid, "{name}");
            let adding = destination("http://host/").with_headers([(name.clone(), value.clone())]);
            assert_eq!(adding.check().is_ok(), is_valid, "{name}");
        }
    }

    #[test]
    fn secrets_are_not_shown() {
        let mut bearer = HeaderValue::from_static("Bearer swordfish");
        bearer.set_sensitive(true);
        let shown = destination("http://user:swordfish@host/a?key=swordfish").with_headers([
            (header::AUTHORIZATION, bearer),
            (header::COOKIE, HeaderValue::from_static("swordfish")),
        ]);
        let shown = format!("{shown:?}");
        assert!(!shown.contains("swordfish"), "{shown}");
        assert!(shown.contains(r#""http://host/a""#) && shown.contains("authorization"));
    }
}
