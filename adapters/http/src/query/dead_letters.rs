//! Looking at dead letters, and sending them to the bus again.

use std::sync::Arc;

use application::dead_letters::{Redrive, Redriven};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use domain::dead_letter::{DeadLetterFilter, StoredDeadLetter};
use poem::Request;
use poem::web::Data;
use poem_openapi::OpenApi;
use poem_openapi::param::Query;
use poem_openapi::payload::Json;
use poem_openapi::types::ToJSON;
use time::OffsetDateTime;

use crate::access::audit::Remark;
use crate::error::ApiError;
use crate::openapi::payload::{Answer, Documented, JsonBody, JsonBytes};
use crate::openapi::schemas::{DeadLetterPage, DeadLetterSchema, RedriveRequest, RedriveResult, Tag, date_time};
use crate::query::dependencies::ConsumerDependencies;
use crate::query::params::{refuse_unknown_parameters, time};

/// Most bytes of the body of a redrive: its errors repeat what they do not understand.
const REDRIVE_BYTES_MAX: usize = 64 * 1024;

/// How dead letters are shown.
pub struct Listing;

impl Documented for Listing {
    const SUCCESS: (u16, &'static str) = (200, "Dead letters, oldest first");
    const FAILURES: &'static [(u16, &'static str)] =
        &[(400, "A parameter is unknown or out of range"), (503, "The store does not answer")];
}

/// How a redrive answers.
pub struct Redriving;

impl Documented for Redriving {
    const SUCCESS: (u16, &'static str) = (200, "What was sent");
    const FAILURES: &'static [(u16, &'static str)] = &[
        (400, "The body cannot be read, or a condition is out of range"),
        (408, "The body did not arrive in time"),
        (413, "The body is too large"),
        (415, "The media type or content coding is not supported"),
        (503, "The store or the bus does not answer; letters sent before that are noted as redriven"),
    ];
}

/// Looking at dead letters, and sending them again.
pub struct DeadLettersApi;

#[OpenApi(prefix_path = "/api")]
impl DeadLettersApi {
    /// Look at dead letters
    ///
    /// Records that can never be stored as events, oldest first. All conditions must hold.
    #[oai(path = "/dlq", method = "get", operation_id = "getDeadLetters", tag = "Tag::DeadLetters")]
    #[expect(clippy::too_many_arguments, reason = "one argument a query parameter")]
    async fn dead_letters(
        &self,
        dependencies: Data<&Arc<ConsumerDependencies>>,
        request: &Request,
        /// This one only.
        #[oai(validator(minimum(value = "1"), maximum(value = "9000000000000000")))]
        id: Query<Option<u64>>,
        /// Topic that it was read from.
        topic: Query<Option<String>>,
        /// Partition that it was read from.
        partition: Query<Option<u32>>,
        /// Found at this time or later.
        from: Query<Option<OffsetDateTime>>,
        /// Found before this time.
        to: Query<Option<OffsetDateTime>>,
        /// Whether it was sent to the bus again.
        redriven: Query<Option<bool>>,
        /// Most letters of the page.
        #[oai(default = "letters_default", validator(minimum(value = "1"), maximum(value = "1000")))]
        limit: Query<u32>,
        /// `nextCursor` of the page before.
        #[oai(validator(maximum(value = "9000000000000000")))]
        cursor: Query<Option<u64>>,
    ) -> Answer<JsonBytes<DeadLetterPage>, Listing> {
        let answer = async {
            let known = ["id", "topic", "partition", "from", "to", "redriven", "limit", "cursor"];
            refuse_unknown_parameters(request, &known)?;
            let filter = DeadLetterFilter {
                id: id.0,
                topic: topic.0,
                partition: partition.0,
                from: time("from", from.0)?,
                to: time("to", to.0)?,
                redriven: redriven.0,
                copied: None,
            };
            let page = dependencies.dead_letters.page(filter.clone(), cursor.0, limit.0).await?;
            let total = match cursor.0 {
                None => dependencies.dead_letters.total(&filter, &page).await?,
                Some(_) => None,
            };
            let next_cursor = page.next();
            let page = DeadLetterPage {
                dead_letters: page.items.into_iter().map(dead_letter).collect(),
                next_cursor,
                total: total.map(|total| total.letters),
                more_than_total: total.is_some_and(|total| total.more),
            };
            JsonBytes::held(page.to_json_string().into_bytes(), &dependencies.bodies)
        };
        answer.await.into()
    }

    /// Send dead letters to the bus again
    ///
    /// Oldest first, to the partition that they came from. What has become an event is stored once, however often it
    /// is sent; what still cannot be stored is a new dead letter.
    #[oai(path = "/dlq/redrive", method = "post", operation_id = "redriveDeadLetters", tag = "Tag::DeadLetters")]
    async fn redrive(
        &self,
        dependencies: Data<&Arc<ConsumerDependencies>>,
        head: &Request,
        redrive: JsonBody<RedriveRequest>,
    ) -> Answer<Json<RedriveResult>, Redriving> {
        let answer = async {
            let body = dependencies.bodies.read(head.headers(), redrive.body).await?;
            if body.bytes.len() > REDRIVE_BYTES_MAX {
                let detail = format!("this body has at most {REDRIVE_BYTES_MAX} bytes; nothing was sent");
                return Err(ApiError::TooLarge { detail });
            }
            let request: RedriveRequest = serde_json::from_slice(&body.bytes)
                .map_err(|error| ApiError::Undecodable { detail: format!("nothing was sent: {error}") })?;
            let filter = DeadLetterFilter {
                id: request.id,
                topic: request.topic,
                partition: request.partition,
                from: time("from", request.from)?,
                to: time("to", request.to)?,
                redriven: None,
                copied: None,
            };
            let dry_run = request.dry_run;
            let result = dependencies.dead_letters.redrive(Redrive {
                filter,
                limit: request.limit,
                per_second: request.rate_per_second,
                dry_run,
                force: request.force,
            });
            if dry_run {
                Remark::about(head, "dry_run");
            }
            let Redriven { redriven, skipped, more } = result.await?;
            Remark::letters(head, redriven);
            Ok::<_, ApiError>(Json(RedriveResult { redriven, skipped, more, dry_run }))
        };
        answer.await.into()
    }
}

fn letters_default() -> u32 {
    application::dead_letters::LETTERS_DEFAULT
}

fn dead_letter(letter: StoredDeadLetter) -> DeadLetterSchema {
    let (key, value) = (std::str::from_utf8(&letter.key), std::str::from_utf8(&letter.value));
    let (key, value, encoding) = match (key, value) {
        (Ok(key), Ok(value)) => (key.to_owned(), value.to_owned(), "text"),
        _ => (STANDARD.encode(&letter.key), STANDARD.encode(&letter.value), "base64"),
    };
    DeadLetterSchema {
        id: letter.id,
        group: letter.group_partition.group,
        topic: letter.group_partition.topic,
        partition: letter.group_partition.partition,
        offset: letter.offset,
        record_index: letter.record_index,
        key,
        value,
        encoding: encoding.to_owned(),
        reason: letter.reason,
        at: date_time(letter.at),
        attempts: letter.attempts,
        redriven_at: letter.redriven_at.map(date_time),
    }
}
