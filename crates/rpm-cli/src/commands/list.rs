//! `list`, `jlist`, `prettylist`.

use crate::acting::{self, now_ms};
use crate::args::List;
use crate::commands::Invocation;
use crate::report::Failure;
use crate::screens::sort::Order;
use crate::screens::{json, mini, pm2json};

pub(super) fn run(args: &List, invocation: &Invocation) -> Result<(), Failure> {
    let order = match &args.sort {
        Some(sort) => sort.parse::<Order>().map_err(Failure::new)?,
        None => Order::default(),
    };
    let list = invocation.session()?.list(false)?;
    if args.json {
        invocation.voice.data(&json::list(list));
    } else if args.mini_list {
        invocation.voice.show(&mini::mini(&list, order, now_ms()));
    } else {
        acting::show_sorted(invocation, &list, order);
    }
    Ok(())
}

pub(super) fn jlist(invocation: &Invocation) -> Result<(), Failure> {
    let list = invocation.session()?.list(true)?;
    invocation.voice.data(&pm2json::jlist(&list));
    Ok(())
}

pub(super) fn prettylist(invocation: &Invocation) -> Result<(), Failure> {
    let list = invocation.session()?.list(true)?;
    invocation.voice.data(&pm2json::prettylist(&list));
    Ok(())
}
