//! How much a request matters when there is not room for all.

/// How much a request matters when not all can be served: lower classes are shed first.
///
/// The classes are those of the criticality of Google's services (Beyer et al., "Site Reliability Engineering", chapter 21), of
/// which a server refuses one only where all lower ones are refused already. They are ordered from what matters most to what
/// matters least: `Class::Critical < Class::Background`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(clippy::exhaustive_enums, reason = "an order that may grow in the middle is none to build on")]
pub enum Class {
    /// A failure is seen by people at once, or costs money: sign-in, checkout.
    Critical,
    /// What is not said to be anything else.
    #[default]
    Default,
    /// A failure now and then is expected and made up for: prefetch, telemetry.
    Sheddable,
    /// Nobody waits for it: batches, crawlers, back-fill.
    Background,
}

impl Class {
    /// All classes, from what matters most.
    pub const ALL: [Self; 4] = [Self::Critical, Self::Default, Self::Sheddable, Self::Background];

    /// Returns the place in the order: 0 for what matters most.
    #[inline]
    #[must_use]
    pub const fn rank(self) -> usize {
        self as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranks_count_from_what_matters_most() {
        assert_eq!(Class::ALL.map(Class::rank), [0, 1, 2, 3]);
        assert!(Class::ALL.is_sorted());
    }
}
