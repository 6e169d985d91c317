//! What the manual pages say beyond the options: examples, exit codes, variables of the environment, and files.
//!
//! A page is known by its name, such as `spillway-dlq-list`. A test of the command line compares the examples with the options.

/// Terms and what they mean, or purposes and commands.
type Entries = &'static [(&'static str, &'static str)];

/// Examples of each command: what for, and the command.
const EXAMPLES: &[(&str, Entries)] = &[
    (
        "spillway",
        &[
            ("Run everything in one process, with data in ./spillway-data", "spillway"),
            ("Send a file, and search it", "spillway send app.log\nspillway query -S 1d timeout"),
        ],
    ),
    ("spillway-all", &[("Run everything in one process", "spillway all")]),
    ("spillway-gateway", &[("Run a gateway with a configuration file", "spillway gateway --config gateway.toml")]),
    (
        "spillway-producer",
        &[("Run a producer", "SPILLWAY_BUS=kafka SPILLWAY_KAFKA__BROKERS=kafka:9092 spillway producer")],
    ),
    ("spillway-consumer", &[("Run a consumer with a configuration file", "spillway consumer --config consumer.toml")]),
    (
        "spillway-query",
        &[
            ("Errors of the last 15 minutes", "spillway query -l ERROR,FATAL -S 15m"),
            ("A phrase in the messages of a source today", "spillway query -s checkout -S today '\"payment failed\"'"),
            ("Events with a value in their metadata", "spillway query -S 1d 'userId:12345 AND http.status>=500'"),
            ("All events of a day, one JSON object per line", "spillway query -S 1d --limit 0 -o json > events.ndjson"),
            (
                "An event and five neighbours on each side",
                "spillway query --id 01a20f37-31cf-76dd-a6da-0300122616c3 --context 5",
            ),
            ("A check for a script", "spillway query -l FATAL -S 5m --exit-status --quiet > /dev/null"),
        ],
    ),
    (
        "spillway-tail",
        &[
            ("Follow warnings and above", "spillway tail -l WARN+"),
            ("Follow a source for a minute, as JSON", "spillway tail -s checkout --for 60s -o json"),
        ],
    ),
    (
        "spillway-stats",
        &[
            ("Events by level in the last six hours", "spillway stats -S 6h --interval 30m"),
            ("Errors by source", "spillway stats -l ERROR+ --by source"),
            ("All events of a source, from its first one", "spillway stats -s checkout -S first"),
        ],
    ),
    ("spillway-fields", &[("The fields of a source", "spillway fields -s checkout")]),
    ("spillway-values", &[("The most frequent users of the last hour", "spillway values userId -S 1h --limit 50")]),
    ("spillway-dlq", &[("List the oldest dead letters", "spillway dlq list -n 20")]),
    (
        "spillway-dlq-list",
        &[("Dead letters of a topic that were not sent again", "spillway dlq list --topic logs --redriven false")],
    ),
    ("spillway-dlq-show", &[("A dead letter with its key and value", "spillway dlq show 7")]),
    (
        "spillway-dlq-redrive",
        &[
            ("Count what would be sent", "spillway dlq redrive --topic logs --dry-run"),
            ("Send all of them, without a question", "spillway dlq redrive --all --rate 50 --yes"),
        ],
    ),
    ("spillway-generate", &[("A thousand events per second for a minute", "spillway generate --rate 1000 --for 1m")]),
    (
        "spillway-send",
        &[
            ("Send files, also compressed ones", "spillway send /var/log/app.log /var/log/app.log.1.gz"),
            ("Follow a file", "tail -F app.log | spillway send --source app --keep-trying"),
        ],
    ),
    ("spillway-key", &[("List the keys", "spillway key list")]),
    (
        "spillway-key-create",
        &[("A key for an agent", "spillway key create --name checkout --role ingest --source 'checkout-*' > key")],
    ),
    ("spillway-key-list", &[("List the keys of a file", "spillway key list --keys-file keys.toml")]),
    ("spillway-key-rotate", &[("A new key; the old one ends after an hour", "spillway key rotate --overlap 1h ID")]),
    ("spillway-key-revoke", &[("End a key at once", "spillway key revoke ID")]),
    ("spillway-journal", &[("Show the journals", "spillway journal status")]),
    ("spillway-journal-status", &[("Show the journals", "spillway journal status")]),
    ("spillway-journal-verify", &[("Look for damage", "spillway journal verify")]),
    ("spillway-journal-export", &[("The records that the bus rejected", "spillway journal export --refused")]),
    ("spillway-segments", &[("Show the sealed segments", "spillway segments list")]),
    ("spillway-segments-list", &[("Show the sealed segments", "spillway segments list")]),
    ("spillway-segments-verify", &[("Look for damage", "spillway segments verify")]),
    (
        "spillway-segments-forget",
        &[("Give up a segment whose file is lost", "spillway segments forget 000000000012.parquet --yes")],
    ),
    (
        "spillway-segments-export",
        &[("All sealed events, compressed", "spillway segments export | zstd > events.ndjson.zst")],
    ),
    (
        "spillway-config",
        &[
            ("Check a configuration file", "spillway config --config spillway.toml > /dev/null"),
            ("A configuration file with every setting", "spillway config --example > spillway.toml"),
        ],
    ),
    ("spillway-openapi", &[("Write the document to a file", "spillway openapi > openapi.json")]),
    ("spillway-completions", &[("Completions of bash", "spillway completions bash > /etc/bash_completion.d/spillway")]),
    ("spillway-man", &[("Install the manual pages", "spillway man --dir /usr/local/share/man/man1")]),
];

