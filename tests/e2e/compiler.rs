//! A component made to exhaust the compiler: it is refused, and the host does not even notice.

use rustix::process::Signal;
use tidemill_tests::{eventually, host::StoreKind};

use crate::{
    identity::Identity,
    swaps::{build, digest, judged, refused, runs, site},
};

/// Local variables of the one function: as many as a function may have.
const LOCALS: u32 = 50_000;
/// Loops around the innermost one.
const LOOPS: usize = 1_000;

/// A small component whose one function sets every local in the innermost of many loops: the compiler keeps track of all of
/// them at the head of each loop, fifty million values.
fn bomb() -> Vec<u8> {
    let mut code = [0x03, 0x40].repeat(LOOPS); // loop
    for local in 0..LOCALS {
        let local = leb(local);
        // local.get, i32.const 1, i32.add, local.set
        code.extend([&[0x20], &local[..], &[0x41, 0x01, 0x6a, 0x21], &local].concat());
    }
    for _ in 0..LOOPS {
        code.extend([0x20, 0x00, 0x0d, 0x00, 0x0b]); // local.get 0, br_if 0, end
    }
    let locals = [&leb(1)[..], &leb(LOCALS), &[0x7f]].concat();
    let body = sized(&[&locals[..], &code, &[0x0b]].concat());
    let module = [
        b"\0asm\x01\0\0\0".to_vec(),
        section(1, &[&leb(1)[..], &[0x60, 0, 0]].concat()),
        section(3, &[1, 0]),
        section(10, &[&leb(1)[..], &body].concat()),
    ]
    .concat();
    [b"\0asm\x0d\0\x01\0".to_vec(), section(1, &module)].concat()
}

fn section(id: u8, content: &[u8]) -> Vec<u8> {
    [&[id][..], &sized(content)].concat()
}

fn sized(content: &[u8]) -> Vec<u8> {
    let bytes = u32::try_from(content.len()).expect("it is small");
    [&leb(bytes)[..], content].concat()
}

/// A number in LEB128, as WebAssembly has them.
fn leb(mut number: u32) -> Vec<u8> {
    let mut bytes = Vec::new();
    loop {
        let low = u8::try_from(number & 0x7f).expect("seven bits");
        number >>= 7;
        if number == 0 {
            bytes.push(low);
            return bytes;
        }
        bytes.push(low | 0x80);
    }
}

#[test]
fn a_component_made_to_exhaust_the_compiler_is_refused_and_the_host_lives() {
    let mut identity = Identity::new(2);
    let site = site(StoreKind::Folder, &identity);
    let host = site.run().ready();
    identity.produce(100);
    identity.committed(&site, 30);
    let bomb = bomb();
    site.rename_into("transforms/stamped.wasm", &bomb);
    eventually("it is being compiled", 30, || {
        host.events("compiling").iter().any(|event| event["bytes"] == bomb.len()).then_some(())
    });
    // Nobody who wants something else waits for the compiler.
    for (wish, state) in [("pause", "PAUSED"), ("resume", "RUNNING")] {
        let path = format!("/v1/pipelines/copy/{wish}");
        assert_eq!(host.request("POST", &path, &[], b"").map(|(status, _)| status), Some(202));
        eventually(&format!("it is {state}"), 20, || {
            let (_, body) = host.get("/v1/pipelines/copy/status")?;
            body.contains(&format!("\"state\":\"{state}\"")).then_some(())
        });
    }
    assert!(host.events("component refused").is_empty(), "the compiler is still at work");
    identity.produce(100);
    identity.committed(&site, 30);
    let reason = eventually("it is refused", 180, || {
        let events = host.events("component refused");
        let event = events.into_iter().find(|event| event["digest"] == *digest(&bomb))?;
        event["message"].as_str().map(str::to_owned)
    });
    assert!(reason.contains("can't be compiled"), "{reason}");
    assert!(
        host.peak_memory_mib() < 1024,
        "the memory was the child's: {}",
        host.peak_memory_mib()
    );
    site.rename_into("transforms/stamped.wasm", build(1));
    runs(&host, &build(1));
    identity.produce(100);
    identity.committed(&site, 30);
    host.drain();
    identity.judge(&site);
    judged(&site, [0, 1]);
}

/// Somebody else ends the compiler, as a system that is short of memory does: that says nothing of the component, unless it
/// happens each time.
#[test]
fn a_compiler_that_is_ended_from_outside_is_no_fault_of_the_component_at_first() {
    let mut identity = Identity::new(1);
    let site = site(StoreKind::Folder, &identity);
    let host = site.run().ready();
    let bomb = bomb();
    site.rename_into("transforms/stamped.wasm", &bomb);
    for time in 1..=3 {
        let compiler = eventually("it is being compiled", 60, || {
            let begun = host.events("compiling").into_iter().filter(|e| e["bytes"] == bomb.len());
            (begun.count() == time).then_some(())?;
            host.children().into_iter().next()
        });
        assert!(host.events("component refused").is_empty(), "{}", host.log());
        rustix::process::kill_process(compiler, Signal::KILL).expect("it is there");
    }
    let reason = refused(&host, &bomb);
    assert!(reason.contains("3 times") && reason.contains("SIGKILL"), "{reason}");
    identity.produce(100);
    identity.committed(&site, 30);
    host.drain();
    identity.judge(&site);
}
