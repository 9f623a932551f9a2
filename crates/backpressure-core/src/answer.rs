//! What the caller gets when a request is refused.

use std::fmt;

use crate::{Deadline, Rejection, Standing};

/// Turns what a layer decided into what its caller gets.
///
/// `Req`, `Res` and `Err` are those of the service inside; [`Response`](Self::Response) and [`Error`](Self::Error) are those of
/// the
/// layer round it.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot answer a refused `{Req}` where the service answers `Result<{Res}, {Err}>`",
    label = "this layer has no way to tell the caller of a refusal",
    note = "not an HTTP service? `.answer(Fail)` if `{Err}: From<Rejection>`, `.answer(Wrap)` to get `Refused<{Err}>`, or `.answer(answer_with(|rejection| response))`",
    note = "an HTTP body that is not `Default` (hyper's `Incoming`)? `.answer(Respond::with_body())`"
)]
pub trait Answer<Req, Res, Err> {
    /// What the answer needs to know of the request, taken before the request is gone.
    type Context;
    /// What the layer answers.
    type Response;
    /// How the layer fails.
    type Error;

    /// Takes from the request what an answer will need.
    fn context(&self, request: &Req) -> Self::Context;

    /// Returns until when an answer is of use to the caller, where the protocol says so.
    fn deadline(&self, _request: &Req) -> Option<Deadline> {
        None
    }

    /// Answers a refused request.
    ///
    /// # Errors
    ///
    /// Where a refusal is an error to this caller.
    fn refuse(&self, context: Self::Context, rejection: Rejection) -> Result<Self::Response, Self::Error>;

    /// Passes on the response to an admitted request. `standing` is there if [`wants_standing`](Self::wants_standing) says so
    /// and the limit counts.
    fn admit(&self, context: Self::Context, standing: Option<Standing>, response: Res) -> Self::Response;

    /// Passes on an error of the service.
    fn fail(&self, error: Err) -> Self::Error;

    /// Returns whether [`admit`](Self::admit) looks at the standing; otherwise it is not computed.
    fn wants_standing(&self) -> bool {
        false
    }
}

/// Answers a refusal with an error of the service's own type, which must be `From<Rejection>`.
#[derive(Clone, Copy, Debug, Default)]
pub struct Fail;

#[diagnostic::do_not_recommend]
impl<Req, Res, Err: From<Rejection>> Answer<Req, Res, Err> for Fail {
    type Context = ();
    type Response = Res;
    type Error = Err;

    fn context(&self, _request: &Req) {}

    fn refuse(&self, (): (), rejection: Rejection) -> Result<Res, Err> {
        Err(rejection.into())
    }

    fn admit(&self, (): (), _standing: Option<Standing>, response: Res) -> Res {
        response
    }

    fn fail(&self, error: Err) -> Err {
        error
    }
}

/// Answers a refusal with [`Refused::Rejected`], for services whose error type is somebody else's.
#[derive(Clone, Copy, Debug, Default)]
pub struct Wrap;

/// An error of the service, or a refusal in front of it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "there is nothing else that a layer round a service can say")]
pub enum Refused<E> {
    /// The request was refused and never reached the service.
    Rejected(Rejection),
    /// The service failed.
    Inner(E),
}

#[diagnostic::do_not_recommend]
impl<Req, Res, Err> Answer<Req, Res, Err> for Wrap {
    type Context = ();
    type Response = Res;
    type Error = Refused<Err>;

    fn context(&self, _request: &Req) {}

    fn refuse(&self, (): (), rejection: Rejection) -> Result<Res, Refused<Err>> {
        Err(Refused::Rejected(rejection))
    }

    fn admit(&self, (): (), _standing: Option<Standing>, response: Res) -> Res {
        response
    }

    fn fail(&self, error: Err) -> Refused<Err> {
        Refused::Inner(error)
    }
}

impl<E> From<Rejection> for Refused<E> {
    fn from(rejection: Rejection) -> Self {
        Self::Rejected(rejection)
    }
}

impl<E: fmt::Display> fmt::Display for Refused<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rejected(rejection) => rejection.fmt(f),
            Self::Inner(error) => error.fmt(f),
        }
    }
}

impl<E: std::error::Error + 'static> std::error::Error for Refused<E> {
    /// This type says what its content says, so its source is that of the content.
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Rejected(rejection) => rejection.source(),
            Self::Inner(error) => error.source(),
        }
    }
}

/// Answers a refusal with the response that `respond` makes of it; errors stay the service's.
pub const fn answer_with<Res, F: Fn(Rejection) -> Res>(respond: F) -> AnswerWith<F> {
    AnswerWith { respond }
}

/// The answer made by [`answer_with`].
#[derive(Clone, Copy)]
pub struct AnswerWith<F> {
    respond: F,
}

impl<F> fmt::Debug for AnswerWith<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AnswerWith").finish_non_exhaustive()
    }
}

#[diagnostic::do_not_recommend]
impl<F: Fn(Rejection) -> Res, Req, Res, Err> Answer<Req, Res, Err> for AnswerWith<F> {
    type Context = ();
    type Response = Res;
    type Error = Err;

    fn context(&self, _request: &Req) {}

    fn refuse(&self, (): (), rejection: Rejection) -> Result<Res, Err> {
        Ok((self.respond)(rejection))
    }

    fn admit(&self, (): (), _standing: Option<Standing>, response: Res) -> Res {
        response
    }

    fn fail(&self, error: Err) -> Err {
        error
    }
}
