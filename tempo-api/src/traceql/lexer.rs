//! Cuts a query into tokens.

use super::parser::SyntaxError;
use super::{KINDS, Literal, STATUSES, Scope};

/// A query that is longer than this is refused.
pub const MAX_QUERY_BYTES: usize = 32 << 10;

/// A token, without its place.
#[derive(Clone, Debug, PartialEq)]
pub enum Token {
    /// A literal.
    Literal(Literal),
    /// `nil`
    Nil,
    /// An attribute with its scope.
    Attribute(Scope, String),
    /// Any other word: an intrinsic, a function, a hint.
    Word(String),
    /// An operator or a bracket.
    Symbol(&'static str),
}

/// Longest first where one is the beginning of another.
const SYMBOLS: [&str; 20] =
    ["&&", "||", "!=", "!~", "=~", "<=", ">=", ">>", "<<", "{", "}", "(", ")", "|", ",", "=", "<", ">", "!", "~"];
const SCOPES: [(&str, Option<Scope>); 7] = [
    ("span.", Some(Scope::Span)),
    ("resource.", Some(Scope::Resource)),
    (".", Some(Scope::Any)),
    ("parent.", None),
    ("event.", None),
    ("link.", None),
    ("instrumentation.", None),
];
const NS_PER_UNIT: [(&str, f64); 7] =
    [("ns", 1.0), ("us", 1e3), ("µs", 1e3), ("ms", 1e6), ("s", 1e9), ("m", 60e9), ("h", 3_600e9)];

/// The tokens of a query, each with the number of its first byte.
pub fn tokens(query: &str) -> Result<Vec<(usize, Token)>, SyntaxError> {
    if query.len() > MAX_QUERY_BYTES {
        return Err(SyntaxError::new(0, "the query is longer than 32 KiB"));
    }
    let mut tokens = Vec::new();
    let mut rest = query;
    loop {
        rest = rest.trim_start();
        if rest.is_empty() {
            return Ok(tokens);
        }
        let at = query.len() - rest.len();
        let (token, length) = token(rest).map_err(|problem| SyntaxError::new(at, problem))?;
        tokens.push((at, token));
        rest = &rest[length..];
    }
}

/// The first token, and how many bytes it has.
fn token(text: &str) -> Result<(Token, usize), &'static str> {
    if let Some(raw) = text.strip_prefix('`') {
        let end = raw.find('`').ok_or("a text that begins with a backtick must end with one")?;
        return Ok((Token::Literal(Literal::Text(raw[..end].to_owned())), end + 2));
    }
    if text.starts_with('"') {
        let (text, length) = quoted(text)?;
        return Ok((Token::Literal(Literal::Text(text)), length));
    }
    let number = text.strip_prefix('-').unwrap_or(text);
    if number.starts_with(|c: char| c.is_ascii_digit())
        || (number.starts_with('.') && number[1..].starts_with(|c: char| c.is_ascii_digit()))
    {
        let end = number.find(|c: char| !(c.is_ascii_alphanumeric() || matches!(c, '.' | 'µ'))).unwrap_or(number.len());
        let length = text.len() - number.len() + end;
        let literal = numeric(&text[..length]).ok_or("a number must be whole, a fraction, or a duration such as 1m30s")?;
        return Ok((Token::Literal(literal), length));
    }
    for (prefix, scope) in SCOPES {
        if let Some(name) = text.strip_prefix(prefix) {
            let scope =
                scope.ok_or("the scopes parent, event, link and instrumentation are not supported; use span. or resource.")?;
            let (name, length) = attribute_name(name)?;
            return Ok((Token::Attribute(scope, name), prefix.len() + length));
        }
    }
    if let Some(symbol) = SYMBOLS.into_iter().find(|symbol| text.starts_with(symbol)) {
        return Ok((Token::Symbol(symbol), symbol.len()));
    }
    let end = text.find(|c: char| !(c.is_ascii_alphanumeric() || matches!(c, '_' | ':'))).unwrap_or(text.len());
    if end == 0 {
        return Err("this character has no meaning here; texts stand in double quotes or backticks");
    }
    Ok((word(&text[..end]), end))
}

fn word(word: &str) -> Token {
    let named = |names: &[&str]| names.iter().position(|name| *name == word).and_then(|at| i32::try_from(at).ok());
    match word {
        "nil" => Token::Nil,
        "true" => Token::Literal(Literal::Bool(true)),
        "false" => Token::Literal(Literal::Bool(false)),
        _ => match (named(&STATUSES), named(&KINDS)) {
            (Some(status), _) => Token::Literal(Literal::Status(status)),
            (None, Some(kind)) => Token::Literal(Literal::Kind(kind)),
            (None, None) => Token::Word(word.to_owned()),
        },
    }
}

