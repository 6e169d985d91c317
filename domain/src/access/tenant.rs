//! Tenants: who may write and read some sources only.

use std::fmt;

use sha1_smol::Sha1;
use uuid::Uuid;

use super::sources::SourceRestriction;

/// Begins what is hashed, so that no id of anything else is the same. It never changes: otherwise repeats would look
/// new.
const NAMESPACE: &[u8] = b"spillway tenant\0";

/// Identifies a tenant in records, on every machine and in every version. It is derived from the name of its keys,
/// which a rotation keeps.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TenantId([u8; 16]);

impl TenantId {
    /// The tenant with keys of this name.
    #[must_use]
    pub fn of_name(name: &str) -> Self {
        Self(hash(&[NAMESPACE, name.as_bytes()]))
    }

    /// The tenant with these bytes.
    #[must_use]
    pub fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// Its bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }

    /// What this tenant claims by the id of an event: something else than every other tenant claims by the same id, so
    /// that none can make an event of another one count as a repeat. A UUID of version 8 (RFC 9562, section 5.8).
    #[must_use]
    pub fn claim(&self, event_id: Uuid) -> Uuid {
        Uuid::new_v8(hash(&[NAMESPACE, &self.0, event_id.as_bytes()]))
    }
}

impl fmt::Debug for TenantId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&crate::event::to_hex(&self.0))
    }
}

fn hash(parts: &[&[u8]]) -> [u8; 16] {
    let mut hash = Sha1::new();
    parts.iter().for_each(|part| hash.update(part));
    let mut bytes = [0; 16];
    bytes.iter_mut().zip(hash.digest().bytes()).for_each(|(byte, of_hash)| *byte = of_hash);
    bytes
}

/// A tenant: its identity, and the sources that it may write and read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tenant {
    /// Its identity.
    pub id: TenantId,
    /// Its sources.
    pub sources: SourceRestriction,
}

impl Tenant {
    /// A tenant that may write and read nothing: for requests of which nobody has said whose they are.
    #[must_use]
    pub fn nobody() -> Self {
        Self { id: TenantId::of_name(""), sources: Vec::new().into() }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn claims_never_change_and_differ_by_tenant_and_by_id() {
        let (shop, till) = (TenantId::of_name("shop"), TenantId::of_name("till"));
        assert_eq!(shop, TenantId::from_bytes(*shop.as_bytes()));
        let mut all = HashSet::new();
        for tenant in [shop, till, TenantId::of_name("")] {
            for id in [Uuid::nil(), Uuid::from_u128(1), Uuid::max()] {
                let claim = tenant.claim(id);
                assert_eq!(claim, tenant.claim(id));
                assert_ne!(claim, id);
                assert!(all.insert(claim), "{tenant:?} {id}");
            }
        }
        assert!(!Tenant::nobody().sources.allows("anything"));
    }
}
