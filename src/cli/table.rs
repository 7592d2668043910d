//! The table of verbs: parser, help, man page and completion all come from it and from the structures that it names.

use crate::base::{Error, Result};
use crate::cli::Cx;
use crate::cli::create::Flags;
use crate::cli::delta;
use crate::cli::normal::{self, Normal};
use crate::cli::verbs::*;
use argh::{ArgsInfo, CommandInfoWithArgs, FromArgs};

/// One verb.
pub struct Verb {
    /// Its names, the main one first: `run`, `container run`.
    pub names: &'static [&'static str],
    /// What follows the name in the usage line.
    pub usage: &'static str,
    /// The fewest and the most words besides flags.
    pub words: (usize, usize),
    /// Flags and description.
    pub info: fn() -> CommandInfoWithArgs,
    /// Runs it on normalised arguments.
    pub run: fn(&Cx, &[&str]) -> Result<i32>,
}

/// No upper bound.
pub const MANY: usize = usize::MAX;

macro_rules! verbs {
    ($($names:expr, $usage:literal, $min:literal..$max:expr, $args:ty, $run:path;)*) => {
        &[$(Verb {
            names: &$names,
            usage: $usage,
            words: ($min, $max),
            info: <$args as ArgsInfo>::get_args_info,
            run: |cx, args| $run(cx, parse::<$args>(args)?),
        }),*]
    };
}

