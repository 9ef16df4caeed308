//! Progress: a bar on a terminal, a line per run elsewhere.

use std::io::IsTerminal;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// The bar of the whole command.
#[derive(Debug)]
pub(crate) struct Progress {
    bar: ProgressBar,
}

impl Progress {
    pub(crate) fn new() -> Self {
        let bar = ProgressBar::with_draw_target(Some(1), ProgressDrawTarget::stderr());
        bar.enable_steady_tick(Duration::from_millis(200));
        Self { bar }
    }

    /// Begins a phase of `length` steps.
    pub(crate) fn begin(&self, what: &str, length: u64) {
        let style = "{spinner} {prefix} {bar:30} {percent:>3} %  {elapsed}  {wide_msg}";
        self.bar
            .set_style(ProgressStyle::with_template(style).expect("the template is valid"));
        self.bar.set_prefix(what.to_owned());
        self.bar.set_message("");
        self.bar.reset();
        self.bar.set_length(length.max(1));
        self.bar.set_position(0);
    }

    /// Sets how many steps are done.
    pub(crate) fn at(&self, position: u64, message: String) {
        self.bar.set_position(position);
        self.bar.set_message(message);
    }

    /// Prints a line above the bar.
    pub(crate) fn say(&self, line: &str) {
        if std::io::stderr().is_terminal() {
            self.bar.println(line);
        } else {
            eprintln!("{line}");
        }
    }

    pub(crate) fn finish(&self) {
        self.bar.finish_and_clear();
    }
}
