//! An axum server behind a proxy: each client has its own limit, and nobody gets another by claiming to be somebody else.
//!
//! `cargo run --example behind_proxy` starts it on 127.0.0.1:3001, plays the proxy (which calls from 127.0.0.1, as one on the
//! same machine does), prints what came of it, and serves until Ctrl-C. `--port N` listens elsewhere (0: any free port);
//! `--once` ends after the table.

#![expect(clippy::print_stdout, reason = "programs talk to the person who started them")]

use std::net::{IpAddr, SocketAddr};
use std::process::ExitCode;

use axum::Router;
use axum::extract::{ConnectInfo, Path};
use axum::routing::get;
use backpressure_examples::{Arguments, Client};
use tower_backpressure::key::{self, Prefixes, Proxies, Trust, TrustError};
use tower_backpressure::{Rate, RateLimitLayer, TokenBucket};

/// Whom the two routes believe.
#[derive(Clone)]
struct Routes {
    /// A proxy on this machine, and others in the network behind it.
    proxied: Proxies,
    /// Nobody: clients are meant to connect directly.
    direct: Proxies,
}

impl Routes {
    fn new() -> Result<Self, TrustError> {
        Ok(Self { proxied: Proxies::new("127.0.0.1, 10.0.0.0/8".parse()?), direct: Proxies::new(Trust::nobody()) })
    }

    /// The whole server: 5 requests a minute for each client of each route.
    fn app(&self) -> Router {
        let limit = |proxies: &Proxies| {
            let client = key::client_ip(|peer: &ConnectInfo<SocketAddr>| peer.0.ip()).x_forwarded_for(proxies);
            RateLimitLayer::new(TokenBucket::new(Rate::per_minute(5))).keyed(client)
        };
        let proxied = limit(&self.proxied);
        let direct = limit(&self.direct);

        // Looking up a client by hand: fold its address as the key does.
        let limiter = proxied.limiter();
        let remaining = get(async move |Path(address): Path<IpAddr>| {
            let quota = limiter.peek(&Prefixes::new().fold(address));
            format!("{address} may send {} more requests to /proxied\n", quota.remaining)
        });
        let ignored = self.direct.clone();
        let ignored = get(async move || format!("{} requests to /direct had a field that was ignored\n", ignored.ignored()));

        Router::new()
            .route("/proxied", get(async || "believes X-Forwarded-For from 127.0.0.1 and 10.0.0.0/8\n").layer(proxied))
            .route("/direct", get(async || "believes nobody\n").layer(direct))
            .route("/remaining/{address}", remaining)
            .route("/ignored", ignored)
    }
}

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = Arguments::read(3001);
    let (listener, address) = arguments.listen().await;
    let routes = Routes::new().expect("the networks are written right");
    let service = routes.app().into_make_service_with_connect_info::<SocketAddr>();
    let server = tokio::spawn(async move { axum::serve(listener, service).with_graceful_shutdown(interrupted()).await });

    println!("serving on http://{address}; each client may send 5 requests a minute to each route.\n");
    let as_claimed = demonstrate(&Client::new(address), &routes).await;
    if arguments.once {
        return if as_claimed { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    }

    println!("\nTry it (Ctrl-C ends it). You are the proxy: the last address of the field is your client.\n");
    println!("  curl -i -H 'x-forwarded-for: 192.0.2.1' http://{address}/proxied");
    println!("  curl http://{address}/remaining/192.0.2.1");
    println!("  for i in $(seq 8); do curl -s -o /dev/null -w '%{{http_code}} ' -H \"x-forwarded-for: 9.9.9.$i, 192.0.2.2\" \\");
    println!("    http://{address}/proxied; done; echo      # a client that claims to be others: 5 pass");
    println!("  for i in $(seq 8); do curl -s -o /dev/null -w '%{{http_code}} ' -H \"x-forwarded-for: 192.0.2.$i\" \\");
    println!("    http://{address}/direct; done; echo       # nobody is believed here, so it is all you: after a minute, 5 pass");
    println!("  curl http://{address}/ignored");
    match server.await {
        Ok(Ok(())) => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    }
}

