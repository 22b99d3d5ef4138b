//! Rules that are broken on purpose, at the seams between the parts: what the core is told, what becomes of what it
//! says, what the kernel's answers are taken for.

/// A daemon with one rule broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mutant {
    /// What is to be removed is removed before what is to be added.
    RemovesFirst,
    /// What the kernel refused is taken for done.
    TrustsTheKernel,
    /// The table is not compared again.
    NeverLooksAgain,
    /// A good result of a server that is down is lost.
    LosesRecoveries,
    /// Bad results are lost.
    LosesFailures,
    /// Orders are forgotten by a crash.
    ForgetsOrders,
    /// The end of one reason is taken for the end of all.
    ForgetsReasons,
    /// A service on its fallback gets none.
    NoFallback,
    /// The fallback stays when servers are back.
    KeepsFallback,
    /// Servers are added before they are checked.
    TrustsStrangers,
    /// A failed server that is quiesced keeps a weight.
    QuiescesHalf,
    /// Services that left the configuration stay.
    KeepsDropped,
    /// Services of others are cleared away.
    TidiesUp,
    /// Services made before a crash are forgotten.
    ForgetsServices,
    /// A drain ends at once.
    CutsDrains,
}

/// All of them.
pub(super) const MUTANTS: [Mutant; 15] = [
    Mutant::RemovesFirst,
    Mutant::TrustsTheKernel,
    Mutant::NeverLooksAgain,
    Mutant::LosesRecoveries,
    Mutant::LosesFailures,
    Mutant::ForgetsOrders,
    Mutant::ForgetsReasons,
    Mutant::NoFallback,
    Mutant::KeepsFallback,
    Mutant::TrustsStrangers,
    Mutant::QuiescesHalf,
    Mutant::KeepsDropped,
    Mutant::TidiesUp,
    Mutant::ForgetsServices,
    Mutant::CutsDrains,
];
