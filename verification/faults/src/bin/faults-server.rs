//! `webhook-server` for the harness to start: the same program, built together with the harness.

fn main() {
    webhook_server::main()
}
