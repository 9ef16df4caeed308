use std::collections::HashMap;
use std::convert::Infallible;
use std::net::Ipv4Addr;
use std::sync::atomic::AtomicUsize;

use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{CACHE_CONTROL, LOCATION};
use hyper::service::service_fn;
use hyper::{Response, server};
use hyper_util::rt::TokioIo;
use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use webhook_sources::spec::SourceSpec;
use webhook_sources::{Secrets, Source, SourceOptions};

use super::*;

/// A server of keys on this machine.
struct Provider {
    port: u16,
    answers: Arc<Mutex<HashMap<String, Given>>>,
    asked: Arc<AtomicUsize>,
    certificate: CertificateDer<'static>,
}

/// What a path is answered with.
#[derive(Clone)]
struct Given {
    status: u16,
    headers: Vec<(hyper::header::HeaderName, String)>,
    body: Vec<u8>,
    /// Whether the answer never comes.
    hangs: bool,
}

fn given(body: &str) -> Given {
    Given {
        status: 200,
        headers: Vec::new(),
        body: body.into(),
        hangs: false,
    }
}

impl Provider {
    async fn start() -> Self {
        let CertifiedKey { cert, signing_key } =
            generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let certificate = cert.der().clone();
        let provider = rustls::crypto::ring::default_provider();
        let key = PrivateKeyDer::try_from(signing_key.serialize_der()).unwrap();
        let config = ServerConfig::builder_with_provider(provider.into())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.clone()], key)
            .unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let made = Self {
            port: listener.local_addr().unwrap().port(),
            answers: Arc::default(),
            asked: Arc::default(),
            certificate,
        };
        let (answers, asked) = (Arc::clone(&made.answers), Arc::clone(&made.asked));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (acceptor, answers) = (acceptor.clone(), Arc::clone(&answers));
                let asked = Arc::clone(&asked);
                tokio::spawn(async move {
                    let Ok(stream) = acceptor.accept(stream).await else {
                        return;
                    };
                    let service = service_fn(|request| answer(request, &answers, &asked));
                    let connection = server::conn::http1::Builder::new();
                    let _ = connection
                        .serve_connection(TokioIo::new(stream), service)
                        .await;
                });
            }
        });
        made
    }

    fn set(&self, path: &str, answer: Given) {
        lock(&self.answers).insert(path.to_owned(), answer);
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }

    /// What a source with a key set at this path asks for.
    fn request(&self, path: &str) -> KeyRequest {
        let spec: SourceSpec = toml(&format!(
            r#"
                [scheme.jwt]
                at = "header:authorization"
                algorithms = ["rs256"]
                keys = {{ url = "https://localhost:{}{path}" }}
            "#,
            self.port
        ));
        let source = Source::new(spec, &Secrets::new(), SourceOptions::default()).unwrap();
        source.key_requests().remove(0)
    }

    /// A fetcher that trusts the provider.
    fn fetcher(&self, options: KeyFetcherOptions) -> Arc<KeyFetcher> {
        let mut fetcher = KeyFetcher::new();
        fetcher.options = options;
        fetcher.network = Network::new(vec![self.certificate.clone()]).into();
        Arc::new(fetcher)
    }
}

fn toml(text: &str) -> SourceSpec {
    serde::Deserialize::deserialize(::toml::Deserializer::parse(text).unwrap()).unwrap()
}

async fn answer(
    request: Request<Incoming>,
    answers: &Mutex<HashMap<String, Given>>,
    asked: &AtomicUsize,
) -> Result<Response<Full<Bytes>>, Infallible> {
    asked.fetch_add(1, Ordering::SeqCst);
    let given = lock(answers).get(request.uri().path()).cloned();
    let given = given.unwrap_or_else(|| Given {
        status: 404,
        ..given_nothing()
    });
    if given.hangs {
        std::future::pending::<()>().await;
    }
    let mut response = Response::builder().status(given.status);
    for (name, value) in given.headers {
        response = response.header(name, value);
    }
    Ok(response.body(Full::new(given.body.into())).unwrap())
}

fn given_nothing() -> Given {
    given("not there")
}

/// Options with which nothing is fetched again by itself during a test.
fn patient() -> KeyFetcherOptions {
    KeyFetcherOptions {
        renew_interval: Duration::ZERO,
        retry: Duration::from_secs(600),
        ..KeyFetcherOptions::default()
    }
}

fn found(fetcher: &KeyFetcher, request: &KeyRequest) -> Option<String> {
    let content = fetcher.find(request)?;
    Some(String::from_utf8(content.to_vec()).unwrap())
}

