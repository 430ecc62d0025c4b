//! The page at `/`, in a real browser: a swap and a refusal as they happen, a restart of the host, the token.

use std::{fs, io::Read as _, path::PathBuf, process::Command};

use rustix::process::Signal;
use sha2::{Digest as _, Sha256};
use tidemill_tests::{
    browser::{Browser, Told},
    eventually,
    host::{Host, Site, StoreKind},
    setting,
};

use crate::{
    identity::Identity,
    swaps::{Load, site},
};

/// A number of records a second that is more than none.
const SOME: &str = "^[1-9]";
const RATE: &str = "td[data-label='Records/s in'] > div:first-child";

/// Where pictures are kept for people.
fn pictures() -> PathBuf {
    let folder = PathBuf::from(setting("TIDEMILL_TEST_TARGET")).join("page");
    fs::create_dir_all(&folder).expect("a folder can be made");
    folder
}

/// What a demo says behind some words.
fn told(demo: &Host, before: &str) -> String {
    eventually(&format!("the demo says `{before}`"), 30, || {
        let log = demo.log();
        let (_, rest) = log.split_once(before)?;
        let (line, _) = rest.split_once('\n')?;
        Some(line.to_owned())
    })
}

/// The page asked nobody but its host, and was loaded as often as somebody said so.
fn judge(told: &Told, host: &str, loads: u64) {
    let own = format!("http://{host}/");
    let foreign = told.requests.iter().filter(|address| !address.starts_with(&own));
    assert_eq!(foreign.collect::<Vec<_>>(), Vec::<&String>::new());
    assert_eq!(told.loads, loads);
}

#[test]
fn a_swap_and_a_refusal_are_seen_as_they_happen() {
    let folder = Site::new(StoreKind::Folder);
    let mut demo = folder.start(&["demo", "--dir", "demo"]);
    let line = told(&demo, "the page is at ");
    let (address, _) = line.split_once(", ").expect("the address ends with a comma");
    let mut page = Browser::open(address);
    page.sees("[data-connection=live]", "live");
    page.sees("[data-state=RUNNING]", "RUNNING");
    page.sees(RATE, SOME);
    page.sees(".runs", "clean-clicks 0\\.1\\.0");
    page.sees(".calm", "Nothing needs attention");

    // Just what a person does who reads the demo's lines.
    let copy = told(&demo, "to change the transform while records flow: ");
    let copied = Command::new("sh").args(["-c", &copy]).current_dir(folder.path()).status();
    assert!(copied.is_ok_and(|status| status.success()), "{copy}");
    page.sees("[data-kind=swapped]", "clicks: clean-clicks 0\\.1\\.0 .*→ 0\\.2\\.0 .*waited .* ms");
    page.sees(".runs", "clean-clicks 0\\.2\\.0");
    page.sees("td[data-label='Current build']", "0\\.2\\.0");
    page.sees("td[data-label='Builds']", "2");
    page.sees(RATE, SOME);

    folder.rename_into("demo/transforms/clean-clicks.wasm", "no component");
    page.sees("[data-kind=refused]", "clean-clicks .*no WebAssembly component");
    page.sees(".refusals", "clean-clicks .*no WebAssembly component");
    page.sees("[data-state=RUNNING]", "RUNNING");
    page.sees(".runs", "clean-clicks 0\\.2\\.0");

    let pictures = pictures();
    for (scheme, width) in [("light", 1440), ("dark", 1440), ("light", 360), ("dark", 1920)] {
        let needed = page.look(scheme, width, &pictures.join(format!("{scheme}-{width}.png")));
        assert!(needed <= width, "{needed} pixels are needed, {width} are there");
        assert_eq!(page.judge(), Vec::<String>::new(), "{scheme}, {width} pixels");
    }
    let told = page.told();
    judge(&told, demo.address(), 1);
    assert_eq!(told.complaints, Vec::<String>::new());
    // An open page keeps no host from its end.
    demo.signal(Signal::INT);
    let status = demo.ended(20);
    assert!(status.success(), "{status}: {}", demo.log());
}

