//! Host settings: defaults, file, variables and flags laid over each other, and checked.

use std::{net::SocketAddr, path::Path, sync::Arc, time::Duration};

use super::{
    Host,
    check::Check,
    de, later,
    problem::{Problem, Problems},
    raw,
    settings::Given,
    tree::{Entry, Mark, Node, Source, Value},
};

/// Every setting with its default and a comment.
pub const DEFAULTS: &str = include_str!("../../default.toml");

/// The text of `tidemill.toml`.
#[derive(Clone, Copy, Debug)]
pub struct File<'a> {
    /// Its name, as the user wrote it.
    pub name: &'a str,
    /// Its text.
    pub text: &'a str,
    /// The absolute folder that it stands in.
    pub folder: &'a Path,
}

/// Reads the settings of a host.
///
/// `given` is laid over `file` in its order, so that a later one wins; relative paths in it start at `here`, which is
/// absolute. `cores` is the default number of workers.
///
/// # Errors
/// All that is wrong with the settings.
pub fn host(
    file: Option<File<'_>>,
    given: &[Given],
    here: &Path,
    cores: usize,
) -> Result<Host, Problems> {
    let base = file.map_or(here, |file| file.folder);
    let source = |name: &str, text: &str, base: &Path, given| {
        Arc::new(Source {
            name: name.to_owned(),
            text: text.to_owned(),
            base: base.to_owned(),
            given,
        })
    };
    let mut root = Node::toml(&source("default.toml", DEFAULTS, base, false))?;
    if let Some(file) = file {
        root.overlay(Node::toml(&source(file.name, file.text, file.folder, false))?);
    }
    for given in given {
        let at = Mark::whole(&source(&given.origin, "", here, true));
        let value = if given.key == "kafka.options" {
            options(given, &at)?
        } else {
            Value::Text(given.text.clone())
        };
        root.overlay(Node::leaf(given.key, value, &at));
    }
    let refused = later::refused(&root, later::HOST);
    if !refused.is_empty() {
        return Err(Problems(refused));
    }
    let raw: raw::Host = de::read(&root)?;
    let mut check = Check::new(&root);
    let host = Host {
        transforms: check.path(&["transforms"], &raw.transforms),
        pipelines: check.path(&["pipelines"], &raw.pipelines),
        workers: usize::try_from(check.range(
            &["workers"],
            raw.workers.unwrap_or(cores as u64),
            1..=256,
            |n| n.to_string(),
        ))
        .unwrap_or(cores),
        listen: listen(&mut check, &raw.http.listen),
        token_sha256: raw.http.token_sha256.as_deref().map(|text| token(&mut check, text)),
        store: check.store(&raw.store),
        kafka: check.kafka(&raw.kafka),
        memory_budget: check.size(&["memory", "budget"], raw.memory.budget.0, 32 << 20..=1 << 40),
        drain_timeout: check.duration(
            &["drain_timeout"],
            raw.drain_timeout.0,
            Duration::from_secs(1)..=Duration::from_secs(3600),
        ),
        scratch: check.path(&["scratch"], &raw.scratch),
    };
    if check.problems.is_empty() { Ok(host) } else { Err(Problems(check.problems)) }
}

fn listen(check: &mut Check<'_>, text: &str) -> SocketAddr {
    let address = text.replacen("localhost:", "127.0.0.1:", 1).parse().map_err(|_| {
        let port = text.trim_start_matches(':').parse::<u16>();
        let help = match port {
            Ok(port) => format!("write 127.0.0.1:{port}, or 0.0.0.0:{port} for every network"),
            Err(_) => "write an address and a port: 127.0.0.1:8080".into(),
        };
        (format!("`{text}` is not address:port"), help)
    });
    check.or(&["http", "listen"], address, SocketAddr::from(([127, 0, 0, 1], 0)))
}

fn token(check: &mut Check<'_>, text: &str) -> [u8; 32] {
    let mut digest = [0; 32];
    let decoded = hex::decode_to_slice(text.trim(), &mut digest).map_err(|_| {
        // What was meant may be the token itself: it is not repeated.
        let text = "it is no SHA-256: 64 hexadecimal digits".to_owned();
        (text, "write what `printf %s TOKEN | sha256sum` shows".to_owned())
    });
    check.or(&["http", "token_sha256"], decoded.map(|()| digest), [0; 32])
}

/// `k=v,k2=v2` as a map.
fn options(given: &Given, at: &Mark) -> Result<Value, Problems> {
    let entries = given.text.split(',').filter(|pair| !pair.is_empty()).map(|pair| {
        let (key, value) = pair.split_once('=').ok_or_else(|| {
            let text = format!("`{pair}` is not key=value");
            Problems::from(
                Problem::new(at.clone(), given.key, text)
                    .help("write for example fetch.min.bytes=1"),
            )
        })?;
        let node = Node { value: Value::Text(value.to_owned()), at: at.clone() };
        Ok(Entry { key: key.trim().to_owned(), at: at.clone(), node })
    });
    entries.collect::<Result<_, Problems>>().map(Value::Map)
}
