//! Signs requests by Standard Webhooks.
