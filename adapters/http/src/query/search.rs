//! The parameters of a search, which several operations share: their description in the document, and their reading.

use std::collections::HashMap;

use application::search::{Parameters, SEARCH_TEXT_BYTES_MAX, SOURCES_MAX, Search};
use domain::timestamp::Timestamp;
use poem::Request;
use poem::endpoint::BoxEndpoint;
use poem::http::Method;
use poem_openapi::OpenApi;
use poem_openapi::registry::{MetaApi, MetaOperationParam, MetaParamIn, MetaSchema, MetaSchemaRef, Registry};

use crate::access::admitted::tenant_of;
use crate::error::ApiError;
use crate::query::params::parameters;

const QUERY: &str = "query";
const TEXT: &str = "q";
const SOURCE: &str = "source";
const LEVEL: &str = "level";
const FROM: &str = "from";
const TO: &str = "to";
const TRACE_ID: &str = "traceId";
/// The parameters of a search.
const NAMES: [&str; 7] = [QUERY, TEXT, SOURCE, LEVEL, FROM, TO, TRACE_ID];

/// Reads the search of a request, among the events that it may read; `own` are the other parameters of the operation.
/// Relative times are counted from `now`.
///
/// # Errors
/// A parameter is unknown, is repeated, or breaks its rule.
pub fn search(request: &Request, own: &[&str], now: Timestamp) -> Result<Search, ApiError> {
    let known = [&NAMES, own].concat();
    let mut read = Parameters::default();
    for (name, value) in parameters(request, &known, &[SOURCE, LEVEL])? {
        match name.as_str() {
            QUERY => read.query = Some(value),
            TEXT => read.q = Some(value),
            SOURCE => read.sources.push(value),
            LEVEL => read.levels.push(value),
            FROM => read.from = Some(value),
            TO => read.to = Some(value),
            TRACE_ID => read.trace_id = Some(value),
            _ => {}
        }
    }
    Ok(read.search(now)?.of_tenant(tenant_of(request).as_ref()))
}

/// Operations that take the parameters of a search. poem-openapi wants one argument of the handler for each parameter that it
/// documents; here they are documented once.
pub struct Searching<A>(pub A);

impl<A: OpenApi> OpenApi for Searching<A> {
    fn meta() -> Vec<MetaApi> {
        let mut apis = A::meta();
        for operation in apis.iter_mut().flat_map(|api| &mut api.paths).flat_map(|path| &mut path.operations) {
            operation.params.splice(0..0, documented());
        }
        apis
    }

    fn register(registry: &mut Registry) {
        A::register(registry);
    }

    fn add_routes(self, table: &mut HashMap<String, HashMap<Method, BoxEndpoint<'static>>>) {
        self.0.add_routes(table);
    }
}

fn documented() -> Vec<MetaOperationParam> {
    let text = || MetaSchema::new("string");
    let list =
        || MetaSchema { items: Some(Box::new(MetaSchemaRef::Inline(Box::new(text())))), ..MetaSchema::new("array") };
    let parameter = |name: &str, schema: MetaSchema, description: &str| MetaOperationParam {
        name: name.to_owned(),
        schema: MetaSchemaRef::Inline(Box::new(schema)),
        in_type: MetaParamIn::Query,
        description: Some(description.to_owned()),
        required: false,
        deprecated: false,
        explode: true,
        style: None,
    };
    vec![
        parameter(
            QUERY,
            MetaSchema { min_length: Some(1), ..text() },
            "A search in the query language, such as `userId:12345 AND level>=WARN`, up to 8 KiB: see docs/search.md.",
        ),
        parameter(
            TEXT,
            MetaSchema { min_length: Some(1), max_length: Some(SEARCH_TEXT_BYTES_MAX), ..text() },
            "Part of the message, in any case.",
        ),
        parameter(
            SOURCE,
            MetaSchema { max_items: Some(SOURCES_MAX), ..list() },
            "Exactly this source; with `*` for any characters, in any case. `\\*` is a star. Repeated: one of them.",
        ),
        parameter(
            LEVEL,
            list(),
            "Level; `WARN+` is WARN and above. Several are separated by commas, or the parameter is repeated.",
        ),
        parameter(
            FROM,
            text(),
            "Earliest timestamp, inclusive: RFC 3339, a date, seconds or milliseconds since 1970, or relative (`now-15m`, `-1h`). \
             `first` is that of the first matching event.",
        ),
        parameter(TO, text(), "Latest timestamp, exclusive, in the same forms."),
        parameter(TRACE_ID, MetaSchema { pattern: Some("^[0-9A-Fa-f]{32}$".to_owned()), ..text() }, "W3C trace id."),
    ]
}
