mod attempts;
mod claims;
mod leases;
mod panics;
mod scripted;
