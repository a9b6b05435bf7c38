//! What the unit tests share: a request of invented people.

use std::time::{Duration, SystemTime};

use contract::{Method, Route, Transport};
use uuid::Uuid;

use crate::lifecycle::{Account, Admission, ApiKey, Attempt, Pool};

pub(crate) const ROW: Uuid = Uuid::from_u128(0x0b5a_2f0e_6c0f_4f3a_9a53_0c7f_4f2f_8f11);
pub(crate) const ACCOUNT: Uuid = Uuid::from_u128(0x6391_8144_2107_4e99_9119_c5ed_fe6f_6b9b);
const OTHER: Uuid = Uuid::from_u128(0x4c49_79d6_6f3c_4527_a634_e613_8934_2c6f);

/// 2026-08-21 09:00:37 UTC.
pub(crate) fn at() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_787_302_837)
}

pub(crate) fn admission() -> Admission {
    let pool = Pool { id: OTHER, slug: "core".into(), name: "Core agents".into() };
    let key = ApiKey::Key { id: OTHER, label: Some("CI agents".into()), prefix: Some("sk-cxp-1b158839f8aa".into()) };
    Admission {
        model: Some("gpt-5.4".into()),
        ..Admission::new(ROW, pool, key, Method::Post, Route::BackendApiCodexResponses, Transport::HttpSse)
    }
}

pub(crate) fn account() -> Account {
    Account { id: Some(ACCOUNT), label: Some("Aurora seat 1".into()), ..Account::default() }
}

pub(crate) fn attempt() -> Attempt {
    Attempt { started_at: at(), ..Attempt::new(account(), Transport::HttpSse) }
}
