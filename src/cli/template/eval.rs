//! Tree to text.
//!
//! The daemon's JSON has lost Go's types; where printing depends on them (a nil slice is `[]`, a nil map `map[]`, a nil pointer
//! `<nil>`), the name of the field tells.

use super::{Base, Missing, Node, Operand, Pipe, func};
use crate::cli::value::Json;
use std::fmt::Write;

pub(super) type Evaluated<T> = Result<T, String>;

/// A value and the Go type behind it, as far as printing needs it.
#[derive(Clone, Debug)]
pub(super) struct Val {
    pub json: Json,
    pub kind: Kind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Plain,
    Map,
    Pointer,
    /// A key that a map does not have.
    NoValue,
}

/// Fields that are maps with keys of the user's choice.
const MAPS: &[&str] = &[
    "Labels",
    "Options",
    "DriverOpts",
    "Ports",
    "ExposedPorts",
    "Volumes",
    "Networks",
    "Containers",
    "Sysctls",
    "Tmpfs",
    "StorageOpt",
    "Annotations",
    "PortBindings",
    "EndpointsConfig",
    "Attributes",
    "Runtimes",
    "IndexConfigs",
    "Data",
    "Status",
    "AuxiliaryAddresses",
];
/// Fields that are pointers.
const POINTERS: &[&str] = &[
    "Health",
    "Healthcheck",
    "Init",
    "StopTimeout",
    "OomKillDisable",
    "MemorySwappiness",
    "PidsLimit",
    "IPAMConfig",
    "BindOptions",
    "VolumeOptions",
    "TmpfsOptions",
    "SizeRw",
    "SizeRootFs",
    "UsageData",
    "ContainerConfig",
];
/// Strings that are left out where they are empty.
const OPTIONAL_STRINGS: &[&str] = &["StopSignal", "MacAddress", "Variant", "OSVersion", "OsVersion", "Name", "Source", "Driver"];
/// Arrays that are left out where they are empty.
const OPTIONAL_ARRAYS: &[&str] = &["Mounts", "Shell", "OnBuild", "Aliases", "DNSNames", "Warnings", "SecurityOptions"];

fn kind_of(field: &str) -> Kind {
    if MAPS.contains(&field) {
        Kind::Map
    } else if POINTERS.contains(&field) {
        Kind::Pointer
    } else {
        Kind::Plain
    }
}

impl Val {
    pub(super) fn plain(json: Json) -> Val {
        Val { json, kind: Kind::Plain }
    }

    /// Go's idea of a true value.
    pub(super) fn truth(&self) -> bool {
        match &self.json {
            Json::Null => false,
            Json::Bool(b) => *b,
            Json::Int(n) => *n != 0,
            Json::Float(f) => *f != 0.0,
            Json::Str(s) => !s.is_empty(),
            Json::Arr(a) => !a.is_empty(),
            // a struct is always true, an empty map is not
            Json::Obj(o) => !o.is_empty(),
        }
    }

    /// As `%v` prints it.
    pub(super) fn print(&self) -> String {
        let mut out = String::new();
        print(&mut out, &self.json, self.kind, 0);
        out
    }
}

