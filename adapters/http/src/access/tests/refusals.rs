//! What refusals lead to: the wait of an address, and the lines of the audit.

use std::time::Duration;

use domain::ports::{AUTH_OUTCOMES, MockTelemetry};

use super::lines::lines_of;
use super::*;

#[tokio::test(start_paused = true)]
async fn an_address_that_fails_too_often_is_told_to_wait_and_a_valid_key_is_let_in_nevertheless() {
    let outcomes = Arc::new(Mutex::new(Vec::new()));
    let mut telemetry = MockTelemetry::new();
    let noted = Arc::clone(&outcomes);
    telemetry.expect_judged().returning(move |outcome| noted.lock().expect("lock").push(outcome));
    let access = AccessControl::new(AccessRules {
        keys: Some(Arc::new(ring())),
        telemetry: Some(Arc::new(telemetry)),
        ..AccessRules::default()
    });
    let from_one_address = |credential| {
        let mut headers = vec![("host", "localhost".to_owned())];
        headers.push(("authorization", format!("Bearer {}", text(credential).reveal())));
        let headers: Vec<(&str, &str)> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
        access.judge(&mut request(Method::GET, PEER, &headers), queries())
    };
    for _ in 0..10 {
        assert_eq!(from_one_address(3), Err(Denial::CredentialsInvalid));
    }
    let retry_after = Duration::from_secs(60);
    assert_eq!(from_one_address(4), Err(Denial::TooManyFailures { retry_after }));
    assert_eq!(from_one_address(7), Ok(()));
    let outcomes = outcomes.lock().expect("lock").clone();
    assert_eq!(outcomes[..2], ["wrong_secret", "wrong_secret"]);
    assert_eq!(outcomes[10..], ["rate_limited", "allowed"]);
    assert!(outcomes.iter().all(|outcome| AUTH_OUTCOMES.contains(outcome)));
    for rejection in KeyRejection::ALL {
        assert!(AUTH_OUTCOMES.contains(&rejection.name()), "{rejection:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn only_keys_that_are_not_valid_make_an_address_wait() {
    let access = with_keys(ring(), false);
    let judge = |host: &str, key: Option<u8>| {
        let bearer = key.map(|byte| format!("Bearer {}", text(byte).reveal()));
        let mut headers = vec![("host", host)];
        headers.extend(bearer.as_ref().map(|value| ("authorization", value.as_str())));
        access.judge(&mut request(Method::GET, PEER, &headers), queries())
    };
    for _ in 0..20 {
        assert_eq!(judge("localhost", None), Err(Denial::Unauthenticated));
        assert_eq!(judge("evil.test", None), Err(Denial::HostNotAllowed));
        assert_eq!(judge("localhost", Some(6)), Err(Denial::RoleMissing(Role::Read)));
    }
    let revoked = 5;
    assert_eq!(judge("localhost", Some(revoked)), Err(Denial::CredentialsInvalid));
}

#[tokio::test(start_paused = true)]
async fn requests_without_a_key_do_not_hide_the_refusals_of_keys() {
    let access = with_keys(ring(), false);
    let lines = |credential: Option<u8>, times: usize| {
        let bearer = credential.map(|byte| format!("Bearer {}", text(byte).reveal()));
        let mut headers = vec![("host", "localhost")];
        headers.extend(bearer.as_ref().map(|value| ("authorization", value.as_str())));
        lines_of(|| {
            for _ in 0..times {
                assert!(access.judge(&mut request(Method::GET, PEER, &headers), queries()).is_err());
            }
        })
    };
    let without_key = lines(None, 12);
    assert_eq!(without_key.len(), 10, "{without_key:?}");
    assert!(without_key[9].contains("further refusals are not logged") && !without_key[8].contains("further"));
    for (credential, code) in
        [(6, "role_missing"), (8, "role_missing"), (5, "revoked"), (4, "expired"), (3, "wrong_secret")]
    {
        let own = lines(Some(credential), 1);
        let [line] = own.as_slice() else { panic!("{code}: {own:?}") };
        let id = text(credential).id().to_string();
        assert!(line.contains(&format!("code=\"{code}\"")) && line.contains(&id), "{line}");
    }
    tokio::time::advance(Duration::from_secs(60)).await;
    let later = lines(None, 1).concat();
    assert!(later.contains("not_logged=2"), "{later}");
}
