//! The broker that tests speak to.

/// The URL of the broker: `FRESHMAKER_AMQP_URL`, or the standard port of this machine.
#[must_use]
pub fn url() -> String {
    std::env::var("FRESHMAKER_AMQP_URL").unwrap_or_else(|_| "amqp://guest:guest@127.0.0.1:5672/%2f".to_owned())
}

/// `127.0.0.1:5672` of the URL.
#[must_use]
pub fn address() -> String {
    let url = url();
    let authority = url.split("://").nth(1).unwrap().split('/').next().unwrap().rsplit('@').next().unwrap();
    if authority.contains(':') { authority.to_owned() } else { format!("{authority}:5672") }
}