fn print(out: &mut String, json: &Json, kind: Kind, depth: usize) {
    match json {
        Json::Null => out.push_str(match kind {
            Kind::Plain if depth == 0 || depth > 1 => "[]",
            Kind::Plain => "[]",
            Kind::Map => "map[]",
            Kind::Pointer => "<nil>",
            Kind::NoValue => "<no value>",
        }),
        Json::Bool(b) => _ = write!(out, "{b}"),
        Json::Int(n) => _ = write!(out, "{n}"),
        Json::Float(f) => _ = write!(out, "{f}"),
        Json::Str(s) => out.push_str(s),
        Json::Arr(items) => {
            out.push('[');
            for (i, item) in items.iter().enumerate() {
                if i > 0 {
                    out.push(' ');
                }
                print(out, item, Kind::Plain, depth + 1);
            }
            out.push(']');
        }
        Json::Obj(fields) => {
            let is_map = kind == Kind::Map || fields.iter().any(|(k, _)| !k.starts_with(|c: char| c.is_ascii_uppercase()));
            let mut order: Vec<&(String, Json)> = fields.iter().collect();
            if is_map {
                order.sort_by(|a, b| a.0.cmp(&b.0));
            }
            out.push_str(if is_map { "map[" } else { "{" });
            for (i, (key, value)) in order.iter().enumerate() {
                if i > 0 {
                    out.push(' ');
                }
                if is_map {
                    _ = write!(out, "{key}:");
                }
                print(out, value, if is_map { Kind::Plain } else { kind_of(key) }, depth + 1);
            }
            out.push(if is_map { ']' } else { '}' });
        }
    }
}

/// What a block ended with.
#[derive(PartialEq)]
enum Flow {
    On,
    Break,
    Continue,
}

struct Eval<'a> {
    out: String,
    vars: Vec<(String, Val)>,
    missing: Missing,
    root: &'a Json,
}

/// Renders the tree.
pub(super) fn render(nodes: &[Node], data: &Json, missing: Missing) -> Evaluated<String> {
    let mut eval = Eval { out: String::new(), vars: Vec::new(), missing, root: data };
    eval.block(nodes, &Val::plain(data.clone()))?;
    Ok(eval.out)
}

