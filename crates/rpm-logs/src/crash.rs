//! Death at a chosen step, for tests: after it every step fails, as if the thread were no more.

#[cfg(not(test))]
pub(crate) fn step() -> std::io::Result<()> {
    Ok(())
}

#[cfg(test)]
pub(crate) use countdown::{arm, step};

#[cfg(test)]
mod countdown {
    use std::cell::Cell;
    use std::io;

    thread_local! {
        static STEPS: Cell<Option<u32>> = const { Cell::new(None) };
    }

    /// Lets this thread take so many more steps; `None` lets it live.
    pub(crate) fn arm(steps: Option<u32>) {
        STEPS.set(steps);
    }

    /// Takes a step, or is dead.
    pub(crate) fn step() -> io::Result<()> {
        match STEPS.get() {
            Some(0) => Err(io::Error::other("killed")),
            left => {
                STEPS.set(left.map(|left| left - 1));
                Ok(())
            }
        }
    }
}
