//! Every reader under an engine. `cargo test` gives each some thousand inputs; [reliability](../../../docs/reliability.md) has the command for a million,
//! and for an engine that is guided by coverage.

use std::sync::{Mutex, PoisonError};

use fuzz::recipe::document;
use fuzz::targets;
use peak_alloc::PeakAlloc;
use simulation::history::History;
use simulation::play::{Play, Telling};

#[global_allocator]
static MEMORY: PeakAlloc = PeakAlloc;

const INPUTS: usize = 20_000;
/// Calls of the API take longer.
const API_INPUTS: usize = 2_000;
/// What reading one input may take, beside a multiple of its size. Other tests run at the same time and take theirs.
const MEMORY_BYTES_MAX: usize = 16 * 1024 * 1024;

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
    let check = bolero::check!().with_iterations(INPUTS);
    check.for_each(|bytes: &[u8]| bounded(targets::message, bytes));
}

#[test]
fn configurations() {
    let check = bolero::check!().with_iterations(INPUTS);
    check.for_each(|bytes: &[u8]| bounded(targets::configuration, bytes));
}

#[test]
fn trail_events() {
    let check = bolero::check!().with_iterations(INPUTS);
    check.for_each(|bytes: &[u8]| bounded(targets::trail, bytes));
}

#[test]
fn filters() {
    let check = bolero::check!().with_iterations(INPUTS);
    check.for_each(|bytes: &[u8]| bounded(targets::filter, bytes));
}

#[test]
fn names() {
    let check = bolero::check!().with_iterations(INPUTS);
    check.for_each(|bytes: &[u8]| bounded(targets::name, bytes));
}

#[test]
fn api_bodies() {
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
    // Once: a spoilt request for a token counts as a failed one, and a hundred of them keep everybody out.
    let token = runtime.block_on(play.token()).unwrap();
    let play = Mutex::new(play);
    let calls = targets::api_calls();
    let bodies: Vec<String> = calls.iter().map(|(_, _, body)| body.clone()).collect();
    let check = bolero::check!().with_iterations(API_INPUTS);
    check.for_each(|bytes: &[u8]| {
        let place = bytes.first().map_or(0, |first| usize::from(*first) % calls.len());
        let (method, path, _) = &calls[place];
        let mut recipe = bytes.to_vec();
        if let Some(first) = recipe.first_mut() {
            *first %= u8::try_from(calls.len() + 1).unwrap();
        }
        let body = document(&bodies, &recipe);
        let mut play = play.lock().unwrap_or_else(PoisonError::into_inner);
        let (status, answer) = runtime.block_on(play.ask(&token, method, path, &body)).unwrap();
        targets::api_answer(path, &body, status, &answer);
    });
}
