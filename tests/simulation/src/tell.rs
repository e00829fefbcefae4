//! Histories in words.

use jiff::Timestamp;

use crate::history::{Among, History, Reconciles, Round, Step};
use crate::seller::{BILL_IDS, CUSTOMERS, PRODUCT_IDS};

/// A step as one line.
pub fn step(step: &Step) -> String {
    let bill = |bill: &u8| BILL_IDS[usize::from(*bill) % BILL_IDS.len()].0;
    let product = |product: &u8| PRODUCT_IDS[usize::from(*product) % PRODUCT_IDS.len()];
    let customer = |buyer: &u8| CUSTOMERS[usize::from(*buyer) % CUSTOMERS.len()];
    match step {
        Step::Calculated {
            bill: which,
            cents,
            approved,
        } => {
            let amounts: Vec<String> = PRODUCT_IDS
                .iter()
                .zip(cents)
                .map(|(product, cents)| format!("{product} {cents}"))
                .collect();
            let approved = if *approved { "approved" } else { "not approved" };
            format!("bill {} is calculated: {}; {approved}", bill(which), amounts.join(", "))
        }
        Step::Deleted { bill: which } => format!("bill {} is deleted", bill(which)),
        Step::Repeated { message } => format!("message {message} comes again"),
        Step::Worked(worked) => round(worked),
        Step::Passed { minutes } => format!("{minutes} minutes pass"),
        Step::Subscribed {
            buyer,
            subscribed: true,
        } => format!("buyer {} subscribes", customer(buyer)),
        Step::Subscribed {
            buyer,
            subscribed: false,
        } => format!("buyer {}'s agreement ends", customer(buyer)),
        Step::Listed {
            product: which,
            listed: true,
        } => format!("AWS knows dimension {} again", product(which)),
        Step::Listed {
            product: which,
            listed: false,
        } => format!("AWS does not know dimension {} any more", product(which)),
        Step::Foreign {
            buyer,
            product: which,
            hours_ago,
            quantity,
        } => format!(
            "another program reports {quantity} units of {} for {} {hours_ago} hours ago",
            product(which),
            customer(buyer)
        ),
        Step::Enabled {
            configuration,
            enabled: true,
        } => format!("configuration {configuration} is enabled"),
        Step::Enabled {
            configuration,
            enabled: false,
        } => format!("configuration {configuration} is disabled"),
    }
}

fn round(round: &Round) -> String {
    let batch = |(worker, places): (usize, &Vec<u8>)| format!("worker {worker} takes the messages at {places:?}");
    let mut text: Vec<String> = round.batches.iter().enumerate().map(batch).collect();
    text.extend(round.reconciles.map(|reconciles| {
        let what = match reconciles {
            Reconciles::Today => "compares today with CloudTrail",
            Reconciles::Window => "looks at what AWS still takes",
            Reconciles::Rest => "goes on with what is not finished",
        };
        format!("the reconcile function {what}")
    }));
    if round.order.iter().any(|byte| *byte != 0) {
        text.push(format!("requests are handled in the order {:?}", round.order));
    }
    for fault in &round.faults {
        let among = match fault.among {
            Among::Table => "DynamoDB request",
            Among::Transactions => "transaction",
            Among::Metering => "metering call",
            Among::All => "request",
        };
        text.push(format!("{among} {}: {}", fault.place, fault.fate));
    }
    text.join("; ")
}

/// A whole history, line by line.
pub fn history(history: &History) -> Vec<String> {
    let start = Timestamp::from_second(history.start).unwrap_or_default();
    let repeats = if history.repeats_are_duplicates {
        "DuplicateRecord"
    } else {
        "Success"
    };
    let trail = match history.trail {
        Some(trail) => format!(
            "CloudTrail shows events {} minutes late{}, and the first {} never",
            trail.delay_minutes,
            if trail.duplicates { ", twice" } else { "" },
            trail.missing
        ),
        None => "nothing is reconciled".to_owned(),
    };
    let mut lines = vec![format!(
        "it is {start}; {trail}; AWS answers an identical repeat with {repeats}; clocks are off by {:?} s",
        history.skews
    )];
    lines.extend(history.steps.iter().map(step));
    lines
}