/// Every verb.
pub const VERBS: &[Verb] = verbs![
    ["run", "container run"], "[OPTIONS] IMAGE [COMMAND] [ARG...]", 1..MANY, Flags, run::run;
    ["create", "container create"], "[OPTIONS] IMAGE [COMMAND] [ARG...]", 1..MANY, Flags, run::create;
    ["start", "container start"], "[OPTIONS] CONTAINER [CONTAINER...]", 1..MANY, start::Start, start::start;
    ["attach", "container attach"], "[OPTIONS] CONTAINER", 1..1, attach::Attach, attach::attach;
    ["exec", "container exec"], "[OPTIONS] CONTAINER COMMAND [ARG...]", 2..MANY, exec::Exec, exec::exec;
    ["wait", "container wait"], "CONTAINER [CONTAINER...]", 1..MANY, life::Wait, life::wait;
    ["stop", "container stop"], "[OPTIONS] CONTAINER [CONTAINER...]", 1..MANY, life::Stop, life::stop;
    ["restart", "container restart"], "[OPTIONS] CONTAINER [CONTAINER...]", 1..MANY, life::Restart, life::restart;
    ["kill", "container kill"], "[OPTIONS] CONTAINER [CONTAINER...]", 1..MANY, life::Kill, life::kill;
    ["pause", "container pause"], "CONTAINER [CONTAINER...]", 1..MANY, life::Pause, life::pause;
    ["unpause", "container unpause"], "CONTAINER [CONTAINER...]", 1..MANY, life::Unpause, life::unpause;
    ["rename", "container rename"], "CONTAINER NEW_NAME", 2..2, life::Rename, life::rename;
    ["rm", "container rm", "container remove"], "[OPTIONS] CONTAINER [CONTAINER...]", 1..MANY, life::Remove, life::remove;
    ["update", "container update"], "[OPTIONS] CONTAINER [CONTAINER...]", 1..MANY, update::Update, update::update;
    ["ps", "container ls", "container list", "container ps"], "[OPTIONS]", 0..0, ps::List, ps::list;
    ["logs", "container logs"], "[OPTIONS] CONTAINER", 1..1, logs::Logs, logs::logs;
    ["top", "container top"], "CONTAINER [ps OPTIONS]", 1..MANY, top::Top, top::top;
    ["stats", "container stats"], "[OPTIONS] [CONTAINER...]", 0..MANY, stats::Stats, stats::stats;
    ["port", "container port"], "CONTAINER [PRIVATE_PORT[/PROTO]]", 1..2, top::Port, top::port;
    ["diff", "container diff"], "CONTAINER", 1..1, archive::Diff, archive::diff;
    ["commit", "container commit"], "[OPTIONS] CONTAINER [REPOSITORY[:TAG]]", 1..2, archive::Commit, archive::commit;
    ["export", "container export"], "[OPTIONS] CONTAINER", 1..1, archive::Export, archive::export;
    ["container inspect"], "[OPTIONS] CONTAINER [CONTAINER...]", 1..MANY, inspect::InspectContainer, inspect::containers;
    ["container prune"], "[OPTIONS]", 0..0, prune::ContainerPrune, prune::containers;
    ["inspect"], "[OPTIONS] NAME|ID [NAME|ID...]", 1..MANY, inspect::Inspect, inspect::inspect;
    ["images", "image ls", "image list"], "[OPTIONS] [REPOSITORY[:TAG]]", 0..1, images::List, images::list;
    ["history", "image history"], "[OPTIONS] IMAGE", 1..1, history::History, history::history;
    ["image inspect"], "[OPTIONS] IMAGE [IMAGE...]", 1..MANY, inspect::InspectImage, inspect::images;
    ["image prune"], "[OPTIONS]", 0..0, prune::ImagePrune, prune::images;
    ["image delta"], "[OPTIONS] SOURCE_IMAGE TARGET_IMAGE", 2..2, image_delta::Delta, image_delta::delta;
    ["tag", "image tag"], "SOURCE_IMAGE[:TAG] TARGET_IMAGE[:TAG]", 2..2, images::Tag, images::tag;
    ["rmi", "image rm", "image remove"], "[OPTIONS] IMAGE [IMAGE...]", 1..MANY, images::Remove, images::remove;
    ["pull", "image pull"], "[OPTIONS] NAME[:TAG|@DIGEST]", 1..1, transfer::Pull, transfer::pull;
    ["push", "image push"], "[OPTIONS] NAME[:TAG]", 1..1, transfer::Push, transfer::push;
    ["load", "image load"], "[OPTIONS]", 0..0, transfer::Load, transfer::load;
    ["save", "image save"], "[OPTIONS] IMAGE [IMAGE...]", 1..MANY, transfer::Save, transfer::save;
    ["import", "image import"], "[OPTIONS] file|URL|- [REPOSITORY[:TAG]]", 1..2, archive::Import, archive::import;
    ["delta create"], "[OPTIONS] OLD NEW | --from-last N REPO:TAG", 1..2, delta::Create, delta::create;
    ["delta push"], "[OPTIONS] FILE REPOSITORY[:TAG]", 2..2, delta::Push, delta::push;
    ["delta inspect"], "[OPTIONS] FILE|REFERENCE", 1..1, delta::Inspect, delta::inspect;
    ["delta list", "delta ls"], "[OPTIONS] REFERENCE", 1..1, delta::List, delta::list;
    ["delta apply"], "[OPTIONS] OLD FILE", 2..2, delta::Apply, delta::apply;
    ["volume create"], "[OPTIONS] [VOLUME]", 0..1, volume::Create, volume::create;
    ["volume ls", "volume list"], "[OPTIONS]", 0..0, volume::List, volume::list;
    ["volume inspect"], "[OPTIONS] VOLUME [VOLUME...]", 1..MANY, inspect::InspectVolume, inspect::volumes;
    ["volume rm", "volume remove"], "[OPTIONS] VOLUME [VOLUME...]", 1..MANY, volume::Remove, volume::remove;
    ["volume prune"], "[OPTIONS]", 0..0, prune::VolumePrune, prune::volumes;
    ["network create"], "[OPTIONS] NETWORK", 1..1, network::Create, network::create;
    ["network ls", "network list"], "[OPTIONS]", 0..0, network::List, network::list;
    ["network inspect"], "[OPTIONS] NETWORK [NETWORK...]", 1..MANY, inspect::InspectNetwork, inspect::networks;
    ["network rm", "network remove"], "[OPTIONS] NETWORK [NETWORK...]", 1..MANY, network::Remove, network::remove;
    ["network connect"], "[OPTIONS] NETWORK CONTAINER", 2..2, network::Connect, network::connect;
    ["network disconnect"], "[OPTIONS] NETWORK CONTAINER", 2..2, network::Disconnect, network::disconnect;
    ["network prune"], "[OPTIONS]", 0..0, prune::NetworkPrune, prune::networks;
    ["events", "system events"], "[OPTIONS]", 0..0, events::Events, events::events;
    ["version"], "[OPTIONS]", 0..0, version::Version, version::version;
    ["info", "system info"], "[OPTIONS]", 0..0, info::Info, info::info;
    ["check", "system check"], "[OPTIONS]", 0..0, check::Check, check::check;
    ["system df"], "[OPTIONS]", 0..0, df::Df, df::df;
    ["system prune"], "[OPTIONS]", 0..0, prune::SystemPrune, prune::system;
    ["system verify"], "[OPTIONS] [IMAGE...]", 0..MANY, verify::Verify, verify::verify;
    ["system wear"], "[OPTIONS]", 0..0, wear::Wear, wear::wear;
    ["login"], "[OPTIONS] [SERVER]", 0..1, login::Login, login::login;
    ["logout"], "[SERVER]", 0..1, login::Logout, login::logout;
];

