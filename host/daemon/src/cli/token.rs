//! `host token`.

use clap::{Args, Subcommand};
use host_wire::{
    admin::{NewToken, RevokeQuery, Token, TokenQuery},
    join::JoinToken,
};

use super::{Global, client::Admin, plan::utc, screen::Screen};
use crate::error::Error;

#[derive(Debug, Subcommand)]
pub(super) enum TokenCommand {
    /// Create a token and print what to run on the device that shall join
    Create(CreateArgs),
    /// List tokens and what became of them
    List,
    /// Take a token back; devices that have joined with it stay
    Revoke {
        /// Its id, or the token itself
        token: String,
    },
}

#[derive(Debug, Args)]
pub(super) struct CreateArgs {
    /// How long it can be used, such as 90s, 30m, 24h or 7d [default: join.token_ttl_ms of the host]
    #[arg(long, value_name = "TIME", value_parser = time_ms)]
    ttl: Option<u64>,
    /// Devices that may join with it [default: 1]
    #[arg(long, value_name = "N")]
    uses: Option<u32>,
    /// Places in a chain of stages that those devices may take: head, body, tail [default: all]
    #[arg(long, value_name = "ROLES")]
    roles: Option<String>,
}

pub(super) async fn token(global: &Global, screen: &mut Screen, command: TokenCommand) -> Result<(), Error> {
    let admin = Admin::find(global)?;
    match command {
        TokenCommand::Create(args) => {
            let query = TokenQuery { ttl_ms: args.ttl, uses: args.uses, roles: args.roles };
            let made: NewToken = admin.post("/tokens", &query, Vec::new()).await?;
            if screen.is_json() { screen.json(&made) } else { show(screen, &made) }
        }
        TokenCommand::List => {
            let tokens: Vec<Token> = admin.get("/tokens").await?;
            if screen.is_json() { screen.json(&tokens) } else { list(screen, &tokens) }
        }
        TokenCommand::Revoke { token } => {
            // Whoever wants to be rid of a token may have no more than the token.
            let id = JoinToken::parse(&token).map_or(token, |token| token.id.to_string());
            let revoked: Token = admin.post("/tokens/revoke", &RevokeQuery { id }, Vec::new()).await?;
            if screen.is_json() { screen.json(&revoked) } else { screen.line(&format!("token {} is {}", revoked.id, revoked.state)) }
        }
    }
}

fn show(screen: &mut Screen, made: &NewToken) -> Result<(), Error> {
    let token = &made.token;
    screen.line(&format!("token    {}, shown only now", made.text))?;
    screen.line(&format!("id       {}", token.id))?;
    screen.line(&format!("good     until {} UTC, for {} of {}", utc(token.expires_at_ms), devices(token.uses), token.roles.join(", ")))?;
    screen.line("")?;
    screen.line("Run this on the device:")?;
    screen.line(&made.command)
}

fn devices(count: u32) -> String {
    if count == 1 { "1 device".to_owned() } else { format!("{count} devices") }
}

fn list(screen: &mut Screen, tokens: &[Token]) -> Result<(), Error> {
    let row = |token: &Token| {
        let uses = format!("{} of {}", token.uses_left, token.uses);
        [token.id.clone(), token.state.replace('_', " "), uses, utc(token.created_at_ms), utc(token.expires_at_ms), token.roles.join(",")]
    };
    let rows: Vec<[String; 6]> = tokens.iter().map(row).collect();
    screen.table(["token", "state", "uses left", "created (UTC)", "ends (UTC)", "roles"], &rows)
}

/// A time as people write it, in milliseconds.
pub(super) fn time_ms(text: &str) -> Result<u64, String> {
    let expected = || "it must be a whole number and s, m, h or d".to_owned();
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit_ms = match &text[digits.len()..] {
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return Err(expected()),
    };
    digits.parse::<u64>().ok().and_then(|count| count.checked_mul(unit_ms)).ok_or_else(expected)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_a_whole_number_and_a_unit() {
        for (text, ms) in [("90s", 90_000), ("30m", 1_800_000), ("24h", 86_400_000), ("7d", 604_800_000), ("0s", 0)] {
            assert_eq!(time_ms(text), Ok(ms), "{text}");
        }
        for text in ["", "24", "h", "1.5h", "-1h", "24 h", "24H", "1w", "99999999999999999999d", "300000000000d", "4é"] {
            assert!(time_ms(text).is_err(), "{text}");
        }
    }
}
