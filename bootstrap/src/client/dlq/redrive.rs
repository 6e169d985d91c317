//! `spillway dlq redrive`: sends dead letters to the bus again.
//!
//! * Nothing is sent without a confirmation: of a person at a terminal, or `--yes`.
//! * With `--all`, requests are repeated until no dead letter is left that was found before the command began. What fails
//!   again becomes a new dead letter, which is not sent.

use std::io::{self, BufRead, IsTerminal, Write};
use std::time::Duration;

use bytes::Bytes;
use clap::Args;
use jiff::Zoned;
use serde::{Deserialize, Serialize};
use tokio::time::sleep;

use super::super::api::{Api, parsed, success};
use super::super::connection::Connection;
use super::super::failure::Failure;
use super::super::numbers::number_of;
use super::super::output::Output;
use super::super::parameters::Parameters;
use super::super::times::{TimeArgument, now};
use super::conditions::Conditions;
use super::list::{find, parse_id};
use crate::send::grouped;

/// Maximum dead letters of one request, as in the API.
const REQUEST_LETTERS_MAX: u32 = 1_000;

/// Options of `spillway dlq redrive`.
#[derive(Args, Clone, Debug)]
pub struct Options {
    /// Number of the dead letter: the first column of spillway dlq list
    #[arg(long, value_name = "ID", conflicts_with = "all", value_parser = parse_id)]
    id: Option<u64>,
    #[command(flatten)]
    conditions: Conditions,
    /// Maximum number of dead letters: 1 to 1000
    #[arg(short = 'n', long, value_name = "LETTERS", default_value_t = 100, value_parser = number_of(1..=REQUEST_LETTERS_MAX))]
    limit: u32,
    /// Send all of them, with as many requests as necessary
    #[arg(long, conflicts_with = "limit")]
    all: bool,
    /// Dead letters per second: 1 to 1000
    #[arg(long, value_name = "NUMBER", default_value_t = 100, value_parser = number_of(1_u32..=1_000))]
    rate: u32,
    /// Only say what would be sent
    #[arg(long)]
    dry_run: bool,
    /// Also send those that were sent again before
    #[arg(long)]
    force: bool,
    /// Do not ask for a confirmation
    #[arg(short, long)]
    yes: bool,
    /// The server and the terminal.
    #[command(flatten)]
    pub connection: Connection,
}

/// The body of a request.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Request {
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    topic: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    partition: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    from: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    to: Option<String>,
    limit: u32,
    rate_per_second: u32,
    dry_run: bool,
    force: bool,
}

/// The answer.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
struct Redriven {
    redriven: u64,
    skipped: u64,
    more: bool,
}

/// A page of the numbers of dead letters.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Numbers {
    dead_letters: Vec<Number>,
    #[serde(default)]
    next_cursor: Option<u64>,
}

#[derive(Deserialize)]
struct Number {
    id: u64,
}

/// Runs the command.
///
/// # Errors
/// See [`Failure`]; or nobody confirmed.
pub async fn run(options: Options, output: &mut Output) -> Result<(), Failure> {
    let api = Api::new(&options.connection)?;
    let request = options.request(&now(false))?;
    if let Some(id) = request.id {
        // Nothing would be sent, as if it had been sent before.
        find(&api, id).await?;
    }
    if !options.dry_run && !options.yes {
        confirm(&api, &request).await?;
    }
    let result = match (options.all && !options.dry_run, options.force) {
        (false, _) => post(&api, &request).await?,
        (true, false) => redrive_all(&api, &request, output).await?,
        (true, true) => redrive_each(&api, &request).await?,
    };
    output.write(said(&result, options.dry_run, options.all).as_bytes())?;
    output.flush()
}

