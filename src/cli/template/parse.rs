//! Text to tree.

use super::{Base, Node, Operand, Pipe};
use crate::cli::value::Json;

type Parsed<T> = Result<T, String>;

/// Deeper nesting than this is refused, so that no template overflows the stack.
const DEEPEST: usize = 64;

/// Parses a template.
pub fn parse(text: &str) -> Parsed<Vec<Node>> {
    let mut parser = Parser { pieces: split(text)?, at: 0 };
    let (nodes, end) = parser.block(0)?;
    match end {
        Close::Eof => Ok(nodes),
        Close::Else(_) => Err("unexpected {{else}}".into()),
        Close::End => Err("unexpected {{end}}".into()),
    }
}

enum Piece {
    Text(String),
    Action(Vec<Token>),
}

#[derive(Clone, Debug, PartialEq)]
enum Token {
    Space,
    Dot,
    Field(String),
    Var(String),
    Word(String),
    Value(Json),
    Open,
    Close,
    Pipe,
    Comma,
    Declare,
}

/// Splits text and actions, and applies the trim markers.
fn split(text: &str) -> Parsed<Vec<Piece>> {
    let mut pieces = Vec::new();
    let (mut rest, mut trim) = (text, false);
    loop {
        let open = rest.find("{{");
        let mut plain = &rest[..open.unwrap_or(rest.len())];
        if trim {
            plain = plain.trim_start();
        }
        let Some(open) = open else {
            pieces.push(Piece::Text(plain.into()));
            return Ok(pieces);
        };
        let mut inside = &rest[open + 2..];
        if let Some(trimmed) = inside.strip_prefix('-').filter(|r| r.starts_with(char::is_whitespace)) {
            plain = plain.trim_end();
            inside = trimmed;
        }
        if !plain.is_empty() {
            pieces.push(Piece::Text(plain.into()));
        }
        let start = inside.trim_start();
        if start.starts_with("/*") {
            let end = start.find("*/").ok_or("unclosed comment")?;
            let after = start[end + 2..].trim_start();
            trim = after.starts_with('-');
            rest = after.trim_start_matches('-').strip_prefix("}}").ok_or("comment ends before closing delimiter")?;
            continue;
        }
        let (tokens, used) = tokens(inside)?;
        trim = inside[..used].ends_with('-') && inside[..used - 1].ends_with(char::is_whitespace);
        pieces.push(Piece::Action(tokens));
        rest = &inside[used + 2..];
    }
}

/// The tokens up to `}}`, and where that is.
fn tokens(text: &str) -> Parsed<(Vec<Token>, usize)> {
    let mut out = Vec::new();
    let mut at = 0;
    let name = |from: usize| text[from..].find(|c: char| !c.is_alphanumeric() && c != '_').map_or(text.len(), |n| from + n);
    while let Some(c) = text[at..].chars().next() {
        let rest = &text[at..];
        if rest.starts_with("}}") {
            return Ok((out, at));
        }
        match c {
            c if c.is_whitespace() => {
                at += rest.len() - rest.trim_start().len();
                out.push(Token::Space);
                continue;
            }
            '-' if rest.starts_with("-}}") => {}
            '(' => out.push(Token::Open),
            ')' => out.push(Token::Close),
            '|' => out.push(Token::Pipe),
            ',' => out.push(Token::Comma),
            ':' if rest.starts_with(":=") => {
                out.push(Token::Declare);
                at += 1;
            }
            '=' => out.push(Token::Declare),
            '.' => {
                let end = name(at + 1);
                out.push(if end == at + 1 { Token::Dot } else { Token::Field(text[at + 1..end].into()) });
                at = end;
                continue;
            }
            '$' => {
                let end = name(at + 1);
                out.push(Token::Var(text[at + 1..end].into()));
                at = end;
                continue;
            }
            '"' | '`' | '\'' => {
                let (value, used) = string(rest, c)?;
                out.push(Token::Value(value));
                at += used;
                continue;
            }
            c if c.is_ascii_digit() || ((c == '-' || c == '+') && rest[1..].starts_with(|d: char| d.is_ascii_digit())) => {
                let end = at + 1 + rest[1..].find(|d: char| !d.is_alphanumeric() && d != '.').unwrap_or(rest.len() - 1);
                let number = &text[at..end];
                let value = match (number.parse::<i64>(), number.parse::<f64>()) {
                    (Ok(n), _) => Json::Int(n.into()),
                    (_, Ok(f)) => Json::Float(f),
                    _ => return Err(format!("bad number syntax: {number:?}")),
                };
                out.push(Token::Value(value));
                at = end;
                continue;
            }
            c if c.is_alphabetic() || c == '_' => {
                let end = name(at);
                out.push(match &text[at..end] {
                    "true" => Token::Value(Json::Bool(true)),
                    "false" => Token::Value(Json::Bool(false)),
                    "nil" => Token::Value(Json::Null),
                    word => Token::Word(word.into()),
                });
                at = end;
                continue;
            }
            c => return Err(format!("unexpected {c:?} in command")),
        }
        at += c.len_utf8();
    }
    Err("unclosed action".into())
}

