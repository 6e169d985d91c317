//! Rebuilds when a migration is added, which the compiler does not detect by itself.

fn main() {
    println!("cargo:rerun-if-changed=migrations");
}
