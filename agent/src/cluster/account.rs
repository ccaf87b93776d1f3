//! Whom a request is made as, where it is not the agent itself.

use std::fmt;
use std::sync::Arc;

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

    /// As the API server calls it.
    #[must_use]
    pub fn user(&self) -> String {
        format!("system:serviceaccount:{self}").replace('/', ":")
    }

    /// The groups that a token of the account would bring along.
    #[must_use]
    pub fn groups(&self) -> [String; 3] {
        [
            "system:serviceaccounts".to_owned(),
            format!("system:serviceaccounts:{}", self.namespace),
            "system:authenticated".to_owned(),
        ]
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
        assert_eq!(account.groups()[1], "system:serviceaccounts:shop");
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
