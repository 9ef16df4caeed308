//! An operator of the server.

use serde_json::Value;

use super::client::{Client, Reply, request_of};

/// A client with a token of the scope `operate`.
pub(crate) struct Operator {
    pub(crate) client: Client,
    pub(crate) token: String,
}

impl Operator {
    pub(crate) async fn ask(&mut self, method: &str, path: &str) -> Reply {
        let bearer = format!("Bearer {}", self.token);
        let headers = [("authorization", bearer.as_str())];
        self.client
            .ask(request_of(method, path, &headers, ""))
            .await
    }

    pub(crate) async fn get(&mut self, path: &str) -> Value {
        let reply = self.ask("GET", &format!("/v1/operator/{path}")).await;
        assert_eq!(reply.status, 200, "{}", reply.text());
        reply.json()
    }
}