/// A quoted string (or a character constant) at the start of the text, and its length.
fn string(text: &str, quote: char) -> Parsed<(Json, usize)> {
    let mut out = String::new();
    let mut chars = text.char_indices().skip(1);
    while let Some((at, c)) = chars.next() {
        match c {
            c if c == quote && quote == '\'' => return Ok((Json::Int(out.chars().next().map_or(0, u32::from).into()), at + 1)),
            c if c == quote => return Ok((Json::Str(out), at + 1)),
            '\\' if quote != '`' => match chars.next().map(|(_, c)| c) {
                Some('n') => out.push('\n'),
                Some('t') => out.push('\t'),
                Some('r') => out.push('\r'),
                Some(c @ ('"' | '\\' | '\'')) => out.push(c),
                _ => return Err("unknown escape in string".into()),
            },
            '\n' if quote != '`' => break,
            c => out.push(c),
        }
    }
    Err("unterminated quoted string".into())
}

/// What ended a block.
enum Close {
    Eof,
    Else(Vec<Token>),
    End,
}

struct Parser {
    pieces: Vec<Piece>,
    at: usize,
}

impl Parser {
    fn block(&mut self, depth: usize) -> Parsed<(Vec<Node>, Close)> {
        if depth > DEEPEST {
            return Err("nested too deeply".into());
        }
        let mut nodes = Vec::new();
        while self.at < self.pieces.len() {
            let piece = std::mem::replace(&mut self.pieces[self.at], Piece::Text(String::new()));
            self.at += 1;
            let tokens = match piece {
                Piece::Text(text) => {
                    nodes.push(Node::Text(text));
                    continue;
                }
                Piece::Action(tokens) => tokens,
            };
            let tokens = trim(&tokens);
            let rest = tokens.get(1..).unwrap_or_default();
            match tokens.first() {
                Some(Token::Word(w)) if w == "end" => return Ok((nodes, Close::End)),
                Some(Token::Word(w)) if w == "else" => return Ok((nodes, Close::Else(rest.to_vec()))),
                Some(Token::Word(w)) if w == "break" => nodes.push(Node::Break),
                Some(Token::Word(w)) if w == "continue" => nodes.push(Node::Continue),
                Some(Token::Word(w)) if matches!(w.as_str(), "if" | "with" | "range") => {
                    nodes.push(self.control(w, rest, depth)?)
                }
                Some(_) => nodes.push(Node::Print(pipe(tokens, 0)?)),
                None => return Err("missing value for command".into()),
            }
        }
        Ok((nodes, Close::Eof))
    }

