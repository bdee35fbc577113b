//! What a point does where points are compiled in.
//!
//! `WINDROW_FAILPOINTS` is `POINT[:SUBJECT][@N|@every]=ACTION`, several with `;` between them. N counts the times the
//! point is reached for the subject; 1 unless given. The actions: `kill` (as `kill -9` does), `stop` (SIGSTOP, until
//! somebody sends SIGCONT), `hold` (until a file `POINT.go` lies in `WINDROW_FAILPOINT_FOLDER`), `fail`, `delay:MILLIS`.
//! What happens is announced by a file `POINT.hit` in that folder.

use std::{
    path::PathBuf,
    process::Command,
    sync::{
        OnceLock,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use super::{Injected, Point};

static PLAN: OnceLock<Plan> = OnceLock::new();

/// How often a held point looks whether it may go on.
const LOOK_EVERY: Duration = Duration::from_millis(20);

#[derive(Debug, Default)]
struct Plan {
    traps: Vec<Trap>,
    folder: Option<PathBuf>,
}

#[derive(Debug)]
struct Trap {
    point: Point,
    subject: Option<String>,
    /// `None`: every time.
    at: Option<u64>,
    action: Action,
    reached: AtomicU64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Action {
    Kill,
    Stop,
    Hold,
    Fail,
    Delay(Duration),
}

pub(super) fn arm() -> Result<(), String> {
    let Some(text) = std::env::var("WINDROW_FAILPOINTS").ok().filter(|text| !text.is_empty()) else { return Ok(()) };
    let traps = text.split(';').map(parse).collect::<Result<_, _>>()?;
    let folder = std::env::var_os("WINDROW_FAILPOINT_FOLDER").map(PathBuf::from);
    let plan = PLAN.get_or_init(|| Plan { traps, folder });
    tracing::warn!(traps = plan.traps.len(), "failpoints are armed: this process is part of a test");
    Ok(())
}

pub(super) async fn reach(point: Point, subject: &str) -> Result<(), Injected> {
    match PLAN.get() {
        Some(plan) => plan.reach(point, subject).await,
        None => Ok(()),
    }
}

impl Trap {
    fn is_for(&self, point: Point, subject: &str) -> bool {
        self.point == point && self.subject.as_deref().is_none_or(|wanted| wanted == subject)
    }
}

impl Plan {
    async fn reach(&self, point: Point, subject: &str) -> Result<(), Injected> {
        for trap in self.traps.iter().filter(|trap| trap.is_for(point, subject)) {
            let reached = trap.reached.fetch_add(1, Ordering::Relaxed) + 1;
            if trap.at.is_none_or(|at| at == reached) {
                tracing::warn!(point = point.id(), subject, action = ?trap.action, "a failpoint goes off");
                self.act(trap).await?;
            }
        }
        Ok(())
    }

    async fn act(&self, trap: &Trap) -> Result<(), Injected> {
        let id = trap.point.id();
        let file = |suffix: &str| self.folder.as_ref().map(|folder| folder.join(format!("{id}.{suffix}")));
        if let Some(hit) = file("hit")
            && let Err(error) = std::fs::write(hit, std::process::id().to_string())
        {
            tracing::warn!(%error, "nobody is told that a failpoint went off");
        }
        match trap.action {
            Action::Kill => {
                signal("KILL");
                // What comes next must not happen, however late the signal is.
                loop {
                    std::thread::park();
                }
            }
            Action::Stop => {
                signal("STOP");
                // The signal may be a moment late; nothing may happen before it.
                std::thread::sleep(Duration::from_millis(50));
                Ok(())
            }
            Action::Hold => {
                let Some(go) = file("go") else { return Ok(()) };
                while !go.exists() {
                    tokio::time::sleep(LOOK_EVERY).await;
                }
                Ok(())
            }
            Action::Fail => Err(Injected(id)),
            Action::Delay(pause) => {
                tokio::time::sleep(pause).await;
                Ok(())
            }
        }
    }
}

/// By the shell, since the standard library has no safe call for it.
fn signal(name: &str) {
    let sent = Command::new("sh").arg("-c").arg(format!("kill -{name} {}", std::process::id())).status();
    if let Err(error) = sent {
        tracing::error!(%error, name, "a failpoint could not send its signal");
    }
}

fn parse(text: &str) -> Result<Trap, String> {
    let wrong = |what: &str| format!("WINDROW_FAILPOINTS: {what} in {text:?}");
    let (place, action) = text.trim().split_once('=').ok_or_else(|| wrong("no `=`"))?;
    let (place, at) = match place.split_once('@') {
        None => (place, Some(1)),
        Some((place, "every")) => (place, None),
        Some((place, number)) => (place, Some(number.parse().map_err(|_| wrong("no number after `@`"))?)),
    };
    let (id, subject) = place.split_once(':').map_or((place, None), |(id, subject)| (id, Some(subject.to_owned())));
    let point = Point::ALL.into_iter().find(|point| point.id() == id).ok_or_else(|| wrong("no such point"))?;
    let action = match action {
        "kill" => Action::Kill,
        "stop" => Action::Stop,
        "hold" => Action::Hold,
        "fail" => Action::Fail,
        other => {
            let millis = other.strip_prefix("delay:").and_then(|millis| millis.parse().ok());
            Action::Delay(Duration::from_millis(millis.ok_or_else(|| wrong("no such action"))?))
        }
    };
    Ok(Trap { point, subject, at, action, reached: AtomicU64::new(0) })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_trap_names_its_point_subject_time_and_action() {
        let trap = parse("F2:poison@every=kill").unwrap();
        assert_eq!((trap.point, trap.at, trap.action), (Point::Reading, None, Action::Kill));
        assert!(trap.is_for(Point::Reading, "poison") && !trap.is_for(Point::Reading, "other"));
        assert!(!trap.is_for(Point::Staged, "poison"));
        let trap = parse(" F10@3=delay:250 ").unwrap();
        assert_eq!((trap.point, trap.at), (Point::Finalized, Some(3)));
        assert_eq!(trap.action, Action::Delay(Duration::from_millis(250)));
        assert_eq!(parse("F8=hold").unwrap().at, Some(1));
        for wrong in ["", "F1", "F11=kill", "F1=explode", "F1@x=kill", "F1=delay:soon"] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }

    #[tokio::test]
    async fn a_trap_goes_off_the_time_it_was_told_to_and_no_other() {
        let folder = std::env::temp_dir().join(format!("windrow-failpoint-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let traps = vec![parse("F3:a@2=fail").unwrap(), parse("F8=hold").unwrap()];
        let plan = Plan { traps, folder: Some(folder.clone()) };
        assert!(plan.reach(Point::Staged, "a").await.is_ok());
        assert!(plan.reach(Point::Staged, "b").await.is_ok());
        assert!(!folder.join("F3.hit").exists());
        assert!(plan.reach(Point::Staged, "a").await.is_err());
        assert!(folder.join("F3.hit").exists());
        assert!(plan.reach(Point::Staged, "a").await.is_ok());
        let act = plan.reach(Point::Committed, "a");
        tokio::pin!(act);
        assert!(tokio::time::timeout(Duration::from_millis(60), &mut act).await.is_err(), "it holds");
        std::fs::write(folder.join("F8.go"), "").unwrap();
        assert!(tokio::time::timeout(Duration::from_secs(5), act).await.unwrap().is_ok());
        std::fs::remove_dir_all(folder).unwrap();
    }
}
