//! A real browser, driven by Node.

use std::{
    io::{BufRead, BufReader, Write},
    path::Path,
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
};

use serde_json::{Value, json};

use crate::setting;

/// How long something may take to appear on a page.
const SECONDS: u64 = 25;

/// Chromium with one page. It ends with the test.
#[derive(Debug)]
pub struct Browser {
    child: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
}

/// What the page did since it was opened.
#[derive(Debug)]
pub struct Told {
    /// The addresses that it asked for.
    pub requests: Vec<String>,
    /// Errors and warnings of its console, violations of its Content-Security-Policy among them.
    pub complaints: Vec<String>,
    /// How often it was loaded.
    pub loads: u64,
}

impl Browser {
    /// Starts the browser and opens a page.
    ///
    /// # Panics
    /// When it does not start, or the page does not load.
    pub fn open(url: &str) -> Self {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("browser/driver.mjs");
        let mut child = Command::new(setting("TIDEMILL_TEST_NODE"))
            .arg(script)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("node starts");
        let input = child.stdin.take();
        let output = BufReader::new(child.stdout.take().expect("it is piped"));
        let mut browser = Self { child, input, output };
        browser.does(&json!({ "command": "open", "url": url }));
        browser
    }

    fn does(&mut self, command: &Value) -> Value {
        let input = self.input.as_mut().expect("it is taken at the end");
        writeln!(input, "{command}").expect("the driver reads");
        let mut line = String::new();
        self.output.read_line(&mut line).expect("the driver answers");
        let answer: Value = serde_json::from_str(&line).expect("the driver answers in JSON");
        if let Some(error) = answer["error"].as_str() {
            panic!("{command}: {error}");
        }
        answer["value"].clone()
    }

    /// Waits until an element is shown whose text fits a regular expression, and gives its text.
    ///
    /// # Panics
    /// When it does not come, with what is on the page instead.
    pub fn sees(&mut self, selector: &str, text: &str) -> String {
        let command =
            json!({ "command": "sees", "selector": selector, "text": text, "seconds": SECONDS });
        self.does(&command).as_str().expect("a text").to_owned()
    }

    /// Types into a field, and ends with Enter.
    pub fn enters(&mut self, selector: &str, text: &str) {
        self.does(&json!({ "command": "type", "selector": selector, "text": text }));
        self.does(&json!({ "command": "press", "key": "Enter" }));
    }

    /// Loads the page again.
    pub fn reload(&mut self) {
        self.does(&json!({ "command": "reload" }));
    }

    /// Takes a picture of the page in a scheme (`light`, `dark`) and a width, and gives the width that the page needs.
    ///
    /// # Panics
    /// When that fails.
    pub fn look(&mut self, scheme: &str, width: u64, path: &Path) -> u64 {
        let command = json!({ "command": "look", "scheme": scheme, "width": width, "path": path });
        self.does(&command).as_u64().expect("a width")
    }

    /// What on the page breaks the rules of accessibility.
    pub fn judge(&mut self) -> Vec<String> {
        texts(&self.does(&json!({ "command": "judge" })))
    }

    /// What the page did.
    ///
    /// # Panics
    /// When the driver does not know.
    pub fn told(&mut self) -> Told {
        let told = self.does(&json!({ "command": "told" }));
        let loads = told["loads"].as_u64().expect("a count");
        Told { requests: texts(&told["requests"]), complaints: texts(&told["complaints"]), loads }
    }
}

fn texts(list: &Value) -> Vec<String> {
    let list = list.as_array().expect("a list").iter();
    list.map(|text| text.as_str().expect("a text").to_owned()).collect()
}

impl Drop for Browser {
    fn drop(&mut self) {
        // The driver ends the browser when there are no more commands. If it has died, so has the browser.
        self.input.take();
        self.child.wait().ok();
    }
}
