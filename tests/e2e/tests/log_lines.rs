//! Lines of real log formats, sent over HTTP and queried: same count, same text, every filter, every page.
//!
//! The lines are generated in the formats of Hadoop, OpenStack and ZooKeeper. `TEST_LOG_DIR` names a directory whose
//! `*.log` files are sent as well.

#![cfg(test)]

use std::collections::{BTreeMap, HashSet};

use domain::folding::fold;
use e2e::servers::Servers;
use e2e::{Http, Process, Program, metric, wait_until};
use model::Chance;
use serde_json::{Value, json};

const BINARY: &str = env!("CARGO_BIN_EXE_spillway-under-test");
/// Levels in the store.
const LEVELS: [&str; 6] = ["TRACE", "DEBUG", "INFO", "WARN", "ERROR", "FATAL"];
/// Levels in lines, and their counterparts in the store.
const WORDS: [(&str, &str); 8] = [
    ("TRACE", "TRACE"),
    ("DEBUG", "DEBUG"),
    ("INFO", "INFO"),
    ("WARN", "WARN"),
    ("WARNING", "WARN"),
    ("ERROR", "ERROR"),
    ("FATAL", "FATAL"),
    ("CRITICAL", "FATAL"),
];

/// A parsed line.
#[derive(Clone, Debug)]
struct Line {
    text: String,
    source: String,
    /// Its level as written.
    word: &'static str,
    level: &'static str,
    time: Option<String>,
}

#[tokio::test]
async fn lines_are_returned_unchanged_by_every_filter_and_page() {
    let directory = tempfile::tempdir().expect("a directory");
    let program = Program::start(BINARY, directory.path(), &[]).await;
    check(&program.gateway, &program.consumer).await;
}

#[tokio::test]
async fn the_same_through_kafka_and_postgresql() {
    let Some(servers) = Servers::of_environment() else { return };
    let directory = tempfile::tempdir().expect("a directory");
    let variables = servers.variables(&[]);
    let producer = Process::start(BINARY, "producer", directory.path(), &variables).await;
    let consumer = Process::start(BINARY, "consumer", directory.path(), &variables).await;
    let (producers, consumers) = (producer.http("producer"), consumer.http("consumer"));
    let upstreams =
        [("SPILLWAY_GATEWAY__PRODUCERS", producers.base()), ("SPILLWAY_GATEWAY__CONSUMERS", consumers.base())];
    let gateway = Process::start(BINARY, "gateway", directory.path(), &upstreams).await;
    check(&gateway.http("gateway"), &consumers).await;
}

async fn check(gateway: &Http, consumer: &Http) {
    let mut lines: Vec<Line> = made_lines().iter().map(|text| read_line(text)).collect();
    if let Ok(directory) = std::env::var("TEST_LOG_DIR") {
        for entry in std::fs::read_dir(directory).expect("the directory") {
            let path = entry.expect("an entry").path();
            if path.extension().is_some_and(|extension| extension == "log") {
                let text = std::fs::read_to_string(&path).expect("a text file");
                lines.extend(
                    text.lines().map(|line| line.trim_end_matches('\r')).filter(|line| !line.is_empty()).map(read_line),
                );
            }
        }
    }

    for batch in lines.chunks(500) {
        let events: Vec<Value> = batch
            .iter()
            .map(
                |line| json!({"source": line.source, "level": line.word, "message": line.text, "timestamp": line.time}),
            )
            .collect();
        let answer = gateway.post("/api/logs/batch", Value::from(events).to_string()).await;
        assert_eq!((answer.status, &answer.json()["accepted"]), (202, &batch.len().into()), "{:?}", answer.body);
    }
    let count = u32::try_from(lines.len()).expect("few lines").into();
    wait_until("all are stored", || async { metric(consumer, "spillway_events_stored_total").await >= count }).await;

    let all = gateway.all_events("", 97).await;
    let ids: HashSet<&str> = all.iter().filter_map(|event| event["eventId"].as_str()).collect();
    assert_eq!((all.len(), ids.len()), (lines.len(), lines.len()), "no gap and no repeat");
    let keys = all.iter().map(|event| (instant(&event["timestamp"]), event["eventId"].as_str()));
    assert!(keys.is_sorted_by(|newer, older| newer > older), "newest first");
    assert_eq!(multiset(&all), expected(&lines, |_| true));
    // A line without a time has its receipt time.
    for (time, line) in
        all.iter().filter_map(|event| Some((event, lines.iter().find(|line| event["message"] == line.text)?)))
    {
        let own = line.time.as_deref().map_or_else(|| time["receivedAt"].clone(), Value::from);
        assert_eq!(instant(&time["timestamp"]), instant(&own), "{time}");
    }

    for level in LEVELS {
        assert_eq!(
            multiset(&gateway.all_events(&format!("level={level}"), 100).await),
            expected(&lines, |l| l.level == level),
            "{level}"
        );
    }
    let two = gateway.all_events("level=warn&level=Error", 33).await;
    assert_eq!(multiset(&two), expected(&lines, |line| matches!(line.level, "WARN" | "ERROR")));
    let sources: HashSet<&str> = lines.iter().map(|line| line.source.as_str()).collect();
    for source in sources {
        let found = gateway.all_events(&format!("source={}", encoded(source)), 50).await;
        assert_eq!(multiset(&found), expected(&lines, |line| line.source == source), "{source}");
    }
    for part in
        ["CREATED", "größe", "Größe", "ΣΊΣΥΦΟΣ", "100%", "it's", "under_score", "\"quoted\"", "\\", "no line has this"]
    {
        let found = gateway.all_events(&format!("q={}", encoded(part)), 100).await;
        assert_eq!(multiset(&found), expected(&lines, |line| fold(&line.text).contains(&fold(part))), "{part}");
    }
    for (from, to) in
        [("2015-10-18T00:00:00Z", "2015-10-19T00:00:00Z"), ("2017-05-16T00:00:00.008Z", "2017-05-16T00:00:01.551Z")]
    {
        let found = gateway.all_events(&format!("from={from}&to={to}"), 20).await;
        let within = |line: &Line| {
            line.time.as_deref().is_some_and(|time| (instant_of(from)..instant_of(to)).contains(&instant_of(time)))
        };
        assert_eq!(multiset(&found), expected(&lines, within), "{from} {to}");
        let combined = gateway.all_events(&format!("from={from}&to={to}&level=INFO&q=a"), 20).await;
        let both = |line: &Line| within(line) && line.level == "INFO" && fold(&line.text).contains('a');
        assert_eq!(multiset(&combined), expected(&lines, both), "{from} {to}");
    }
    println!("lines={} found={}", lines.len(), all.len());
}