impl Options {
    fn request(&self, now: &Zoned) -> Result<Request, Failure> {
        let (from, to) = self.conditions.range(now)?;
        // What fails again is found later.
        let to = match to {
            None if self.all => Some(TimeArgument::Now.to_rfc3339(now)?),
            to => to,
        };
        Ok(Request {
            id: self.id,
            topic: self.conditions.topic.clone(),
            partition: self.conditions.partition,
            from,
            to,
            limit: if self.all { REQUEST_LETTERS_MAX } else { self.limit },
            rate_per_second: self.rate,
            dry_run: self.dry_run,
            force: self.force,
        })
    }
}

/// Asks the person at the terminal.
async fn confirm(api: &Api, request: &Request) -> Result<(), Failure> {
    if !io::stdin().is_terminal() || !io::stderr().is_terminal() {
        let advice = "add --yes to send dead letters without a confirmation, or --dry-run to see how many there are";
        return Err(Failure::Usage(advice.to_owned()));
    }
    let Redriven { redriven, more, .. } = post(api, &Request { dry_run: true, ..request.clone() }).await?;
    let count = if more { format!("{} or more", grouped(redriven)) } else { grouped(redriven) };
    let ask = move || {
        // A question that cannot be shown has no answer.
        write!(io::stderr(), "send {count} dead letters to the bus again? [y/N] ").ok()?;
        let mut answer = String::new();
        io::stdin().lock().read_line(&mut answer).ok()?;
        Some(matches!(answer.trim(), "y" | "Y" | "yes"))
    };
    match tokio::task::spawn_blocking(ask).await {
        Ok(Some(true)) => Ok(()),
        _ => Err(Failure::Other("nothing was sent".to_owned())),
    }
}

/// Repeats the request until nothing is left that can be sent.
async fn redrive_all(api: &Api, request: &Request, output: &mut Output) -> Result<Redriven, Failure> {
    let mut all = Redriven::default();
    loop {
        let some = post(api, request).await.map_err(|failure| after(failure, all.redriven))?;
        all = Redriven { redriven: all.redriven + some.redriven, ..some };
        // Without progress, what is left is what the bus rejects.
        if !some.more || some.redriven == 0 {
            return Ok(all);
        }
        output.note(format!("-- {} sent so far", grouped(all.redriven)));
    }
}

/// Sends each dead letter by its number: with `force`, a repeated request would begin with the same ones again.
async fn redrive_each(api: &Api, request: &Request) -> Result<Redriven, Failure> {
    let mut parameters = Parameters::default();
    parameters.add_some("topic", request.topic.as_deref());
    parameters.add_some("partition", request.partition.map(|number| number.to_string()).as_deref());
    parameters.add_some("from", request.from.as_deref());
    parameters.add_some("to", request.to.as_deref());
    parameters.add("limit", &REQUEST_LETTERS_MAX.to_string());
    let pause = Duration::from_secs(1) / request.rate_per_second.max(1);
    let (mut all, mut cursor): (Redriven, Option<u64>) = (Redriven::default(), None);
    loop {
        let mut of_page = parameters.clone();
        of_page.add_some("cursor", cursor.map(|cursor| cursor.to_string()).as_deref());
        let page = api.get_json::<Numbers>("/api/dlq", &of_page).await;
        let page = page.map_err(|failure| after(failure, all.redriven))?;
        for Number { id } in page.dead_letters {
            let one = Request { id: Some(id), limit: 1, ..request.clone() };
            let some = post(api, &one).await.map_err(|failure| after(failure, all.redriven))?;
            all.redriven += some.redriven;
            all.skipped += some.skipped;
            sleep(pause).await;
        }
        match page.next_cursor {
            Some(next) => cursor = Some(next),
            None => return Ok(all),
        }
    }
}

async fn post(api: &Api, request: &Request) -> Result<Redriven, Failure> {
    let body = serde_json::to_vec(request).map_err(|error| Failure::Other(format!("a defect: {error}")))?;
    let answer = api.post("/api/dlq/redrive", "application/json", Bytes::from(body)).await?;
    parsed(&success(answer)?)
}

