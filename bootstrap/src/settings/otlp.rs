//! Settings of OTLP.

use serde::{Deserialize, Serialize};

use super::values::OptionalAddress;

/// OpenTelemetry's protocol, at addresses of its own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OtlpSettings {
    /// Address where a producer also listens, such as `127.0.0.1:4318`, the port that clients expect; empty for none.
    pub listen: OptionalAddress,
    /// Address where a producer listens for OTLP over gRPC, such as `127.0.0.1:4317`; empty for none.
    pub grpc_listen: OptionalAddress,
}
