//! `sendSignal`: a signal to the main processes.

use rpm_ipc::Request;
use rpm_model::nearest;
use rpm_model::worker::signal_name;

use crate::acting;
use crate::args::SendSignal;
use crate::commands::{Invocation, cwd};
use crate::report::Failure;
use crate::target;

pub(super) fn run(args: &SendSignal, invocation: &Invocation) -> Result<(), Failure> {
    let signal = parse(&args.signal)?;
    let mut session = invocation.session()?;
    let before = session.list(false)?;
    let workers = target::resolve_workers(&args.target, &before, &cwd())?;
    acting::act_and_show(&mut session, invocation, &before, vec![("signal", Request::Signal { workers, signal })])
}

/// Reads `SIGUSR2`, `usr2` or `12`.
fn parse(text: &str) -> Result<i32, Failure> {
    let upper = text.to_ascii_uppercase();
    let named = (1..=31).filter_map(|number| Some((number, signal_name(number)?)));
    let matches = |name: &str| name == upper || name.strip_prefix("SIG") == Some(upper.as_str());
    let by_name = named.clone().find(|(_, name)| matches(name)).map(|(number, _)| number);
    // The kernel's real-time signals end at 64.
    let by_number = text.parse().ok().filter(|number| (1..=64).contains(number));
    by_name.or(by_number).ok_or_else(|| {
        let names = named.flat_map(|(_, name)| [name, &name[3..]]);
        let hint = nearest(&upper, names).map(|near| format!("did you mean `{near}`?"));
        Failure::new(format!("{text:?} is no signal"))
            .detail("expected a name or a number, for example SIGUSR2, USR2 or 12")
            .maybe_hint(hint)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_have_names_and_numbers() {
        assert_eq!(parse("SIGUSR2").unwrap(), 12);
        assert_eq!(parse("usr2").unwrap(), 12);
        assert_eq!(parse("9").unwrap(), 9);
        assert!(parse("SIGUSR9").unwrap_err().text().contains("did you mean"));
        assert!(parse("0").is_err());
        assert!(parse("65").is_err());
    }
}
