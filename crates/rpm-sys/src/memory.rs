//! The heap.

/// Bytes at the top of the heap that stay: what the next turn allocates should not have to ask the kernel.
#[cfg(target_env = "gnu")]
const SPARE: usize = 64 << 10;

/// Gives free pages of the heap back to the kernel: after a burst of work most of them would stay for ever.
///
/// Takes some 100 µs for a megabyte. Does nothing where the C library has no such call.
pub fn give_back() {
    #[cfg(target_env = "gnu")]
    // SAFETY: it takes a number, works on what is free, and takes the locks of the allocator.
    unsafe {
        libc::malloc_trim(SPARE);
    }
}

#[cfg(all(test, target_env = "gnu"))]
mod tests {
    #[test]
    fn what_is_freed_below_something_that_stays_is_given_back() {
        // The second number is resident pages: proc(5).
        let resident = || {
            let sizes = std::fs::read_to_string("/proc/self/statm").unwrap();
            sizes.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * 4096
        };
        let (blocks, kept): (Vec<_>, Vec<_>) = (0..4000).map(|_| (vec![1_u8; 16 << 10], vec![1_u8; 64])).unzip();
        drop(blocks);
        let before = resident();
        super::give_back();
        assert!(resident() + (16 << 20) < before, "{before} to {}", resident());
        drop(kept);
    }
}
