//! Tells the linker what the size of the program asks for.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    if std::env::var("CARGO_CFG_TARGET_ENV").as_deref() == Ok("gnu") {
        // Some twenty thousand relocations in a few kilobytes instead of half a megabyte, read at every start.
        // A linker that does not know the word says so and goes on.
        println!("cargo::rustc-link-arg-bins=-Wl,-z,pack-relative-relocs");
    }
}
