//! Microbenchmarks: the parts that run for every server, each beside a floor measured in the same run, which is
//! the least loop that does the work. Only the ratios mean something on another machine, or on this one tomorrow.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod config; // reading the largest configuration
mod director; // one answer, in a large plan
mod exchange; // one HTTP check over loopback
mod pair; // measures two, and shows their ratio
mod plan; // services and servers by the thousand
mod table; // what to do to make one table equal to another
mod wire; // netlink messages

fn main() {
    let mut pairs = pair::Pairs::new();
    config::measure(&mut pairs);
    table::measure(&mut pairs);
    wire::measure(&mut pairs);
    director::measure(&mut pairs);
    exchange::measure(&mut pairs);
    pairs.show();
}
