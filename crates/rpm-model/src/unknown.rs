//! Fields that this program does not know.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Fields of something saved that a newer program has written: kept as they are, so that it finds them again when it is
/// back.
///
/// To be flattened into what is saved.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Unknown(BTreeMap<String, serde_json::Value>);

impl Unknown {
    /// Returns whether everything is known.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}
