//! The command `why`: why an image was rebuilt or not.

use crate::Result;
use crate::out::say;
use crate::wires::Wires;

/// The most events about an image that are shown, latest first.
const EVENTS: u32 = 5;

/// Says what is stored about an image, as text or as JSON; whether anything is.
pub(crate) async fn why(wires: &Wires, name: &str, json: bool) -> Result<bool> {
    let client = wires.client()?;
    let mut why = client.why(name, EVENTS).await?;
    // What is stored has the name that the catalog gives it.
    if let Some(known) = wires.catalog.canonical(&name.into()).filter(|_| why.events.is_empty()) {
        why = client.why(known.as_str(), EVENTS).await?;
    }
    if json {
        say!("{}", serde_json::to_string_pretty(&why)?);
    } else {
        say!("{}", why.to_string().trim_end());
    }
    Ok(!why.events.is_empty())
}
