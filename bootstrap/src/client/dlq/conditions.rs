//! The conditions on dead letters.

use std::str::FromStr;

use clap::Args;
use jiff::Zoned;

use super::super::failure::Failure;
use super::super::numbers::parse_number;
use super::super::times::TimeArgument;
use crate::suggested::{TIMES, suggested};

/// Conditions on dead letters; all must hold.
#[derive(Args, Clone, Debug, Default)]
pub struct Conditions {
    /// Topic that they were read from
    #[arg(long, value_name = "NAME")]
    pub topic: Option<String>,
    /// Partition that they were read from
    #[arg(long, value_name = "NUMBER", value_parser = parse_number::<u32>)]
    pub partition: Option<u32>,
    /// Found at this time or later: 15m, 1h, today, yesterday, 2024-01-15, '2024-01-15 10:30', 2024-01-15T10:30:00Z
    #[arg(short = 'S', long, value_name = "TIME", allow_hyphen_values = true, hide_possible_values = true, value_parser = suggested(TimeArgument::from_str, &TIMES))]
    since: Option<TimeArgument>,
    /// Found before this time
    #[arg(short = 'U', long, value_name = "TIME", allow_hyphen_values = true, hide_possible_values = true, value_parser = suggested(TimeArgument::from_str, &TIMES))]
    until: Option<TimeArgument>,
}

impl Conditions {
    /// From which time and to which time, in RFC 3339: this part of the API does not understand relative times.
    ///
    /// # Errors
    /// A time is outside of the calendar.
    pub fn range(&self, now: &Zoned) -> Result<(Option<String>, Option<String>), Failure> {
        let text = |time: &Option<TimeArgument>| time.as_ref().map(|time| time.to_rfc3339(now)).transpose();
        Ok((text(&self.since)?, text(&self.until)?))
    }
}
