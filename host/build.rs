//! Builds anew when the sample components change that the demo embeds, or the page.

fn main() {
    println!("cargo::rerun-if-changed=components");
    println!("cargo::rerun-if-changed=dashboard");
}
