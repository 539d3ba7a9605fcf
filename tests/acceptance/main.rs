//! Flipside from outside: the built program, three real servers of the local fleet, and clients that count every request.
//!
//! `cargo test --release --test acceptance` starts the fleet by `vagrant/fleet up 3` and puts it back before every test. The tests take turns by
//! themselves. A fleet that cannot start fails them. `FLIPSIDE_FLEET`, `FLIPSIDE_FLEET_NET` and `FLIPSIDE_CACHE` name another fleet.
//! Deliberately absent: calls into the library. What is checked is what a person at a terminal, a client and a server would see.
#[path = "../../vagrant/traffic/load/mod.rs"]
mod load;

mod fleet;
mod gap;
mod methods;
mod project;
mod server;
mod shop;
mod tls;
mod traffic;
mod uploads;

mod adopt;
mod app_port;
mod balance;
mod behind;
mod canary;
mod connections;
mod cut_off;
mod datagrams;
mod dead_man;
mod deploy;
mod drift;
mod faults;
mod hooks;
mod ingress;
mod interrupt;
mod locks;
mod mesh;
mod neighbours;
mod outside;
mod placement;
mod probe;
mod promote;
mod put_back;
mod registry;
mod rolling;
mod rollout;
mod secrets;
mod server_fails;
mod strategies;
mod sweep;
mod trials;
mod trouble;
mod volumes;
mod warm;
mod watch;