/// Waits until this is so, for a busy machine long enough.
async fn until(is_so: impl Fn() -> bool) {
    let waiting = async {
        while !is_so() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(Duration::from_secs(60), waiting)
        .await
        .expect("it never becomes so");
}

/// [`KeyFetcher::renew`], again as long as the machine is too busy for an answer in time.
async fn renewed(fetcher: &Arc<KeyFetcher>, request: &KeyRequest) -> bool {
    let mut is_recent = fetcher.renew("a", request).await;
    for _ in 0..30 {
        let is_running = {
            let documents = lock(&fetcher.documents);
            documents
                .get(request)
                .is_some_and(|it| lock(&it.state).is_running)
        };
        if is_recent || !is_running {
            break;
        }
        is_recent = fetcher.renew("a", request).await;
    }
    is_recent
}

#[tokio::test]
async fn fixed_keys_are_fetched_ahead() {
    let provider = Provider::start().await;
    provider.set("/keys", given("one"));
    let request = provider.request("/keys");
    let fetcher = provider.fetcher(patient());
    assert_eq!(found(&fetcher, &request), None);
    fetcher.keep(std::slice::from_ref(&request));
    until(|| found(&fetcher, &request).is_some()).await;
    assert_eq!(found(&fetcher, &request).as_deref(), Some("one"));
    // A reload that keeps it fetches nothing.
    fetcher.keep(std::slice::from_ref(&request));
    assert_eq!(provider.asked(), 1);
    assert_eq!(lock(&fetcher.documents).len(), 1);
    fetcher.keep(&[]);
    // It has been used; the next time nobody needs it.
    until(|| provider.asked() == 2).await;
    let document = lock(&fetcher.documents).get(&request).cloned().unwrap();
    until(|| !lock(&document.state).is_running).await;
    document.is_used.store(false, Ordering::Relaxed);
    document.wake.notify_one();
    until(|| lock(&fetcher.documents).is_empty()).await;
}

#[tokio::test]
async fn key_that_is_not_known_is_fetched_once_in_an_interval() {
    let provider = Provider::start().await;
    provider.set("/keys", given("one"));
    let request = provider.request("/keys");
    let fetcher = provider.fetcher(patient());
    fetcher.keep(std::slice::from_ref(&request));
    until(|| found(&fetcher, &request).is_some()).await;
    provider.set("/keys", given("two"));
    assert!(renewed(&fetcher, &request).await);
    assert_eq!(found(&fetcher, &request).as_deref(), Some("two"));
    let asked = provider.asked();

    let seldom = provider.fetcher(KeyFetcherOptions {
        renew_interval: Duration::from_secs(3_600),
        ..patient()
    });
    seldom.keep(std::slice::from_ref(&request));
    until(|| found(&seldom, &request).is_some()).await;
    for _ in 0..100 {
        assert!(seldom.renew("a", &request).await);
    }
    assert_eq!(provider.asked(), asked + 1);
}

#[tokio::test]
async fn requests_that_wait_share_a_fetch() {
    let provider = Provider::start().await;
    provider.set("/keys", given("one"));
    let request = provider.request("/keys");
    let fetcher = provider.fetcher(KeyFetcherOptions {
        renew_interval: Duration::from_secs(3_600),
        ..patient()
    });
    let waiting = (0..20).map(|_| renewed(&fetcher, &request));
    let all = futures_util::future::join_all(waiting).await;
    assert!(all.into_iter().all(|is_recent| is_recent));
    assert_eq!(provider.asked(), 1);
}

#[tokio::test]
async fn answers_that_are_no_keys_are_not_taken() {
    let provider = Provider::start().await;
    let fetcher = provider.fetcher(patient());
    let elsewhere = format!("https://localhost:{}/keys", provider.port);
    provider.set("/keys", given("one"));
    provider.set(
        "/redirect",
        Given {
            status: 302,
            headers: vec![(LOCATION, elsewhere)],
            ..given("moved")
        },
    );
    provider.set("/huge", given(&"x".repeat(64 * 1024 + 1)));
    provider.set(
        "/error",
        Given {
            status: 500,
            ..given("oops")
        },
    );
    provider.set("/empty", given(""));
    for path in ["/redirect", "/huge", "/error", "/empty", "/missing"] {
        let request = provider.request(path);
        let asked = provider.asked();
        assert!(!renewed(&fetcher, &request).await, "{path}");
        assert_eq!(found(&fetcher, &request), None, "{path}");
        assert_eq!(provider.asked(), asked + 1, "{path}");
    }
    provider.set("/large", given(&"x".repeat(64 * 1024)));
    assert!(renewed(&fetcher, &provider.request("/large")).await);
}

#[tokio::test]
async fn slow_answers_make_nobody_wait_for_long() {
    let provider = Provider::start().await;
    provider.set(
        "/slow",
        Given {
            hangs: true,
            ..given("")
        },
    );
    let fetcher = provider.fetcher(KeyFetcherOptions {
        timeout: Duration::from_millis(1_500),
        renew_interval: Duration::from_secs(3_600),
        ..patient()
    });
    let request = provider.request("/slow");
    assert!(!fetcher.renew("a", &request).await);
    let document = lock(&fetcher.documents).get(&request).cloned().unwrap();
    until(|| !lock(&document.state).is_running).await;
    assert!(lock(&document.state).has_failed);
    // And from then on it is known to have failed.
    assert!(!fetcher.renew("a", &request).await);
    assert_eq!(provider.asked(), 1);
}

#[tokio::test]
async fn provider_that_fails_takes_no_valid_key_away() {
    let provider = Provider::start().await;
    provider.set("/keys", given("one"));
    let request = provider.request("/keys");
    let fetcher = provider.fetcher(patient());
    fetcher.keep(std::slice::from_ref(&request));
    until(|| found(&fetcher, &request).is_some()).await;
    provider.set(
        "/keys",
        Given {
            status: 503,
            ..given("")
        },
    );
    assert!(!renewed(&fetcher, &request).await);
    assert_eq!(found(&fetcher, &request).as_deref(), Some("one"));
    assert!(lock(&fetcher.hosts).values().all(|host| host.is_failing));
    provider.set("/keys", given("two"));
    assert!(renewed(&fetcher, &request).await);
    assert!(lock(&fetcher.hosts).values().all(|host| !host.is_failing));
}

#[tokio::test]
async fn keys_are_fetched_again_before_they_expire() {
    let provider = Provider::start().await;
    provider.set(
        "/keys",
        Given {
            headers: vec![(CACHE_CONTROL, "public, max-age=0".to_owned())],
            ..given("one")
        },
    );
    let request = provider.request("/keys");
    let fetcher = provider.fetcher(KeyFetcherOptions {
        min_lifetime: Duration::from_millis(50),
        ..patient()
    });
    fetcher.keep(std::slice::from_ref(&request));
    until(|| provider.asked() >= 3).await;
    // Without its provider it is gone after its lifetime.
    provider.set(
        "/keys",
        Given {
            status: 500,
            ..given("")
        },
    );
    until(|| found(&fetcher, &request).is_none()).await;
}

#[tokio::test]
async fn sources_have_budgets_of_their_own() {
    let provider = Provider::start().await;
    let fetcher = provider.fetcher(KeyFetcherOptions {
        renew_interval: Duration::from_secs(3_600),
        ..patient()
    });
    for number in 0..100 {
        let forged = provider.request(&format!("/forged-{number}"));
        assert!(!fetcher.renew("attacked", &forged).await);
    }
    // The budget may have grown meanwhile.
    assert!(provider.asked() < 60, "{}", provider.asked());
    provider.set("/keys", given("one"));
    let request = provider.request("/keys");
    assert!(renewed(&fetcher, &request).await);
}

#[tokio::test]
async fn what_is_not_there_is_forgotten() {
    let provider = Provider::start().await;
    let fetcher = provider.fetcher(KeyFetcherOptions {
        retry: Duration::from_millis(10),
        renew_interval: Duration::from_secs(3_600),
        ..patient()
    });
    let request = provider.request("/missing");
    assert!(!renewed(&fetcher, &request).await);
    until(|| lock(&fetcher.documents).is_empty()).await;
    assert!(lock(&fetcher.hosts).is_empty());
}

#[tokio::test]
async fn providers_need_a_certificate_of_a_trusted_authority() {
    let provider = Provider::start().await;
    provider.set("/keys", given("one"));
    let mut fetcher = KeyFetcher::new();
    fetcher.options = patient();
    fetcher.network = Network::new(vec![Provider::start().await.certificate]).into();
    let fetcher = Arc::new(fetcher);
    assert!(!renewed(&fetcher, &provider.request("/keys")).await);
    assert_eq!(provider.asked(), 0);
}

#[test]
fn lifetimes_are_those_of_the_answer_within_limits() {
    let fetcher = KeyFetcher::new();
    for (cache_control, age, seconds) in [
        ("public, max-age=22405, must-revalidate", None, 22_405),
        ("max-age=22405", Some("405"), 22_000),
        ("Max-Age=\"600\"", None, 600),
        ("max-age=600, max-age=900", None, 600),
        ("max-age=99999999999", None, 86_400),
        ("max-age=99999999999999999999999", None, 3_600),
        ("max-age=1", None, 300),
        ("max-age=600", Some("9999"), 300),
        ("no-cache", None, 3_600),
        ("", None, 3_600),
    ] {
        let mut headers = HeaderMap::new();
        headers.insert(CACHE_CONTROL, cache_control.parse().unwrap());
        headers.extend(age.map(|age| (AGE, age.parse().unwrap())));
        let lifetime = fetcher.lifetime(&headers);
        assert_eq!(lifetime.as_secs(), seconds, "{cache_control}");
    }
}
