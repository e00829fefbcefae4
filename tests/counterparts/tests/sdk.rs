//! m3ter's Python SDK, unmodified, against the sandbox: `python/sdk.py` says what it does.

use std::path::Path;

use counterparts::{REQUIREMENTS, program, python, sandbox};

#[tokio::test(flavor = "multi_thread")]
async fn m3ters_sdk_works_unmodified() -> anyhow::Result<()> {
    let python = python(Path::new(env!("CARGO_TARGET_TMPDIR")), REQUIREMENTS)?;
    let sandbox = sandbox().await?;
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/python/sdk.py");
    let output = program(&python, &sandbox).arg(script).output().await?;
    let (said, wrong) = (String::from_utf8(output.stdout)?, String::from_utf8(output.stderr)?);
    assert!(output.status.success(), "{said}\n{wrong}");
    println!("{said}");
    // A script that stops early would have called less.
    let called = said.lines().find_map(|line| {
        line.strip_prefix("operations called: ")?
            .split(' ')
            .next()?
            .parse::<usize>()
            .ok()
    });
    assert!(called.is_some_and(|called| called >= 54), "{said}");
    sandbox.stop().await;
    Ok(())
}