/// Docker's verbs that are not here, and what to say about them.
pub const ABSENT: &[(&str, &str)] = &[
    ("build", "building images is not part of this version"),
    ("builder", "building images is not part of this version"),
    ("buildx", "building images is not part of this version"),
    ("image build", "building images is not part of this version"),
    ("cp", "copying files is not part of this version: use `exec -i NAME tar …`"),
    ("container cp", "copying files is not part of this version: use `exec -i NAME tar …`"),
    ("compose", "use docker compose or docker-compose with DOCKER_HOST set to this engine's socket"),
    ("search", "searching Docker Hub is not part of this engine"),
    ("swarm", "swarm is not part of this engine"),
    ("service", "swarm is not part of this engine"),
    ("stack", "swarm is not part of this engine"),
    ("node", "swarm is not part of this engine"),
    ("secret", "swarm is not part of this engine"),
    ("config", "swarm is not part of this engine"),
    ("plugin", "plugins are not part of this engine"),
    ("checkpoint", "checkpoints are not part of this engine"),
    ("context", "contexts are not part of this command line: use -H or DOCKER_HOST"),
    ("manifest", "manifest lists are not part of this command line"),
    ("trust", "content trust is not part of this engine"),
];

/// Groups of verbs.
pub const GROUPS: &[(&str, &str)] = &[
    ("container", "Manage containers"),
    ("delta", "Make and distribute deltas between images, without the engine"),
    ("image", "Manage images"),
    ("network", "Manage networks"),
    ("system", "Manage the engine"),
    ("volume", "Manage volumes"),
];

/// The verb that the words begin with, and how many words its name has.
pub fn find(words: &[String]) -> Option<(&'static Verb, usize)> {
    let two = words.get(..2).map(|w| w.join(" "));
    let by = |name: &str| VERBS.iter().find(|v| v.names.contains(&name));
    match two.and_then(|name| by(&name)) {
        Some(verb) => Some((verb, 2)),
        None => words.first().and_then(|name| by(name)).map(|verb| (verb, 1)),
    }
}

/// What went wrong before the verb ran.
pub enum Refused {
    /// A flag: exit status 125.
    Flag(Error),
    /// The number of words: exit status 1.
    Words(String),
    /// Help is wanted.
    Help,
}

impl Verb {
    /// Normalised arguments of the right number.
    pub fn arguments(&self, args: &[String]) -> std::result::Result<Vec<String>, Refused> {
        let args = match normal::normalise(&(self.info)(), args) {
            Ok(Normal::Args(args)) => args,
            Ok(Normal::Help) => return Err(Refused::Help),
            Err(e) => return Err(Refused::Flag(e)),
        };
        let words = args.iter().position(|a| a == "--").map_or(0, |at| args.len() - at - 1);
        let (min, max) = self.words;
        if (min..=max).contains(&words) {
            return Ok(args);
        }
        let plural = |n: usize| if n == 1 { "" } else { "s" };
        Err(Refused::Words(match (min, max) {
            (0, 0) => "accepts no arguments.".into(),
            (min, max) if min == max => format!("requires exactly {min} argument{}.", plural(min)),
            (min, MANY) => format!("requires at least {min} argument{}.", plural(min)),
            (0, max) => format!("requires at most {max} argument{}.", plural(max)),
            (min, max) => format!("requires at least {min} and at most {max} arguments."),
        }))
    }
}

/// argh's parser on normalised arguments; its complaints in Docker's words.
fn parse<T: FromArgs>(args: &[&str]) -> Result<T> {
    T::from_args(&["prtiql"], args).map_err(|early| {
        let text = early.output.trim();
        let parts = text.strip_prefix("Error parsing option '").and_then(|t| t.split_once("' with value '"));
        let message = match parts.and_then(|(flag, rest)| rest.split_once("': ").map(|(value, why)| (flag, value, why))) {
            Some((flag, value, why)) => format!("invalid argument {value:?} for {flag:?} flag: {why}"),
            None => text.to_string(),
        };
        Error::invalid(message)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn no_name_is_given_twice_and_each_verb_explains_itself() {
        let mut seen = BTreeSet::new();
        for verb in VERBS {
            for name in verb.names {
                assert!(seen.insert(*name), "{name}");
            }
            let info = (verb.info)();
            assert!(!info.description.is_empty(), "{}", verb.names[0]);
            let mut shorts = BTreeSet::new();
            for flag in info.flags {
                assert!(flag.short.is_none_or(|s| shorts.insert(s)), "{} {}", verb.names[0], flag.long);
                assert!(!flag.description.is_empty(), "{} {}", verb.names[0], flag.long);
            }
        }
        assert!(ABSENT.iter().all(|(name, _)| !seen.contains(name)));
    }

    #[test]
    fn the_longest_name_counts() {
        let words = |text: &str| text.split(' ').map(String::from).collect::<Vec<_>>();
        assert_eq!(find(&words("container ls -a")).unwrap().0.names[0], "ps");
        assert_eq!(find(&words("ps -a")).unwrap().1, 1);
        assert!(find(&words("container nope")).is_none() && find(&[]).is_none());
    }
}
