//! Readings from `/proc`: owns CPU time and resident memory of a process and
//! the open-files limit of this one.

use std::fs;

use anyhow::{Context as _, Result};

/// Microseconds in one tick of `/proc/PID/stat` (100 ticks a second on Linux).
const MICROS_PER_TICK: u64 = 10_000;

/// The process to read.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Process {
    /// This one.
    Own,
    /// The one with this id.
    Id(u32),
}

impl Process {
    fn read(self, file: &str) -> Result<String> {
        let path = match self {
            Self::Own => format!("/proc/self/{file}"),
            Self::Id(pid) => format!("/proc/{pid}/{file}"),
        };
        fs::read_to_string(&path).with_context(|| match self {
            Self::Own => format!("reading {path}"),
            Self::Id(pid) => format!("--pid {pid}: reading {path}"),
        })
    }

    /// User and system CPU time so far, in microseconds (steps of 10,000).
    ///
    /// # Errors
    /// When the process is gone or `/proc` is not readable.
    pub(crate) fn cpu_micros(self) -> Result<u64> {
        let stat = self.read("stat")?;
        parse_cpu(&stat).with_context(|| format!("unexpected content of /proc stat: {stat:?}"))
    }

    /// Resident memory in KiB.
    ///
    /// # Errors
    /// When the process is gone or `/proc` is not readable.
    pub(crate) fn resident_kib(self) -> Result<u64> {
        let status = self.read("status")?;
        parse_resident(&status).context("no VmRSS line in /proc status")
    }
}

/// The soft limit on open files of this process; none when unlimited.
///
/// # Errors
/// When `/proc` is not readable.
pub(crate) fn open_files_limit() -> Result<Option<u64>> {
    let limits = Process::Own.read("limits")?;
    Ok(parse_open_files(&limits))
}

fn parse_cpu(stat: &str) -> Option<u64> {
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_whitespace().skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some((user + system) * MICROS_PER_TICK)
}

fn parse_resident(status: &str) -> Option<u64> {
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().strip_suffix("kB")?.trim().parse().ok()
}

fn parse_open_files(limits: &str) -> Option<u64> {
    let line = limits
        .lines()
        .find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::{parse_cpu, parse_open_files, parse_resident};

    #[test]
    fn proc_lines_are_read() {
        let stat = "7 (a ) b) S 1 7 7 0 -1 4194560 1 2 3 4 150 25 0 0 20 0 5 0 9";
        assert_eq!(parse_cpu(stat), Some(1_750_000));
        assert_eq!(
            parse_resident("Name:\tx\nVmRSS:\t    5120 kB\n"),
            Some(5120)
        );
        let limits = "Limit  Soft Limit  Hard Limit  Units\nMax open files  1024  4096  files\n";
        assert_eq!(parse_open_files(limits), Some(1024));
        assert_eq!(
            parse_open_files("Max open files  unlimited  unlimited  files"),
            None
        );
    }
}
