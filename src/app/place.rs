//! Where the records are, if they are in a file.

use crate::config::Configuration;

/// Says where the records are. Where there are none, a configuration that was given may be that of a program which had some, and
/// is now run from another directory: it would know none of its keys.
pub(super) fn tell(configuration: &Configuration) {
    let Some(path) = configuration.settings.store.location.file() else {
        return;
    };
    let file = path.display();
    // Where it cannot be told, opening it says why.
    if configuration.origin.path().is_some() && path.try_exists().is_ok_and(|there| !there) {
        tracing::warn!(
            %file,
            "there are no records yet: right at the first start, and else every key of before is forgotten, and store.url may be meant from another directory"
        );
    } else {
        tracing::info!(%file, "the records");
    }
}
