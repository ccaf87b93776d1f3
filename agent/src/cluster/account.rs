//! Whom a request is made as, where it is not the agent itself.

use std::fmt;
use std::sync::Arc;

use super::rate::Rate;

/// Who changes objects, and how fast. By default the agent, as fast as it can.
#[derive(Debug, Clone, Default)]
pub struct Actor {
    pub account: Option<ServiceAccount>,
    pub rate: Option<Arc<Rate>>,
}

/// A service account that writes are made as, by impersonation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceAccount {
    pub namespace: Arc<str>,
    pub name: Arc<str>,
}

impl ServiceAccount {
    /// Reads "namespace/name"; none where it is not that.
    #[must_use]
    pub fn read(text: &str) -> Option<Self> {
        let (namespace, name) = text.split_once('/')?;
        let plain = |text: &str, also: &[u8]| {
            let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || also.contains(&b);
            !text.is_empty() && text.len() <= 253 && text.bytes().all(inner)
        };
        (plain(namespace, b"-") && plain(name, b"-.")).then(|| Self {
            namespace: namespace.into(),
            name: name.into(),
        })
    }

    /// As the API server calls it. Whoever acts as this user is in the groups
    /// of the account as well, without naming them: so the right to impersonate
    /// the account is all that the agent needs.
    #[must_use]
    pub fn user(&self) -> String {
        format!("system:serviceaccount:{self}").replace('/', ":")
    }
}

impl fmt::Display for ServiceAccount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_account_is_a_namespace_and_a_name() {
        let account = ServiceAccount::read("shop/deployer").unwrap();
        assert_eq!(account.user(), "system:serviceaccount:shop:deployer");
        assert_eq!(account.to_string(), "shop/deployer");
        for bad in [
            "",
            "shop",
            "/x",
            "shop/",
            "a/b/c",
            "Shop/x",
            "shop/x\r\ny",
            "s.p/x",
        ] {
            assert_eq!(ServiceAccount::read(bad), None, "{bad}");
        }
    }
}
