//! Health checks, which must be answered when nothing else is.

use crate::Head;

/// Returns whether a request is a health check: for `skip`, so that a server which sheds is not taken for a dead one.
///
/// These are the calls of `grpc.health.v1.Health`, and `GET` and `HEAD` of `/health`, `/healthz`, `/livez`, `/readyz`, `/live`,
/// `/ready`, `/ping` and `/-/healthy`, `/-/ready`. Anybody may ask for them, uncounted and as often as they like: they must cost
/// next to nothing, and no other route may be under one of these paths.
///
/// # Examples
///
/// ```
/// use backpressure_http::{Head, health_check};
/// use http::Request;
///
/// assert!(health_check(Head::from(&Request::get("/healthz").body(())?)));
/// assert!(health_check(Head::from(&Request::post("/grpc.health.v1.Health/Check").body(())?)));
/// assert!(!health_check(Head::from(&Request::get("/orders").body(())?)));
/// # Ok::<_, http::Error>(())
/// ```
#[must_use]
pub fn health_check(head: Head<'_>) -> bool {
    let path = head.uri.path();
    match *head.method {
        http::Method::POST => path.strip_prefix(GRPC).is_some_and(|method| matches!(method, "Check" | "Watch" | "List")),
        http::Method::GET | http::Method::HEAD => PATHS.contains(&path),
        _ => false,
    }
}

const GRPC: &str = "/grpc.health.v1.Health/";
const PATHS: [&str; 9] = ["/health", "/healthz", "/livez", "/readyz", "/live", "/ready", "/ping", "/-/healthy", "/-/ready"];

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    #[test]
    fn nothing_else_is_a_health_check() {
        for (method, path) in [
            ("GET", "/"),
            ("GET", "/health/"),
            ("GET", "/health/../orders"),
            ("GET", "/Health"),
            ("GET", "/healthz/orders"),
            ("POST", "/health"),
            ("DELETE", "/health"),
            ("POST", "/grpc.health.v1.Health/"),
            ("POST", "/grpc.health.v1.Health/Check/"),
            ("POST", "/grpc.health.v1.HealthX/Check"),
            ("GET", "/grpc.health.v1.Health/Check"),
        ] {
            let request = Request::builder().method(method).uri(path).body(()).unwrap();
            assert!(!health_check(Head::from(&request)), "{method} {path}");
        }
        for path in PATHS {
            assert!(health_check(Head::from(&Request::head(path).body(()).unwrap())), "{path}");
        }
        let with_query = Request::get("/readyz?verbose=1").body(()).unwrap();
        assert!(health_check(Head::from(&with_query)));
    }
}
