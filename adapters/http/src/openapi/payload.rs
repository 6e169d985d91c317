//! Bodies that are documented by a schema type and handled as bytes.

use std::marker::PhantomData;

use poem::http::header;
use poem::{Body, IntoResponse, Request, RequestBody, Response};
use poem_openapi::payload::{ParsePayload, Payload};
use poem_openapi::registry::{
    MetaHeader, MetaMediaType, MetaResponse, MetaResponses, MetaSchema, MetaSchemaRef, Registry,
};
use poem_openapi::types::Type;
use poem_openapi::{ApiResponse, impl_apirequest_for_payload};

use crate::body::BodyBudget;
use crate::error::ApiError;
use crate::error::problem_json::{PROBLEM_JSON, Problem};

/// A JSON body of schema `T` that has not been read yet: the handler reads it, within its bounds, and parses
/// what it borrows.
pub struct JsonBody<T> {
    /// The unread body.
    pub body: Body,
    schema: PhantomData<fn() -> T>,
}

impl<T: Type> Payload for JsonBody<T> {
    const CONTENT_TYPE: &'static str = "application/json";

    fn check_content_type(content_type: &str) -> bool {
        is_essence(content_type, Self::CONTENT_TYPE)
    }

    fn schema_ref() -> MetaSchemaRef {
        T::schema_ref()
    }

    fn register(registry: &mut Registry) {
        T::register(registry);
    }
}

impl<T: Type> ParsePayload for JsonBody<T> {
    const IS_REQUIRED: bool = true;

    async fn from_request(_request: &Request, body: &mut RequestBody) -> poem::Result<Self> {
        Ok(Self { body: body.take()?, schema: PhantomData })
    }
}

impl_apirequest_for_payload!(JsonBody<T>, T: Type);

/// A body of JSON lines, for the document. OpenAPI cannot describe a line, so it is text.
pub struct LinesBody;

impl Payload for LinesBody {
    const CONTENT_TYPE: &'static str = "application/x-ndjson";

    fn check_content_type(content_type: &str) -> bool {
        is_essence(content_type, Self::CONTENT_TYPE)
    }

    fn schema_ref() -> MetaSchemaRef {
        MetaSchemaRef::Inline(Box::new(MetaSchema {
            description: Some("One event a line, each as a JSON object. Empty lines are skipped and not counted."),
            ..MetaSchema::new("string")
        }))
    }
}

impl ParsePayload for LinesBody {
    const IS_REQUIRED: bool = true;

    async fn from_request(_request: &Request, _body: &mut RequestBody) -> poem::Result<Self> {
        Ok(Self)
    }
}

/// Whether a Content-Type names a media type, whatever its parameters say: JSON is UTF-8 (RFC 8259, section 8.1).
fn is_essence(content_type: &str, media_type: &str) -> bool {
    content_type.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case(media_type)
}

/// A JSON answer of schema `T` that is written already.
pub struct JsonBytes<T> {
    body: Body,
    schema: PhantomData<fn() -> T>,
}

impl<T> JsonBytes<T> {
    /// Takes text that is JSON of schema `T`: it takes room until the client has it.
    ///
    /// # Errors
    /// There is no room now.
    pub fn held(bytes: Vec<u8>, room: &BodyBudget) -> Result<Self, ApiError> {
        Ok(Self { body: room.hold(bytes.into()).map_err(|_| ApiError::NoRoomForAnswer)?, schema: PhantomData })
    }
}

impl<T: Type> Payload for JsonBytes<T> {
    const CONTENT_TYPE: &'static str = "application/json";

    fn schema_ref() -> MetaSchemaRef {
        T::schema_ref()
    }

    fn register(registry: &mut Registry) {
        T::register(registry);
    }
}

impl<T: Send> IntoResponse for JsonBytes<T> {
    fn into_response(self) -> Response {
        Response::builder().header(header::CONTENT_TYPE, "application/json").body(self.body)
    }
}

/// Headers: name, description.
pub type Headers = &'static [(&'static str, &'static str)];

