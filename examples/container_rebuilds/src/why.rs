//! Why an image was rebuilt or not.

use crate::Result;
use freshmaker::client::Client;

/// So many of the latest events about an image are shown.
const EVENTS: u32 = 5;

/// Says what is stored about an image, as text or as JSON.
pub(crate) async fn why(client: &Client, name: &str, json: bool) -> Result<bool> {
    let why = client.why(name, EVENTS).await?;
    if json {
        println!("{}", serde_json::to_string_pretty(&why)?);
    } else {
        print!("{why}");
    }
    Ok(true)
}
