//! What poem-openapi serves: the handlers, the document and Swagger UI, with every error as an [`ApiError`].

use std::sync::Arc;

use bytes::Bytes;
use poem::http::header;
use poem::{Endpoint, EndpointExt, IntoResponse, Response, Route, get, handler};
use poem_openapi::{OpenApi, OpenApiService};
use serde_json::Value;

use crate::error::ApiError;

const DESCRIPTION: &str = "Log ingestion with a promise: a 202 says what is kept, and how safely.";

fn service<T: OpenApi>(api: T) -> OpenApiService<T, ()> {
    OpenApiService::new(api, "Spillway", env!("CARGO_PKG_VERSION")).description(DESCRIPTION)
}

/// The OpenAPI document of `api` alone.
pub fn document_of<T: OpenApi>(api: T) -> Value {
    // poem-openapi writes JSON.
    serde_json::from_str(&service(api).spec()).unwrap_or_default()
}

/// The handlers of `api`, with `document` and Swagger UI beside them.
pub fn service_endpoint<T: OpenApi + 'static>(
    api: T,
    document: Arc<str>,
) -> impl Endpoint<Output = Response> + 'static {
    let service = service(api);
    // The page carries its document, its script and its style, and needs no other host.
    let page = service.swagger_ui_html().replace(&service.spec(), &document);
    Route::new()
        .at(
            "/openapi.json",
            get(fixed).data(Fixed { content_type: "application/json", text: Bytes::from(document.to_string()) }),
        )
        .at("/swagger-ui", get(fixed).data(Fixed { content_type: "text/html; charset=utf-8", text: page.into() }))
        .nest("/", service)
        .around(|routes, request| async move {
            Ok(match routes.call(request).await {
                Ok(response) => response.into_response(),
                Err(error) => ApiError::from(&error).into_response(),
            })
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
