//! Wrong variants of the protocol, one a rule: compiled in for the model alone, which must catch each of them.

/// A rule that is broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Mutant {
    /// Rule 1: what is read back after an error is taken for another writer's without a look at its nonce.
    IgnoreTheNonce,
    /// Rule 2: after an ambiguous answer the next number is tried.
    MoveOnUnread,
    /// Rule 3: a flush is rebased though a lane of it moved.
    RebaseMovedLanes,
    /// Rule 4: recovery takes what nobody claims for published.
    RecoverWithoutPublishing,
    /// Rule 5: a manifest claims itself to be published.
    ClaimWhatIsAssumed,
    /// Rule 6: files are published before their manifest is there.
    PublishBeforeManifest,
    /// Rule 7: publishing stops at the first file that is visible.
    StopAtTheFirst,
    /// Rule 8: stages are discarded after an ambiguous answer.
    DiscardOnError,
    /// Rule 9: Create overwrites (the store's part).
    CreateOverwrites,
    /// Rule 10: an unknown result counts as visible.
    TakeUnknownForVisible,
}

impl Mutant {
    /// All of them, in the order of the rules.
    pub const ALL: [Self; 10] = [
        Self::IgnoreTheNonce,
        Self::MoveOnUnread,
        Self::RebaseMovedLanes,
        Self::RecoverWithoutPublishing,
        Self::ClaimWhatIsAssumed,
        Self::PublishBeforeManifest,
        Self::StopAtTheFirst,
        Self::DiscardOnError,
        Self::CreateOverwrites,
        Self::TakeUnknownForVisible,
    ];
}
