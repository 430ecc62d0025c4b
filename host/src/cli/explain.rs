//! `tidemill explain FILE.parquet`: which offsets and which component made a file.

use std::path::Path;

use serde_json::{Map, Value, json};
use url::Url;

use super::{flags::HostFlags, footer, print};
use crate::{config, fault::Fault, store::Store};

/// Says which offsets and which component made a file.
#[derive(Debug, clap::Args)]
pub(super) struct Explain {
    /// A local file, a key in the store (data/clicks/…) or its URL
    #[arg(value_name = "FILE")]
    file: String,
    #[command(flatten)]
    flags: HostFlags,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

impl Explain {
    pub(super) async fn run(self) -> Result<(), Fault> {
        let (store, key) = self.place().await?;
        let missing = || {
            let help =
                "write a local path, or a key as it stands below the store's root: data/clicks/…";
            Fault::config(format!("there is no file `{}`", self.file)).help(help)
        };
        let bytes = store.size(&key).await?.ok_or_else(missing)?;
        let footer = footer::read(&store, &key, bytes).await?;
        let metadata: Map<String, Value> = footer
            .metadata
            .into_iter()
            .map(|(name, text)| {
                let value = serde_json::from_str(&text).unwrap_or(Value::String(text));
                (name, value)
            })
            .collect();
        if self.json {
            return print(
                json!({ "file": self.file, "rows": footer.rows, "bytes": bytes, "metadata": metadata }),
            );
        }
        print(format_args!("{}: {} rows, {bytes} bytes", self.file, footer.rows))?;
        for (name, value) in &metadata {
            match value {
                Value::String(text) => print(format_args!("  {name}: {text}"))?,
                Value::Array(items) => {
                    print(format_args!("  {name}:"))?;
                    items.iter().try_for_each(|item| print(format_args!("    {}", line(item))))?;
                }
                value => print(format_args!("  {name}: {value}"))?,
            }
        }
        if !metadata.keys().any(|name| name.starts_with("tidemill.")) {
            print("  no tidemill wrote this file")?;
        }
        Ok(())
    }

    /// The store and the key of the file.
    async fn place(&self) -> Result<(Store, String), Fault> {
        let path = Path::new(&self.file);
        if path.is_file() {
            let cannot = |error| {
                Fault::outside(format!("cannot read {}", self.file)).permanent().caused_by(error)
            };
            let path = path.canonicalize().map_err(cannot)?;
            let folder = path.parent().and_then(|folder| Url::from_directory_path(folder).ok());
            let name = path.file_name().and_then(|name| name.to_str());
            if let (Some(url), Some(name)) = (folder, name) {
                let settings =
                    config::Store { url, endpoint: None, path_style: false, region: None };
                return Ok((Store::open(&settings).await?, name.to_owned()));
            }
        }
        let settings = self.flags.host()?.store;
        let store = Store::open(&settings).await?;
        let root = settings.url.as_str().trim_end_matches('/');
        let key = self.file.strip_prefix(root).unwrap_or(&self.file).trim_start_matches('/');
        Ok((store, key.to_owned()))
    }
}

/// Offsets and transforms as people read them, anything else as it is.
fn line(item: &Value) -> String {
    let text = |key: &str| item.get(key).and_then(Value::as_str);
    let number = |key: &str| item.get(key).and_then(Value::as_i64);
    if let (Some(topic), Some(partition), Some(start), Some(end)) =
        (text("topic"), number("partition"), number("start"), number("end"))
    {
        return format!("{topic}/{partition}: {start} to {}", end - 1);
    }
    if let (Some(name), Some(version), Some(digest)) =
        (text("name"), text("version"), text("sha256"))
    {
        return format!("{name} {version}, sha256:{digest}");
    }
    item.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offsets_and_transforms_are_readable() {
        let range = json!({ "topic": "clicks", "partition": 1, "start": 5, "end": 9 });
        assert_eq!(line(&range), "clicks/1: 5 to 8");
        let transform =
            json!({ "name": "clean", "version": "0.1.0", "sha256": "ab", "config_sha256": "cd" });
        assert_eq!(line(&transform), "clean 0.1.0, sha256:ab");
        assert_eq!(line(&json!({ "topic": 1 })), r#"{"topic":1}"#);
    }
}
