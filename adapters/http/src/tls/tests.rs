//! Listeners with TLS, and what becomes of their files.

use std::fs;
use std::net::SocketAddr;

use rustls::pki_types::ServerName;
use rustls::{AlertDescription, ClientConfig};
use tokio::net::TcpListener;
use tokio_rustls::TlsConnector;

use super::*;

/// Certificate and key of `localhost`, which is its own authority.
const LOCALHOST: &[u8] = include_bytes!("../../tests/localhost.pem");

fn options(directory: &Path) -> TlsOptions {
    let (certificate, key) = (directory.join("tls.crt"), directory.join("tls.key"));
    fs::write(&certificate, LOCALHOST).expect("written");
    fs::write(&key, LOCALHOST).expect("written");
    TlsOptions {
        certificate,
        key,
        client_ca: None,
        client_auth: ClientAuth::None,
        client_names: Vec::new(),
        only_tls13: false,
    }
}

/// A certificate of `tests/e2e`, with its key.
fn of_tests(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/e2e/certificates").join(name).with_extension("pem")
}

/// A client that trusts the certificate, and shows none.
fn client(versions: &[&'static SupportedProtocolVersion]) -> TlsConnector {
    client_with(versions, None)
}

/// A client that trusts the certificate, and shows that of this file if there is one.
fn client_with(versions: &[&'static SupportedProtocolVersion], shown: Option<&[u8]>) -> TlsConnector {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(LOCALHOST).expect("a certificate")).expect("an authority");
    let builder = ClientConfig::builder_with_provider(Arc::new(default_provider())).with_protocol_versions(versions);
    let builder = builder.expect("versions").with_root_certificates(roots);
    let config = match shown {
        None => builder.with_no_client_auth(),
        Some(pem) => {
            let chain = certificates(Path::new("shown"), pem).expect("a certificate");
            let key = private_key(Path::new("shown"), pem).expect("its key");
            builder.with_client_auth_cert(chain, key).expect("a pair")
        }
    };
    TlsConnector::from(Arc::new(config))
}

/// What a client and a listener for HTTP say to each other, if they agree.
async fn exchange(tls: &Tls, client: TlsConnector) -> io::Result<Vec<u8>> {
    let (read, _) = exchange_over(tls, client, Protocol::Http1).await?;
    Ok(read)
}

/// The same over another protocol, and how many tickets for later sessions the client was sent.
async fn exchange_over(tls: &Tls, client: TlsConnector, protocol: Protocol) -> io::Result<(Vec<u8>, u32)> {
    let (served, read) = attempt(tls, client, protocol).await;
    served?;
    read
}

/// What becomes of an exchange on the side of the listener, and on that of the client.
async fn attempt(tls: &Tls, client: TlsConnector, protocol: Protocol) -> (io::Result<()>, io::Result<(Vec<u8>, u32)>) {
    let listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).await.expect("an address");
    let address = listener.local_addr().expect("an address");
    let serving = async {
        let (stream, _) = listener.accept().await?;
        let mut transport = tls.accept(stream, protocol).await?;
        assert!(transport.is_encrypted());
        transport.write_all(b"hello").await?;
        transport.shutdown().await
    };
    let asking = async {
        let stream = TcpStream::connect(address).await?;
        let name = ServerName::try_from("localhost").expect("a name");
        let mut stream = client.connect(name, stream).await?;
        let mut read = Vec::new();
        stream.read_to_end(&mut read).await?;
        Ok::<_, io::Error>((read, stream.get_ref().1.tls13_tickets_received()))
    };
    tokio::join!(serving, asking)
}

#[tokio::test]
async fn a_listener_is_reached_by_a_client_that_trusts_it() {
    let directory = tempfile::tempdir().expect("a directory");
    let tls = Tls::open(options(directory.path())).expect("valid");
    assert_eq!(exchange(&tls, client(&[&TLS13])).await.expect("they agree"), b"hello");
    assert_eq!(exchange(&tls, client(&[&TLS12])).await.expect("they agree"), b"hello");
    assert!(tls.expires() > Timestamp::parse("2026-01-01T00:00:00Z").expect("a time"));
    let only13 = Tls::open(TlsOptions { only_tls13: true, ..options(directory.path()) }).expect("valid");
    assert!(exchange(&only13, client(&[&TLS12])).await.is_err());
}

#[tokio::test]
async fn a_sender_of_syslog_is_sent_nothing_that_it_would_leave_unread() {
    let directory = tempfile::tempdir().expect("a directory");
    let tls = Tls::open(options(directory.path())).expect("valid");
    let exchanged = exchange_over(&tls, client(&[&TLS13]), Protocol::Unnamed).await.expect("they agree");
    assert_eq!(exchanged, (b"hello".to_vec(), 0));
}

#[tokio::test]
async fn files_that_cannot_be_used_change_nothing_until_they_can() {
    let directory = tempfile::tempdir().expect("a directory");
    let options = options(directory.path());
    let tls = Tls::open(options.clone()).expect("valid");
    assert!(!tls.reload() && tls.fault().is_none(), "nothing has changed");
    let half = LOCALHOST.get(..LOCALHOST.len() / 3).unwrap_or_default();
    for torn in [half, b"", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"] {
        fs::write(&options.certificate, torn).expect("written");
        assert!(!tls.reload() && !tls.reload() && tls.fault().is_some());
        assert!(Tls::open(options.clone()).is_err(), "a process does not start with it");
        assert!(exchange(&tls, client(&[&TLS13])).await.is_ok(), "the old one is used");
    }
    fs::remove_file(&options.key).expect("removed");
    assert!(!tls.reload() && tls.fault().is_some_and(|fault| fault.contains("tls.")));
    fs::write(&options.key, LOCALHOST).expect("written");
    fs::write(&options.certificate, [LOCALHOST, b"\n"].concat()).expect("written");
    assert!(!tls.reload() && tls.reload() && tls.fault().is_none());
    // Valid, and perhaps not complete: it is used only if it stays so.
    fs::write(&options.certificate, LOCALHOST).expect("written");
    assert!(!tls.reload());
    fs::write(&options.certificate, [LOCALHOST, b"\n"].concat()).expect("written");
    assert!(!tls.reload() && !tls.reload(), "it is as it was");
}

#[tokio::test]
async fn clients_show_a_certificate_where_they_must() {
    let directory = tempfile::tempdir().expect("a directory");
    let of = |client_auth| {
        let options = options(directory.path());
        let client_ca = Some(options.certificate.clone());
        Tls::open(TlsOptions { client_ca, client_auth, ..options }).expect("valid")
    };
    assert!(exchange(&of(ClientAuth::Required), client(&[&TLS13])).await.is_err());
    assert!(exchange(&of(ClientAuth::Optional), client(&[&TLS13])).await.is_ok());
    let missing = TlsOptions { client_auth: ClientAuth::Required, ..options(directory.path()) };
    assert!(matches!(Tls::open(missing), Err(TlsError::NoClientAuthorities)));
}

#[tokio::test]
async fn both_sides_learn_why_a_client_is_refused() {
    let directory = tempfile::tempdir().expect("a directory");
    let tls = Tls::open(TlsOptions {
        client_ca: Some(of_tests("authority")),
        client_auth: ClientAuth::Required,
        client_names: vec!["other".parse().expect("a name"), "log-gateway".parse().expect("a name")],
        ..options(directory.path())
    });
    let tls = tls.expect("valid");
    let file = |name: &str| fs::read(of_tests(name)).expect("a file");
    let (gateway, stranger) = (file("gateway"), file("stranger"));
    for version in [&TLS13, &TLS12] {
        assert!(exchange(&tls, client_with(&[version], Some(&gateway))).await.is_ok());
        for (shown, reason, alert) in [
            (None, Refusal::NoCertificate, AlertDescription::CertificateRequired),
            (Some(&stranger[..]), Refusal::OtherName, AlertDescription::AccessDenied),
            (Some(LOCALHOST), Refusal::UnknownAuthority, AlertDescription::UnknownCA),
        ] {
            let (served, read) = attempt(&tls, client_with(&[version], shown), Protocol::Http1).await;
            assert_eq!(Refusal::of(&served.expect_err("it is refused")), Some(reason));
            let told = read.expect_err("it is refused");
            let told = told.get_ref().and_then(|error| error.downcast_ref::<rustls::Error>());
            assert_eq!(told, Some(&rustls::Error::AlertReceived(alert)), "{version:?}");
        }
    }
}

#[test]
fn what_is_wrong_with_a_file_is_said_in_words() {
    let directory = tempfile::tempdir().expect("a directory");
    let options = options(directory.path());
    let fault = || Tls::open(options.clone()).err().expect("it cannot be used").to_string();
    fs::copy(of_tests("server"), &options.key).expect("copied");
    assert!(fault().contains("tls.crt: the key in ") && fault().ends_with("tls.key is that of another certificate"));
    let encrypted = format!("-----BEGIN {0}-----\nAAAA\n-----END {0}-----\n", "ENCRYPTED PRIVATE KEY");
    fs::write(&options.key, encrypted).expect("written");
    assert!(fault().contains("tls.key: the key is encrypted: write it without a passphrase"), "{}", fault());
    fs::write(&options.certificate, LOCALHOST.get(..LOCALHOST.len() / 3).expect("a part")).expect("written");
    let expected = "tls.crt: the file is cut off: the line -----END CERTIFICATE----- is missing";
    assert!(fault().ends_with(expected), "{}", fault());
}

#[tokio::test(start_paused = true)]
async fn a_client_that_says_nothing_is_given_up() {
    let directory = tempfile::tempdir().expect("a directory");
    let tls = Tls::open(options(directory.path())).expect("valid");
    let listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).await.expect("an address");
    let _silent = TcpStream::connect(listener.local_addr().expect("an address")).await.expect("a connection");
    let (stream, _) = listener.accept().await.expect("a connection");
    let error = tls.accept(stream, Protocol::Http1).await.err().expect("it is given up");
    assert_eq!(error.kind(), io::ErrorKind::TimedOut);
}
