//! The kinds of alerts: name, severity and text of each.

/// What an alert is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AlertKind {
    /// The circuit breaker in front of the bus is open.
    BreakerOpen,
    /// The journal is nearly full.
    JournalFilling,
    /// The journal cannot be written.
    JournalUnwritable,
    /// The bus permanently rejected accepted records.
    RecordsRefused,
    /// Records that the bus has rejected permanently cannot be kept on disk.
    RefusedLogUnwritable,
    /// A consumer found records that can never be stored.
    DeadLetters,
    /// Accepted events were lost although the process was not killed.
    EventsLost,
    /// A journal that was taken over contains bytes that are not entries.
    JournalDamaged,
    /// Accepted events are missing from the accounts of a producer, or counted twice.
    ConservationBroken,
    /// The bus accepts no records until the operator fixes its topic, permissions, settings or, for the embedded bus,
    /// its disk.
    BusUnusable,
    /// A consumer stopped a partition and needs a decision by the operator.
    PartitionStopped,
    /// A sealed segment of the store cannot be read.
    SegmentUnreadable,
    /// The file of access keys cannot be used.
    KeysUnusable,
    /// The files of a listener's certificate cannot be used.
    TlsCertificateUnusable,
}

/// How urgent an alert is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Nothing is lost or refused yet: look at it today.
    Warning,
    /// Events are refused, set aside or at risk: look at it now.
    Critical,
}

/// Whether the condition of an alert holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AlertState {
    /// It holds.
    Firing,
    /// It no longer holds.
    Resolved,
}

impl AlertKind {
    /// All kinds.
    pub const ALL: [Self; 14] = [
        Self::BreakerOpen,
        Self::JournalFilling,
        Self::JournalUnwritable,
        Self::RecordsRefused,
        Self::RefusedLogUnwritable,
        Self::DeadLetters,
        Self::EventsLost,
        Self::JournalDamaged,
        Self::ConservationBroken,
        Self::BusUnusable,
        Self::PartitionStopped,
        Self::SegmentUnreadable,
        Self::KeysUnusable,
        Self::TlsCertificateUnusable,
    ];

