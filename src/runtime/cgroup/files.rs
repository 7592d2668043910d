//! Reading and writing the small files of control groups.

use crate::base::{Context, Result};
use rustix::fs::{Dir, FileType, Mode, OFlags};
use rustix::io::Errno;

/// Writes `text` in one call.
pub fn write(path: &str, text: &str) -> rustix::io::Result<()> {
    let fd = rustix::fs::open(path, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())?;
    rustix::io::retry_on_intr(|| rustix::io::write(&fd, text.as_bytes())).map(drop)
}

/// Writes a limit; the error names the file and the value.
pub fn set(dir: &str, file: &str, text: &str) -> Result<()> {
    write(&format!("{dir}/{file}"), text).context(|| format!("set {file} of the control group to {text:?}"))
}

/// Reads a small file, trimmed.
pub fn read(path: &str) -> Result<String> {
    Ok(std::fs::read_to_string(path).context(|| format!("read {path}"))?.trim().to_owned())
}

/// The value of `name` in a file of `name value` lines; 0 if it is not there.
pub fn counter(path: &str, name: &str) -> Result<u64> {
    let text = match std::fs::read_to_string(path) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(0),
        other => other.context(|| format!("read {path}"))?,
    };
    let value =
        text.lines().find_map(|l| l.split_once(' ').filter(|(key, _)| *key == name)).and_then(|(_, v)| v.trim().parse().ok());
    Ok(value.unwrap_or(0))
}

/// Makes a directory and those above it; `made` is told of each one that was missing, outermost first.
pub fn make(dir: &str, made: &mut dyn FnMut(&str)) -> rustix::io::Result<()> {
    match rustix::fs::mkdir(dir, Mode::from_raw_mode(0o755)) {
        Err(Errno::NOENT) => {
            let above = dir.rsplit_once('/').map_or("", |(above, _)| above);
            if above.len() <= super::ROOT.len() {
                return Err(Errno::NOENT);
            }
            make(above, made)?;
            match rustix::fs::mkdir(dir, Mode::from_raw_mode(0o755)) {
                Ok(()) => made(dir),
                Err(Errno::EXIST) => {}
                Err(e) => return Err(e),
            }
            Ok(())
        }
        Err(Errno::EXIST) => Ok(()),
        Err(e) => Err(e),
        Ok(()) => {
            made(dir);
            Ok(())
        }
    }
}

/// Directories directly below one.
pub fn below(dir: &str) -> rustix::io::Result<Vec<String>> {
    let fd = rustix::fs::open(dir, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    let mut all = Vec::new();
    for entry in Dir::read_from(fd)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy();
        if entry.file_type() == FileType::Directory && name != "." && name != ".." {
            all.push(format!("{dir}/{name}"));
        }
    }
    Ok(all)
}

/// Removes a group and those below it. One that is not there is no error.
pub fn remove(dir: &str) -> rustix::io::Result<()> {
    match rustix::fs::rmdir(dir) {
        Ok(()) | Err(Errno::NOENT) => return Ok(()),
        Err(Errno::BUSY) => {}
        Err(e) => return Err(e),
    }
    for child in below(dir)? {
        remove(&child)?;
    }
    match rustix::fs::rmdir(dir) {
        Err(Errno::NOENT) => Ok(()),
        other => other,
    }
}

/// Processes of a group and those below it.
pub fn pids(dir: &str) -> Result<Vec<i32>> {
    let mut all = Vec::new();
    collect(dir, &mut all)?;
    Ok(all)
}

fn collect(dir: &str, all: &mut Vec<i32>) -> Result<()> {
    match std::fs::read_to_string(format!("{dir}/cgroup.procs")) {
        Ok(text) => all.extend(text.lines().filter_map(|l| l.parse::<i32>().ok())),
        Err(e) if matches!(e.raw_os_error(), Some(libc::ENOENT | libc::ENODEV)) => return Ok(()),
        Err(e) if e.raw_os_error() == Some(libc::EOPNOTSUPP) => {} // a threaded group has no list of its own
        Err(e) => return Err(e).context(|| format!("read {dir}/cgroup.procs")),
    }
    for child in below(dir).unwrap_or_default() {
        collect(&child, all)?;
    }
    Ok(())
}
