//! A real keeper, real children, and a daemon whose strings the test pulls.
//!
//! This binary plays every part. `role-keeper` runs a keeper; its daemon is `role-daemon`, which hands its connection to
//! the test (through a socket in the home) and then only lives until it is killed or told to exit. So the test itself
//! speaks as the daemon, and can end it at any moment. `role-launcher` calls `launch`.

/// Names the tests of a room.
macro_rules! promises {
    ($($name:ident)*) => {
        pub(crate) const ALL: &[(&str, fn())] = &[$((stringify!($name), $name)),*];
    };
}

mod life;
mod promises;
mod stage;
mod succession;

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["role-keeper", home] => stage::play_keeper(home.as_ref()),
        ["role-daemon", home] => stage::play_daemon(home.as_ref()),
        ["role-launcher", home] => stage::play_launcher(home.as_ref()),
        _ => run_tests(&args),
    }
}

/// As much of the usual test program as cargo and nextest use.
fn run_tests(args: &[String]) {
    let has = |flag: &str| args.iter().any(|arg| arg == flag);
    let filters: Vec<&String> = args.iter().filter(|arg| !arg.starts_with('-') && *arg != "terse").collect();
    let wanted = |name: &str| {
        filters.is_empty()
            || filters.iter().any(|f| if has("--exact") { *f == name } else { name.contains(f.as_str()) })
    };
    if has("--ignored") {
        return;
    }
    let mut failed = 0;
    for (name, test) in promises::ALL.iter().chain(life::ALL).chain(succession::ALL).filter(|(name, _)| wanted(name)) {
        if has("--list") {
            println!("{name}: test");
            continue;
        }
        let passed = std::panic::catch_unwind(test).is_ok();
        println!("test {name} ... {}", if passed { "ok" } else { "FAILED" });
        failed += usize::from(!passed);
    }
    if failed > 0 {
        println!("\n{failed} failed");
        std::process::exit(101);
    }
}
