//! The model explored: four settings to their end, and every guard left out once. One exploration at a time, for each
//! uses all cores.

use std::sync::{Mutex, PoisonError};

use windrow_model::{
    Bounds, Mutant,
    proof::Proof,
    run::{CHECKED, Found, explore, hunt},
};

static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

const COMMAND: &str = "cargo test --locked --workspace --test model";
/// Fewer states would mean that the setting explores less than it says.
const ENOUGH: usize = 1_000_000;

/// Nothing is broken in any state within the bounds, and each state heals.
fn holds(case: &str, injected: &str, bounds: Bounds) {
    let _turn = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let found = explore(bounds);
    println!("{case}: {} states, depth {}, {:.1} s", found.states, found.depth, found.seconds);
    for (id, acts) in &found.broken {
        println!("{id} after {} acts:\n  {}", acts.len(), acts.join("\n  "));
    }
    assert!(found.broken.is_empty(), "{case} breaks {:?}", found.broken.iter().map(|(id, _)| id).collect::<Vec<_>>());
    assert!(found.missed.is_empty(), "{case} never reaches: {:?}", found.missed);
    assert!(found.states >= ENOUGH, "{case} has only {} states", found.states);
    let held = CHECKED.iter().map(|(id, _)| (*id).to_owned()).collect();
    write(case, injected, held, &found);
}

/// Without the guard something is broken, and it is one of these.
fn dies(mutant: Mutant, case: &str, removed: &str, expected: &[&str], bounds: Bounds) {
    let _turn = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let found = hunt(bounds, mutant);
    let shortest = found.broken.iter().min_by_key(|(_, acts)| acts.len());
    let Some((id, acts)) = shortest else {
        panic!("{mutant:?} lives: {} states, depth {}, {:.1} s", found.states, found.depth, found.seconds)
    };
    println!("{mutant:?}: {id} after {} acts, {} states, {:.1} s", acts.len(), found.states, found.seconds);
    println!("  {}", acts.join("\n  "));
    assert!(expected.contains(id), "{mutant:?} breaks {id}, expected was one of {expected:?}");
    write(&format!("without-{case}"), removed, vec![(*id).to_owned()], &found);
}

fn write(case: &str, injected: &str, held: Vec<String>, found: &Found) {
    let layer = if case.starts_with("without-") { "model-mutants" } else { "model" };
    let proof = Proof {
        layer: layer.to_owned(),
        case: case.to_owned(),
        injected: injected.to_owned(),
        times: 1,
        held,
        states: Some(found.states as u64),
        seconds: found.seconds,
        command: COMMAND.to_owned(),
        ..Proof::default()
    };
    if let Err(error) = proof.write() {
        panic!("cannot write down what was shown: {error}");
    }
}

const NOTHING: Bounds = Bounds {
    tasks: 1,
    claims: 2,
    deeds: 2,
    leaders: 0,
    committers: 0,
    failures: 0,
    refusals: 0,
    bad_files: 0,
    cancels: 0,
    sweeps: 0,
    restores: false,
    retries: 0,
};

#[test]
fn two_tasks_two_committers_a_sweep_and_a_writer_from_outside() {
    let bounds = Bounds { tasks: 2, claims: 1, leaders: 1, sweeps: 1, ..NOTHING };
    holds(
        "two-tasks-and-a-sweep",
        "two tasks and two committers with crashes, broken sessions and lost answers anywhere, a change of leader that the \
         former one does not notice, a sweep, another writer of the table",
        bounds,
    );
}

#[test]
fn one_task_three_attempts_and_three_committers() {
    let bounds = Bounds { claims: 3, deeds: 3, leaders: 1, refusals: 1, bad_files: 1, retries: 3, ..NOTHING };
    holds(
        "one-task-three-attempts",
        "one task with three attempts and three committers with crashes, broken sessions and lost answers anywhere: lost leases up \
         to quarantine, files found bad, a commit the sink refuses, a change of leader that the former one does not notice, \
         another writer of the table",
        bounds,
    );
}

#[test]
fn three_tasks_in_intents_of_any_size() {
    let bounds = Bounds { tasks: 3, claims: 1, ..NOTHING };
    holds(
        "three-tasks",
        "three tasks in intents of one to three, crashes, broken sessions and lost answers anywhere, another writer of the table",
        bounds,
    );
}

#[test]
fn a_store_that_is_put_back_to_any_backup_at_any_time() {
    let bounds = Bounds { tasks: 2, claims: 1, sweeps: 1, restores: true, ..NOTHING };
    holds(
        "restored-store",
        "the store put back to a backup of any earlier moment while attempts, committers, a sweep and the former leader go on, \
         then `admin restore`",
        bounds,
    );
}

#[test]
fn a_seal_must_compare_its_token() {
    dies(
        Mutant::SealOnStateOnly,
        "token-of-a-seal",
        "seals are taken whenever the task is claimed",
        &["INV-5"],
        NOTHING,
    );
    dies(
        Mutant::SealUnguarded,
        "guard-of-a-seal",
        "seals are taken at any time",
        &["INV-5", "INV-9", "INV-6"],
        NOTHING,
    );
}

#[test]
fn a_committer_must_look_at_the_sink() {
    dies(Mutant::NoProbe, "probe", "committers commit without a look at the sink", &["INV-3", "INV-4"], NOTHING);
}

