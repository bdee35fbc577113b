//! Guards of the protocol, each of which can be left out. A model that holds without one of them would not show that it
//! is needed.

/// The guard that is left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Mutant {
    /// A seal is taken whenever the task is claimed, whoever claimed it.
    SealOnStateOnly,
    /// A seal is taken from anybody at any time.
    SealUnguarded,
    /// A committer commits without looking at the sink's seq first.
    NoProbe,
    /// A committer looks, and then writes without comparing that the sink is still as it was.
    ProbeWithoutCas,
    /// An intent names only its seq; each committer makes a batch of what is sealed when it is asked.
    BatchNotRedoLogged,
    /// Publishing compares neither leadership nor the intent.
    FinalizeUnguarded,
    /// A seq that is taken counts as done, whatever its digest.
    DoneBySeq,
    /// A sweep asks first what lives and lists then.
    SweepAsksFirst,
    /// A sweep is told what lives by a leader that does not ask whether it leads still.
    SweepByFormerLeader,
    /// The store takes writes of former leaders.
    LeaderUnguarded,
    /// A restored store goes on in the epoch it was saved in.
    RestoreInSameEpoch,
    /// Restoring trusts what the backup says is sealed.
    RestoreKeepsSeals,
    /// Restoring leaves the seq after the sink's newest one to whoever still holds an old intent for it.
    RestoreUnfenced,
}

impl Mutant {
    pub const ALL: [Self; 13] = [
        Self::SealOnStateOnly,
        Self::SealUnguarded,
        Self::NoProbe,
        Self::ProbeWithoutCas,
        Self::BatchNotRedoLogged,
        Self::FinalizeUnguarded,
        Self::DoneBySeq,
        Self::SweepAsksFirst,
        Self::SweepByFormerLeader,
        Self::LeaderUnguarded,
        Self::RestoreInSameEpoch,
        Self::RestoreKeepsSeals,
        Self::RestoreUnfenced,
    ];
}
