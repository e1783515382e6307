//! How much memory this machine has, or the container in which the service runs.

use std::fs;
use std::path::Path;

/// The memory, in MiB.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Memory {
    pub(crate) total: u64,
    /// What programs can get without anything being swapped out.
    pub(crate) available: u64,
}

impl Memory {
    /// Returns what the kernel says now; `None` if it says nothing.
    pub(crate) fn now() -> Option<Self> {
        let of_machine = Self::of_machine(&fs::read_to_string("/proc/meminfo").ok()?)?;
        let group = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
        // With version 2 of control groups, the line begins like this. In a container the path is
        // `/`, and what is there is about the container.
        let path = group.lines().find_map(|line| line.strip_prefix("0::/")).unwrap_or_default();
        let read = |file: &str| fs::read_to_string(Path::new("/sys/fs/cgroup").join(path).join(file)).ok();
        let files = [read("memory.max"), read("memory.current"), read("memory.stat")];
        let [Some(max), Some(current), Some(stat)] = files else { return Some(of_machine) };
        Some(of_machine.within(&max, &current, &stat))
    }

    fn of_machine(meminfo: &str) -> Option<Self> {
        let mib = |key: &str| {
            let line = meminfo.lines().find_map(|line| line.strip_prefix(key))?;
            Some(line.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok()? >> 10)
        };
        Some(Self { total: mib("MemTotal:")?, available: mib("MemAvailable:")? })
    }

    /// Returns the same in a control group that may have less. What caches files is given up when
    /// memory is wanted.
    fn within(self, max: &str, current: &str, stat: &str) -> Self {
        let Ok(max) = max.trim().parse::<u64>() else { return self };
        let current = current.trim().parse::<u64>().unwrap_or(0);
        let cache = stat.lines().find_map(|line| line.strip_prefix("file ")?.trim().parse().ok()).unwrap_or(0);
        let left = max.saturating_sub(current.saturating_sub(cache));
        Self { total: self.total.min(max >> 20), available: self.available.min(left >> 20) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_smaller_of_machine_and_container_counts() {
        let text = "MemTotal:       8388608 kB\nMemFree:         102400 kB\nMemAvailable:   4194304 kB\n";
        let machine = Memory::of_machine(text).unwrap();
        assert_eq!(machine, Memory { total: 8192, available: 4096 });
        assert_eq!(machine.within("max\n", "1", ""), machine);
        let stat = "anon 5\nfile 314572800\n";
        let inside = machine.within("1073741824\n", "734003200\n", stat);
        assert_eq!(inside, Memory { total: 1024, available: 624 }, "the 300 MiB of files can be given up");
        assert_eq!(Memory::of_machine("MemTotal: much"), None);
    }
}
