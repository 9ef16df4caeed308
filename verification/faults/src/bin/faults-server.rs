//! `webhook-server`, for the harness to start: the same program, but built with it.

fn main() {
    webhook_server::main()
}
