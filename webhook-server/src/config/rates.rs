//! How often clients may ask.

use std::num::NonZeroU32;

use clap::{Args, ValueEnum};

use super::values;
use crate::http::{Forwarding, Network, RateOptions};

/// Limits, and whose word is believed on who a client is.
#[derive(Clone, Debug, Args)]
#[non_exhaustive]
pub struct Rates {
    /// Most requests a second of all clients together whose signature or token is good; more are
    /// answered 429
    #[arg(long, env, value_name = "COUNT", value_parser = values::count_u32)]
    pub rate_limit: Option<NonZeroU32>,

    /// Most requests a second of one address, or of one IPv6 network of 64 bits
    #[arg(long, env, value_name = "COUNT", value_parser = values::count_u32)]
    pub rate_limit_per_sender: Option<NonZeroU32>,

    /// The addresses or networks of proxies that say for whom they ask, separated by commas or
    /// white space
    #[arg(long, env, value_name = "NETWORKS", value_parser = values::networks)]
    pub trusted_proxies: Option<Networks>,

    /// The header in which they do; the other one is not read
    #[arg(
        long,
        env,
        value_enum,
        ignore_case = true,
        default_value = "x-forwarded-for"
    )]
    pub forwarded_header: ForwardedHeader,
}

/// Networks, as one value.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Networks(pub Vec<Network>);

/// A header that names clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ForwardedHeader {
    /// Addresses, separated by commas
    XForwardedFor,
    /// RFC 7239
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
