//! What a layer reads from a request before it decides.

use std::fmt;

use backpressure_core::{Class, Reason};
use backpressure_http::{Constant, Read};

use crate::clients::{Anyone, Clients};
use crate::hold::Until;

/// Tells a layer what it must know of a request.
///
/// Implemented by [`Readers`]; a trait of its own so that bounds name one thing and not five.
pub trait Triage<Req> {
    /// What a request takes of its client's share.
    type Client;

    /// Whether the layer does not concern this request.
    fn passes(&self, request: &Req) -> bool;

    /// How much it matters.
    fn class(&self, request: &Req) -> Class;

    /// How long it holds its place.
    fn until(&self, request: &Req) -> Until;

    /// What it weighs while it waits.
    fn weight(&self, request: &Req) -> u64;

    /// Takes its client's share.
    ///
    /// # Errors
    ///
    /// Why it is refused.
    fn client(&self, request: &Req) -> Result<Option<Self::Client>, Reason>;
}

/// What is read from a request, each by a reader of its own: whether it passes uncounted, its class, how long it holds its place,
/// its weight, and whose it is.
///
/// Built by the methods of [`LoadShedLayer`](crate::LoadShedLayer); the defaults read nothing.
#[derive(Clone)]
pub struct Readers<P = Constant<bool>, C = Constant<Class>, U = Constant<Until>, W = Constant<u64>, K = Anyone> {
    pub(crate) passes: P,
    pub(crate) class: C,
    pub(crate) until: U,
    pub(crate) weight: W,
    pub(crate) clients: K,
}

/// Says yes where one of two readers does.
#[derive(Clone, Copy)]
pub struct Either<P, Q> {
    pub(crate) one: P,
    pub(crate) other: Q,
}

impl Readers {
    pub(crate) const fn new() -> Self {
        Self {
            passes: Constant(false),
            class: Constant(Class::Default),
            until: Constant(Until::BodyEnd),
            weight: Constant(0),
            clients: Anyone,
        }
    }
}

impl Default for Readers {
    fn default() -> Self {
        Self::new()
    }
}

impl<Req, P, C, U, W, K> Triage<Req> for Readers<P, C, U, W, K>
where
    P: Read<Req, bool>,
    C: Read<Req, Class>,
    U: Read<Req, Until>,
    W: Read<Req, u64>,
    K: Clients<Req>,
{
    type Client = K::Place;

    #[inline]
    fn passes(&self, request: &Req) -> bool {
        self.passes.read(request)
    }

    #[inline]
    fn class(&self, request: &Req) -> Class {
        self.class.read(request)
    }

    #[inline]
    fn until(&self, request: &Req) -> Until {
        self.until.read(request)
    }

    #[inline]
    fn weight(&self, request: &Req) -> u64 {
        self.weight.read(request)
    }

    #[inline]
    fn client(&self, request: &Req) -> Result<Option<K::Place>, Reason> {
        self.clients.take(request)
    }
}

impl<Req, P: Read<Req, bool>, Q: Read<Req, bool>> Read<Req, bool> for Either<P, Q> {
    fn read(&self, request: &Req) -> bool {
        self.one.read(request) || self.other.read(request)
    }
}

impl<P, C, U, W, K: fmt::Debug> fmt::Debug for Readers<P, C, U, W, K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Readers").field("clients", &self.clients).finish_non_exhaustive()
    }
}

impl<P, Q> fmt::Debug for Either<P, Q> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Either").finish_non_exhaustive()
    }
}
