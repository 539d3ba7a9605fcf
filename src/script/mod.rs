//! Shell text that changes a server, and the one quoting function it all goes through. Deliberately absent: running it.
pub mod layout;
pub mod nginx;
pub mod quote;
