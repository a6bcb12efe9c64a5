//! File systems under the names of Prometheus' own exporter: the one that holds the data
//! directory, and the one at `/`.

use std::fs;
use std::path::Path;

use metrics::gauge;

use crate::disk;

/// Says how large they are and what is left of them; nothing where the system does not say.
pub(super) fn show(data_dir: &Path) {
    let table = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let data_dir = fs::canonicalize(data_dir).unwrap_or_else(|_| data_dir.to_owned());
    let mut shown = None;
    for path in [data_dir.as_path(), Path::new("/")] {
        let Some(mount) = Mount::of(&table, path).filter(|mount| shown.as_ref() != Some(mount))
        else {
            continue;
        };
        let point = Path::new(&mount.point);
        if let (Some((free, _)), Some(size)) = (disk::space(point), disk::whole(point)) {
            let labels = [
                ("device", mount.device.clone()),
                ("fstype", mount.kind.clone()),
                ("mountpoint", mount.point.clone()),
            ];
            gauge!("node_filesystem_avail_bytes", &labels).set(free as f64);
            gauge!("node_filesystem_size_bytes", &labels).set(size as f64);
        }
        shown = Some(mount);
    }
}

#[derive(Debug, PartialEq, Eq)]
struct Mount {
    point: String,
    kind: String,
    device: String,
}

impl Mount {
    /// What is mounted where this path is: the last of the longest mount points that it lies
    /// below.
    fn of(table: &str, path: &Path) -> Option<Self> {
        let mounts = table.lines().filter_map(Self::parse);
        mounts
            .filter(|mount| path.starts_with(&mount.point))
            .max_by_key(|mount| mount.point.len())
    }

    /// A line of `/proc/self/mountinfo`; fields after the separator `-` count from there.
    fn parse(line: &str) -> Option<Self> {
        let (head, tail) = line.split_once(" - ")?;
        let mut tail = tail.split(' ');
        Some(Self {
            // Spaces in names are written as an octal escape.
            point: head.split(' ').nth(4)?.replace("\\040", " "),
            kind: tail.next()?.to_owned(),
            device: tail.next()?.to_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_mount_point_above_a_path_is_its() {
        let table = "22 1 8:1 / / rw shared:1 - ext4 /dev/sda1 rw\n\
                     30 22 0:5 / /srv/my\\040data rw - xfs /dev/sdb1 rw\n\
                     31 22 0:6 / /sr rw - tmpfs none rw\n";
        let point = |path: &str| Mount::of(table, Path::new(path)).map(|mount| mount.point);
        assert_eq!(point("/srv/my data/x").as_deref(), Some("/srv/my data"));
        assert_eq!(point("/srv/other").as_deref(), Some("/"));
        let root = Mount::of(table, Path::new("/")).expect("a root");
        assert_eq!(
            (root.kind.as_str(), root.device.as_str()),
            ("ext4", "/dev/sda1")
        );
    }
}
