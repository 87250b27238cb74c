//! Tells the linker what the size of the program asks for.

use std::env;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=layout.ld");
    println!("cargo::rerun-if-env-changed=RPM_SYMBOLS");
    let release = env::var("PROFILE").as_deref() == Ok("release");
    if release && env::var_os("RPM_SYMBOLS").is_none() && env::var("CARGO_CFG_TARGET_OS").as_deref() == Ok("linux") {
        // Not by the profile: that is part of the hashes in the names of functions, by which the layout finds them.
        println!("cargo::rustc-link-arg-bins=-Wl,--strip-all");
    }
    if env::var("CARGO_CFG_TARGET_ENV").as_deref() != Ok("gnu") {
        return;
    }
    // Some twenty thousand relocations in a few kilobytes instead of half a megabyte, read at every start.
    // A linker that does not know the word says so and goes on.
    println!("cargo::rustc-link-arg-bins=-Wl,-z,pack-relative-relocs");
    if release && let Ok(directory) = env::var("CARGO_MANIFEST_DIR") {
        // What the supervisor runs comes first and together: the kernel maps sixteen pages around each that is touched,
        // so every role had nearly all of the program in its memory. `make layout` writes the file.
        println!("cargo::rustc-link-arg-bins=-Wl,-T,{directory}/layout.ld");
    }
}