#[test]
fn a_commit_must_compare_what_was_read() {
    dies(Mutant::ProbeWithoutCas, "compare-and-set", "commits do not compare the sink", &["INV-3", "INV-4"], NOTHING);
}

#[test]
fn an_intent_must_name_its_tasks() {
    let bounds = Bounds { tasks: 2, claims: 1, ..NOTHING };
    dies(
        Mutant::BatchNotRedoLogged,
        "recorded-batch",
        "an intent is a number, its batch is made when it is carried out",
        &["INV-1", "INV-6"],
        bounds,
    );
}

#[test]
fn publishing_must_compare_leadership_and_intent() {
    let bounds = Bounds { tasks: 2, claims: 1, leaders: 1, ..NOTHING };
    dies(
        Mutant::FinalizeUnguarded,
        "guard-of-publishing",
        "publishing compares neither leadership nor the intent",
        &["INV-1", "INV-6", "INV-7", "INV-14"],
        bounds,
    );
}

#[test]
fn a_taken_seq_must_be_compared_by_digest() {
    let bounds = Bounds { refusals: 1, ..NOTHING };
    dies(Mutant::DoneBySeq, "digest-of-a-commit", "a taken seq counts as done", &["INV-1", "INV-6"], bounds);
}

#[test]
fn a_sweep_must_list_before_it_asks() {
    let bounds = Bounds { sweeps: 1, ..NOTHING };
    let removed = "a sweep asks what lives before it lists";
    dies(Mutant::SweepAsksFirst, "order-of-a-sweep", removed, &["INV-9", "INV-10"], bounds);
}

#[test]
fn a_sweep_must_be_told_by_a_leader_that_leads() {
    let bounds = Bounds { sweeps: 1, leaders: 1, ..NOTHING };
    let removed = "a former leader tells a sweep what lives";
    dies(Mutant::SweepByFormerLeader, "leadership-of-a-sweep", removed, &["INV-9", "INV-10"], bounds);
}

#[test]
fn a_write_must_be_guarded_by_leadership() {
    let bounds = Bounds { leaders: 1, ..NOTHING };
    let removed = "the store takes writes of former leaders";
    dies(Mutant::LeaderUnguarded, "guard-of-leadership", removed, &["INV-13", "INV-14"], bounds);
}

#[test]
fn a_restored_store_must_begin_a_new_epoch() {
    let bounds = Bounds { claims: 3, restores: true, ..NOTHING };
    let removed = "a restored store goes on in its old epoch";
    dies(Mutant::RestoreInSameEpoch, "epoch-of-a-restore", removed, &["INV-5", "INV-13", "INV-14"], bounds);
}

/// Found by the model: an intent recorded after the backup is unknown to the restored store. Whoever still holds it may
/// commit it after a sweep has taken its files for orphans. This is how the recovery works today, see ADR 9.
#[test]
fn a_restore_must_spend_a_seq_of_the_sink() {
    let bounds = Bounds { sweeps: 1, restores: true, ..NOTHING };
    let removed = "a restore leaves the next seq to whoever holds an old intent for it";
    dies(Mutant::RestoreUnfenced, "seq-of-a-restore", removed, &["INV-9", "INV-10"], bounds);
}

/// Found by the model: what the backup calls sealed may have been given up since, and a sweep that knows so may still be
/// at work when the restored store publishes it.
#[test]
fn a_restore_must_not_trust_old_seals() {
    let bounds = Bounds { bad_files: 1, sweeps: 1, restores: true, ..NOTHING };
    let removed = "a restore keeps the seals of the backup";
    dies(Mutant::RestoreKeepsSeals, "seals-of-a-restore", removed, &["INV-9", "INV-10"], bounds);
}

/// A setting of one's own, without compiling: `WINDROW_MODEL='tasks=2 claims=2 deeds=2 mutant=NoProbe'`.
#[test]
#[ignore = "explores what WINDROW_MODEL says"]
fn a_setting_of_ones_own() {
    let text = std::env::var("WINDROW_MODEL").unwrap_or_default();
    let mut bounds = NOTHING;
    let mut mutant = None;
    for (name, value) in text.split_whitespace().filter_map(|pair| pair.split_once('=')) {
        let number = || value.parse().unwrap_or_else(|_| panic!("{name}={value} is no number"));
        match name {
            "tasks" => bounds.tasks = number(),
            "claims" => bounds.claims = number(),
            "deeds" => bounds.deeds = number(),
            "leaders" => bounds.leaders = number(),
            "committers" => bounds.committers = number(),
            "failures" => bounds.failures = number(),
            "refusals" => bounds.refusals = number(),
            "bad_files" => bounds.bad_files = number(),
            "cancels" => bounds.cancels = number(),
            "sweeps" => bounds.sweeps = number(),
            "restores" => bounds.restores = number() != 0,
            "retries" => bounds.retries = number(),
            "mutant" => mutant = Mutant::ALL.into_iter().find(|mutant| format!("{mutant:?}") == value),
            _ => panic!("there is no {name}"),
        }
    }
    let found = mutant.map_or_else(|| explore(bounds), |mutant| hunt(bounds, mutant));
    println!("{mutant:?} {bounds:?}: {} states, depth {}, {:.1} s", found.states, found.depth, found.seconds);
    println!("never reached: {:?}", found.missed);
    for (id, acts) in &found.broken {
        println!("{id} after {} acts:\n  {}", acts.len(), acts.join("\n  "));
    }
}