async fn interrupted() {
    // Where the signal cannot be had, the server runs until it is killed.
    if tokio::signal::ctrl_c().await.is_err() {
        std::future::pending::<()>().await;
    }
}

/// A line of the table: 8 requests, in each of which `#` stands for the number of the request.
struct Claim {
    what: &'static str,
    path: &'static str,
    /// The fields that reach the server.
    fields: &'static [(&'static str, &'static str)],
    admits: usize,
}

/// In this order: the clients of the first lines have used up their limits when the later ones come.
const CLAIMS: [Claim; 9] = [
    Claim { what: "a client", path: "/proxied", fields: &[("x-forwarded-for", "203.0.113.7")], admits: 5 },
    Claim { what: "another", path: "/proxied", fields: &[("x-forwarded-for", "203.0.113.8")], admits: 5 },
    Claim {
        what: "the first claims to be others",
        path: "/proxied",
        fields: &[("x-forwarded-for", "9.9.9.#, 203.0.113.7")],
        admits: 0,
    },
    Claim {
        what: "… in another field",
        path: "/proxied",
        fields: &[("forwarded", "for=9.9.9.#"), ("x-forwarded-for", "203.0.113.7")],
        admits: 0,
    },
    Claim {
        what: "… through two proxies",
        path: "/proxied",
        fields: &[("x-forwarded-for", "9.9.9.#, 203.0.113.7, 10.0.0.2")],
        admits: 0,
    },
    Claim { what: "… as mapped IPv6", path: "/proxied", fields: &[("x-forwarded-for", "::ffff:203.0.113.7")], admits: 0 },
    Claim { what: "8 addresses of one /64", path: "/proxied", fields: &[("x-forwarded-for", "2001:db8:0:1::#")], admits: 5 },
    Claim { what: "8 networks", path: "/proxied", fields: &[("x-forwarded-for", "2001:db8:1:#::1")], admits: 8 },
    Claim { what: "nobody is believed", path: "/direct", fields: &[("x-forwarded-for", "9.9.9.#")], admits: 5 },
];

/// Plays the proxy and prints a line for each claim; returns whether all came out as claimed.
async fn demonstrate(client: &Client, routes: &Routes) -> bool {
    println!(
        "  {:<30} {:<8}  {:<54} {:>4} {:>8}",
        "8 requests from", "route", "fields (# is the number of the request)", "200", "expected"
    );
    let mut as_claimed = true;
    for claim in &CLAIMS {
        as_claimed &= holds(client, claim).await;
    }
    let counted = (routes.proxied.ignored(), routes.direct.ignored());
    println!("\nfields ignored because their sender is not trusted: {} on /proxied, {} on /direct", counted.0, counted.1);
    as_claimed &= counted == (0, 8);

    println!("\n/direct is told to trust one hop while it runs, and then nobody again:");
    routes.direct.set(Trust::hops(1));
    as_claimed &= holds(client, &Claim { what: "8 clients", admits: 8, ..CLAIMS[8] }).await;
    routes.direct.set(Trust::nobody());

    println!("\n{}", if as_claimed { "Everything came out as expected." } else { "Something did not come out as expected." });
    as_claimed
}

/// Sends the 8 requests of a claim, prints its line, and returns whether as many were admitted as it says.
async fn holds(client: &Client, claim: &Claim) -> bool {
    let mut admitted = 0;
    for number in 1..=8 {
        let values: Vec<String> = claim.fields.iter().map(|(_, value)| value.replace('#', &number.to_string())).collect();
        let fields: Vec<(&str, &str)> =
            claim.fields.iter().map(|(name, _)| *name).zip(values.iter().map(String::as_str)).collect();
        match client.get_with(claim.path, &fields).await {
            Ok(reply) if reply.status == 200 => admitted += 1,
            Ok(reply) if reply.status == 429 => {}
            other => {
                println!("  {:<30} {:<8}  failed: {other:?}", claim.what, claim.path);
                return false;
            }
        }
    }
    let fields: Vec<String> = claim.fields.iter().map(|(name, value)| format!("{name}: {value}")).collect();
    println!("  {:<30} {:<8}  {:<54} {admitted:>4} {:>8}", claim.what, claim.path, fields.join("; "), claim.admits);
    admitted == claim.admits
}
