//! The functions that a template can call: Go's own and Docker's.

use super::eval::{Evaluated, Kind, Val};
use crate::cli::value::{Json, quote};
use std::cmp::Ordering;

/// Calls a function by its name.
pub(super) fn call(name: &str, args: Vec<Val>) -> Evaluated<Val> {
    let need = |n: usize| {
        if args.len() < n { Err(format!("wrong number of args for {name}: want {n} got {}", args.len())) } else { Ok(()) }
    };
    let text = |i: usize| args[i].print();
    let number = |i: usize| args[i].json.int();
    let string = |s: String| Ok(Val::plain(Json::Str(s)));
    let boolean = |b: bool| Ok(Val::plain(Json::Bool(b)));
    match name {
        "json" => need(1).and_then(|()| string(args[0].json.compact())),
        "len" => {
            need(1)?;
            let n = match &args[0].json {
                Json::Str(s) => s.len(),
                Json::Arr(a) => a.len(),
                Json::Obj(o) => o.len(),
                Json::Null => 0,
                _ => return Err("error calling len: len of type int".into()),
            };
            Ok(Val::plain(Json::Int(n as i128)))
        }
        "index" => {
            need(2)?;
            let mut at = args[0].clone();
            for key in &args[1..] {
                at = index(at, key)?;
            }
            Ok(at)
        }
        "slice" => {
            need(1)?;
            let from = args.get(1).map_or(0, |a| a.json.int()).max(0) as usize;
            let to = |len: usize| args.get(2).map_or(len, |a| a.json.int().max(0) as usize);
            let bad = || format!("error calling slice: index out of range: {from}");
            match &args[0].json {
                Json::Str(s) => string(s.get(from..to(s.len())).ok_or_else(bad)?.into()),
                Json::Arr(a) => Ok(Val::plain(Json::Arr(a.get(from..to(a.len())).ok_or_else(bad)?.to_vec()))),
                _ => Err("can't slice item".into()),
            }
        }
        "join" => {
            need(2)?;
            let items: Vec<String> = args[0].json.items().iter().map(|i| Val::plain(i.clone()).print()).collect();
            string(items.join(&text(1)))
        }
        "split" => {
            need(2)?;
            let (whole, by) = (text(0), text(1));
            let parts = if by.is_empty() {
                whole.chars().map(String::from).collect()
            } else {
                whole.split(&by).map(String::from).collect::<Vec<_>>()
            };
            Ok(Val::plain(Json::Arr(parts.into_iter().map(Json::Str).collect())))
        }
        "upper" => need(1).and_then(|()| string(text(0).to_uppercase())),
        "lower" => need(1).and_then(|()| string(text(0).to_lowercase())),
        "title" => need(1).and_then(|()| string(title(&text(0)))),
        "pad" => {
            need(3)?;
            let width = |i: usize| number(i).clamp(0, 1000) as usize;
            string(if text(0).is_empty() { String::new() } else { " ".repeat(width(1)) + &text(0) + &" ".repeat(width(2)) })
        }
        "truncate" => need(2).and_then(|()| string(text(0).chars().take(number(1).max(0) as usize).collect())),
        "html" => need(1).and_then(|()| string(text(0).replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;"))),
        "not" => need(1).and_then(|()| boolean(!args[0].truth())),
        "and" => need(1).map(|()| args.iter().find(|a| !a.truth()).or(args.last()).cloned().unwrap_or(Val::plain(Json::Null))),
        "or" => need(1).map(|()| args.iter().find(|a| a.truth()).or(args.last()).cloned().unwrap_or(Val::plain(Json::Null))),
        "eq" => {
            need(2).and_then(|()| boolean(args[1..].iter().any(|a| compare(&args[0].json, &a.json) == Some(Ordering::Equal))))
        }
        "ne" => need(2).and_then(|()| boolean(compare(&args[0].json, &args[1].json) != Some(Ordering::Equal))),
        "lt" => need(2).and_then(|()| boolean(compare(&args[0].json, &args[1].json) == Some(Ordering::Less))),
        "gt" => need(2).and_then(|()| boolean(compare(&args[0].json, &args[1].json) == Some(Ordering::Greater))),
        "le" => need(2)
            .and_then(|()| boolean(matches!(compare(&args[0].json, &args[1].json), Some(Ordering::Less | Ordering::Equal)))),
        "ge" => need(2)
            .and_then(|()| boolean(matches!(compare(&args[0].json, &args[1].json), Some(Ordering::Greater | Ordering::Equal)))),
        "println" => string(args.iter().map(Val::print).collect::<Vec<_>>().join(" ") + "\n"),
        "print" => string(args.iter().map(Val::print).collect::<Vec<_>>().join(" ")),
        "printf" => need(1).and_then(|()| string(printf(&text(0), &args[1..]))),
        _ => Err(format!("function \"{name}\" not defined")),
    }
}

fn index(at: Val, key: &Val) -> Evaluated<Val> {
    match (at.json, &key.json) {
        (Json::Arr(items), Json::Int(n)) => {
            let len = items.len();
            let found = usize::try_from(*n).ok().and_then(|n| items.into_iter().nth(n));
            found.map(Val::plain).ok_or_else(|| format!("error calling index: reflect: slice index out of range: {n} of {len}"))
        }
        (Json::Obj(fields), Json::Str(name)) => {
            // a missing key gives the zero value: of a map of strings, which nearly all are, the empty string
            let strings = fields.iter().all(|(_, v)| matches!(v, Json::Str(_)));
            let found = fields.into_iter().find(|(k, _)| k == name).map(|(_, v)| Val::plain(v));
            Ok(found.unwrap_or(match strings {
                true => Val::plain(Json::Str(String::new())),
                false => Val { json: Json::Null, kind: Kind::Pointer },
            }))
        }
        (Json::Null, Json::Str(_)) => Ok(Val::plain(Json::Str(String::new()))),
        (Json::Null, _) => Err("error calling index: index of nil".into()),
        (other, _) => Err(format!("error calling index: can't index item {}", Val::plain(other).print())),
    }
}

fn compare(a: &Json, b: &Json) -> Option<Ordering> {
    match (a, b) {
        (Json::Str(a), Json::Str(b)) => Some(a.cmp(b)),
        (Json::Int(a), Json::Int(b)) => Some(a.cmp(b)),
        (Json::Int(a), Json::Float(b)) => (*a as f64).partial_cmp(b),
        (Json::Float(a), Json::Int(b)) => a.partial_cmp(&(*b as f64)),
        (Json::Float(a), Json::Float(b)) => a.partial_cmp(b),
        (Json::Bool(a), Json::Bool(b)) => Some(a.cmp(b)),
        (a, b) => (a == b).then_some(Ordering::Equal),
    }
}

fn title(text: &str) -> String {
    let mut start = true;
    let step = |c: char| {
        let out = if start { c.to_uppercase().to_string() } else { c.to_string() };
        start = !c.is_alphanumeric() && c != '_' && c != '\'';
        out
    };
    text.chars().map(step).collect()
}

/// Go's Printf, for the verbs that make sense of JSON.
fn printf(format: &str, args: &[Val]) -> String {
    let mut out = String::new();
    let mut args = args.iter();
    let mut chars = format.chars().peekable();
    while let Some(c) = chars.next() {
        if c != '%' {
            out.push(c);
            continue;
        }
        let mut spec = String::new();
        while let Some(c) = chars.next_if(|c| c.is_ascii_digit() || matches!(c, '-' | '+' | '.' | ' ' | '#')) {
            spec.push(c);
        }
        let Some(verb) = chars.next() else {
            out.push_str("%!(NOVERB)");
            break;
        };
        if verb == '%' {
            out.push('%');
            continue;
        }
        let Some(arg) = args.next() else {
            out.push_str(&format!("%!{verb}(MISSING)"));
            continue;
        };
        let left = spec.contains('-');
        let flags = spec.trim_start_matches(['-', '+', ' ', '#']);
        let (width, precision) = match flags.split_once('.') {
            Some((w, p)) => (w, p.parse::<usize>().ok().or(Some(0))),
            None => (flags, None),
        };
        let zero = width.starts_with('0') && !left;
        let width: usize = width.parse().unwrap_or(0).min(1000);
        let text = match (verb, &arg.json) {
            ('q', _) => {
                let mut quoted = String::new();
                quote(&mut quoted, &arg.print());
                quoted
            }
            ('x', Json::Int(n)) => format!("{n:x}"),
            ('X', Json::Int(n)) => format!("{n:X}"),
            ('f' | 'g' | 'e', Json::Float(f)) => format!("{:.*}", precision.unwrap_or(6).min(100), f),
            ('s', Json::Str(s)) => s.chars().take(precision.unwrap_or(usize::MAX)).collect(),
            ('d', Json::Str(s)) => format!("%!d(string={s})"),
            ('s', Json::Int(n)) => format!("%!s(int={n})"),
            _ => arg.print(),
        };
        let fill = width.saturating_sub(text.chars().count());
        match (left, zero) {
            (true, _) => out.push_str(&(text + &" ".repeat(fill))),
            (false, true) => out.push_str(&("0".repeat(fill) + &text)),
            (false, false) => out.push_str(&(" ".repeat(fill) + &text)),
        }
    }
    out
}
