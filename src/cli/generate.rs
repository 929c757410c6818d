//! What is made from the program itself: the schema of its documents.

use super::arguments::Generate;
use super::{exit, print_json};
use crate::schema;

pub(super) fn generate(what: &Generate) -> anyhow::Result<u8> {
    match what {
        Generate::Schema => print_json(&schema::schema())?,
    }
    Ok(exit::DONE)
}
