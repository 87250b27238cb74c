//! `completion`: a script for the shell.

use clap::CommandFactory;

use crate::args::{Cli, Completion};
use crate::say::Voice;

pub fn run(args: &Completion, voice: &Voice) {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), voice.program(), &mut script);
    voice.data(&String::from_utf8_lossy(&script));
}
