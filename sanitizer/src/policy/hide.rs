//! Pools and accounts that are not to be seen: their rows stay, and say `hidden` where they would say whose they are.

use std::collections::BTreeSet;

use contract::attr;

use super::KeyRule;
use crate::check::{self, Value};

/// What stands in the place of a hidden label.
pub(crate) const HIDDEN: &str = "hidden";

/// Keys that name a Pool, and how they are hidden.
const POOL: &[(&str, As)] = &[(attr::POOL_SLUG, As::Text), (attr::POOL_NAME, As::Text), (attr::POOL_ID, As::Absent)];
/// Keys that name an account.
const ACCOUNT: &[(&str, As)] = &[
    (attr::UPSTREAM_ACCOUNT_LABEL, As::Text),
    (attr::UPSTREAM_ACCOUNT_ID, As::Absent),
    (attr::UPSTREAM_ASSIGNMENT_ID, As::Absent),
];

/// What an operator wants hidden.
#[derive(Debug, Default)]
pub(super) struct Hide {
    /// Slugs of Pools.
    pub(super) pools: BTreeSet<String>,
    /// Ids of accounts.
    pub(super) accounts: BTreeSet<String>,
}

/// How a value is hidden.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum As {
    /// It becomes [`HIDDEN`].
    Text,
    /// It goes.
    Absent,
}

/// What has to be hidden in one record.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Hidden {
    pub(crate) pool: bool,
    pub(crate) account: bool,
}

impl Hide {
    /// How a key is hidden, if it can have to be.
    pub(super) fn of(&self, key: &str) -> Option<As> {
        let pool = POOL.iter().filter(|_| !self.pools.is_empty());
        let account = ACCOUNT.iter().filter(|_| !self.accounts.is_empty());
        pool.chain(account).find(|(hideable, _)| *hideable == key).map(|(_, how)| *how)
    }

    /// What has to be hidden. A record that does not say validly whose it is, is hidden: it may be anyone's.
    pub(super) fn hidden<'a, E>(&self, text: impl Fn(&str) -> Result<Option<&'a str>, E>) -> Result<Hidden, E> {
        let valid = |key: &str| -> Result<Option<&'a str>, E> {
            let is_valid =
                |text: &&str| contract::attribute(key).is_some_and(|rule| check::by_rule(rule, Value::Text(text)).is_ok());
            Ok(text(key)?.filter(is_valid))
        };
        let pool =
            !self.pools.is_empty() && valid(attr::POOL_SLUG)?.is_none_or(|slug| slug == HIDDEN || self.pools.contains(slug));
        let account = !self.accounts.is_empty() && valid(attr::UPSTREAM_ACCOUNT_ID)?.is_none_or(|id| self.accounts.contains(id));
        Ok(Hidden { pool, account })
    }
}

impl Hidden {
    /// How the value of a key is hidden, if it is.
    pub(super) fn how(self, rule: &KeyRule) -> Option<As> {
        let is_in = |keys: &[(&str, As)]| keys.iter().any(|(key, _)| *key == &*rule.key);
        let hidden = (self.pool && is_in(POOL)) || (self.account && is_in(ACCOUNT));
        rule.hide.filter(|_| hidden)
    }

    /// Whether nothing is.
    pub(crate) fn is_nothing(self) -> bool {
        !self.pool && !self.account
    }
}
