mod attempts;
mod claims;
mod leases;
mod limits;
mod observers;
mod panics;
mod partitions;
mod scripted;
