//! The record held against what the system saw: strace writes down the same scenario, and every call in
//! it that can change what lies below the root must be in the record, in the same order.

use std::collections::HashMap;
use std::path::Path;
use std::process::Command;

use super::super::sys::record::{Call, Event};

/// Every call by which a file system is changed, recorded or not.
const TRACED: &str = "open,creat,openat,openat2,write,pwrite64,writev,pwritev,pwritev2,truncate,\
ftruncate,fallocate,copy_file_range,sendfile,splice,sync,syncfs,fsync,fdatasync,sync_file_range,mkdir,\
mkdirat,rename,renameat,renameat2,link,linkat,symlink,symlinkat,unlink,unlinkat,rmdir,mknod,mknodat,\
chmod,fchmod,fchmodat,chown,fchown,lchown,fchownat,utimensat,setxattr,fsetxattr,lsetxattr,ioctl";

/// A command under strace, which writes to `out`.
pub(super) fn command(out: &Path, program: &Path) -> Command {
    let mut command = Command::new("strace");
    command
        .args([
            "-f",
            "-y",
            "-s",
            "0",
            "-e",
            &format!("trace={TRACED}"),
            "-o",
        ])
        .arg(out)
        .arg(program);
    command
}

/// The record as lines that strace's can be compared with.
pub(super) fn recorded(events: &[Event]) -> Vec<String> {
    let line = |event: &Event| match event {
        Event::Mark(_) => None,
        Event::Call(Call::SyncFile(path) | Call::SyncDirectory(path)) => {
            Some(format!("sync {path}"))
        }
        Event::Call(call) => Some(format!("{call:?}")),
    };
    events.iter().filter_map(line).collect()
}

/// The calls in a trace that changed something below `root`.
pub(super) fn seen(trace: &str, root: &str) -> Vec<String> {
    let mut begun = HashMap::new();
    let mut seen = Vec::new();
    for line in trace.lines() {
        let Some((process, line)) = line.split_once(' ') else {
            continue;
        };
        let line = line.trim_start();
        if let Some(beginning) = line.strip_suffix(" <unfinished ...>") {
            begun.insert(process, beginning.to_owned());
            continue;
        }
        let whole = match line.strip_prefix("<... ") {
            None => line.to_owned(),
            Some(end) => {
                let (_, end) = end.split_once(" resumed>").unwrap();
                format!("{}{end}", begun.remove(process).unwrap())
            }
        };
        if whole.contains(root) {
            seen.extend(change(&whole, root));
        }
    }
    seen
}

/// One line of a trace as the record would have it; `None` if it changed nothing.
fn change(line: &str, root: &str) -> Option<String> {
    let (call, result) = line.rsplit_once(" = ")?;
    if result.starts_with('-') {
        return None;
    }
    let (name, arguments) = call.split_once('(')?;
    let arguments: Vec<_> = arguments
        .trim_end()
        .trim_end_matches(')')
        .split(", ")
        .collect();
    // `5</path>` is a descriptor, `"name"` a name in the one before it.
    let below = |path: &str| -> String {
        let path = path.strip_prefix(root).unwrap_or(path);
        path.trim_start_matches('/').to_owned()
    };
    let opened = |number: usize| -> String {
        let argument = arguments.get(number).copied().unwrap_or_default();
        let path = argument.split_once('<').map_or("", |(_, path)| path);
        below(path.trim_end_matches('>'))
    };
    let named = |number: usize| -> String {
        let name = arguments.get(number + 1).copied().unwrap_or_default();
        let path = format!("{}/{}", opened(number), name.trim_matches('"'));
        path.trim_start_matches('/').to_owned()
    };
    let flags = arguments.get(2).copied().unwrap_or_default();
    let makes = line.contains("O_CREAT") || line.contains("O_TRUNC");
    Some(match name {
        "open" | "openat" | "openat2" if !makes => return None,
        "openat" => format!("create {}", named(0)),
        "pwrite64" => {
            let offset = arguments.get(3).copied().unwrap_or_default();
            format!("write {} {offset} {result}", opened(0))
        }
        "fsync" => format!("sync {}", opened(0)),
        "syncfs" => "sync-everything".to_owned(),
        "mkdirat" => format!("make-directory {}", named(0)),
        "renameat2" => format!("rename {} {}", named(0), named(2)),
        "linkat" => format!("link {} {}", named(0), named(2)),
        "unlinkat" if flags == "AT_REMOVEDIR" => format!("remove-directory {}", named(0)),
        "unlinkat" => format!("unlink {}", named(0)),
        _ => format!("not recorded: {line}"),
    })
}

#[test]
fn lines_of_a_trace() {
    let trace = r#"
7 openat(3</s>, "x", O_RDONLY|O_NOFOLLOW) = 9</s/x>
7 openat2(3</s>, "x", {flags=O_RDONLY, resolve=RESOLVE_BENEATH}, 24) = 9</s/x>
7 openat(4</s/t/0>, "5", O_RDWR|O_CREAT|O_EXCL|O_NOFOLLOW, 0666) = 6</s/t/0/5>
8 fsync(6</s/t/0/5> <unfinished ...>
7 pwrite64(6</s/t/0/5>, ""..., 600, 512) = 600
8 <... fsync resumed>)            = 0
7 syncfs(3</s>)                   = 0
7 mkdirat(3</s>, "a", 0777)       = 0
7 mkdirat(3</s>, "a", 0777)       = -1 EEXIST (File exists)
7 renameat2(4</s/t/0>, "5", 9</s/a>, "f", RENAME_NOREPLACE) = 0
7 write(1</dev/null>, ""..., 9)   = 9
7 unlinkat(4</s/t/0>, "lock", 0)  = 0
7 unlinkat(5</s/t>, "0", AT_REMOVEDIR) = 0
7 ftruncate(6</s/a/f>, 0)         = 0
"#;
    assert_eq!(
        seen(trace, "/s"),
        [
            "create t/0/5",
            "write t/0/5 512 600",
            "sync t/0/5",
            "sync-everything",
            "make-directory a",
            "rename t/0/5 a/f",
            "unlink t/0/lock",
            "remove-directory t/0",
            "not recorded: ftruncate(6</s/a/f>, 0)         = 0",
        ]
    );
}
