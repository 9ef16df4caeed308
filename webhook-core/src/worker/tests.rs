mod attempts;
mod claims;
mod leases;
mod scripted;
