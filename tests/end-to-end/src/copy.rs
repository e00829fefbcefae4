//! The table copied, and the copy put into its place. What AWS holds and the copy does not know breaks the laws until it was adopted, so there
//! are steps that do not look at them.

use sandbox::backup::Backup;

use crate::bill::Bill;
use crate::message;
use crate::scene::{Scene, at};
use crate::watch::Watch;

impl Scene {
    /// A copy of the table as it is now.
    pub async fn back_up(&self) -> Backup {
        self.sandbox.back_up().await.expect("a copy")
    }

    /// Puts the copy into the table's place.
    pub async fn restore(&mut self, backup: &Backup) {
        self.sandbox.restore(backup).await.expect("a restored table");
        self.watch = Watch::default();
    }

    /// As [`Scene::bill`], without looking at the laws.
    pub async fn bill_unwatched(&self, bill: &Bill) {
        let event = message::updated(self.organization(), bill);
        self.sandbox.send(&event).await.expect("a message that SQS takes");
    }

    /// As [`Scene::until`], without looking at the laws.
    pub async fn until_unwatched(&mut self, instant: &str) {
        self.sandbox.advance_to(at(instant)).await.expect("a later instant");
        self.log_in().await;
    }
}