/// A failure says how many were sent before it.
fn after(failure: Failure, redriven: u64) -> Failure {
    match (failure, redriven) {
        (failure, 0) => failure,
        (failure, redriven) => Failure::Incomplete(format!(
            "{} dead letters were sent, then: {failure}; repeat the command",
            grouped(redriven)
        )),
    }
}

fn said(result: &Redriven, dry_run: bool, all: bool) -> String {
    let (redriven, skipped) = (grouped(result.redriven), grouped(result.skipped));
    let skipped = match result.skipped {
        0 => String::new(),
        _ => format!(", {skipped} skipped: sent before (--force sends them again), or rejected by the bus"),
    };
    let more = match (result.more, dry_run, all) {
        (false, _, _) => "",
        (true, true, true) => "; there are more",
        (true, false, true) => "; there are more that cannot be sent now",
        (true, _, false) => "; there are more, --all sends all",
    };
    if dry_run {
        format!("{redriven} would be sent{skipped}{more}\n")
    } else {
        format!("{redriven} sent{skipped}{more}\n")
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::super::super::test_server::{TestServer, reply};
    use super::*;

    #[derive(Parser)]
    struct Arguments {
        #[command(flatten)]
        options: Options,
    }

    fn options(arguments: &[&str]) -> Result<Options, clap::Error> {
        Arguments::try_parse_from([&["redrive"], arguments].concat()).map(|arguments| arguments.options)
    }

    #[test]
    fn the_request_has_the_conditions() {
        let request = options(&["--topic", "logs", "-U", "2024-01-15", "--rate", "50", "--dry-run"])
            .unwrap()
            .request(&now(true))
            .unwrap();
        assert_eq!(
            serde_json::to_string(&request).unwrap(),
            r#"{"topic":"logs","to":"2024-01-15T00:00:00Z","limit":100,"ratePerSecond":50,"dryRun":true,"force":false}"#
        );
        let all = options(&["--all", "--force", "--yes"]).unwrap().request(&now(true)).unwrap();
        assert!(all.to.is_some() && all.limit == REQUEST_LETTERS_MAX, "{all:?}");
        for wrong in [&["--all", "-n", "5"][..], &["--all", "--id", "5"], &["--rate", "0"], &["-n", "1001"]] {
            assert!(options(wrong).is_err(), "{wrong:?}");
        }
    }

    #[tokio::test]
    async fn a_dead_letter_that_is_not_kept_is_a_failure() {
        let none = r#"{"deadLetters":[],"nextCursor":null}"#;
        let one = r#"{"deadLetters":[{"id":5}],"nextCursor":null}"#;
        let sent = r#"{"redriven":1,"skipped":0,"more":false}"#;
        for (replies, code, text) in
            [(vec![reply(200, none)], Err(1), ""), (vec![reply(200, one), reply(200, sent)], Ok(()), "1 sent\n")]
        {
            let server = TestServer::start(replies).await;
            let (mut output, written) = Output::in_memory();
            let options = options(&["--id", "5", "--yes", "--url", &server.url]).unwrap();
            let ended = run(options, &mut output).await.map_err(|failure| failure.exit_code());
            assert_eq!((ended, written.text().as_str()), (code, text));
        }
    }

    #[test]
    fn the_result_says_what_is_left() {
        let result = Redriven { redriven: 1_000, skipped: 2, more: true };
        assert_eq!(
            said(&result, false, false),
            "1,000 sent, 2 skipped: sent before (--force sends them again), or rejected by the bus; there are more, --all sends all\n"
        );
        assert_eq!(said(&Redriven::default(), true, false), "0 would be sent\n");
        assert_eq!(after(Failure::Unreachable("away".to_owned()), 0).exit_code(), 69);
        assert_eq!(after(Failure::Unreachable("away".to_owned()), 3).exit_code(), 75);
    }
}