/// Which ways of failing an operation documents: status, and when it comes.
pub trait Documented {
    /// The ways.
    const FAILURES: &'static [(u16, &'static str)];
    /// Status and description of success.
    const SUCCESS: (u16, &'static str);
    /// Further media types of success, whose content is text.
    const OTHER_MEDIA_TYPES: &'static [&'static str] = &[];
    /// Headers of every answer, with a number.
    const HEADERS: Headers = &[];
    /// Headers of success that are `true` or absent.
    const SUCCESS_FLAGS: Headers = &[];
    /// Whether a gateway forwards it, and so may answer by itself.
    const FORWARDED: bool = true;
}

/// What a gateway answers by itself.
const GATEWAY_FAILURES: [(u16, &str); 3] = [
    (502, "Through the gateway: an instance broke off"),
    (503, "Through the gateway: no instance can be reached, nothing was sent"),
    (504, "Through the gateway: an instance did not answer in time"),
];

/// What an operation answers: a payload, or a failure as it documents.
pub enum Answer<P, D> {
    /// Success.
    Success(P),
    /// ApiError.
    ApiError(ApiError, PhantomData<fn() -> D>),
}

impl<P, D> From<ApiError> for Answer<P, D> {
    fn from(failure: ApiError) -> Self {
        Self::ApiError(failure, PhantomData)
    }
}

impl<P, D, E: Into<ApiError>> From<Result<P, E>> for Answer<P, D> {
    fn from(result: Result<P, E>) -> Self {
        result.map_or_else(|error| error.into().into(), Self::Success)
    }
}

impl<P: IntoResponse, D: Documented> IntoResponse for Answer<P, D> {
    fn into_response(self) -> Response {
        match self {
            Self::Success(payload) => {
                let mut response = payload.into_response();
                if let Ok(status) = poem::http::StatusCode::from_u16(D::SUCCESS.0) {
                    response.set_status(status);
                }
                response
            }
            Self::ApiError(failure, _) => failure.into_response(),
        }
    }
}

impl<P: Payload, D: Documented> ApiResponse for Answer<P, D> {
    fn meta() -> MetaResponses {
        let success = MetaResponse {
            description: D::SUCCESS.1,
            status: Some(D::SUCCESS.0),
            status_range: None,
            content: std::iter::once(MetaMediaType { content_type: P::CONTENT_TYPE, schema: P::schema_ref() })
                .chain(D::OTHER_MEDIA_TYPES.iter().map(|content_type| MetaMediaType {
                    content_type,
                    schema: MetaSchemaRef::Inline(Box::new(MetaSchema::new("string"))),
                }))
                .collect(),
            headers: numbers(D::HEADERS).chain(flags(D::SUCCESS_FLAGS)).collect(),
        };
        let documented = |status: u16| D::FAILURES.iter().any(|(of, _)| *of == status);
        let by_gateway = GATEWAY_FAILURES.iter().filter(|(status, _)| D::FORWARDED && !documented(*status));
        let failures = D::FAILURES.iter().chain(by_gateway).map(|(status, description)| MetaResponse {
            description,
            status: Some(*status),
            status_range: None,
            content: vec![MetaMediaType { content_type: PROBLEM_JSON, schema: Problem::schema_ref() }],
            headers: numbers(D::HEADERS)
                .chain(numbers(if matches!(status, 429 | 503) { &[RETRY_AFTER] } else { &[] }))
                .collect(),
        });
        MetaResponses { responses: std::iter::once(success).chain(failures).collect() }
    }

    fn register(registry: &mut Registry) {
        P::register(registry);
        Problem::register(registry);
    }
}

const RETRY_AFTER: (&str, &str) = ("Retry-After", "Seconds to wait before trying again");

fn numbers(documented: Headers) -> impl Iterator<Item = MetaHeader> {
    headers(documented, u64::schema_ref)
}

fn flags(documented: Headers) -> impl Iterator<Item = MetaHeader> {
    headers(documented, bool::schema_ref)
}

fn headers(documented: Headers, schema: fn() -> MetaSchemaRef) -> impl Iterator<Item = MetaHeader> {
    documented.iter().map(move |(name, description)| MetaHeader {
        name: (*name).to_owned(),
        description: Some((*description).to_owned()),
        // The limit may be off, and the wait unknown.
        required: false,
        deprecated: false,
        schema: schema(),
    })
}
