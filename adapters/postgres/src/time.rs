//! Timestamps as `timestamptz`: microseconds since 2000-01-01T00:00:00Z, exactly.

use domain::timestamp::Timestamp;
use sqlx::encode::IsNull;
use sqlx::error::BoxDynError;
use sqlx::postgres::{PgArgumentBuffer, PgHasArrayType, PgTypeInfo, PgValueRef};
use sqlx::{Decode, Encode, Postgres, Type};

/// 2000-01-01T00:00:00Z, in microseconds since 1970.
const POSTGRES_EPOCH: i64 = 946_684_800_000_000;

/// A timestamp sent to or received from the server.
#[derive(Clone, Copy, Debug)]
pub struct PgTime(pub Timestamp);

impl PgTime {
    /// In the binary format.
    pub fn to_wire(self) -> [u8; 8] {
        (self.0.unix_micros() - POSTGRES_EPOCH).to_be_bytes()
    }
}

impl Type<Postgres> for PgTime {
    fn type_info() -> PgTypeInfo {
        PgTypeInfo::with_name("timestamptz")
    }
}

impl PgHasArrayType for PgTime {
    fn array_type_info() -> PgTypeInfo {
        PgTypeInfo::with_name("_timestamptz")
    }
}

impl Encode<'_, Postgres> for PgTime {
    fn encode_by_ref(&self, buffer: &mut PgArgumentBuffer) -> Result<IsNull, BoxDynError> {
        buffer.extend_from_slice(&self.to_wire());
        Ok(IsNull::No)
    }
}

impl<'r> Decode<'r, Postgres> for PgTime {
    fn decode(value: PgValueRef<'r>) -> Result<Self, BoxDynError> {
        let micros = i64::from_be_bytes(value.as_bytes()?.try_into()?);
        let unix = micros.checked_add(POSTGRES_EPOCH).ok_or("time out of range")?;
        Ok(Self(Timestamp::from_unix_micros(unix)?))
    }
}
