//! `list`, `jlist`, `prettylist`.

use std::time::Duration;

use rpm_model::Flavour;

use crate::acting::{self, now_ms};
use crate::args::List;
use crate::commands::Invocation;
use crate::report::Failure;
use crate::screens::sort::Order;
use crate::screens::{json, mini, pm2json};

/// PM2's rhythm.
const BETWEEN_DRAWINGS: Duration = Duration::from_millis(900);

pub(super) fn run(args: &List, invocation: &Invocation) -> Result<(), Failure> {
    if let (Some(word), Flavour::Rpm) = (args.ignored.first(), invocation.home.flavour()) {
        let program = invocation.voice.program();
        return Err(Failure::new(format!("`list` shows everything and takes no {word}"))
            .hint(format!("`{program} describe {word}` shows one app")));
    }
    let order = match &args.sort {
        Some(sort) => sort.parse::<Order>().map_err(Failure::new)?,
        None => Order::default(),
    };
    if args.watch {
        return watch(order, args.mini_list, invocation);
    }
    let (mut session, list) = invocation.listing(false)?;
    let balancers = session.balancers(&list)?;
    if args.json {
        invocation.voice.data(&json::list(list, balancers));
    } else if args.mini_list {
        invocation.voice.show(&mini::mini(&list, order, now_ms()));
    } else {
        acting::show_sorted(invocation, &list, &balancers, order);
    }
    Ok(())
}

/// Draws the list again and again, until Ctrl-C.
fn watch(order: Order, is_mini: bool, invocation: &Invocation) -> Result<(), Failure> {
    // From the top, over what is there, then down to the end of the screen: nothing flickers.
    const TO_THE_TOP: &str = "\x1b[H";
    const END_OF_LINE: &str = "\x1b[K\n";
    const REST_OF_SCREEN: &str = "\x1b[J";
    let mut session = invocation.session()?;
    invocation.voice.show("\x1b[2J");
    loop {
        let list = session.list(false)?;
        let balancers = session.balancers(&list)?;
        let screen =
            if is_mini { mini::mini(&list, order, now_ms()) } else { acting::sorted(&list, &balancers, order) };
        let screen = screen.replace('\n', END_OF_LINE);
        invocation.voice.show(&format!("{TO_THE_TOP}{screen}{REST_OF_SCREEN}"));
        std::thread::sleep(BETWEEN_DRAWINGS);
    }
}

pub(super) fn jlist(invocation: &Invocation) -> Result<(), Failure> {
    let (_, list) = invocation.listing(true)?;
    invocation.voice.data(&pm2json::jlist(&list));
    Ok(())
}

pub(super) fn prettylist(invocation: &Invocation) -> Result<(), Failure> {
    let (_, list) = invocation.listing(true)?;
    invocation.voice.data(&pm2json::prettylist(&list));
    Ok(())
}
