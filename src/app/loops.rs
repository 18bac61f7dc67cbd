//! What runs beside the listeners for as long as the server does. Without one of these loops pushes would
//! wait for ever, or never be forgotten: a server that has lost one stops, and is started again.

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// See the module's text.
#[derive(Debug, Default)]
pub(super) struct Loops {
    tasks: TaskTracker,
    broken: CancellationToken,
}

impl Loops {
    /// Starts one. It may end, but not by a panic.
    pub(super) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let guard = self.broken.clone().drop_guard();
        self.tasks.spawn(async move {
            task.await;
            guard.disarm();
        });
    }

    /// Waits until one of them has panicked.
    pub(super) fn break_down(&self) -> impl Future<Output = ()> + Send + use<> {
        self.broken.clone().cancelled_owned()
    }

    /// Waits until all have ended.
    pub(super) async fn end(&self) {
        self.tasks.close();
        self.tasks.wait().await;
    }
}

#[cfg(test)]
mod tests {
    use super::Loops;

    #[tokio::test]
    async fn a_loop_that_panics_is_told_of_and_one_that_ends_is_not() {
        let loops = Loops::default();
        loops.spawn(async {});
        loops.end().await;
        assert!(!loops.broken.is_cancelled());
        loops.spawn(async { panic!("this panic is a part of the test") });
        loops.break_down().await;
        loops.end().await;
    }
}
