//! What Linux says about this process. Prometheus's own libraries use these names.

use std::sync::atomic::{AtomicU64, Ordering};

use prometheus_client::metrics::{counter, gauge};
use prometheus_client::registry::Registry;
use webhook_core::metrics::Metric;

/// The metrics of the process. Other systems than Linux have none of them.
pub(super) const METRICS: &[Metric] = &[
    Metric::counter(
        "process_cpu_seconds_total",
        &[],
        "Processor time that the process has used, in seconds.",
    ),
    Metric::gauge(
        "process_resident_memory_bytes",
        &[],
        "Memory that the process uses.",
    ),
    Metric::gauge(
        "process_virtual_memory_bytes",
        &[],
        "Address space that the process uses.",
    ),
    Metric::gauge(
        "process_open_fds",
        &[],
        "Open files and connections of the process.",
    ),
    Metric::gauge(
        "process_max_fds",
        &[],
        "How many files and connections the process may open.",
    ),
    Metric::gauge(
        "process_start_time_seconds",
        &[],
        "When the process started, in seconds since 1970.",
    ),
    Metric::gauge("process_threads", &[], "Threads of the process."),
];

/// The values, which are read anew for each text.
pub(super) struct Process {
    cpu_seconds: counter::Counter<f64, AtomicU64>,
    gauges: Vec<(&'static str, gauge::Gauge<f64, AtomicU64>)>,
}

impl Process {
    pub(super) fn new(registry: &mut Registry) -> Self {
        let cpu_seconds = counter::Counter::default();
        let mut gauges = Vec::new();
        if cfg!(target_os = "linux") {
            for metric in METRICS {
                let (name, help) = (metric.name, metric.help.trim_end_matches('.'));
                if let Some(name) = name.strip_suffix("_total") {
                    registry.register(name, help, cpu_seconds.clone());
                } else {
                    let gauge = gauge::Gauge::default();
                    registry.register(name, help, gauge.clone());
                    gauges.push((name, gauge));
                }
            }
        }
        Self {
            cpu_seconds,
            gauges,
        }
    }

    /// Reads the values. A value that cannot be read stays as it is.
    pub(super) fn measure(&self) {
        #[cfg(target_os = "linux")]
        if let Some(read) = linux::read() {
            let cpu_seconds = read.cpu_seconds.to_bits();
            self.cpu_seconds
                .inner()
                .store(cpu_seconds, Ordering::Relaxed);
            for (name, gauge) in &self.gauges {
                let value = read.gauges.iter().find(|(read, _)| read == name);
                if let Some((_, value)) = value {
                    gauge.set(*value);
                }
            }
        }
    }
}

#[cfg(target_os = "linux")]
mod linux {
    use std::fs;

    use rustix::param::{clock_ticks_per_second, page_size};
    use rustix::process::{Resource, getrlimit};

    use crate::metrics::as_f64;

    pub(super) struct Read {
        pub(super) cpu_seconds: f64,
        pub(super) gauges: [(&'static str, f64); 6],
    }

    /// proc(5). The name of the program, in parentheses, may have spaces and parentheses itself.
    pub(super) fn read() -> Option<Read> {
        let stat = fs::read_to_string("/proc/self/stat").ok()?;
        let (_, fields) = stat.rsplit_once(')')?;
        let fields: Vec<&str> = fields.split_ascii_whitespace().collect();
        // The first of these is field 3 of the page.
        let field = |number: usize| fields.get(number - 3)?.parse::<u64>().ok().map(as_f64);
        let ticks = as_f64(clock_ticks_per_second());
        let open_files = fs::read_dir("/proc/self/fd").ok()?.count();
        let max_files = getrlimit(Resource::Nofile).current;
        Some(Read {
            cpu_seconds: (field(14)? + field(15)?) / ticks,
            gauges: [
                ("process_threads", field(20)?),
                (
                    "process_start_time_seconds",
                    boot_time()? + field(22)? / ticks,
                ),
                ("process_virtual_memory_bytes", field(23)?),
                (
                    "process_resident_memory_bytes",
                    field(24)? * as_f64(page_size() as u64),
                ),
                ("process_open_fds", as_f64(open_files as u64)),
                ("process_max_fds", max_files.map_or(f64::INFINITY, as_f64)),
            ],
        })
    }

    /// When the system started, in seconds since 1970.
    fn boot_time() -> Option<f64> {
        let stat = fs::read_to_string("/proc/stat").ok()?;
        let line = stat.lines().find_map(|line| line.strip_prefix("btime "))?;
        line.trim().parse().ok()
    }
}