type Multiset = BTreeMap<(String, String, String), usize>;

fn multiset(events: &[Value]) -> Multiset {
    let text = |value: &Value| value.as_str().expect("text").to_owned();
    count(events.iter().map(|event| (text(&event["source"]), text(&event["level"]), text(&event["message"]))))
}

fn expected(lines: &[Line], wanted: impl Fn(&Line) -> bool) -> Multiset {
    count(
        lines
            .iter()
            .filter(|line| wanted(line))
            .map(|line| (line.source.clone(), line.level.to_owned(), line.text.clone())),
    )
}

fn count(keys: impl Iterator<Item = (String, String, String)>) -> Multiset {
    keys.fold(Multiset::new(), |mut counts, key| {
        *counts.entry(key).or_default() += 1;
        counts
    })
}

fn instant(value: &Value) -> i64 {
    instant_of(value.as_str().expect("text"))
}

fn instant_of(text: &str) -> i64 {
    domain::timestamp::Timestamp::parse(text).expect("a time").unix_micros()
}

fn encoded(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02X}")).collect()
}

/// Extracts level, time and component of a line: the component follows the level or, in ZooKeeper's format, is at the end
/// of the brackets after it.
fn read_line(text: &str) -> Line {
    let words: Vec<&str> = text.split_whitespace().collect();
    let named = |word: &&str| WORDS.into_iter().find(|(name, _)| name == word);
    let at = words.iter().take(8).position(|word| named(word).is_some());
    let (word, level) = at.and_then(|at| named(&words[at])).unwrap_or(("INFO", "INFO"));
    let time = words.windows(2).take(4).find_map(|pair| {
        let time = format!("{}T{}Z", pair[0], pair[1].replace(',', "."));
        domain::timestamp::Timestamp::parse(&time).is_ok().then_some(time)
    });
    let behind: Vec<&str> = at.map_or_else(Vec::new, |at| words[at + 1..].to_vec());
    let brackets = behind.first().filter(|word| word.starts_with('[')).and_then(|_| text.split_once("] - "));
    let source = match (brackets, behind.as_slice()) {
        (Some((head, _)), _) => head.rsplit(':').next().unwrap_or("unknown").split('@').next().unwrap_or("unknown"),
        (None, words) => {
            words.iter().find(|word| word.contains('.')).map_or("unknown", |word| word.trim_end_matches(':'))
        }
    };
    Line { text: text.to_owned(), source: source.chars().take(60).collect(), word, level, time }
}

fn made_lines() -> Vec<String> {
    let mut chance = Chance::new(1);
    let messages = [
        "Created MRAppMaster for application appattempt_1445144423722_0020_000001",
        "Größe geändert: 100% of \"quoted\" text",
        "ο Σίσυφος ανέβασε την πέτρα",
        "it's a path: C:\\temp\\under_score",
        "Received connection request /10.10.34.11:45307",
        "\"GET /v2/servers/detail HTTP/1.1\" status: 200 len: 1893 time: 0.2477829",
        "\ttabs\tand emoji 🚀",
        "x",
    ];
    let mut lines = vec!["no level and no time".to_owned(), "2015-10-18 no time either, ERROR comes here".to_owned()];
    for n in 0..600 {
        let (level, message) = (WORDS[chance.below(WORDS.len())].0, messages[chance.below(messages.len())]);
        let (minute, millis) = (chance.below(60), chance.below(1_000));
        lines.push(match n % 3 {
            0 => format!("2015-10-18 18:{minute:02}:47,{millis:03} {level} [main] org.apache.hadoop.App{}: {message}", n % 7),
            1 => format!("nova-api.log.1.2017-05-16_13:53:08 2017-05-16 00:00:{minute:02}.{millis:03} 25746 {level} nova.compute.m{} [req-1 - - -] {message}", n % 5),
            _ => format!("2015-07-29 17:{minute:02}:44,{millis:03} - {level}  [QuorumPeer[myid=1]/0:0:0:0:0:0:0:0:2181:Election{}@774] - {message}", n % 4),
        });
    }
    // An identical line is another event.
    lines.extend_from_within(2..12);
    lines
}
