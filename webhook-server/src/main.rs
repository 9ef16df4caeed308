//! `webhook-server`: see `webhook-server --help`.

fn main() {
    webhook_server::main()
}
