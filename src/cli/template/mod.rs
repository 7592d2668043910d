//! The part of Go's text/template that people use with `--format`: fields, pipelines, variables, `if`, `with`, `range`, and
//! the functions of Go and of Docker. [`parse`] makes the tree, `eval` walks it, `func` holds the functions.

mod eval;
mod func;
mod parse;

use crate::base::{Error, Result};
use crate::cli::value::Json;

/// A parsed template.
pub struct Template {
    nodes: Vec<Node>,
}

/// A piece of a template.
enum Node {
    Text(String),
    Print(Pipe),
    If(Pipe, Vec<Node>, Vec<Node>),
    With(Pipe, Vec<Node>, Vec<Node>),
    Range(Pipe, Vec<Node>, Vec<Node>),
    Break,
    Continue,
}

/// `$a, $b := cmd | cmd`
struct Pipe {
    vars: Vec<String>,
    commands: Vec<Vec<Operand>>,
}

/// `base.field.field`
struct Operand {
    base: Base,
    fields: Vec<String>,
}

enum Base {
    Dot,
    Var(String),
    Func(String),
    Value(Json),
    Paren(Pipe),
}

/// What to do about a field that is not there.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Missing {
    /// The object is a row of a table whose fields are all known: an error.
    Error,
    /// An object of the API: absent optional fields have Go's zero value, others are an error.
    Api,
}

impl Template {
    /// Parses a template.
    pub fn parse(text: &str) -> Result<Template> {
        parse::parse(text).map(|nodes| Template { nodes }).map_err(|e| Error::invalid(format!("template parsing error: {e}")))
    }

    /// Fills it in.
    pub fn render(&self, data: &Json, missing: Missing) -> Result<String> {
        eval::render(&self.nodes, data, missing).map_err(|e| Error::invalid(format!("template parsing error: {e}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn render(template: &str, data: &str) -> String {
        let data = Json::parse(data.as_bytes()).unwrap();
        match Template::parse(template).and_then(|t| t.render(&data, Missing::Api)) {
            Ok(text) => text,
            Err(e) => format!("error: {e}"),
        }
    }

    #[test]
    fn what_people_write() {
        let data = r#"{"Id":"abc","State":{"Status":"running","Pid":7,"Health":null},"Config":{"Cmd":["sleep","300"],"Entrypoint":null,
            "Labels":{"a":"b","c.d":"e"},"ExposedPorts":{"80/tcp":{}}},"Mounts":[{"Type":"bind","RW":false},{"Type":"volume","RW":true}],
            "Ports":{"80/tcp":[{"HostIp":"0.0.0.0","HostPort":"8080"}],"81/udp":null}}"#;
        for (template, want) in [
            ("{{.State.Status}} {{.Config.Cmd}} {{.State.Pid}}", "running [sleep 300] 7"),
            ("{{.Config.Entrypoint}} {{.Config.Labels.a}} {{.Config.Labels.none}}", "[] b <no value>"),
            ("{{index .Config.Labels \"c.d\"}}{{index .Config.Labels \"x\"}}", "e"),
            ("{{(index .Mounts 0).Type}} {{len .Mounts}}", "bind 2"),
            ("{{range .Mounts}}{{.Type}},{{.RW}};{{end}}", "bind,false;volume,true;"),
            ("{{range $i, $m := .Mounts}}{{$i}}={{$m.Type}} {{end}}", "0=bind 1=volume "),
            ("{{range $k, $v := .Ports}}{{$k}}{{range $v}} {{.HostPort}}{{end}};{{end}}", "80/tcp 8080;81/udp;"),
            (
                "{{json .Config}}",
                r#"{"Cmd":["sleep","300"],"Entrypoint":null,"Labels":{"a":"b","c.d":"e"},"ExposedPorts":{"80/tcp":{}}}"#,
            ),
            ("{{json .State.Health}} {{.State.Health}}", "null <nil>"),
            ("{{if .State.Pid}}yes{{else}}no{{end}} {{if not .State.Health}}well{{end}}", "yes well"),
            ("{{if eq .State.Status \"x\"}}a{{else if eq .State.Pid 7}}b{{else}}c{{end}}", "b"),
            ("{{with .Config}}{{.Cmd}}{{$.Id}}{{end}}", "[sleep 300]abc"),
            ("{{join .Config.Cmd \",\"}} {{upper .Id}} {{.Id | upper | lower}}", "sleep,300 ABC abc"),
            ("{{printf \"%s-%d|%5s|%-5s|%q\" .Id .State.Pid .Id .Id .Id}}", "abc-7|  abc|abc  |\"abc\""),
            ("{{.Config.ExposedPorts}} {{.Config.Labels}}", "map[80/tcp:{}] map[a:b c.d:e]"),
            ("{{index (split \"a:b\" \":\") 1}} {{slice .Id 0 2}}", "b ab"),
            ("a {{- \" b \" -}} c{{/* no */}}", "a b c"),
            ("{{$x := .Id}}{{$x}}{{println .Id}}", "abcabc\n"),
            ("{{and .Id .State.Pid}} {{or \"\" .Id}} {{ne 1 2}} {{lt 1 2}}", "7 abc true true"),
            ("{{index .Ports \"80/tcp\" 0}} {{(index (index .Ports \"80/tcp\") 0).HostPort}}", "{0.0.0.0 8080} 8080"),
            ("\\{{`x`}}", "\\x"),
        ] {
            assert_eq!(render(template, data), want, "{template}");
        }
    }

    #[test]
    fn mistakes_are_errors() {
        for template in [
            "{{",
            "{{.A",
            "{{if}}x{{end}}",
            "{{end}}",
            "{{range .A}}",
            "{{.Nope}}",
            "{{nofunc 1}}",
            "{{.Id.X}}",
            "{{\"a}}",
            "{{index .Id}}",
            "{{(.A}}",
        ] {
            assert!(render(template, r#"{"Id":"x"}"#).starts_with("error: template parsing error"), "{template}");
        }
    }
}
