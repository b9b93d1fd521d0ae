//! `diptych token`: the tokens that `serve --auth` asks for.

use builder::store;
use chrono::{Duration, Utc};
use clap::{Args, Subcommand};
use serde_json::json;
use uuid::Uuid;

use super::{Global, output, session};
use crate::auth;

/// Make, list and take back tokens
#[derive(Debug, Args)]
#[command(after_help = "Example:  diptych token create --name laptop --scope admin")]
pub(crate) struct Token {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Make a token; its secret is printed once
    #[command(after_help = "Example:  diptych token create --name laptop --scope admin --days 30")]
    Create {
        /// For people
        #[arg(long)]
        name: String,
        /// `read`, `curate`, `train` or `admin`; several by naming it again
        #[arg(long = "scope", value_name = "SCOPE", required = true, value_parser = auth::SCOPES)]
        scopes: Vec<String>,
        /// Days that it is valid. Default: for ever
        #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=36_500))]
        days: Option<u32>,
    },
    /// List tokens, without their secrets
    #[command(after_help = "Example:  diptych token list --json")]
    List,
    /// Take a token back
    #[command(after_help = "Example:  diptych token revoke 01890a5d-ac96-774b-bcce-b302099a8057")]
    Revoke {
        /// The token
        id: Uuid,
    },
}

impl Token {
    pub(crate) fn run(self, global: &Global) -> anyhow::Result<()> {
        match self.what {
            What::Create { name, scopes, days } => {
                let secret = auth::new_secret();
                let expires_at = days.map(|days| Utc::now() + Duration::days(i64::from(days)));
                let id = session::with(global, async |session| {
                    let mut connection = session.context.pool.acquire().await?;
                    let hash = auth::hash(&secret);
                    Ok(store::token::insert(&mut connection, &name, &hash, &scopes, expires_at).await?)
                })?;
                if global.json {
                    return output::json(&json!({ "id": id, "name": name, "scopes": scopes, "secret": secret }));
                }
                Ok(output::line(&secret)?)
            }
            What::List => {
                let tokens = session::with(global, async |session| {
                    let mut connection = session.context.pool.acquire().await?;
                    let mut all = Vec::new();
                    let mut cursor = None;
                    loop {
                        let page =
                            store::token::list(&mut connection, store::page::MAX_LIMIT, cursor.as_deref()).await?;
                        all.extend(page.items);
                        cursor = page.next_cursor;
                        if cursor.is_none() {
                            return Ok(all);
                        }
                    }
                })?;
                for one in tokens {
                    if global.json {
                        output::json(&json!({ "id": one.id, "name": one.name, "scopes": one.scopes,
                            "expires_at": one.expires_at, "revoked_at": one.revoked_at }))?;
                    } else {
                        let state = if one.revoked_at.is_some() { " (taken back)" } else { "" };
                        output::line(&format!("{}  {}  {}{state}", one.id, one.scopes.join(","), one.name))?;
                    }
                }
                Ok(())
            }
            What::Revoke { id } => session::with(global, async |session| {
                let mut connection = session.context.pool.acquire().await?;
                let found = store::token::find(&mut connection, id).await?;
                found.ok_or_else(|| builder::Error::not_found("token", id))?;
                Ok(store::token::revoke(&mut connection, id).await?)
            }),
        }
    }
}
