//! Whether memory is so short that no page may be let in.

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::config;

/// See the module's text.
#[derive(Debug)]
pub(super) struct Memory {
    /// Bytes in use from which on it is short; `None` where it cannot be told.
    most: Option<u64>,
    interval: Duration,
    is_short: AtomicBool,
}

impl Memory {
    pub(super) fn new(config: &config::Limits) -> Self {
        let most = match config.memory.as_u64() {
            0 => available().map(|bytes| bytes / 10 * 9),
            most => Some(most),
        };
        Self {
            most,
            interval: config.memory_interval,
            is_short: AtomicBool::new(false),
        }
    }

    pub(super) fn interval(&self) -> Duration {
        self.interval
    }

    pub(super) fn is_short(&self) -> bool {
        self.is_short.load(Ordering::Relaxed)
    }

    pub(super) fn look(&self) {
        let (Some(most), Some(used)) = (self.most, used()) else {
            return;
        };
        let is_short = used >= most;
        let was_short = self.is_short.swap(is_short, Ordering::Relaxed);
        if is_short && !was_short {
            tracing::error!(used, most, "memory is short: no new page is let in");
        } else if was_short && !is_short {
            tracing::info!(used, most, "pages are let in again");
        }
    }
}

/// Bytes of memory that the process uses.
fn used() -> Option<u64> {
    kilobytes("/proc/self/status", "VmRSS:")
}

/// Bytes that the process may use: what its control groups, or else the machine, has.
fn available() -> Option<u64> {
    let machine = kilobytes("/proc/meminfo", "MemTotal:");
    let group = granted(Path::new("/"));
    machine.into_iter().chain(group).min()
}

/// The least that the control group of this process, or any around it, may use: systemd bounds a service in
/// its own group, a container may see nothing but the outermost. `root` is where `proc` and `sys` are.
fn granted(root: &Path) -> Option<u64> {
    let groups = fs::read_to_string(root.join("proc/self/cgroup")).ok()?;
    let limits = groups.lines().flat_map(|line| {
        // hierarchy:controllers:path; of version 2 there is one, and it names no controllers.
        let mut fields = line.splitn(3, ':').skip(1);
        let (controllers, path) = (fields.next(), fields.next());
        let (top, file) = match controllers {
            Some("") => ("sys/fs/cgroup", "memory.max"),
            _ => ("sys/fs/cgroup/memory", "memory.limit_in_bytes"),
        };
        let has_memory = |names: &str| names.is_empty() || names.split(',').any(|n| n == "memory");
        let path = path.filter(|_| controllers.is_some_and(has_memory));
        let groups = path.map(|path| Path::new(path).ancestors());
        groups.into_iter().flatten().filter_map(move |group| {
            let group = group.strip_prefix("/").ok()?;
            let limit = fs::read_to_string(root.join(top).join(group).join(file)).ok()?;
            // `max` is none.
            limit.trim().parse().ok()
        })
    });
    limits.min()
}

fn kilobytes(path: &str, name: &str) -> Option<u64> {
    let text = fs::read_to_string(path).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    let number: u64 = line.split_whitespace().next()?.parse().ok()?;
    Some(number * 1024)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::granted;

    /// What is granted where these files have these texts.
    fn granted_by(files: &[(&str, &str)]) -> Option<u64> {
        let root = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap_or(Path::new("/"))).unwrap();
            fs::write(path, text).unwrap();
        }
        granted(root.path())
    }

    #[test]
    fn what_systemd_grants_a_service_is_seen_wherever_on_the_way_up_it_stands() {
        let own = ("proc/self/cgroup", "0::/system.slice/campanile.service\n");
        let service = "sys/fs/cgroup/system.slice/campanile.service/memory.max";
        let slice = "sys/fs/cgroup/system.slice/memory.max";
        assert_eq!(granted_by(&[own, (service, "500\n")]), Some(500));
        assert_eq!(
            granted_by(&[own, (service, "500\n"), (slice, "300\n")]),
            Some(300)
        );
        assert_eq!(
            granted_by(&[own, (service, "max\n"), (slice, "700\n")]),
            Some(700)
        );
        let other = "sys/fs/cgroup/system.slice/other.service/memory.max";
        assert_eq!(granted_by(&[own, (service, "max\n"), (other, "1")]), None);
    }

    #[test]
    fn what_a_container_has_is_seen_with_its_own_view_of_the_groups_and_without() {
        let top = ("sys/fs/cgroup/memory.max", "400");
        for own in ["0::/\n", "0::/docker/1a2b\n", "0::/../../elsewhere\n"] {
            assert_eq!(granted_by(&[("proc/self/cgroup", own), top]), Some(400));
        }
    }

    #[test]
    fn version_one_has_a_tree_for_memory_alone() {
        let own = "12:cpu,cpuacct:/a\n4:memory:/a/b\n1:name=systemd:/a\n0::/a\n";
        let files = [
            ("proc/self/cgroup", own),
            ("sys/fs/cgroup/memory/a/b/memory.limit_in_bytes", "900\n"),
            (
                "sys/fs/cgroup/memory/memory.limit_in_bytes",
                "9223372036854771712\n",
            ),
        ];
        assert_eq!(granted_by(&files), Some(900));
        assert_eq!(granted_by(&[]), None);
        assert_eq!(granted_by(&[("proc/self/cgroup", "noise\n\n::")]), None);
    }
}