/// The query language: conditions, and which events they select.
const QUERY_LANGUAGE: Entries = &[
    ("timeout", "the message, the stack trace or a value in the metadata contains this text"),
    ("\"card declined\"", "the same for a phrase"),
    ("field:value", "the field equals the value; message and stackTrace contain it"),
    ("field:(a OR b)", "the field matches one of them"),
    ("field>=value", "the field is at least the value; also >, < and <="),
    ("field:*", "the field exists"),
    ("source:shop-*", "* stands for any characters"),
    ("a b, a AND b", "both match"),
    ("a OR b", "one matches; parentheses group"),
    ("NOT a", "it does not match; AND, OR and NOT are in capitals"),
    ("fields", "source, level, message, stackTrace, timestamp, eventId, traceId, and names in the metadata"),
    ("in a shell", "'\"card declined\"': the shell removes the outer quotes and changes nothing within them"),
    ("more", "docs/search.md"),
];

/// What a command has to do with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// It talks to a Spillway and shows what it says.
    Client,
    /// `send`.
    Send,
    /// It has the settings of a server.
    Settings,
    /// It prints a document.
    Document,
}

fn kind(page: &str) -> Kind {
    match page.split('-').nth(1) {
        Some("query" | "tail" | "stats" | "fields" | "values" | "dlq" | "generate") => Kind::Client,
        Some("send") => Kind::Send,
        Some("completions" | "man" | "openapi") => Kind::Document,
        _ => Kind::Settings,
    }
}

/// Examples: what for, and the command.
pub fn examples(page: &str) -> Entries {
    EXAMPLES.iter().find(|(of, _)| *of == page).map(|(_, examples)| *examples).unwrap_or_default()
}

/// The exit codes.
pub fn exit_codes(page: &str) -> Entries {
    match kind(page) {
        Kind::Client => &[
            ("0", "Success; also when the reader closed standard output, and when tail was interrupted."),
            ("1", "Any failure without a code of its own."),
            ("3", "Nothing was found (query with --exit-status)."),
            ("64", "The command or a condition is invalid."),
            ("69", "The server cannot be reached, does not answer in time, or answers 502, 503 or 504."),
            ("75", "A part was printed or sent, then a request failed."),
            ("77", "The server or a proxy refuses this client (401, 403)."),
            ("130", "Interrupted."),
        ],
        Kind::Send => &[
            ("0", "Everything was read, and every event was accepted."),
            ("1", "An event was refused or not sent, an input was not read to its end, or the run was interrupted."),
            ("64", "The command is invalid."),
        ],
        Kind::Settings | Kind::Document => &[
            ("0", "Success; for a server, everything that was accepted is safe."),
            ("1", "Any failure without a code of its own."),
            ("64", "The configuration or the command is invalid; the message names the key."),
        ],
    }
}

/// The query language, for the commands that take a query.
pub fn query_language(page: &str) -> Entries {
    match page.strip_prefix("spillway-") {
        Some("query" | "tail" | "stats" | "fields" | "values") => QUERY_LANGUAGE,
        _ => &[],
    }
}

/// The variables of the environment.
pub fn environment(page: &str) -> Entries {
    match kind(page) {
        Kind::Client => &[
            ("SPILLWAY_CLIENT__URL", "Base URL of the server, unless --url is given."),
            ("SPILLWAY_CLIENT__KEY", "Access key, unless --key-file is given."),
            ("NO_COLOR", "If it is not empty, --color auto means never."),
            ("PAGER", "Pager for the output on a terminal; less -FRX if it is not set, none if it is empty or cat."),
            ("TZ", "Time zone of times, unless --utc is given; that of the system if it is not set."),
        ],
        Kind::Send => &[
            ("SPILLWAY_CLIENT__URL", "Base URL of the server, unless --url is given."),
            ("SPILLWAY_CLIENT__KEY", "Access key, unless --key-file is given."),
        ],
        Kind::Settings => &[(
            "SPILLWAY_SECTION__KEY",
            "A setting, for example SPILLWAY_PRODUCER__LISTEN=0.0.0.0:8081. It overrides the configuration file. spillway config lists all.",
        )],
        Kind::Document => &[],
    }
}

/// The files.
pub fn files(page: &str) -> Entries {
    match kind(page) {
        Kind::Client | Kind::Send => &[
            ("--key-file FILE", "The access key, alone, in at most 1,024 bytes."),
            ("--ca, --cert, --cert-key FILE", "Certificates and a key in PEM, for https."),
        ],
        Kind::Settings => &[
            ("spillway.toml", "Configuration in the working directory, unless --config names another file."),
            ("DATA_DIR", "Directory of the log, the store, the journals and the access keys."),
        ],
        Kind::Document => &[],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::Settings;

    #[test]
    fn the_first_example_names_the_default_directory() {
        let settings = Settings::load(None, std::iter::empty()).unwrap();
        let directory = settings.data_dir.display().to_string();
        let (purpose, _) = examples("spillway")[0];
        assert!(purpose.contains(&directory), "{directory} is not in: {purpose}");
    }
}