    fn control(&mut self, word: &str, tokens: &[Token], depth: usize) -> Parsed<Node> {
        let head = pipe(tokens, 0).map_err(|e| format!("{e} in {word}"))?;
        let (body, end) = self.block(depth + 1)?;
        let otherwise = match end {
            Close::End => Vec::new(),
            Close::Eof => return Err("unexpected EOF".into()),
            Close::Else(tokens) => match trim(&tokens) {
                [] => match self.block(depth + 1)? {
                    (nodes, Close::End) => nodes,
                    _ => return Err("expected end".into()),
                },
                [Token::Word(w), rest @ ..] if w == "if" || w == "with" => vec![self.control(w, rest, depth + 1)?],
                _ => return Err("unexpected token in else".into()),
            },
        };
        Ok(match word {
            "if" => Node::If(head, body, otherwise),
            "with" => Node::With(head, body, otherwise),
            _ => Node::Range(head, body, otherwise),
        })
    }
}

fn trim(tokens: &[Token]) -> &[Token] {
    let start = tokens.iter().position(|t| *t != Token::Space).unwrap_or(tokens.len());
    let end = tokens.iter().rposition(|t| *t != Token::Space).map_or(start, |n| n + 1);
    &tokens[start..end]
}

/// `$a, $b := command | command`
fn pipe(tokens: &[Token], depth: usize) -> Parsed<Pipe> {
    if depth > DEEPEST {
        return Err("nested too deeply".into());
    }
    let (vars, tokens) = match tokens.iter().position(|t| *t == Token::Declare) {
        None => (Vec::new(), tokens),
        Some(at) => {
            let names = tokens[..at].iter().filter_map(|t| match t {
                Token::Var(name) => Some(name.clone()),
                _ => None,
            });
            (names.collect(), &tokens[at + 1..])
        }
    };
    let mut commands = Vec::new();
    let (mut level, mut start) = (0usize, 0);
    for (i, token) in tokens.iter().enumerate() {
        match token {
            Token::Open => level += 1,
            Token::Close => level = level.checked_sub(1).ok_or("unexpected right paren")?,
            Token::Pipe if level == 0 => {
                commands.push(command(&tokens[start..i], depth)?);
                start = i + 1;
            }
            _ => {}
        }
    }
    if level > 0 {
        return Err("unclosed left paren".into());
    }
    commands.push(command(&tokens[start..], depth)?);
    Ok(Pipe { vars, commands })
}

fn command(tokens: &[Token], depth: usize) -> Parsed<Vec<Operand>> {
    let mut operands: Vec<Operand> = Vec::new();
    let mut after_space = true;
    let mut i = 0;
    while i < tokens.len() {
        let base = match &tokens[i] {
            Token::Space => {
                after_space = true;
                i += 1;
                continue;
            }
            // a field right behind an operand belongs to it
            Token::Field(name) if !after_space && !operands.is_empty() => {
                if let Some(last) = operands.last_mut() {
                    last.fields.push(name.clone());
                }
                i += 1;
                continue;
            }
            Token::Field(name) => {
                operands.push(Operand { base: Base::Dot, fields: vec![name.clone()] });
                (after_space, i) = (false, i + 1);
                continue;
            }
            Token::Dot => Base::Dot,
            Token::Var(name) => Base::Var(name.clone()),
            Token::Word(name) => Base::Func(name.clone()),
            Token::Value(value) => Base::Value(value.clone()),
            Token::Open => {
                let mut level = 0usize;
                let close = tokens[i..].iter().position(|t| {
                    match t {
                        Token::Open => level += 1,
                        Token::Close => level -= 1,
                        _ => {}
                    }
                    level == 0
                });
                let close = i + close.ok_or("unclosed left paren")?;
                let inner = pipe(&tokens[i + 1..close], depth + 1)?;
                i = close;
                Base::Paren(inner)
            }
            other => return Err(format!("unexpected {other:?} in operand")),
        };
        operands.push(Operand { base, fields: Vec::new() });
        (after_space, i) = (false, i + 1);
    }
    if operands.is_empty() { Err("missing value for command".into()) } else { Ok(operands) }
}
