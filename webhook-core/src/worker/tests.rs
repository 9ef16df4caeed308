mod attempts;
mod claims;
mod leases;
mod observers;
mod panics;
mod scripted;
