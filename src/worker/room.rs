//! Room for what is to be written: looked at before the work begins, and asked of the daemon if it lacks.

use crate::base::Result;
use crate::store::{self, Root};
use crate::worker::plan::Need;
use crate::worker::session::Session;

/// Fails if what is needed at the least does not fit. Where the daemon removes unused images, it is asked to as soon as less
/// would be left than is to stay free.
pub fn make(session: &mut Session, root: &Root, least: Need) -> Result<()> {
    let space = *root.space();
    if least.bytes == 0 {
        return Ok(());
    }
    let likely = least.bytes.saturating_add(space.spare);
    loop {
        let missing = likely.saturating_sub(store::room(root)?);
        if !space.frees || missing == 0 || !session.ask_for_room(missing)? {
            break;
        }
    }
    loop {
        let Err(e) = store::check(root, least.bytes, least.inodes) else { return Ok(()) };
        let missing = least.bytes.saturating_sub(store::room(root)?).max(1);
        if !session.ask_for_room(missing)? {
            return Err(e);
        }
    }
}
