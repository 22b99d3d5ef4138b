//! The one test binary. `make test` runs it here, and its module `kernel` on a kernel with IPVS.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::disallowed_methods)]

mod alerts; // mail and webhooks: what is told, to whom, and what ill receivers cost
mod around; // what happens around the table: maintenance, commands, monitor files
mod checks; // the check commands that are shipped
mod cli; // the binary: arguments, output, exit statuses
mod config; // ldirectord.cf: good files and what they mean, bad files and what is said of them
mod control; // the control socket, and the commands against a daemon that runs
mod daemon; // the shell over a kernel in memory and scripted probes, with paused time
mod director; // the pure core: properties over random histories
mod hostile; // every kind against servers that answer random and spoilt bytes
mod kept; // the pure core: what it keeps of all services and members, over random histories
mod kernel; // a real kernel with IPVS, as root: `tests/run` runs these in the lab
mod ldirectord; // called by ldirectord's name: what it prints, exit statuses, pid files
mod oracle; // what the real ldirectord makes of configurations, and what we do
mod packaging; // units, log rotation and the Debian package, in private rooms
mod probes; // each kind against a scripted server on loopback
mod scale; // many services, several threads: what is asked how often, and where
mod scenarios; // histories as text: time, event, what follows
mod servers; // the real servers of Debian, as root: `tests/run` makes the root that they run from
mod simulation; // the core in a world of its own: seeded histories, every promise after every step, planted mistakes
mod standby; // who keeps the table: standby, promotion, demotion, with paused time
mod support; // namespaces, servers, a client, the daemon as a child
mod tidy; // what ARCHITECTURE.md promises of the tree
mod yaml; // lvsentry.yaml: what files mean, what is said of bad ones, what convert writes
