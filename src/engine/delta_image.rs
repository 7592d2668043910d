//! balenaEngine's delta images: starting the job that makes one.

use crate::base::{Error, Result};
use crate::engine::jobs::Purpose;
use crate::engine::{ConnId, Engine, Reply};
use crate::image::Reference;
use crate::wire::worker::Job as Task;

impl Engine {
    /// `POST /images/delta`: from the image `source` to the image `target`; `tag` may be empty.
    pub fn make_delta(&mut self, conn: ConnId, source: &str, target: &str, tag: &str) -> Result<()> {
        self.root.check_writable()?;
        let id_of = |name: &str, parameter: &str| match name {
            "" => Err(Error::invalid(format!("{parameter} is missing"))),
            name => Ok(self.images.find(name)?.id_text()),
        };
        let (source_id, target_id) = (id_of(source, "src")?, id_of(target, "dest")?);
        let tag = match tag {
            "" => String::new(),
            tag => match Reference::parse(tag)? {
                reference if reference.digest().is_some() => {
                    return Err(Error::invalid("refusing to create a tag with a digest reference"));
                }
                reference => reference.with_default_tag().to_string(),
            },
        };
        let task = Task::MakeDelta { source: source_id, target: target_id, name: source.to_string(), tag };
        self.spawn_worker(Purpose::MakeDelta, task, &[], vec![conn])?;
        self.answer(conn, Reply::StreamStart);
        Ok(())
    }
}
