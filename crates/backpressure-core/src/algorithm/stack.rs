//! Several algorithms as one: all agree, or nothing is taken.

use crate::{Algorithm, Decision, Outcome, Quota, Timestamp};

macro_rules! stack {
    ($($member:ident $index:tt),+) => {
        /// Admits what all members admit; a refusal names the longest of their waits, which is exact because waiting
        /// longer than one of them needs never makes it refuse.
        impl<$($member: Algorithm),+> Algorithm for ($($member,)+) {
            type State = ($($member::State,)+);
            type Level = ($($member::Level,)+);

            #[inline]
            fn check(&self, state: &Self::State, now: Timestamp, cost: u64) -> Decision<Self::Level> {
                let each = ($(self.$index.check(&state.$index, now, cost),)+);
                let outcome = Outcome::Admit$(.and(each.$index.outcome))+;
                // A member that would have admitted what the stack refuses has not counted it.
                let level = match outcome {
                    Outcome::Admit | Outcome::Delay { .. } => ($(each.$index.level,)+),
                    Outcome::Reject { .. } | Outcome::Busy | Outcome::Never => ($(self.$index.check(&state.$index, now, 0).level,)+),
                };
                Decision { outcome, level, at: now, cost }
            }

            #[inline]
            fn take(&self, state: &mut Self::State, now: Timestamp, cost: u64) {
                $(self.$index.take(&mut state.$index, now, cost);)+
            }

            fn give_back(&self, state: &mut Self::State, taken: &Decision<Self::Level>, now: Timestamp) {
                $(
                    let own = Decision { outcome: taken.outcome, level: taken.level.$index, at: taken.at, cost: taken.cost };
                    self.$index.give_back(&mut state.$index, &own, now);
                )+
            }

            fn fresh_at(&self, state: &Self::State) -> Timestamp {
                Timestamp::ORIGIN$(.max(self.$index.fresh_at(&state.$index)))+
            }

            /// The quota of the member nearest to exhaustion. Another member may take longer to be whole again.
            fn quota(&self, level: Self::Level) -> Quota {
                stack!(@tightest $(self.$index.quota(level.$index)),+)
            }

            fn queue_capacity(&self) -> usize {
                0$(.max(self.$index.queue_capacity()))+
            }
        }
    };
    (@tightest $first:expr $(, $rest:expr)*) => { $first$(.tighter($rest))* };
}

stack!(A 0, B 1);
stack!(A 0, B 1, C 2);
stack!(A 0, B 1, C 2, D 3);
