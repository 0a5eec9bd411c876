//! Places as receipts name them: `file://` and an absolute path, percent-encoded.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Component, Path, PathBuf};

/// The place at an absolute path.
pub fn uri(path: &Path) -> String {
    let mut uri = "file://".to_owned();
    for &byte in path.as_os_str().as_bytes() {
        // RFC 3986, section 2.3, and the slash.
        if byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte) {
            uri.push(char::from(byte));
        } else {
            uri.push('%');
            for nibble in [byte >> 4, byte & 15] {
                uri.extend(char::from_digit(u32::from(nibble), 16).map(|d| d.to_ascii_uppercase()));
            }
        }
    }
    uri
}

/// The most links that one path may lead through; Linux has the same bound.
const LINKS_MAX: usize = 40;

/// Where `path` is: with every link resolved, and as it is called before each link on the way. Receipts are
/// looked up under all of these, so that a link put in the way, at any component, does not lose them.
///
/// # Errors
/// It is not there.
pub fn places(path: &Path) -> io::Result<Vec<String>> {
    let mut places = Vec::new();
    let mut links = 0_usize;
    let mut resolved = PathBuf::from("/");
    let mut left: PathBuf = std::path::absolute(path)?;
    loop {
        let mut components = left.components();
        let Some(component) = components.next() else {
            break;
        };
        let rest = components.as_path().to_owned();
        match component {
            Component::Prefix(_) | Component::RootDir => resolved = PathBuf::from("/"),
            Component::CurDir => {}
            // What is resolved has no links, so its parent is the directory that it is in.
            Component::ParentDir => drop(resolved.pop()),
            Component::Normal(name) => {
                let here = resolved.join(name);
                if fs::symlink_metadata(&here)?.is_symlink() {
                    links = links.saturating_add(1);
                    if links > LINKS_MAX {
                        return Err(io::Error::other("too many symbolic links"));
                    }
                    places.push(uri(&onward(&here, &rest)));
                    left = onward(&fs::read_link(&here)?, &rest);
                    continue;
                }
                resolved = here;
            }
        }
        left = rest;
    }
    fs::symlink_metadata(&resolved)?;
    places.push(uri(&resolved));
    Ok(places)
}

/// `path` and what is left to go, if anything is.
fn onward(path: &Path, rest: &Path) -> PathBuf {
    if rest.as_os_str().is_empty() {
        path.to_owned()
    } else {
        path.join(rest)
    }
}

/// The absolute path of something that need not be there, in a directory that is.
///
/// # Errors
/// The directory is not there, or `path` names nothing in it.
pub fn absolute_new(path: &Path) -> io::Result<PathBuf> {
    let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?;
    let parent = path
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    Ok(fs::canonicalize(parent)?.join(name))
}

/// `path` with `suffix` behind its last component.
///
/// # Errors
/// It has no last component, and is not there either.
pub fn beside(path: &Path, suffix: &str) -> io::Result<PathBuf> {
    let resolved;
    let path = if path.file_name().is_some() {
        path
    } else {
        resolved = fs::canonicalize(path)?;
        &resolved
    };
    let mut name = path
        .file_name()
        .ok_or(io::ErrorKind::InvalidInput)?
        .to_owned();
    name.push(suffix);
    Ok(path.with_file_name(name))
}

/// The path in `file:PATH` or `file:///PATH`; `None` for anything else.
pub fn path_of_file_uri(text: &str) -> Option<PathBuf> {
    let rest = text.strip_prefix("file:")?;
    let path = match rest.strip_prefix("//") {
        // A URI: percent-encoded, and on no other machine.
        Some(absolute) if absolute.starts_with('/') => decode(absolute)?,
        Some(_) => return None,
        None => OsString::from(rest),
    };
    (!path.is_empty()).then(|| PathBuf::from(path))
}

fn decode(text: &str) -> Option<OsString> {
    let mut decoded = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        if byte != b'%' {
            decoded.push(byte);
            continue;
        }
        let mut nibble = || char::from(bytes.next()?).to_digit(16);
        let value = nibble()?.checked_mul(16)?.checked_add(nibble()?)?;
        decoded.push(u8::try_from(value).ok()?);
    }
    Some(OsString::from_vec(decoded))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_and_back() {
        for path in ["/a/b", "/a b/ü%", "/\u{1b}[31m"] {
            let place = uri(Path::new(path));
            assert!(place.is_ascii() && !place.contains(' '), "{place}");
            assert_eq!(path_of_file_uri(&place), Some(PathBuf::from(path)));
        }
        let raw = PathBuf::from(OsString::from_vec(b"/x\xff".to_vec()));
        assert_eq!(uri(&raw), "file:///x%FF");
        assert_eq!(path_of_file_uri("file:///x%FF"), Some(raw));
        assert_eq!(path_of_file_uri("file:a%20b"), Some(PathBuf::from("a%20b")));
        for bad in [
            "",
            "file:",
            "a",
            "file://host/a",
            "file:///%f",
            "file:///%zz",
            "s3://b",
        ] {
            assert_eq!(path_of_file_uri(bad), None, "{bad}");
        }
    }

    #[test]
    fn beside_keeps_the_whole_name() {
        for (path, expected) in [
            ("a.tar.gz", "a.tar.gz.sig.json"),
            ("x/pack/", "x/pack.sig.json"),
        ] {
            assert_eq!(
                beside(Path::new(path), ".sig.json").unwrap(),
                PathBuf::from(expected)
            );
        }
    }

    #[test]
    fn a_path_is_known_by_every_name_on_its_way() {
        let scratch = tempfile::tempdir().unwrap();
        let root = fs::canonicalize(scratch.path()).unwrap();
        fs::create_dir_all(root.join("real/deep")).unwrap();
        fs::write(root.join("real/b"), "b").unwrap();
        let link = |to: &str, at: &str| std::os::unix::fs::symlink(to, root.join(at)).unwrap();
        link("real", "lnk");
        link("b", "real/a");
        link("real/deep", "jump");
        let known = |path: &str| places(&root.join(path)).unwrap();
        let at = |path: &str| uri(&root.join(path));
        assert_eq!(known("real/b"), [at("real/b")]);
        assert_eq!(known("lnk/a"), [at("lnk/a"), at("real/a"), at("real/b")]);
        assert_eq!(known("jump/../b").last(), Some(&at("real/b")));
        assert_eq!(known("./real/./b"), [at("real/b")]);
        assert!(places(&root.join("nothing")).is_err());
        link("loop", "loop");
        assert!(places(&root.join("loop")).is_err());
    }
}