/// The name of an attribute, parts of which may be quoted, and its length in the query.
fn attribute_name(text: &str) -> Result<(String, usize), &'static str> {
    let mut name = String::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        if first == '"' {
            let (part, length) = quoted_name(rest)?;
            name.push_str(&part);
            rest = &rest[length..];
        } else if first.is_whitespace() || "{}()=!<>~&|^,`".contains(first) {
            break;
        } else {
            name.push(first);
            rest = &rest[first.len_utf8()..];
        }
    }
    if name.is_empty() { Err("an attribute needs a name after its scope") } else { Ok((name, text.len() - rest.len())) }
}

/// A quoted part of an attribute's name, in which only `\"` and `\\` are escapes.
fn quoted_name(text: &str) -> Result<(String, usize), &'static str> {
    const UNCLOSED: &str = "a quoted attribute name must end with a double quote; in it, only \\\" and \\\\ are escapes";
    let mut name = String::new();
    let mut characters = text.char_indices().skip(1);
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return Ok((name, at + 1)),
            '\\' => match characters.next() {
                Some((_, escaped @ ('"' | '\\'))) => name.push(escaped),
                _ => return Err(UNCLOSED),
            },
            _ => name.push(character),
        }
    }
    Err(UNCLOSED)
}

/// A text in double quotes with Go's escapes, and its length in the query.
fn quoted(text: &str) -> Result<(String, usize), &'static str> {
    const UNCLOSED: &str = "a text that begins with a double quote must end with one on the same line";
    const ESCAPE: &str = "this text has an escape that TraceQL does not know; texts in backticks have none";
    // Bytes, because escapes can spell a character byte by byte.
    let mut bytes = Vec::new();
    let mut characters = text.char_indices().skip(1);
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return Ok((String::from_utf8(bytes).map_err(|_| ESCAPE)?, at + 1)),
            '\n' => return Err(UNCLOSED),
            '\\' => {
                let (_, escape) = characters.next().ok_or(UNCLOSED)?;
                let mut number = |first: &str, digits: usize, radix: u32| {
                    let mut code = first.to_owned();
                    code.extend(characters.by_ref().take(digits).map(|(_, digit)| digit));
                    let complete = code.len() == first.len() + digits && code.chars().all(|c| c.is_digit(radix));
                    complete.then(|| u32::from_str_radix(&code, radix).ok()).flatten().ok_or(ESCAPE)
                };
                match escape {
                    'a' => bytes.push(0x07),
                    'b' => bytes.push(0x08),
                    'f' => bytes.push(0x0c),
                    'n' => bytes.push(b'\n'),
                    'r' => bytes.push(b'\r'),
                    't' => bytes.push(b'\t'),
                    'v' => bytes.push(0x0b),
                    '\\' | '"' => bytes.push(escape as u8),
                    'x' => bytes.push(u8::try_from(number("", 2, 16)?).map_err(|_| ESCAPE)?),
                    '0'..='7' => bytes.push(u8::try_from(number(&escape.to_string(), 2, 8)?).map_err(|_| ESCAPE)?),
                    'u' | 'U' => {
                        let code = number("", if escape == 'u' { 4 } else { 8 }, 16)?;
                        let character = char::from_u32(code).ok_or(ESCAPE)?;
                        bytes.extend(character.encode_utf8(&mut [0; 4]).bytes());
                    }
                    _ => return Err(ESCAPE),
                }
            }
            _ => bytes.extend(character.encode_utf8(&mut [0; 4]).bytes()),
        }
    }
    Err(UNCLOSED)
}

/// A whole number, a fraction or a duration.
fn numeric(text: &str) -> Option<Literal> {
    if let Ok(n) = text.parse::<i64>() {
        return Some(Literal::Int(n));
    }
    if let Ok(n) = text.parse::<f64>()
        && n.is_finite()
    {
        return Some(Literal::Float(n));
    }
    duration(text).map(Literal::Duration)
}

/// A duration such as `1h2m`, `500ms` or `1.5s`, in nanoseconds.
fn duration(text: &str) -> Option<i64> {
    let (sign, mut rest) = text.strip_prefix('-').map_or((1.0, text), |rest| (-1.0, rest));
    let mut total_ns = 0.0;
    while !rest.is_empty() {
        let number_end = rest.find(|c: char| !(c.is_ascii_digit() || c == '.'))?;
        let number: f64 = rest[..number_end].parse().ok()?;
        rest = &rest[number_end..];
        let unit_end = rest.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(rest.len());
        let (_, ns) = NS_PER_UNIT.into_iter().find(|(unit, _)| *unit == &rest[..unit_end])?;
        total_ns += number * ns;
        rest = &rest[unit_end..];
    }
    #[expect(clippy::cast_possible_truncation, reason = "the range is checked, and less than a nanosecond is nothing")]
    (total_ns < 9e18).then_some((sign * total_ns).round() as i64)
}
