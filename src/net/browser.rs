//! What browsers say of the page that makes them send a request.

use http::{HeaderMap, Uri, header};

/// Whether a page of another site made a browser send this. Old browsers name only the page's
/// origin, and not for every request; what is not a browser names neither.
pub(crate) fn crosses_sites(headers: &HeaderMap) -> bool {
    if let Some(site) = headers.get("sec-fetch-site") {
        return !["same-origin", "same-site", "none"]
            .iter()
            .any(|same| site == same);
    }
    let Some(origin) = headers.get(header::ORIGIN) else {
        return false;
    };
    let host = headers
        .get(header::HOST)
        .and_then(|host| host.to_str().ok());
    let origin: Option<Uri> = origin.to_str().ok().and_then(|origin| origin.parse().ok());
    let origin = origin.as_ref().and_then(Uri::host);
    let name = |host: &str| {
        host.parse::<Uri>()
            .ok()
            .and_then(|uri| uri.host().map(str::to_owned))
    };
    match (origin, host.and_then(name)) {
        (Some(origin), Some(host)) => !origin.eq_ignore_ascii_case(&host),
        // `null`, which a sandboxed page sends.
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::crosses_sites;
    use http::HeaderMap;

    fn crosses(headers: &[(&'static str, &'static str)]) -> bool {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.insert(*name, value.parse().expect("a header's value"));
        }
        crosses_sites(&map)
    }

    #[test]
    fn a_page_of_another_site_is_told_from_everybody_else() {
        assert!(!crosses(&[]));
        assert!(!crosses(&[("sec-fetch-site", "none")]));
        assert!(!crosses(&[
            ("sec-fetch-site", "same-origin"),
            ("origin", "null")
        ]));
        assert!(!crosses(&[("sec-fetch-site", "same-site")]));
        assert!(crosses(&[("sec-fetch-site", "cross-site")]));
        assert!(crosses(&[("sec-fetch-site", "whatever")]));
        let from = |origin| crosses(&[("host", "push.example.com:2121"), ("origin", origin)]);
        assert!(!from("https://push.example.com"));
        assert!(!from("https://PUSH.example.com:8443"));
        assert!(from("https://evil.example.org"));
        assert!(from("https://push.example.com.evil.org"));
        assert!(from("null"));
    }
}