    /// The stable name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::BreakerOpen => "breaker_open",
            Self::JournalFilling => "journal_filling",
            Self::JournalUnwritable => "journal_unwritable",
            Self::RecordsRefused => "records_refused",
            Self::RefusedLogUnwritable => "refused_log_unwritable",
            Self::DeadLetters => "dead_letters",
            Self::EventsLost => "events_lost",
            Self::JournalDamaged => "journal_damaged",
            Self::ConservationBroken => "conservation_broken",
            Self::BusUnusable => "bus_unusable",
            Self::PartitionStopped => "partition_stopped",
            Self::SegmentUnreadable => "segment_unreadable",
            Self::KeysUnusable => "keys_unusable",
            Self::TlsCertificateUnusable => "tls_certificate_unusable",
        }
    }

    /// How urgent it is.
    #[must_use]
    pub fn severity(self) -> Severity {
        match self {
            Self::BreakerOpen
            | Self::DeadLetters
            | Self::JournalDamaged
            | Self::KeysUnusable
            | Self::TlsCertificateUnusable => Severity::Warning,
            Self::JournalFilling
            | Self::JournalUnwritable
            | Self::RecordsRefused
            | Self::RefusedLogUnwritable
            | Self::EventsLost
            | Self::ConservationBroken
            | Self::BusUnusable
            | Self::PartitionStopped
            | Self::SegmentUnreadable => Severity::Critical,
        }
    }

    /// One line for the operator: what is wrong, and what to do next.
    #[must_use]
    pub fn summary(self, state: AlertState) -> &'static str {
        use AlertState::{Firing, Resolved};
        match (self, state) {
            (Self::BreakerOpen, Firing) => {
                "the bus accepts no records and events go to the journal: check whether the brokers run and are reachable"
            }
            (Self::BreakerOpen, Resolved) => {
                "the bus accepts records again: nothing to do, the journal empties by itself"
            }
            (Self::JournalFilling, Firing) => {
                "the journal is more than 80 % full and low levels are refused: restore the bus, or raise JOURNAL__BYTES_MAX"
            }
            (Self::JournalFilling, Resolved) => "the journal is less than 70 % full again: nothing to do",
            (Self::JournalUnwritable, Firing) => {
                "the journal cannot be written, so an outage of the bus would refuse events: check the disk under DATA_DIR"
            }
            (Self::JournalUnwritable, Resolved) => "the journal can be written again: nothing to do",
            (Self::RecordsRefused, Firing) => {
                "the bus permanently rejected accepted events, kept under journal/<n>/refused: fix the cause, then resend them"
            }
            (Self::RecordsRefused, Resolved) => {
                "the bus rejected no event for ten minutes: events under journal/<n>/refused still need a decision"
            }
            (Self::RefusedLogUnwritable, Firing) => {
                "records that the bus permanently rejected cannot be kept and wait in memory: export and remove journal/<n>/refused, or free disk space"
            }
            (Self::RefusedLogUnwritable, Resolved) => {
                "records that the bus permanently rejected are kept again: decide what to do with them"
            }
            (Self::DeadLetters, Firing) => {
                "records on the bus cannot be stored as events: see GET /api/dlq for records and reasons, fix the cause, then redrive"
            }
            (Self::DeadLetters, Resolved) => {
                "no dead letter for ten minutes: the letters in GET /api/dlq still need a decision"
            }
            (Self::EventsLost, Firing) => {
                "accepted events were lost: check the reason, and have the senders resend the events of that time with the same ids"
            }
            (Self::EventsLost, Resolved) => "no event was lost for ten minutes: lost events are not recovered",
            (Self::JournalDamaged, Firing) => {
                "a journal that was taken over has bytes that cannot be read: unless they were being written during a power failure, events are lost"
            }
            (Self::JournalDamaged, Resolved) => "no journal was taken over with damage for ten minutes",
            (Self::ConservationBroken, Firing) => {
                "the accounts of accepted events do not balance, which is a defect: save log, metrics and journal, and report it"
            }
            (Self::ConservationBroken, Resolved) => {
                "the accounts of accepted events balance again: report it nevertheless"
            }
            (Self::BusUnusable, Firing) => {
                "the bus accepts no records: check the reason, then fix its topic, permissions, settings or disk"
            }
            (Self::BusUnusable, Resolved) => "the bus accepts records again: nothing to do",
            (Self::PartitionStopped, Firing) => {
                "a consumer stopped storing a partition, since going on would lose events: act on the reason as the runbook says, then restart it"
            }
            (Self::PartitionStopped, Resolved) => "the partition is stored again: nothing to do",
            (Self::SegmentUnreadable, Firing) => {
                "a sealed segment cannot be read, so queries that need it fail: restore its file from a backup, or give up its events"
            }
            (Self::SegmentUnreadable, Resolved) => "all sealed segments that failed can be read again: nothing to do",
            (Self::KeysUnusable, Firing) => {
                "the file of access keys cannot be used, so changes to it have no effect: check the reason, and restore or fix the file"
            }
            (Self::KeysUnusable, Resolved) => "the file of access keys is used again: nothing to do",
            (Self::TlsCertificateUnusable, Firing) => {
                "the certificate of a listener cannot be used, so the one before it still is: check the reason, and restore or fix the files"
            }
            (Self::TlsCertificateUnusable, Resolved) => "the certificate of the listener is used again: nothing to do",
        }
    }

    /// Path of the runbook in the repository.
    #[must_use]
    pub fn runbook(self) -> String {
        format!("docs/runbooks/{}.md", self.name())
    }
}

impl Severity {
    /// The name used in messages.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Warning => "warning",
            Self::Critical => "critical",
        }
    }
}

impl AlertState {
    /// The name used in messages.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Firing => "firing",
            Self::Resolved => "resolved",
        }
    }

    /// Firing if the condition holds.
    #[must_use]
    pub fn of(holds: bool) -> Self {
        if holds { Self::Firing } else { Self::Resolved }
    }
}
