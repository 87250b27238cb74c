//! `init`: an ecosystem file to begin with.

use std::fs::OpenOptions;
use std::io::{ErrorKind, Write};

use crate::args::Init;
use crate::commands::{Invocation, cwd};
use crate::report::Failure;

const NAME: &str = "ecosystem.config.js";

const SIMPLE: &str = "\
module.exports = {
  apps: [{
    name: 'app1',
    script: './app.js'
  }]
}
";

const WHOLE: &str = "\
module.exports = {
  apps: [{
    name: 'app1',
    script: './app.js',
    instances: 1,
    env: {
      NODE_ENV: 'development'
    },
    env_production: {
      NODE_ENV: 'production'
    }
  }],

  deploy: {
    production: {
      user: 'SSH_USERNAME',
      host: 'SSH_HOSTMACHINE',
      ref: 'origin/master',
      repo: 'GIT_REPOSITORY',
      path: 'DESTINATION_PATH',
      'post-deploy': 'npm install && PROGRAM reload ecosystem.config.js --env production'
    }
  }
}
";

pub(super) fn run(args: &Init, invocation: &Invocation) -> Result<(), Failure> {
    let path = cwd().join(NAME);
    let text = match args.mode {
        Some(_) => SIMPLE.to_owned(),
        None => WHOLE.replace("PROGRAM", invocation.voice.program()),
    };
    let made = OpenOptions::new()
        .write(true)
        .create_new(true)
        .open(&path)
        .and_then(|mut file| file.write_all(text.as_bytes()));
    match made {
        Ok(()) => {
            invocation.voice.say(format_args!("File {} generated", path.display()));
            Ok(())
        }
        // PM2 writes over it; what somebody has written by hand is worth more than that.
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            Err(Failure::new(format!("{} is there already", path.display())).hint("move it away, or edit it"))
        }
        Err(error) => Err(Failure::new(format!("{} cannot be written: {error}", path.display()))),
    }
}
