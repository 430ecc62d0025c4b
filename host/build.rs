//! Builds anew when the sample components change that the demo embeds.

fn main() {
    println!("cargo::rerun-if-changed=components");
}
