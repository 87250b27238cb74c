//! Ecosystem files in, app specs out.
//!
//! A file, a script or the options of a command become [`rpm_model::AppSpec`]s that are complete: defaults filled in,
//! paths absolute, the environment resolved. Nothing is asked of the running process; where a request comes from is
//! told by a [`Context`]. All mistakes are found at once and each is shown in its line.
//!
//! The way of a file: `document` (text to values, with places) → `top` (where the apps are) → `raw` (every name it may
//! be written under, every value of the right kind) → `spec` (meaning and defaults) → `effective` (environment).
//! The options of the command line join at `raw`, so every rule is in one place. `keys` is the table of what may be
//! written; `diagnostic` and `report` are how it is told what is wrong.
#![forbid(unsafe_code)]

mod balance;
mod context;
mod deploy;
mod diagnostic;
mod document;
mod dotenv;
mod effective;
pub mod foreign;
mod keys;
mod load;
mod node;
mod numbers;
mod options;
mod raw;
mod report;
mod schema;
mod spec;
mod targets;
mod top;
mod values;

pub use context::Context;
pub use deploy::{Deployment, deployment};
pub use diagnostic::{ConfigError, Diagnostic, Severity, Source};
pub use document::Format;
pub use effective::shell_variables;
pub use keys::{AppKey, app_keys};
pub use load::{Loaded, from_script, load, load_text, update};
pub use numbers::{parse_instances, parse_scale};
pub use options::AppOptions;
pub use schema::schema;
pub use targets::{find_default, is_config_file};
