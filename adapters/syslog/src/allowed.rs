//! Which senders are heard.

use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;

/// Networks whose senders are heard; all, if there are none.
#[derive(Clone, Debug, Default)]
pub struct AllowedSenders(Arc<[IpNet]>);

impl From<Vec<IpNet>> for AllowedSenders {
    fn from(networks: Vec<IpNet>) -> Self {
        Self(networks.into())
    }
}

impl AllowedSenders {
    /// Whether a sender is heard.
    pub fn allows(&self, sender: IpAddr) -> bool {
        let sender = sender.to_canonical();
        self.0.is_empty() || self.0.iter().any(|network| network.contains(&sender))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_are_heard_unless_some_are_listed() {
        let sender = |text: &str| text.parse::<IpAddr>().expect("an address");
        assert!(AllowedSenders::default().allows(sender("192.0.2.1")));
        let some: AllowedSenders = vec!["10.0.0.0/8".parse().expect("a network")].into();
        for (text, heard) in [("10.1.2.3", true), ("::ffff:10.1.2.3", true), ("192.0.2.1", false), ("::1", false)] {
            assert_eq!(some.allows(sender(text)), heard, "{text}");
        }
    }
}
