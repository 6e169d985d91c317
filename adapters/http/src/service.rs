//! What every role serves around its operations: the document, Swagger UI, and every error as problem+json.

use std::sync::Arc;

use bytes::Bytes;
use poem::http::header;
use poem::{Endpoint, EndpointExt, IntoResponse, Response, Route, get, handler};
use poem_openapi::{OpenApi, OpenApiService};
use serde_json::{Map, Value};

use crate::problem::Failure;

const DESCRIPTION: &str = "Log ingestion with a promise: a 202 says what is kept, and how safely.";

fn service<T: OpenApi>(api: T) -> OpenApiService<T, ()> {
    OpenApiService::new(api, "Spillway", env!("CARGO_PKG_VERSION")).description(DESCRIPTION)
}

/// The OpenAPI document of `api` alone.
pub fn document_of<T: OpenApi>(api: T) -> Value {
    parse(&service(api).spec())
}

fn parse(spec: &str) -> Value {
    // poem-openapi writes JSON.
    serde_json::from_str(spec).unwrap_or_default()
}

/// The operations of `api`, with `document` and Swagger UI beside them, and every error as problem+json.
pub fn service_endpoint<T: OpenApi + 'static>(
    api: T,
    document: Arc<str>,
) -> impl Endpoint<Output = Response> + 'static {
    let service = service(api);
    let own = service.spec();
    let allowed = Arc::new(AllowedMethods::of(&parse(&own)));
    // The page carries its document, its script and its style, and needs no other host.
    let page = service.swagger_ui_html().replace(&own, &document);
    Route::new()
        .at(
            "/openapi.json",
            get(fixed).data(Fixed { content_type: "application/json", text: Bytes::from(document.to_string()) }),
        )
        .at("/swagger-ui", get(fixed).data(Fixed { content_type: "text/html; charset=utf-8", text: page.into() }))
        .nest("/", service)
        .around(move |routes, request| {
            let allowed = Arc::clone(&allowed);
            let path = request.uri().path().to_owned();
            async move {
                Ok(match routes.call(request).await {
                    Ok(response) => response.into_response(),
                    Err(error) => match Failure::from(&error) {
                        Failure::MethodNotAllowed { .. } => Failure::MethodNotAllowed { allow: allowed.at(&path) },
                        failure => failure,
                    }
                    .into_response(),
                })
            }
        })
}

#[derive(Clone)]
struct Fixed {
    content_type: &'static str,
    text: Bytes,
}

/// Shared by all answers: a slow reader holds no copy.
#[handler]
fn fixed(content: poem::web::Data<&Fixed>) -> Response {
    Response::builder().header(header::CONTENT_TYPE, content.content_type).body(content.text.clone())
}

/// Which methods each path knows: poem's own 405 does not say (RFC 9110 asks for `Allow`).
struct AllowedMethods {
    paths: Vec<(Vec<String>, String)>,
}

impl AllowedMethods {
    fn of(document: &Value) -> Self {
        let paths =
            document.get("paths").and_then(Value::as_object).map_or_else(Vec::new, |paths: &Map<String, Value>| {
                let mut paths: Vec<_> = paths
                    .iter()
                    .map(|(path, operations)| {
                        let methods = operations.as_object().map(|methods| {
                            methods.keys().map(|method| method.to_ascii_uppercase()).collect::<Vec<_>>().join(", ")
                        });
                        (segments(path), methods.unwrap_or_default())
                    })
                    .collect();
                // A named path comes before one with a parameter.
                paths.sort_by_key(|(segments, _)| segments.iter().filter(|segment| segment.starts_with('{')).count());
                paths
            });
        Self { paths }
    }

    fn at(&self, path: &str) -> String {
        let asked = segments(path);
        let matches = |known: &[String]| {
            known.len() == asked.len()
                && known.iter().zip(&asked).all(|(known, asked)| known.starts_with('{') || known == asked)
        };
        // The document and Swagger UI are not in the document.
        self.paths
            .iter()
            .find(|(known, _)| matches(known))
            .map_or_else(|| "GET".to_owned(), |(_, methods)| methods.clone())
    }
}

fn segments(path: &str) -> Vec<String> {
    path.split('/').filter(|segment| !segment.is_empty()).map(str::to_owned).collect()
}