#[test]
fn the_page_comes_back_by_itself_when_its_host_does() {
    let mut identity = Identity::new(2);
    let site = site(StoreKind::Folder, &identity);
    identity.produce(100);
    let host = site.run().ready();
    let address = host.address().to_owned();
    let mut page = Browser::open(&format!("http://{address}/"));
    page.sees("[data-state=RUNNING]", "RUNNING");
    page.sees("td[data-label='Records/s in']", "200 in all");
    page.sees("[data-kind=loaded]", "stamped .*by folder");
    host.kill();
    page.sees("[data-connection=lost]", "no connection");
    page.sees(".hint", "the page tries on by itself");
    let host = site.start_at(&address, &["run", "--config", "tidemill.toml"]).ready();
    page.sees("[data-connection=live]", "live");
    // The new process counts from the start again: no rate of the page is wrong for it.
    let load = Load::start(identity);
    page.sees(RATE, SOME);
    let mut identity = load.end();
    // Events go on too.
    site.rename_into("transforms/other.wasm", "no component");
    page.sees("[data-kind=refused]", "other .*no WebAssembly component");
    judge(&page.told(), &address, 1);
    identity.produce(100);
    identity.committed(&site, 30);
    host.drain();
}

#[test]
fn the_page_asks_for_the_token_and_keeps_it_for_the_tab() {
    let identity = Identity::new(2);
    let site = site(StoreKind::Folder, &identity);
    let token = Sha256::digest("a long random token");
    let token: String = token.iter().map(|byte| format!("{byte:02x}")).collect();
    let host = site.run_with(&["--http-token-sha256", &token]).ready();
    let mut page = Browser::open(&format!("http://{}/", host.address()));
    page.sees("[data-connection=token]", "a token is needed");
    page.sees(".token", "This host wants a token");
    assert_eq!(page.judge(), Vec::<String>::new());
    page.enters("#token", "a short one");
    page.sees("[role=alert]", "the token is missing or wrong");
    page.enters("#token", "a long random token");
    page.sees("[data-state=RUNNING]", "RUNNING");
    page.sees("[data-kind=loaded]", "stamped");
    page.reload();
    page.sees("[data-state=RUNNING]", "RUNNING");
    judge(&page.told(), host.address(), 2);
}

#[test]
fn the_page_may_run_no_code_from_elsewhere_and_a_browser_keeps_its_files() {
    let identity = Identity::new(1);
    let site = site(StoreKind::Folder, &identity);
    let host = site.run().ready();
    let ask = |path: &str, headers: &[&str]| {
        let mut answer = String::new();
        let mut stream = host.send("GET", path, headers, b"").expect("the host answers");
        stream.read_to_string(&mut answer).expect("the page is text");
        let (head, body) = answer.split_once("\r\n\r\n").expect("an answer has a head");
        (head.to_lowercase(), body.to_owned())
    };
    let (head, body) = ask("/", &[]);
    for header in [
        "content-type: text/html",
        "cache-control: no-cache",
        "content-security-policy: default-src 'self';",
        "x-content-type-options: nosniff",
        "referrer-policy: no-referrer",
    ] {
        assert!(head.contains(header), "{header} is missing:\n{head}");
    }
    let tag = head.lines().find_map(|line| line.strip_prefix("etag: ")).expect("an ETag");
    let (again, nothing) = ask("/", &[&format!("If-None-Match: {tag}")]);
    assert!(again.starts_with("http/1.1 304") && nothing.is_empty(), "{again}");
    let (_, script) = body.split_once("src=\"").expect("the page has a script");
    let (script, _) = script.split_once('"').expect("its address ends");
    let (head, _) = ask(script, &[]);
    assert!(head.contains("content-type: text/javascript"), "{head}");
    assert!(head.contains("immutable"), "{head}");
    for nothing in ["/assets/none.js", "/assets/..%2f..%2fCargo.toml", "/index.html"] {
        let (head, body) = ask(nothing, &[]);
        assert!(
            head.starts_with("http/1.1 404") && body.contains("NOT_FOUND"),
            "{nothing}: {head}"
        );
    }
    let (status, problem) = host.request("POST", "/", &[], b"").expect("the host answers");
    assert!(status == 405 && problem.contains("METHOD_NOT_ALLOWED"), "{status} {problem}");
}
