//! What happens at a bound.

/// What a full queue does with what arrives.
///
/// "Newest" means what arrives, not the newest of what is inside: some libraries use the same name for the latter. Where what
/// arrives and what is inside are not worth the same, whoever has the queue says what goes first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[expect(clippy::exhaustive_enums, reason = "at a bound one can only sacrifice the old, refuse the new, or wait")]
pub enum Overflow {
    /// The oldest give their places up. For what loses its worth with age: positions, prices, requests whose callers are about to
    /// give up.
    DropOldest,
    /// The arriving one is refused. What was accepted is kept.
    #[default]
    DropNewest,
    /// The arriving one waits for room, and with it whoever brings it: the pressure is passed upstream.
    Block,
}
