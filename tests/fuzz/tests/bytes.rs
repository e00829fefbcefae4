//! Every reader under an engine. `cargo test` gives each some thousand inputs; [reliability](../../../docs/reliability.md) has the command for a million,
//! and for an engine that is guided by coverage.

use std::sync::{Mutex, MutexGuard, PoisonError};

use fuzz::recipe::document;
use fuzz::targets::{self, TOKEN_CALL};
use peak_alloc::PeakAlloc;
use simulation::history::History;
use simulation::play::{Play, Telling};
use simulation::seller::ORGANIZATION;

#[global_allocator]
static MEMORY: PeakAlloc = PeakAlloc;

/// Memory is counted for the whole process, so no two tests run at once.
static ALONE: Mutex<()> = Mutex::new(());

const INPUTS: usize = 20_000;
/// Calls of the API take longer.
const API_INPUTS: usize = 2_000;
/// What reading one input may take.
const MEMORY_BYTES_MAX: usize = 16 * 1024 * 1024;
/// The access key of the simulation's seller, as HTTP says it.
const ACCESS_KEY: &str = "Basic c2ltdWxhdGlvbjpzaW11bGF0aW9u";

fn alone() -> MutexGuard<'static, ()> {
    // A test that failed leaves nothing behind that could harm another.
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

fn bounded(target: fn(&[u8]), bytes: &[u8]) {
    let before = MEMORY.current_usage();
    MEMORY.reset_peak_usage();
    target(bytes);
    let taken = MEMORY.peak_usage().saturating_sub(before);
    assert!(
        taken <= MEMORY_BYTES_MAX,
        "{taken} bytes of memory for {} bytes",
        bytes.len()
    );
}

#[test]
fn messages() {
    let _alone = alone();
    let check = bolero::check!().with_iterations(INPUTS);
    check.for_each(|bytes: &[u8]| bounded(targets::message, bytes));
}

#[test]
fn configurations() {
    let _alone = alone();
    let check = bolero::check!().with_iterations(INPUTS);
    check.for_each(|bytes: &[u8]| bounded(targets::configuration, bytes));
}

#[test]
fn trail_events() {
    let _alone = alone();
    let check = bolero::check!().with_iterations(INPUTS);
    check.for_each(|bytes: &[u8]| bounded(targets::trail, bytes));
}

#[test]
fn filters() {
    let _alone = alone();
    let check = bolero::check!().with_iterations(INPUTS);
    check.for_each(|bytes: &[u8]| bounded(targets::filter, bytes));
}

#[test]
fn names() {
    let _alone = alone();
    let check = bolero::check!().with_iterations(INPUTS);
    check.for_each(|bytes: &[u8]| bounded(targets::name, bytes));
}

#[test]
fn api_bodies() {
    let _alone = alone();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap();
    let history = History {
        steps: Vec::new(),
        ..History::of_seed(1)
    };
    let mut play = runtime
        .block_on(Play::set_up(&history, None, Telling::Nothing))
        .unwrap();
    let token = format!("Bearer {}", runtime.block_on(play.token()).unwrap());
    let calls = targets::api_calls(ORGANIZATION, play.configuration().as_str());
    for (path, body) in &calls {
        let authorization = if path == TOKEN_CALL { ACCESS_KEY } else { token.as_str() };
        let (status, answer) = runtime.block_on(play.ask(authorization, "POST", path, body)).unwrap();
        targets::api_answer(path, body, status, &answer);
        let expect = match path.as_str() {
            // The payload's credential is not there, nor is m3ter's key for an import, nor the entry that is decided.
            "integrationconfigs" | "externalmappings/import" => 400,
            "bills" => 202,
            path if path.ends_with("/resolve") => 404,
            _ => 200,
        };
        assert_eq!(status, expect, "{path} answered {answer}");
    }
    let bodies: Vec<String> = calls.iter().map(|(_, body)| body.clone()).collect();
    let play = Mutex::new(play);
    let check = bolero::check!().with_iterations(API_INPUTS);
    check.for_each(|bytes: &[u8]| {
        let place = bytes.first().map_or(0, |first| usize::from(*first) % calls.len());
        let (path, _) = &calls[place];
        let authorization = if path == TOKEN_CALL { ACCESS_KEY } else { token.as_str() };
        let mut recipe = bytes.to_vec();
        if let Some(first) = recipe.first_mut() {
            *first %= u8::try_from(calls.len() + 1).unwrap();
        }
        let body = document(&bodies, &recipe);
        let mut play = play.lock().unwrap_or_else(PoisonError::into_inner);
        let (status, answer) = runtime.block_on(play.ask(authorization, "POST", path, &body)).unwrap();
        targets::api_answer(path, &body, status, &answer);
    });
}