impl Eval<'_> {
    fn block(&mut self, nodes: &[Node], dot: &Val) -> Evaluated<Flow> {
        let scope = self.vars.len();
        for node in nodes {
            let flow = self.node(node, dot)?;
            if flow != Flow::On {
                self.vars.truncate(scope);
                return Ok(flow);
            }
        }
        self.vars.truncate(scope);
        Ok(Flow::On)
    }

    fn node(&mut self, node: &Node, dot: &Val) -> Evaluated<Flow> {
        match node {
            Node::Text(text) => self.out.push_str(text),
            Node::Break => return Ok(Flow::Break),
            Node::Continue => return Ok(Flow::Continue),
            Node::Print(pipe) => {
                let value = self.pipe(pipe, dot)?;
                match pipe.vars.first() {
                    Some(name) => self.vars.push((name.clone(), value)),
                    None => self.out.push_str(&value.print()),
                }
            }
            Node::If(pipe, yes, no) | Node::With(pipe, yes, no) => {
                let scope = self.vars.len();
                let value = self.pipe(pipe, dot)?;
                let truth = value.truth();
                if let Some(name) = pipe.vars.first() {
                    self.vars.push((name.clone(), value.clone()));
                }
                let inner = if matches!(node, Node::With(..)) && truth { &value } else { dot };
                let flow = self.block(if truth { yes } else { no }, inner)?;
                self.vars.truncate(scope);
                return Ok(flow);
            }
            Node::Range(pipe, body, otherwise) => return self.range(pipe, body, otherwise, dot),
        }
        Ok(Flow::On)
    }

    fn range(&mut self, pipe: &Pipe, body: &[Node], otherwise: &[Node], dot: &Val) -> Evaluated<Flow> {
        let over = self.pipe(pipe, dot)?;
        let pairs: Vec<(Json, Val)> = match over.json {
            Json::Arr(items) => items.into_iter().enumerate().map(|(i, v)| (Json::Int(i as i128), Val::plain(v))).collect(),
            Json::Obj(mut fields) => {
                fields.sort_by(|a, b| a.0.cmp(&b.0));
                fields.into_iter().map(|(k, v)| (Json::Str(k), Val::plain(v))).collect()
            }
            Json::Null => Vec::new(),
            Json::Int(n) => (0..n.clamp(0, 100_000)).map(|i| (Json::Int(i), Val::plain(Json::Int(i)))).collect(),
            other => return Err(format!("range can't iterate over {}", Val::plain(other).print())),
        };
        if pairs.is_empty() {
            return self.block(otherwise, dot);
        }
        for (key, value) in pairs {
            let scope = self.vars.len();
            match pipe.vars.as_slice() {
                [one] => self.vars.push((one.clone(), value.clone())),
                [first, second, ..] => {
                    self.vars.push((first.clone(), Val::plain(key)));
                    self.vars.push((second.clone(), value.clone()));
                }
                [] => {}
            }
            let flow = self.block(body, &value)?;
            self.vars.truncate(scope);
            if flow == Flow::Break {
                break;
            }
        }
        Ok(Flow::On)
    }

    fn pipe(&mut self, pipe: &Pipe, dot: &Val) -> Evaluated<Val> {
        let mut last: Option<Val> = None;
        for command in &pipe.commands {
            last = Some(self.command(command, dot, last)?);
        }
        last.ok_or_else(|| "missing value for command".into())
    }

    fn command(&mut self, operands: &[Operand], dot: &Val, piped: Option<Val>) -> Evaluated<Val> {
        let Some((first, rest)) = operands.split_first() else { return Err("missing value for command".into()) };
        if let Base::Func(name) = &first.base {
            let mut args = Vec::with_capacity(rest.len() + 1);
            for operand in rest {
                args.push(self.operand(operand, dot)?);
            }
            args.extend(piped);
            let value = func::call(name, args)?;
            return self.fields(value, &first.fields);
        }
        if !rest.is_empty() || piped.is_some() {
            return Err("can't give argument to non-function".into());
        }
        self.operand(first, dot)
    }

    fn operand(&mut self, operand: &Operand, dot: &Val) -> Evaluated<Val> {
        let base = match &operand.base {
            Base::Dot => return self.fields(dot.clone(), &operand.fields),
            Base::Var(name) if name.is_empty() => Val::plain(self.root.clone()),
            Base::Var(name) => {
                let found = self.vars.iter().rev().find(|(n, _)| n == name);
                found.map(|(_, v)| v.clone()).ok_or_else(|| format!("undefined variable \"${name}\""))?
            }
            Base::Func(name) => func::call(name, Vec::new())?,
            Base::Value(value) => Val { json: value.clone(), kind: Kind::Pointer },
            Base::Paren(pipe) => self.pipe(pipe, dot)?,
        };
        self.fields(base, &operand.fields)
    }

    fn fields(&self, mut value: Val, fields: &[String]) -> Evaluated<Val> {
        for field in fields {
            value = self.field(value, field)?;
        }
        Ok(value)
    }

    fn field(&self, value: Val, field: &str) -> Evaluated<Val> {
        let absent = |kind| Ok(Val { json: Json::Null, kind });
        let Json::Obj(entries) = value.json else {
            return match value.json {
                Json::Null if value.kind == Kind::Map => absent(Kind::NoValue),
                Json::Null => Err(format!("executing \"\" at <.{field}>: nil pointer evaluating {field}")),
                _ => Err(format!("executing \"\" at <.{field}>: can't evaluate field {field} in type string")),
            };
        };
        if let Some((_, json)) = entries.into_iter().find(|(k, _)| k == field) {
            return Ok(Val { json, kind: kind_of(field) });
        }
        match (value.kind, self.missing) {
            (Kind::Map, _) => absent(Kind::NoValue),
            (_, Missing::Api) if POINTERS.contains(&field) || MAPS.contains(&field) => absent(kind_of(field)),
            (_, Missing::Api) if OPTIONAL_ARRAYS.contains(&field) => absent(Kind::Plain),
            (_, Missing::Api) if OPTIONAL_STRINGS.contains(&field) => Ok(Val::plain(Json::Str(String::new()))),
            (_, Missing::Api) => Err(format!("executing \"\" at <.{field}>: map has no entry for key \"{field}\"")),
            (_, Missing::Error) => Err(format!("executing \"\" at <.{field}>: can't evaluate field {field} in this list")),
        }
    }
}
