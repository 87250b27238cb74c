//! What the fuzz target of the keeper's packets (`rpm-fuzz`) calls; nothing else does.

use crate::request::{self, SpawnFields};
use crate::wire;

/// Reads a request as the keeper does, up to the point where it would be carried out.
pub fn request(packet: &[u8], descriptors: usize) {
    request::about(packet);
    let Ok((_, _, fields)) = wire::head(packet) else { return };
    if let Ok(spawn) = SpawnFields::read(fields, descriptors) {
        assert!(
            spawn
                .inherit
                .iter()
                .map(|(fd, _)| fd)
                .chain(spawn.keep.iter().map(|(fd, _)| fd))
                .all(|fd| *fd < descriptors)
        );
    }
    for tag in 0..64 {
        if let Ok(field) = request::only_field(fields, tag) {
            let _ = (field.text(), field.i32(), field.u16(), field.u32(), field.u64(), field.lossy());
            let _ = field.quads().map(Iterator::count);
        }
    }
}
