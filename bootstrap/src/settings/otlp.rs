//! Settings of OTLP.

use serde::{Deserialize, Serialize};

use super::values::OptionalAddress;

/// OpenTelemetry's protocol, at an address of its own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OtlpSettings {
    /// Address where a producer also listens, such as `127.0.0.1:4318`, the port that clients expect; empty for none.
    pub listen: OptionalAddress,
}
