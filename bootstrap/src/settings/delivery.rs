//! The guarantee of each level.

use domain::delivery::{DeliveryPolicy, Guarantee};
use domain::level::Level;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// Guarantee of each level.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeliverySettings {
    trace: GuaranteeName,
    debug: GuaranteeName,
    info: GuaranteeName,
    warn: GuaranteeName,
    error: GuaranteeName,
    fatal: GuaranteeName,
}

impl Default for DeliverySettings {
    fn default() -> Self {
        let policy = DeliveryPolicy::default();
        let of = |level| GuaranteeName(policy.guarantee(level));
        Self {
            trace: of(Level::Trace),
            debug: of(Level::Debug),
            info: of(Level::Info),
            warn: of(Level::Warn),
            error: of(Level::Error),
            fatal: of(Level::Fatal),
        }
    }
}

impl DeliverySettings {
    /// The policy of these settings.
    #[must_use]
    pub fn policy(&self) -> DeliveryPolicy {
        let of = [
            (Level::Trace, self.trace),
            (Level::Debug, self.debug),
            (Level::Info, self.info),
            (Level::Warn, self.warn),
            (Level::Error, self.error),
            (Level::Fatal, self.fatal),
        ];
        of.into_iter().fold(DeliveryPolicy::default(), |policy, (level, guarantee)| policy.with(level, guarantee.0))
    }
}

/// A guarantee, written as its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct GuaranteeName(Guarantee);

impl<'de> Deserialize<'de> for GuaranteeName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = String::deserialize(deserializer)?;
        Guarantee::from_name(&name)
            .map(Self)
            .ok_or_else(|| de::Error::custom(format!("{name:?} is none of at-most-once, at-least-once, exactly-once")))
    }
}

impl Serialize for GuaranteeName {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.0.name())
    }
}
