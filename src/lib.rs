//! lvsentry: keeps the kernel's IPVS table equal to what health checks say.
//!
//! ```text
//! probe ── Outcome ─▶ director (pure): Health → weight → desired Table ─▶ diff ─▶ Ops ─▶ ipvs
//!                         ▲                                                              │
//!                 reload, clock, hand edits ◀──────────── kernel's Table (read again) ◀──┘
//! ```
//!
//! The library exists so that the tests reach the modules; it promises no API. `ARCHITECTURE.md`
//! says who may use whom.

pub mod alert;
pub mod calm;
pub mod cli;
pub mod client;
pub mod config;
pub mod convert;
pub mod daemon;
pub mod director;
pub mod http;
pub mod ipvs;
pub mod ldirectord;
pub mod model;
pub mod outcome;
pub mod probe;
pub mod span;
pub mod table;
