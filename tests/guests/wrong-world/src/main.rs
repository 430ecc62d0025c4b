//! A component, but no transform: it exports `wasi:cli/run`.

fn main() {
    std::process::exit(3);
}
