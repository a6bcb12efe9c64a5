//! What a target is named by: a path, `file:///path`, `s3://bucket/prefix`,
//! `sftp://user@host/path`, `hindcast://host:port/vault` or `hindcasts://host:port/vault`.

use std::path::{Component, Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;

use crate::directory::Directory;
use crate::error::TargetError;
use crate::node::{Node, NodeOptions, NodePlace};
use crate::s3::{S3, S3Options};
use crate::sftp::{Sftp, SshOptions, SshPlace};
use crate::target::Target;

/// Where a target is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    Directory(PathBuf),
    S3 { bucket: String, prefix: String },
    Sftp(SshPlace),
    Node(NodePlace),
}

/// What is needed beside an address to reach it.
#[derive(Clone, Default)]
pub struct Access {
    pub s3: Option<S3Options>,
    pub ssh: SshOptions,
    pub node: NodeOptions,
}

impl FromStr for Address {
    type Err = TargetError;

    fn from_str(text: &str) -> Result<Self, TargetError> {
        let refuse = |why: &str| TargetError::Url {
            url: text.to_owned(),
            why: why.to_owned(),
        };
        if let Some(rest) = text.strip_prefix("s3://") {
            let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
            if bucket.is_empty() {
                return Err(refuse("it names no bucket; expected s3://BUCKET/PREFIX"));
            }
            return Ok(Self::S3 {
                bucket: bucket.to_owned(),
                prefix: prefix.trim_matches('/').to_owned(),
            });
        }
        if let Some(rest) = text.strip_prefix("sftp://") {
            let place = SshPlace::parse(rest);
            return place.map(Self::Sftp).map_err(|why| refuse(&why));
        }
        for (scheme, encrypted) in [("hindcast://", false), ("hindcasts://", true)] {
            if let Some(rest) = text.strip_prefix(scheme) {
                let place = NodePlace::parse(rest, encrypted);
                return place.map(Self::Node).map_err(|why| refuse(&why));
            }
        }
        let path = match text.strip_prefix("file://") {
            Some(path) if !path.starts_with('/') => {
                return Err(refuse("a file URL has an absolute path: file:///PATH"));
            }
            Some(path) => path,
            None if text.contains("://") => {
                return Err(refuse(
                    "expected a path, file:///PATH, s3://BUCKET/PREFIX, sftp://USER@HOST/PATH or \
                     hindcasts://HOST:PORT/NAME",
                ));
            }
            None => text,
        };
        match path {
            "" => Err(refuse("it is empty")),
            path => Ok(Self::Directory(PathBuf::from(path))),
        }
    }
}

impl Address {
    /// The directory, if it lies below one of `roots`: what somebody else names may not reach
    /// further, neither by `..` nor by a symbolic link.
    pub fn below(&self, roots: &[PathBuf]) -> Result<(), TargetError> {
        let Self::Directory(path) = self else {
            return Ok(());
        };
        let refuse = |why: String| TargetError::Url {
            url: path.display().to_string(),
            why,
        };
        let dotted = path.components().any(|part| part == Component::ParentDir);
        if dotted || !path.is_absolute() {
            return Err(refuse(
                "the path has to be absolute, without `..`".to_owned(),
            ));
        }
        // What exists of the path is followed through its links.
        let existing = path.ancestors().find_map(|part| {
            let real = part.canonicalize().ok()?;
            Some(real.join(path.strip_prefix(part).unwrap_or(Path::new(""))))
        });
        let real = existing.unwrap_or_else(|| path.clone());
        let allowed = |root: &PathBuf| {
            let root = root.canonicalize();
            root.is_ok_and(|root| real.starts_with(root))
        };
        match roots.iter().any(allowed) {
            true => Ok(()),
            false => Err(refuse(
                "it is not below any of the directories in backup.roots".to_owned(),
            )),
        }
    }

    /// Opens the target. An object store needs options.
    pub fn open(&self, access: &Access) -> Result<Arc<dyn Target>, TargetError> {
        match (self, &access.s3) {
            (Self::Directory(path), _) => Ok(Arc::new(Directory::new(path))),
            (Self::S3 { bucket, prefix }, Some(options)) => {
                Ok(Arc::new(S3::new(bucket, prefix, options)?))
            }
            (Self::S3 { bucket, prefix }, None) => Err(TargetError::Url {
                url: format!("s3://{bucket}/{prefix}"),
                why: "an object store needs an endpoint and credentials".to_owned(),
            }),
            (Self::Sftp(place), _) => Ok(Arc::new(Sftp::new(place, &access.ssh)?)),
            (Self::Node(place), _) => Ok(Arc::new(Node::new(place, &access.node)?)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_paths_file_and_s3_urls() {
        let read = |text: &str| text.parse::<Address>();
        assert_eq!(
            read("a/b").expect("a path"),
            Address::Directory("a/b".into())
        );
        assert_eq!(
            read("file:///a").expect("a path"),
            Address::Directory("/a".into())
        );
        let s3 = Address::S3 {
            bucket: "b".to_owned(),
            prefix: "p/q".to_owned(),
        };
        assert_eq!(read("s3://b/p/q/").expect("a bucket"), s3);
        let sftp = read("sftp://me@host:22/a/b").expect("a directory");
        assert!(matches!(sftp, Address::Sftp(_)));
        for url in ["hindcast://h:1/v", "hindcasts://h:1/v"] {
            assert!(matches!(read(url), Ok(Address::Node(_))), "{url}");
        }
        for text in [
            "",
            "s3://",
            "file://a",
            "ftp://x/y",
            "https://x",
            "sftp://-x/y",
        ] {
            assert!(read(text).is_err(), "{text}");
        }
    }

    #[test]
    fn only_what_lies_below_a_root_is_allowed() {
        let dir = tempfile::tempdir().expect("a directory");
        let root = dir.path().join("root");
        std::fs::create_dir_all(root.join("sub")).expect("made");
        let outside = dir.path().join("outside");
        std::fs::create_dir(&outside).expect("made");
        std::os::unix::fs::symlink(&outside, root.join("link")).expect("linked");
        let roots = [root.clone()];
        let check = |path: PathBuf| Address::Directory(path).below(&roots);
        assert!(check(root.join("sub/new/deep")).is_ok());
        assert!(check(root.clone()).is_ok());
        for path in [
            outside.clone(),
            root.join("link/x"),
            root.join("../outside"),
            dir.path().join("root2"),
            "relative".into(),
        ] {
            let shown = path.display().to_string();
            assert!(check(path).is_err(), "{shown}");
        }
        assert!(Address::Directory(root).below(&[]).is_err());
    }
}
