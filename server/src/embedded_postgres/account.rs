//! Who runs the database: ourselves, or an unprivileged user when we are root, which Postgres refuses.

use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use tokio::process::Command;

use super::{Error, Result};

#[derive(Clone, Debug)]
pub(super) enum Account {
    Own { uid: u32 },
    Other { name: String, uid: u32, gid: u32 },
}

impl Account {
    /// As the owner of the cluster that is there; else `postgres` or `nobody` for root, ourselves for others.
    pub(super) fn for_cluster(root: &Path) -> Result<Self> {
        let uid = own_uid()?;
        if uid != 0 {
            return Ok(Self::Own { uid });
        }
        let owner = fs_err::metadata(root.join("cluster")).ok().map(|found| (found.uid(), found.gid()));
        let users = fs_err::read_to_string("/etc/passwd")?;
        let users: Vec<(String, u32, u32)> = users.lines().filter_map(user).collect();
        if let Some((uid, gid)) = owner
            && uid != 0
        {
            let name = users.iter().find(|user| user.1 == uid).map_or_else(|| uid.to_string(), |user| user.0.clone());
            return Ok(Self::Other { name, uid, gid });
        }
        let found =
            ["postgres", "nobody"].iter().find_map(|name| users.iter().find(|user| user.0 == *name && user.1 != 0));
        let (name, uid, gid) = found.cloned().ok_or(Error::NoAccount)?;
        Ok(Self::Other { name, uid, gid })
    }

    pub(super) fn is_other(&self) -> bool {
        matches!(self, Self::Other { .. })
    }

    pub(super) fn name(&self) -> &str {
        match self {
            Self::Own { .. } => "this user",
            Self::Other { name, .. } => name,
        }
    }

    pub(super) fn uid(&self) -> u32 {
        match self {
            Self::Own { uid } | Self::Other { uid, .. } => *uid,
        }
    }

    /// Makes a command run as this account.
    pub(super) fn apply(&self, command: &mut Command) {
        if let Self::Other { uid, gid, .. } = self {
            command.uid(*uid).gid(*gid);
        }
    }

    /// Hands a file or folder over to this account.
    pub(super) fn own(&self, path: &Path) -> Result<()> {
        if let Self::Other { uid, gid, .. } = self {
            fs_err::os::unix::fs::chown(path, Some(*uid), Some(*gid))?;
        }
        Ok(())
    }

    /// Whether this account may go into this folder, its parents' modes considered.
    pub(super) fn can_reach(&self, folder: &Path) -> Result<bool> {
        let Self::Other { uid, gid, .. } = self else { return Ok(true) };
        for ancestor in folder.ancestors() {
            let found = fs_err::metadata(ancestor)?;
            let needed = match () {
                () if found.uid() == *uid => 0o100,
                () if found.gid() == *gid => 0o010,
                () => 0o001,
            };
            if found.permissions().mode() & needed == 0 {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

/// The effective user's id: the owner of a file that we make.
pub(super) fn own_uid() -> Result<u32> {
    if let Ok(found) = fs_err::metadata("/proc/self") {
        return Ok(found.uid());
    }
    let probe = std::env::temp_dir().join(format!("diptych-uid-{}", std::process::id()));
    fs_err::write(&probe, "")?;
    let uid = fs_err::metadata(&probe)?.uid();
    fs_err::remove_file(&probe)?;
    Ok(uid)
}

fn user(line: &str) -> Option<(String, u32, u32)> {
    let fields: Vec<&str> = line.split(':').collect();
    Some(((*fields.first()?).to_owned(), fields.get(2)?.parse().ok()?, fields.get(3)?.parse().ok()?))
}
