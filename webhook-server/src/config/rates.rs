//! The options of rate limits and trusted proxies.

use std::num::NonZeroU32;

use clap::{Args, ValueEnum};

use super::values;
use crate::http::{Forwarding, Network, RateOptions};

/// Rate limits and trusted proxies.
#[derive(Clone, Debug, Args)]
#[non_exhaustive]
pub struct Rates {
    /// Most requests a second with a valid signature or token, of all clients together; requests over
    /// the limit get 429
    #[arg(long, env, value_name = "COUNT", value_parser = values::count_u32)]
    pub rate_limit: Option<NonZeroU32>,

    /// Most requests a second of one address or IPv6 /64 network; requests over the limit get 429
    #[arg(long, env, value_name = "COUNT", value_parser = values::count_u32)]
    pub rate_limit_per_sender: Option<NonZeroU32>,

    /// Addresses or networks of proxies whose forwarding header is trusted, separated by commas or
    /// white space
    #[arg(long, env, value_name = "NETWORKS", value_parser = values::networks)]
    pub trusted_proxies: Option<Networks>,

    /// Which forwarding header to read; the other one is ignored
    #[arg(
        long,
        env,
        value_enum,
        ignore_case = true,
        default_value = "x-forwarded-for"
    )]
    pub forwarded_header: ForwardedHeader,
}

/// A list of networks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Networks(pub Vec<Network>);

/// A header with the addresses of clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ForwardedHeader {
    /// X-Forwarded-For: addresses, separated by commas
    XForwardedFor,
    /// Forwarded (RFC 7239)
    Forwarded,
}

impl Rates {
    pub(super) fn options(&self) -> RateOptions {
        RateOptions {
            all: self.rate_limit,
            each: self.rate_limit_per_sender,
            forwarding: Forwarding {
                proxies: self.trusted_proxies.clone().unwrap_or_default().0,
                standard: self.forwarded_header == ForwardedHeader::Forwarded,
            },
        }
    }
}
