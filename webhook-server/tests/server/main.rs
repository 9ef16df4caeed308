//! The server, tested from outside: over raw sockets, and as a process.

mod bad_input;
mod connections;
mod contract;
mod drain;
mod faults;
mod process;
mod slow;
mod support;
