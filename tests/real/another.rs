//! Being somebody else, for tests of what other users may and may not do.

use crate::{
    harness::{Folder, SUPERVISOR},
    tools::{have, skip},
};
use nix::unistd::geteuid;
use std::{fs, os::unix::fs::PermissionsExt as _, path::PathBuf};

/// Somebody else, as setpriv(1) takes it.
pub(crate) const OTHER: &str = "65534";

/// Whether somebody else could be run by us. Says so on behalf of the test that is then left out.
pub(crate) fn can_be_another() -> bool {
    let can = geteuid().is_root() && have("setpriv", &["--reuid", OTHER, "--clear-groups", "true"]);
    if !can {
        skip("only root can be somebody else, by setpriv");
    }
    can
}

/// A folder that is open to all, with a copy of the supervisor in it that everybody can run.
pub(crate) fn for_another() -> (Folder, PathBuf) {
    let folder = Folder::new();
    fs::set_permissions(folder.join(""), fs::Permissions::from_mode(0o777)).expect("open to all");
    let program = folder.join("supervisor");
    fs::copy(SUPERVISOR, &program).expect("a copy that everybody can run");
    (folder, program)
}
