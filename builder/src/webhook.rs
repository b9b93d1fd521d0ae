//! Telling others of the events of jobs: signed, tried again, and never sent to where only this machine can reach.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use futures::StreamExt;
use hmac::{Hmac, Mac};
use serde_json::json;
use sha2::Sha256;
use url::Url;

use crate::store::webhook::{self, Due};
use crate::task::{TaskContext, error_text};
use crate::{Error, Result};

/// How often is looked for what is due.
const EVERY: Duration = Duration::from_secs(1);
/// How long the other side may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// Deliveries taken at once, and under way at a time.
const BATCH: i64 = 64;
const CONCURRENT: usize = 8;
/// After so many attempts it is given up; the waits between them add up to about three hours.
const ATTEMPTS: i32 = 10;

/// Whether a webhook may have this address.
///
/// # Errors
/// What is wrong with it, in words.
pub fn check_url(text: &str, allow_private: bool) -> Result<Url, String> {
    let url = Url::parse(text).map_err(|error| format!("is not a URL: {error}"))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err("begins with https:// or http://".to_owned());
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("carries no user name or password".to_owned());
    }
    let ip = match url.host() {
        None => return Err("names a host".to_owned()),
        Some(url::Host::Domain(_)) => None,
        Some(url::Host::Ipv4(ip)) => Some(IpAddr::V4(ip)),
        Some(url::Host::Ipv6(ip)) => Some(IpAddr::V6(ip)),
    };
    if ip.is_some_and(|ip| !allow_private && !is_public(ip)) {
        return Err(
            "is an address of this machine or of a private network, which this service does not call".to_owned()
        );
    }
    Ok(url)
}

/// Whether an address is one of the open internet.
pub fn is_public(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => is_public_v4(ip),
        IpAddr::V6(ip) => match embedded_v4(ip) {
            Some(inner) => is_public_v4(inner),
            None => {
                let first = ip.segments()[0];
                let unique_local = first & 0xfe00 == 0xfc00;
                let link_local = first & 0xffc0 == 0xfe80 || first & 0xffc0 == 0xfec0;
                let documentation = first == 0x2001 && ip.segments()[1] == 0xdb8;
                !(ip.is_loopback()
                    || ip.is_unspecified()
                    || ip.is_multicast()
                    || unique_local
                    || link_local
                    || documentation)
            }
        },
    }
}

/// The IPv4 address that an IPv6 one stands for: mapped, compatible, NAT64 or 6to4.
fn embedded_v4(ip: Ipv6Addr) -> Option<Ipv4Addr> {
    let s = ip.segments();
    let of = |high: u16, low: u16| Ipv4Addr::from((u32::from(high) << 16) | u32::from(low));
    if s[..6] == [0x64, 0xff9b, 0, 0, 0, 0] {
        return Some(of(s[6], s[7]));
    }
    if s[0] == 0x2002 {
        return Some(of(s[1], s[2]));
    }
    let compatible = s[..6] == [0; 6] && !ip.is_loopback() && !ip.is_unspecified();
    ip.to_ipv4_mapped().or_else(|| compatible.then(|| of(s[6], s[7])))
}

fn is_public_v4(ip: Ipv4Addr) -> bool {
    let [a, b, c, _] = ip.octets();
    let shared = a == 100 && (64..128).contains(&b);
    let reserved = a == 0 || a >= 240 || (a == 192 && b == 0 && c == 0) || (a == 198 && (b == 18 || b == 19));
    !(ip.is_private()
        || ip.is_loopback()
        || ip.is_link_local()
        || ip.is_multicast()
        || ip.is_documentation()
        || shared
        || reserved)
}

/// `t=SECONDS,v1=HEX`: HMAC-SHA-256 of `SECONDS.BODY` under the webhook's secret. The time in it keeps an old message from
/// being sent again by somebody who saw it.
pub fn signature(secret: &str, seconds: i64, body: &[u8]) -> String {
    // HMAC takes keys of any length.
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(secret.as_bytes()) else { return String::new() };
    mac.update(format!("{seconds}.").as_bytes());
    mac.update(body);
    format!("t={seconds},v1={}", hex::encode(mac.finalize().into_bytes()))
}

/// Delivers until the context is told to stop. Several processes may do it at once: each delivery is taken by one.
pub async fn run(context: &TaskContext, allow_private: bool) {
    loop {
        tokio::select! {
            () = context.shutdown.cancelled() => return,
            () = tokio::time::sleep(EVERY) => {}
        }
        if let Err(error) = deliver_due(context, allow_private).await {
            tracing::warn!(error = error_text(&error), "delivering webhooks failed; trying again");
        }
    }
}

