//! What a key may do.

use std::fmt;
use std::str::FromStr;

/// What a key may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// Send events, by every protocol.
    Ingest,
    /// Search, read, count, export and follow events, and read the document of the API.
    Read,
    /// Look at the state of the processes and of dead letters, send these again, and change the log filter.
    Operate,
    /// Everything.
    Admin,
}

/// The text names no role.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a role: ingest, read, operate or admin")]
pub struct UnknownRole;

impl Role {
    /// All roles.
    pub const ALL: [Self; 4] = [Self::Ingest, Self::Read, Self::Operate, Self::Admin];

    /// Its name in the keys file and in answers.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Ingest => "ingest",
            Self::Read => "read",
            Self::Operate => "operate",
            Self::Admin => "admin",
        }
    }

    /// Whether a key with this role may do what needs `other`.
    #[must_use]
    pub fn includes(self, other: Self) -> bool {
        self == Self::Admin || self == other
    }
}

impl FromStr for Role {
    type Err = UnknownRole;

    fn from_str(text: &str) -> Result<Self, UnknownRole> {
        Self::ALL.into_iter().find(|role| role.name() == text).ok_or(UnknownRole)
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_role_is_written_as_it_is_read_and_only_an_admin_may_do_the_work_of_others() {
        for role in Role::ALL {
            assert_eq!(role.to_string().parse(), Ok(role));
            assert!(role.includes(role) && Role::Admin.includes(role));
            assert_eq!(
                Role::ALL.iter().filter(|other| role.includes(**other)).count(),
                match role {
                    Role::Admin => 4,
                    _ => 1,
                }
            );
        }
        for wrong in ["", "Admin", "root", "ingest "] {
            assert_eq!(wrong.parse::<Role>(), Err(UnknownRole), "{wrong}");
        }
    }
}
