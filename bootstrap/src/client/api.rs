//! Requests to the API of a Spillway.
//!
//! * Every wait ends after the timeout of the command, and every answer has at most [`ANSWER_BYTES_MAX`] bytes.
//! * No request is repeated here: the commands decide.

use std::error::Error;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderName, HeaderValue};
use hyper::{Method, Request, StatusCode};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use serde::de::DeserializeOwned;

use super::connection::Connection;
use super::failure::{Failure, failure_of};
use super::parameters::Parameters;
use crate::http_client::{Connector, connector, https_fault, https_unusable, root_cause};
use crate::send::{Target, URL_VARIABLE};

/// Maximum bytes of an answer: a page ends at 8 MiB of text, which escapes of JSON can make six times as long.
const ANSWER_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Maximum bytes of an answer that says why a stream does not open.
const PROBLEM_BYTES_MAX: usize = 64 * 1024;

/// A client of one Spillway.
pub struct Api {
    http: Client<Connector, Full<Bytes>>,
    target: Target,
    /// The header with the access key.
    key: Option<(HeaderName, HeaderValue)>,
    timeout: Duration,
}

/// An answer that was read to its end.
#[derive(Debug)]
pub struct Answer {
    /// Its status.
    pub status: StatusCode,
    /// Its body.
    pub body: Bytes,
}

impl Api {
    /// A client of the server that the options name.
    ///
    /// # Errors
    /// The environment does not contain a base URL, or there is no key where one should be; or the URL is one of https, and a
    /// file cannot be used or the system has no certificates.
    pub fn new(connection: &Connection) -> Result<Self, Failure> {
        let target = connection.target()?;
        let credentials = &connection.credentials;
        let key = credentials.header(target.authorization().is_some());
        let key = key.map_err(|error| Failure::Usage(error.to_string()))?;
        let connector = connector(target.is_encrypted(), &credentials.https_files());
        let connector = connector.map_err(|error| Failure::Other(https_unusable(&error)))?;
        let http = Client::builder(TokioExecutor::new()).build(connector);
        Ok(Self { http, target, key, timeout: connection.timeout })
    }

    /// The body of the answer to a GET request.
    ///
    /// # Errors
    /// There is no answer, or it is not a success.
    pub async fn get(&self, path: &str, parameters: &Parameters) -> Result<Bytes, Failure> {
        let request = self.request(Method::GET, &parameters.on(path), Bytes::new())?;
        success(self.exchange(request).await?)
    }

    /// The answer to a GET request, as a value.
    ///
    /// # Errors
    /// See [`Api::get`]; or the answer is not what this version expects.
    pub async fn get_json<T: DeserializeOwned>(&self, path: &str, parameters: &Parameters) -> Result<T, Failure> {
        parsed(&self.get(path, parameters).await?)
    }

    /// The answer to a POST request, whatever its status.
    ///
    /// # Errors
    /// There is no answer: the outcome is unknown.
    pub async fn post(&self, path: &str, media_type: &'static str, body: Bytes) -> Result<Answer, Failure> {
        let mut request = self.request(Method::POST, path, body)?;
        request.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(media_type));
        self.exchange(request).await
    }

    /// Opens a stream of Server-Sent Events, after the one with the id if there is one.
    ///
    /// # Errors
    /// There is no answer, or it is not a success.
    pub async fn open_stream(
        &self,
        path: &str,
        parameters: &Parameters,
        last_event_id: Option<&str>,
    ) -> Result<Incoming, Failure> {
        let mut request = self.request(Method::GET, &parameters.on(path), Bytes::new())?;
        request.headers_mut().insert(ACCEPT, HeaderValue::from_static("text/event-stream"));
        if let Some(id) = last_event_id.and_then(|id| HeaderValue::from_str(id).ok()) {
            request.headers_mut().insert(HeaderName::from_static("last-event-id"), id);
        }
        let head = async {
            let (head, body) = self.http.request(request).await?.into_parts();
            if head.status == StatusCode::OK {
                return Ok(Ok(body));
            }
            let problem = Limited::new(body, PROBLEM_BYTES_MAX).collect().await?.to_bytes();
            Ok::<_, Box<dyn Error + Send + Sync>>(Err(failure_of(head.status, &problem)))
        };
        self.in_time(head).await?
    }

    fn request(&self, method: Method, path: &str, body: Bytes) -> Result<Request<Full<Bytes>>, Failure> {
        let too_long = |_| Failure::Usage("the conditions are too long for a URL: shorten them".to_owned());
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = method;
        *request.uri_mut() = self.target.uri(path).map_err(too_long)?;
        if let Some(authorization) = self.target.authorization() {
            request.headers_mut().insert(AUTHORIZATION, authorization.clone());
        }
        if let Some((name, value)) = &self.key {
            request.headers_mut().insert(name, value.clone());
        }
        Ok(request)
    }

    async fn exchange(&self, request: Request<Full<Bytes>>) -> Result<Answer, Failure> {
        let exchange = async {
            let (head, body) = self.http.request(request).await?.into_parts();
            let body = Limited::new(body, ANSWER_BYTES_MAX).collect().await?.to_bytes();
            Ok::<_, Box<dyn Error + Send + Sync>>(Answer { status: head.status, body })
        };
        self.in_time(exchange).await
    }

    async fn in_time<T>(
        &self,
        exchange: impl Future<Output = Result<T, Box<dyn Error + Send + Sync>>>,
    ) -> Result<T, Failure> {
        let cause = match tokio::time::timeout(self.timeout, exchange).await {
            Ok(Ok(value)) => return Ok(value),
            Ok(Err(error)) => match https_fault(&*error, &self.target) {
                Some(fault) => return Err(Failure::Unreachable(fault)),
                None => root_cause(&*error),
            },
            Err(_) => format!("no answer within {}", humantime::format_duration(self.timeout)),
        };
        let advice = format!("start it, or name another one with --url or {URL_VARIABLE}");
        Err(Failure::Unreachable(format!("cannot reach {}: {cause}; {advice}", self.target)))
    }
}

/// The body of a successful answer.
///
/// # Errors
/// The answer is not a success.
pub fn success(answer: Answer) -> Result<Bytes, Failure> {
    if answer.status.is_success() { Ok(answer.body) } else { Err(failure_of(answer.status, &answer.body)) }
}

/// The value of a JSON body.
///
/// # Errors
/// The body is not what this version expects.
pub fn parsed<T: DeserializeOwned>(body: &[u8]) -> Result<T, Failure> {
    serde_json::from_slice(body).map_err(|error| {
        Failure::Other(format!("the answer is not that of a Spillway of this version ({error}): check --url"))
    })
}
