//! Waits: bounded lines of waiters with an order, a deadline and a stated behaviour at the bound
