//! Tokens of programs that use the REST interfaces. The first one can only be made here.

use crate::Result;
use crate::out::say;
use freshmaker::client::Client;
use freshmaker_web::{NewToken, Role, TokenInfo, Tokens};
use std::time::Duration;

/// What is done with tokens.
#[derive(Debug, PartialEq)]
pub(crate) enum Act {
    Create { name: String, roles: Vec<Role>, days: u32, by: String },
    List,
    Revoke { id: String },
}

/// How long a token is valid, if nobody says otherwise.
const DAYS: u32 = 90;

impl Act {
    /// Reads the words behind `token`.
    pub(crate) fn parse(
        words: &[&str],
        roles: &[String],
        days: Option<u32>,
        by: &str,
    ) -> std::result::Result<Self, String> {
        let plain = roles.is_empty() && days.is_none();
        match words {
            ["create", name] => {
                let roles = roles.iter().map(|name| role(name)).collect::<std::result::Result<_, _>>()?;
                Ok(Self::Create { name: (*name).to_owned(), roles, days: days.unwrap_or(DAYS), by: by.to_owned() })
            }
            ["list"] if plain => Ok(Self::List),
            ["revoke", id] if plain => Ok(Self::Revoke { id: (*id).to_owned() }),
            _ => Err("token needs `create NAME`, `list` or `revoke ID`".to_owned()),
        }
    }
}

impl Act {
    /// Whether it may come before the first service.
    pub(crate) fn is_first(&self) -> bool {
        matches!(self, Self::Create { .. })
    }
}

fn role(name: &str) -> std::result::Result<Role, String> {
    let found = Role::ALL.iter().find(|role| role.as_str() == name);
    let names: Vec<_> = Role::ALL.iter().map(|role| role.as_str()).collect();
    found.copied().ok_or_else(|| format!("--role: {name:?} is not one of {}", names.join(", ")))
}

fn line(token: &TokenInfo) {
    let TokenInfo { id, name, roles, created_by, expires_at, .. } = token;
    let roles: Vec<_> = roles.iter().map(|role| role.as_str()).collect();
    say!("{id} {name} [{}] until {expires_at}, by {created_by}", roles.join(","));
}

pub(crate) async fn run(client: Client, act: Act) -> Result<bool> {
    let tokens = Tokens::new(client);
    match act {
        Act::Create { name, roles, days, by } => {
            let lifetime = Duration::from_secs(u64::from(days) * 86_400);
            let issued = tokens.issue(NewToken::new(name, roles, lifetime), &by).await?;
            say!("{}", issued.token);
            eprintln!("id {}, valid until {}; it is not shown again", issued.info.id, issued.info.expires_at);
        }
        Act::List => {
            let mut before = None;
            loop {
                let (part, next) = tokens.list(before, 100).await?;
                part.iter().for_each(line);
                before = next;
                if before.is_none() {
                    break;
                }
            }
        }
        Act::Revoke { id } => {
            if !tokens.revoke(&id).await? {
                return Err(format!("there is no token {id}").into());
            }
            say!("revoked {id}");
        }
    }
    Ok(true)
}