/// Sends what is due now.
pub async fn deliver_due(context: &TaskContext, allow_private: bool) -> Result<()> {
    let due = webhook::take_due(&mut *context.pool.acquire().await?, BATCH).await?;
    let mut all = futures::stream::iter(due)
        .map(|one| async move {
            let sent = send(&one, allow_private).await;
            (one, sent)
        })
        .buffer_unordered(CONCURRENT);
    while let Some((one, sent)) = all.next().await {
        let mut conn = context.pool.acquire().await?;
        match sent {
            Ok(status) if (200..300).contains(&status) => webhook::delivered(&mut conn, one.id, status).await?,
            Ok(status) => {
                let error = format!("the answer was {status}");
                webhook::not_delivered(&mut conn, one.id, Some(status), &error, retry_after(one.attempts)).await?;
            }
            Err(Failure { message, passing }) => {
                let again = retry_after(one.attempts).filter(|_| passing);
                webhook::not_delivered(&mut conn, one.id, None, &message, again).await?;
            }
        }
    }
    Ok(())
}

/// 5 s, 10 s, 20 s … up to an hour; `None` after the last attempt.
fn retry_after(attempts: i32) -> Option<f64> {
    (attempts < ATTEMPTS).then(|| (5.0 * 2_f64.powi(attempts - 1)).min(3600.0))
}

struct Failure {
    message: String,
    passing: bool,
}

async fn send(due: &Due, allow_private: bool) -> std::result::Result<i32, Failure> {
    let for_good = |message: String| Failure { message, passing: false };
    let passing = |message: String| Failure { message, passing: true };
    let url = check_url(&due.url, allow_private).map_err(for_good)?;
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']).to_owned();
    let port = url.port_or_known_default().unwrap_or(443);
    let found: Vec<SocketAddr> = tokio::net::lookup_host((host.as_str(), port))
        .await
        .map_err(|error| passing(format!("{host} was not found: {error}")))?
        .collect();
    // The very address that was looked at is the one that is called: another look-up could give another.
    let address = found.iter().find(|address| allow_private || is_public(address.ip()));
    let Some(address) = address else {
        return Err(for_good(format!("{host} is an address of this machine or of a private network")));
    };
    // Several may ask for it; the first one counts.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let client = reqwest::Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy()
        .timeout(PATIENCE)
        .resolve(&host, *address)
        .build()
        .map_err(|error| for_good(error.to_string()))?;
    let body = json!({ "delivery_id": due.id, "job_id": due.job_id, "sequence": due.sequence, "at": due.at,
        "kind": due.kind, "data": due.data })
    .to_string();
    let seconds = chrono::Utc::now().timestamp();
    let answer = client
        .post(url)
        .header("content-type", "application/json")
        .header("x-diptych-delivery", due.id.to_string())
        .header("x-diptych-event", &due.kind)
        .header("x-diptych-signature", signature(&due.secret, seconds, body.as_bytes()))
        .body(body)
        .send()
        .await
        .map_err(|error| passing(error_text(&Error::Format(error.to_string()))))?;
    Ok(i32::from(answer.status().as_u16()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_open_internet_is_called() {
        for (ip, expected) in [
            ("8.8.8.8", true),
            ("2606:4700::1111", true),
            ("127.0.0.1", false),
            ("10.1.2.3", false),
            ("172.16.0.1", false),
            ("192.168.1.1", false),
            ("169.254.169.254", false),
            ("100.64.0.1", false),
            ("0.0.0.0", false),
            ("255.255.255.255", false),
            ("224.0.0.1", false),
            ("::1", false),
            ("::", false),
            ("fe80::1", false),
            ("fd00::1", false),
            ("::ffff:127.0.0.1", false),
            ("::127.0.0.1", false),
            ("64:ff9b::a9fe:a9fe", false),
            ("2002:7f00:1::", false),
        ] {
            assert_eq!(is_public(ip.parse().unwrap()), expected, "{ip}");
        }
        for url in [
            "http://2130706433/",
            "http://0x7f.1/",
            "http://[::1]:80/",
            "ftp://a.example/",
            "https://u:p@a.example/",
            "x",
        ] {
            assert!(check_url(url, false).is_err(), "{url}");
        }
        assert!(check_url("http://127.0.0.1:9/", true).is_ok() && check_url("https://a.example/h?x=1", false).is_ok());
    }

    #[test]
    fn the_signature_is_hmac_sha_256() {
        // python3: hmac.new(b"key", b"5.{}", "sha256").hexdigest()
        assert_eq!(signature("key", 5, b"{}"), format!("t=5,v1={EXPECTED}"));
        assert_ne!(signature("key", 6, b"{}"), signature("key", 5, b"{}"));
    }

    const EXPECTED: &str = "9be615aec64f0d044b5ad6854ab1d893ec88617fb728d2149dcd3a3428e8c45d";

    #[test]
    fn waits_grow_and_end() {
        assert_eq!((retry_after(1), retry_after(2), retry_after(ATTEMPTS)), (Some(5.0), Some(10.0), None));
    }
}
