//! `login` and `logout`.

use crate::base::{Error, Kind, Result};
use crate::cli::auth::{ConfigFile, HUB, registry_of};
use crate::cli::http::Query;
use crate::cli::output::{line, say};
use crate::cli::terminal;
use crate::cli::value::Json;
use crate::cli::{Cx, auth};
use argh::{ArgsInfo, FromArgs};
use serde::Serialize;
use std::io::Read;

/// authenticate to a registry
#[derive(FromArgs, ArgsInfo)]
pub struct Login {
    /// password or Personal Access Token
    #[argh(option, short = 'p', default = "String::new()")]
    password: String,
    /// take the password from STDIN
    #[argh(switch)]
    password_stdin: bool,
    /// username
    #[argh(option, short = 'u', default = "String::new()")]
    username: String,
    /// server
    #[argh(positional)]
    server: Option<String>,
}

/// log out from a registry
#[derive(FromArgs, ArgsInfo)]
pub struct Logout {
    /// server
    #[argh(positional)]
    server: Option<String>,
}

#[derive(Serialize)]
struct Body<'a> {
    username: &'a str,
    password: &'a str,
    serveraddress: &'a str,
}

/// The key in config.json.
fn key(server: Option<&String>) -> String {
    match server.map(String::as_str) {
        None | Some("" | HUB | "docker.io" | "index.docker.io" | "registry-1.docker.io") => HUB.into(),
        Some(server) => {
            let host = server.split_once("://").map_or(server, |(_, rest)| rest);
            registry_of(&format!("{}/x", host.trim_end_matches('/'))).to_string()
        }
    }
}

/// Asks the daemon to try the credentials, then keeps them.
pub fn login(cx: &Cx, args: Login) -> Result<i32> {
    let server = key(args.server.as_ref());
    let mut file = ConfigFile::load(&cx.config)?;
    let known = file.credentials(&server)?;
    let mut password = args.password;
    if !password.is_empty() {
        eprintln!("WARNING! Using --password via the CLI is insecure. Use --password-stdin.");
    }
    if args.password_stdin {
        if args.username.is_empty() {
            return Err(Error::invalid("Must provide --username with --password-stdin"));
        }
        std::io::stdin().take(64 << 10).read_to_string(&mut password)?;
        password.truncate(password.trim_end_matches(['\n', '\r']).len());
    }
    let mut username = args.username;
    if username.is_empty() && password.is_empty() && known.is_some() {
        (username, password) = known.unwrap_or_default();
    } else {
        if (username.is_empty() || password.is_empty()) && !terminal::stdin_is_terminal() {
            return Err(Error::invalid("Error: Cannot perform an interactive login from a non TTY device"));
        }
        if username.is_empty() {
            username = ask("Username: ", false)?;
        }
        if password.is_empty() {
            password = ask("Password: ", true)?;
        }
    }
    let body = serde_json::to_vec(&Body { username: &username, password: &password, serveraddress: &server })?;
    let answer = match cx.client.post("/auth", &Query::new(), Some(&body)) {
        // an engine that cannot ask the registry: the next pull will tell
        Err(e) if e.kind() == Kind::Unsupported => {
            Json::Obj(vec![("Status".into(), "Login kept, but not checked with the registry".into())])
        }
        other => other?,
    };
    match answer.get("IdentityToken").str() {
        "" => file.store(&server, &username, &password, false)?,
        token => file.store(&server, &username, token, true)?,
    }
    eprintln!(
        "WARNING! Your password will be stored unencrypted in {}.",
        auth::folder(&cx.config.to_string_lossy()).join("config.json").display()
    );
    line(match answer.get("Status").str() {
        "" => "Login Succeeded",
        status => status,
    })
    .map(|()| 0)
}

fn ask(question: &str, secret: bool) -> Result<String> {
    use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr};
    say(question)?;
    let before = tcgetattr(std::io::stdin())?;
    if secret {
        let mut quiet = before.clone();
        quiet.local_modes.remove(LocalModes::ECHO);
        tcsetattr(std::io::stdin(), OptionalActions::Now, &quiet)?;
    }
    let mut text = String::new();
    let read = std::io::stdin().read_line(&mut text);
    if secret {
        tcsetattr(std::io::stdin(), OptionalActions::Now, &before)?;
        line("")?;
    }
    read?;
    match text.trim() {
        "" => Err(Error::invalid("Error: Password Required")),
        text => Ok(text.into()),
    }
}

/// Forgets credentials.
pub fn logout(cx: &Cx, args: Logout) -> Result<i32> {
    let server = key(args.server.as_ref());
    let found = ConfigFile::load(&cx.config)?.erase(&server)?;
    line(&if found { format!("Removing login credentials for {server}") } else { format!("Not logged in to {server}") })
        .map(|()| 0)
}

#[cfg(test)]
mod tests {
    #[test]
    fn keys() {
        let key = |s: &str| super::key(Some(&s.to_string()));
        assert_eq!(super::key(None), super::HUB);
        assert_eq!(key("docker.io"), super::HUB);
        assert_eq!(key("https://r.example:5000/"), "r.example:5000");
        assert_eq!(key("127.0.0.1:5000"), "127.0.0.1:5000");
    }
}
