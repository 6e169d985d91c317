//! Which senders are heard.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use domain::ports::KeyRing;
use ipnet::IpNet;

/// Networks whose senders are heard; all, if there are none, as long as no keys are required.
#[derive(Clone, Default)]
pub struct AllowedSenders {
    networks: Arc<[IpNet]>,
    /// The keys that everyone else needs; `None` if syslog does not depend on them.
    keys: Option<Arc<dyn KeyRing>>,
    has_warned: Arc<AtomicBool>,
}

impl AllowedSenders {
    /// The same with these networks.
    pub fn in_networks(self, networks: Vec<IpNet>) -> Self {
        Self { networks: networks.into(), ..self }
    }

    /// The same with these keys: once they are required, only listed networks are heard.
    pub fn until_required(self, keys: Option<Arc<dyn KeyRing>>) -> Self {
        Self { keys, ..self }
    }

    /// Whether a sender is heard now.
    pub fn allows(&self, sender: IpAddr) -> bool {
        let sender = sender.to_canonical();
        if !self.networks.is_empty() {
            return self.networks.iter().any(|network| network.contains(&sender));
        }
        let is_heard = !self.keys.as_ref().is_some_and(|keys| keys.requires_keys());
        if !is_heard && !self.has_warned.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                %sender,
                "syslog is refused: it carries no keys, and keys are required since this process began; list the networks \
                 that may send it in SPILLWAY_SYSLOG__ALLOW and restart"
            );
        }
        is_heard
    }
}

#[cfg(test)]
mod tests {
    use domain::ports::MockKeyRing;

    use super::*;

    fn sender(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    fn some() -> AllowedSenders {
        AllowedSenders::default().in_networks(vec!["10.0.0.0/8".parse().expect("a network")])
    }

    #[test]
    fn all_are_heard_unless_some_are_listed() {
        assert!(AllowedSenders::default().allows(sender("192.0.2.1")));
        for (text, heard) in [("10.1.2.3", true), ("::ffff:10.1.2.3", true), ("192.0.2.1", false), ("::1", false)] {
            assert_eq!(some().allows(sender(text)), heard, "{text}");
        }
    }

    #[test]
    fn once_keys_are_required_only_listed_networks_are_heard() {
        for required in [false, true] {
            let keys = || -> Option<Arc<dyn KeyRing>> {
                let mut keys = MockKeyRing::new();
                keys.expect_requires_keys().return_const(required);
                Some(Arc::new(keys))
            };
            assert_eq!(AllowedSenders::default().until_required(keys()).allows(sender("10.1.2.3")), !required);
            assert!(some().until_required(keys()).allows(sender("10.1.2.3")));
            assert!(!some().until_required(keys()).allows(sender("192.0.2.1")));
        }
    }
}
