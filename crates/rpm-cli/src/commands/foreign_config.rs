//! `import nginx|haproxy FILE`, `export nginx|haproxy [FILE]`: the configurations of others, in and out.

use std::path::{Path, PathBuf};

use rpm_config::foreign::{self, Program};
use rpm_model::nearest;

use crate::args::{Export, Import};
use crate::commands::{Invocation, cwd};
use crate::report::Failure;
use crate::target::Target;
use crate::{say, specs};

/// Writes what a configuration of nginx or HAProxy says as an ecosystem file.
pub(super) fn import(args: &Import, invocation: &Invocation) -> Result<(), Failure> {
    let program = program(&args.what, &["nginx", "haproxy", "pm2"])?;
    let Some(file) = &args.file else {
        return Err(Failure::new(format!("`import {}` needs the file", args.what)).hint(format!(
            "{} import {} /etc/{1}/{1}.conf",
            invocation.voice.program(),
            args.what
        )));
    };
    let imported = foreign::import(program, &cwd().join(file), file)?;
    for warning in &imported.warnings {
        invocation.voice.raw_error(&format!("{}\n", warning.render(say::stderr_takes_colour()).trim_end()));
    }
    write(args.output.as_deref(), &imported.text, invocation)?;
    if !imported.warnings.is_empty() {
        let count = imported.warnings.len();
        invocation.voice.warn(format_args!("{count} of its lines say something that was not taken over, see above"));
    }
    Ok(())
}

/// Writes the balancers of an ecosystem file as a configuration of nginx or HAProxy.
pub(super) fn export(args: &Export, invocation: &Invocation) -> Result<(), Failure> {
    let program = program(&args.what, &["nginx", "haproxy", "grafana"])?;
    let context = specs::context(&invocation.home)?;
    let file: PathBuf = match &args.file {
        Some(file) => context.cwd.join(file),
        None => rpm_config::find_default(&context.cwd)
            .ok_or_else(|| Failure::new("there is no ecosystem file here").hint("name one: `export nginx FILE`"))?,
    };
    let options = rpm_config::AppOptions::default();
    let specs = specs::of_file(&Target::File(file), &options, &context, &invocation.voice)?;
    let exported = foreign::export(program, &specs);
    for lost in &exported.lost {
        invocation.voice.warn(lost);
    }
    if exported.text.is_empty() {
        return Err(Failure::new("the file has no balancers, so there is nothing to export"));
    }
    write(args.output.as_deref(), &exported.text, invocation)
}

/// Returns the program that a word names. `words` are those that the command takes, some of which others deal with.
fn program(word: &str, words: &[&str]) -> Result<Program, Failure> {
    match word {
        "nginx" => Ok(Program::Nginx),
        "haproxy" => Ok(Program::Haproxy),
        _ => {
            let near = nearest(word, words.iter().copied());
            Err(Failure::new(format!("{word:?} is no program whose configuration is known"))
                .detail(format!("expected one of {}", words.join(", ")))
                .maybe_hint(near.map(|near| format!("did you mean `{near}`?"))))
        }
    }
}

fn write(output: Option<&Path>, text: &str, invocation: &Invocation) -> Result<(), Failure> {
    let Some(path) = output else {
        invocation.voice.data(text);
        return Ok(());
    };
    std::fs::write(path, text)
        .map_err(|error| Failure::new(format!("{} cannot be written: {error}", path.display())))?;
    invocation.voice.say(format_args!("Written to {}", path.display()));
    Ok(())
}
